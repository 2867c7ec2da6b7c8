"""The pre-pass: faults are told with file and line before anything is encoded; memory is 8 bytes a docid."""

from __future__ import annotations

import contextlib
import gzip

import numpy as np
import pytest

from pyserini_tasb.encoding import plan as module
from pyserini_tasb.encoding.plan import kept_plan, plan_corpus
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.collections import Corpus
from tests.encoding.corpus.conftest import encode
from tests.processes import end_at_once


def plan(*paths, unit_size=4):
    return plan_corpus(Corpus([str(path) for path in paths]), unit_size, "here")


@pytest.fixture
def two_files(tmp_path):
    (tmp_path / "a.tsv").write_text("".join(f"a{number}\ttext {number}\n" for number in range(6)))
    (tmp_path / "b.tsv.gz").write_bytes(gzip.compress("".join(f"b{number}\t\n" for number in range(5)).encode()))
    return tmp_path / "a.tsv", tmp_path / "b.tsv.gz"


def test_units_go_across_files_and_each_can_be_read_alone(two_files):
    found = plan(*two_files)
    assert (found.records, found.empty, len(found.marks)) == (11, 5, 3)
    corpus = Corpus([str(path) for path in two_files])
    firsts = [next(iter(corpus.marked(mark)))[1] for mark in found.marks]
    assert firsts == ["a0", "a4", "b2"]
    assert found.empty_examples == [f"{two_files[1]}:{line}" for line in range(1, 6)]


@pytest.fixture
def by_processes(monkeypatch):
    """True or false for each corpus that was planned: read by processes, or not."""
    monkeypatch.setattr(module, "_readers", lambda _: 3)
    read, found = module._read_by_processes, []
    monkeypatch.setattr(module, "_read_by_processes", lambda *given: found.append(bool(each := read(*given))) or each)
    return found


def three_files(folder):
    """Blank lines, a byte order mark, a header, line ends of Windows, texts of two bytes a letter, empty ones."""
    lines = (b'{"id": "a%d", "contents": "\xc3\xa4 %d"}\n\n' % (number, number) for number in range(30))
    (folder / "1.jsonl").write_bytes(b"".join(lines))
    rows = b"".join(b"b%d\t%s\r\n" % (number, b"text" * (number % 3)) for number in range(41))
    (folder / "2.tsv").write_bytes(b"\xef\xbb\xbf\n \t \nid\ttext\n" + rows)
    (folder / "3.tsv").write_bytes(b"c\tthe last line has no end")
    return sorted(folder.glob("[123].*"))


@pytest.mark.parametrize("unit_size", [1, 4, 30, 71, 100])
def test_processes_read_the_same(tmp_path, monkeypatch, by_processes, unit_size):
    files = three_files(tmp_path)
    found = plan(*files, unit_size=unit_size)
    assert by_processes == [True]
    monkeypatch.setattr(module, "_readers", lambda _: 1)
    assert found == plan(*files, unit_size=unit_size)
    assert by_processes == [True, False]
    assert (found.records, found.empty) == (72, 14)
    assert found.empty_examples == [f"{files[1]}:{line}" for line in range(4, 4 + 15, 3)]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("b7 no tab", r"2.tsv:51: 1 column "),
        ("b3\ttext", r"'b3': \S+2.tsv:7 and \S+2.tsv:51"),
        ("\u00a0\n\u3000", ""),  # blank, which only decoding tells
    ],
)
def test_what_lines_alone_do_not_tell(tmp_path, by_processes, line, told):
    files = three_files(tmp_path)
    text = files[1].read_bytes()
    files[1].write_bytes(text + b"\n" * 6 + f"{line}\r\n".encode())
    with pytest.raises(TasbError, match=told) if told else contextlib.nullcontext():
        assert plan(*files).records == 72
    assert by_processes == [line.startswith("b3")]  # that line is a record as good as any


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("faulty", [b"\xff{\n", b"a\tb\tc\td\n"])
@pytest.mark.parametrize("unit_size", [1, 30, 41, 100])
def test_a_faulty_line_before_all_records_of_a_file(tmp_path, by_processes, number, faulty, unit_size):
    """Nothing but a missing record tells of it: no process reads a file from its first line on and to its end."""
    for name in "123":
        rows = b"".join(b"%s%d\ttext\n" % (name.encode(), row) for row in range(30))
        (tmp_path / f"{name}.tsv").write_bytes((faulty if name == str(number) else b"") + rows)
    with pytest.raises(TasbError, match=f"{number}.tsv:1: "):
        plan(*sorted(tmp_path.glob("?.tsv")), unit_size=unit_size)
    assert by_processes == [False]


def test_only_large_corpora_are_read_by_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    state = Corpus([str(path) for path in three_files(tmp_path)]).state()
    assert module._readers(state) == 1
    monkeypatch.setattr(module, "BYTES_FOR_PROCESSES", sum(size for _, size, _ in state))
    assert module._readers([*state, ["fields", "title", "docid", ""]]) == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "500")
    assert module._readers(state) == module.MOST_PROCESSES


def test_a_process_that_dies_costs_time_only(tmp_path, monkeypatch, by_processes):
    monkeypatch.setattr(module, "_read_units", end_at_once)
    assert plan(*three_files(tmp_path)).records == 72
    assert by_processes == [False]


@pytest.mark.parametrize("size", [1, 11, 4096, 10_000])
def test_any_unit_size(two_files, size):
    found = plan(*two_files, unit_size=size)
    assert (found.records, len(found.marks), len(found.digests)) == (11, -(-11 // size), -(-11 // size))


def test_fingerprint_changes_with_docids_texts_and_order_only(two_files, tmp_path):
    first, second = two_files
    same = tmp_path / "same.tsv"
    same.write_bytes(first.read_bytes() + gzip.decompress(second.read_bytes()))
    fingerprint = plan(*two_files).fingerprint
    assert plan(same).fingerprint == fingerprint
    others = {plan(second, first).fingerprint, plan(first).fingerprint}
    for old, new in ((b"a3", b"c3"), (b"text 3", b"text 4"), (b"a3\ttext", b"a3\t text\xc2\xa0")):
        (tmp_path / "other.tsv").write_bytes(same.read_bytes().replace(old, new))
        others.add(plan(tmp_path / "other.tsv").fingerprint)
    assert len(others) == 5
    assert fingerprint not in others


def test_kept_until_a_file_changes(two_files, tmp_path):
    corpus, found = Corpus([str(path) for path in two_files]), plan(*two_files)
    found.write(tmp_path / "plan.json")
    assert kept_plan(tmp_path / "plan.json", corpus, 4) == found
    assert kept_plan(tmp_path / "plan.json", corpus, 5) is None
    two_files[0].touch()
    assert kept_plan(tmp_path / "plan.json", corpus, 4) is None
    (tmp_path / "plan.json").write_text("{")
    assert kept_plan(tmp_path / "plan.json", corpus, 4) is None


def test_repeated_docids_are_told_with_both_places(two_files, tmp_path):
    (tmp_path / "c.tsv").write_text("c\t\na5\t\nb0\t\na5\t\n")
    with pytest.raises(TasbError) as raised:
        plan(*two_files, tmp_path / "c.tsv")
    told = str(raised.value)
    assert "3 repeated ids" in told
    assert f"'a5': {two_files[0]}:6 and {tmp_path}/c.tsv:2" in told
    assert f"'b0': {two_files[1]}:1 and {tmp_path}/c.tsv:3" in told


def test_equal_hashes_are_no_repeated_docids(two_files, monkeypatch):
    monkeypatch.setattr(module, "_hashes", lambda docids: np.zeros(len(docids), np.uint64))
    assert plan(*two_files).records == 11


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "1", "contents": "x"', ":2: not JSON"),
        ('{"id": "a b", "contents": "x"}', ":2: the id 'a b'"),
        ('{"id": "", "contents": "x"}', ":2: the id ''"),
        ('{"id": "d0", "contents": "x"}', "'d0': "),
    ],
)
def test_faults_are_told_before_a_model_is_loaded(line, said, tmp_path, no_model, capsys):
    (tmp_path / "c.jsonl").write_text('{"id": "d0", "contents": "x"}\n' + line + "\n")
    assert encode(tmp_path / "out", corpus=tmp_path / "c.jsonl") == 2
    told = capsys.readouterr().err
    assert said in told
    assert "c.jsonl:2" in told
    assert list((tmp_path / "out" / "units").iterdir()) == []


def test_an_empty_corpus(tmp_path, no_model, capsys):
    from pyserini_tasb.formats.text_store import write_text_store

    write_text_store(tmp_path / "store", [])
    assert encode(tmp_path / "out", corpus=tmp_path / "store") == 2
    assert "no passages in it" in capsys.readouterr().err
