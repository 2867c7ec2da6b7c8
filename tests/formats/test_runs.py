from __future__ import annotations

import gzip
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.named import load_run
from pyserini_tasb.formats.run import Run
from pyserini_tasb.formats.run_files import read_run, read_run_table
from pyserini_tasb.formats.run_table import without_own_documents
from tests.command_line import tasb

GOOD = "q1 Q0 d1 1 2.5 tag\n"


def written(folder: Path, content: str | bytes, name: str = "run.txt") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_ids_stay_strings_and_queries_need_not_be_together(tmp_path):
    path = written(tmp_path, "007 Q0 0042 1 2 t\n7\tQ0\t42\t1\t-1e3\tt\r\n\n007 Q0 42 2 1.5 t")
    assert read_run(path) == {"007": {"0042": 2.0, "42": 1.5}, "7": {"42": -1000.0}}


@pytest.mark.parametrize("space", ["\u00a0", "\u3000", "\u2028", "\x85"])
def test_only_ascii_white_space_separates_columns(tmp_path, space):
    assert read_run(written(tmp_path, f"q Q0 a{space}b 1 1 t\n")) == {"q": {f"a{space}b": 1.0}}


def test_byte_order_mark_is_no_part_of_the_first_qid(tmp_path):
    assert read_run(written(tmp_path, b"\xef\xbb\xbf" + GOOD.encode())) == {"q1": {"d1": 2.5}}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"q1 Q0 d1 1 2.5", "5 columns"),
        (b"q1 Q0 white space 1 2.5 tag", "7 columns (white space in a docid"),
        (b"q1\td1\t1", "3 columns (an MS MARCO run?"),
        (b"q1 0 d1 1", "4 columns (qrels?)"),
        (b"q1 Q0 d9 1 high tag", "score 'high' is not a finite number"),
        (b"q1 Q0 d9 1 nan tag", "score 'nan' is not a finite number"),
        (b"q1 Q0 d9 1 -inf tag", "score '-inf' is not a finite number"),
        (b"q1 Q0 d9 1 1e999 tag", "score '1e999' is not a finite number"),
        (b"q1 Q0 d9 1 1_0 tag", "score '1_0' is not a finite number"),
        (b"q1 Q0 d1 2 2.4 tag", "document d1 a second time for query q1"),
        (b"q1 Q0 d\xff 1 2.5 tag", "not UTF-8"),
    ],
)
def test_malformed_line_is_named_with_its_reason(tmp_path, line, reason):
    path = written(tmp_path, GOOD.encode() + b"q2 Q0 d1 1 1 tag\n" + line + b"\n" + b"q3 Q0 d1 1 1 tag\n")
    with pytest.raises(TasbError) as caught:
        read_run(path)
    assert f"{path}:3: {reason}" in caught.value.found
    assert "1 faulty line:" in caught.value.found


def test_all_malformed_lines_are_reported_up_to_a_limit(tmp_path):
    path = written(tmp_path, GOOD + "short\n" * 25)
    with pytest.raises(TasbError) as caught:
        read_run(path)
    assert "25 faulty lines" in caught.value.found
    assert f"{path}:21: " in caught.value.found
    assert f"{path}:22: " not in caught.value.found
    assert "… and 5 more" in caught.value.found


@pytest.mark.parametrize("content", [b"", b"\n \n", gzip.compress(b"")], ids=["nothing", "blank lines", "gzip"])
def test_empty_file_is_an_error(tmp_path, content):
    with pytest.raises(TasbError, match="an empty file"):
        read_run(written(tmp_path, content))


def test_gzip_is_recognised_by_content_not_by_name(tmp_path):
    assert read_run(written(tmp_path, gzip.compress(GOOD.encode()), "run.txt")) == {"q1": {"d1": 2.5}}
    assert read_run(written(tmp_path, GOOD, "run.txt.gz")) == {"q1": {"d1": 2.5}}


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:40] + b"\0\0\0\0" + data[44:]])
def test_damaged_gzip_is_an_error(tmp_path, damage):
    data = gzip.compress(b"".join(b"q%d Q0 d%d 1 1 t\n" % (i, i * i) for i in range(300)))
    with pytest.raises(TasbError, match="plain, gzip, bzip2, xz or Zstandard"):
        read_run(written(tmp_path, damage(data), "run.txt.gz"))


def test_missing_file_and_folder_are_errors(tmp_path):
    with pytest.raises(TasbError, match="No such file"):
        read_run(tmp_path / "absent")
    with pytest.raises(TasbError, match="directory"):
        read_run(tmp_path)


# Python takes the separators 0x1c to 0x1f for white space as well.
NOT_IN_IDS = " \t\n\r\f\v\x1c\x1d\x1e\x1f\ufeff\0"
IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=NOT_IN_IDS), min_size=1, max_size=8)
SCORES = st.floats(allow_nan=False, allow_infinity=False)
RUNS = st.dictionaries(IDS, st.dictionaries(IDS, SCORES, min_size=1, max_size=6), min_size=1, max_size=4)


@given(run=RUNS, suffix=st.sampled_from([".txt", ".gz"]))
def test_write_then_read_gives_the_run_back_in_rank_order(run, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"run{suffix}"
        Run(run).write(path, tag="tag")
        read = read_run(path)
    assert read == run
    assert list(read) == list(run)
    for ranking in read.values():
        order = [(score, docid.encode()) for docid, score in ranking.items()]
        assert order == sorted(order, reverse=True)


def test_ties_are_written_by_descending_docid(tmp_path):
    path = tmp_path / "run.txt"
    Run({"q": {"10": 1.0, "9": 1.0, "é": 1.0, "b": 2.0}}).write(path, tag="mine")
    assert path.read_text() == "q Q0 b 1 2.0 mine\nq Q0 é 2 1.0 mine\nq Q0 9 3 1.0 mine\nq Q0 10 4 1.0 mine\n"


def test_gzip_bytes_depend_on_the_run_alone(tmp_path):
    for name, time in (("a.gz", 1), ("b.gz", 2_000_000_000)):
        Run({"q": {"d": 0.1}}).write(tmp_path / name, tag="t")
        os.utime(tmp_path / name, (time, time))
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert (tmp_path / "a.gz").read_bytes()[3:8] == b"\0" * 5  # no name, no time


@pytest.mark.parametrize(
    ("run", "tag", "found"),
    [
        ({"q": {"d": float("nan")}}, "t", "score nan of query q, document d"),
        ({"q": {"d": float("inf")}}, "t", "score inf"),
        ({"q": {"a b": 1.0}}, "t", "docid 'a b' of query q"),
        ({"q": {"": 1.0}}, "t", "docid ''"),
        ({"q": {"\udcff": 1.0}}, "t", "docid '\\udcff'"),
        ({"a\tb": {"d": 1.0}}, "t", "qid 'a\\tb'"),
        ({"q": {"d": 1.0}}, "my tag", "'my tag'"),
        ({"q": {"d": 1.0}}, "t\0", "'t\\x00'"),
        ({"q": {"a\0": 1.0}}, "t", "docid 'a\\x00'"),
        ({"q": {}}, "t", "none"),
        ({}, "t", "none"),
    ],
)
def test_what_would_not_read_back_is_refused_and_the_old_file_stays(tmp_path, run, tag, found):
    path = written(tmp_path, GOOD)
    with pytest.raises(TasbError) as caught:
        Run(run).write(path, tag=tag)
    assert found in caught.value.found
    assert path.read_text() == GOOD
    assert list(tmp_path.iterdir()) == [path]


def test_failing_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    path = written(tmp_path, GOOD)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TasbError, match="No space left"):
        Run({"q": {"d": 1.0}}).write(path, tag="t")
    assert path.read_text() == GOOD
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(TasbError, match="No such file"):
        Run({"q": {"d": 1.0}}).write(tmp_path / "absent" / "run.txt", tag="t")


def test_a_query_s_own_document_is_dropped(tmp_path):
    run = {"a": {"a": 9.0, "b": 8.0}, "b": {"a": 9.0, "bb": 8.0}, "c": {"c": 1.0}, "7": {"07": 2.0, "7": 1.0}}
    left = {"a": {"b": 8.0}, "b": {"a": 9.0, "bb": 8.0}, "7": {"07": 2.0}}
    assert without_own_documents(run) == {**left, "c": {}}
    Run(run).write(tmp_path / "run.txt", tag="t")
    assert load_run(tmp_path / "run.txt", remove_query=True) == left
    assert load_run(tmp_path / "run.txt") == run


CONSTANT = "1 Q0 a 1 0 t\n1 Q0 m 2 0 t\n1 Q0 z 3 0 t\n"


@pytest.mark.parametrize(
    ("text", "queries"),
    [
        (CONSTANT, 1),
        (CONSTANT + CONSTANT.replace("1 Q0", "2 Q0") + "3 Q0 a 1 2 t\n3 Q0 b 2 1 t\n4 Q0 a 1 0 t\n", 2),
        ("1 Q0 z 1 0 t\n1 Q0 m 2 0 t\n1 Q0 a 3 0 t\n", 0),  # by docid, descending, as trec_eval has it
        ("1 Q0 a 3 0 t\n1 Q0 m 2 0 t\n1 Q0 z 1 0 t\n", 0),
        ("1 Q0 a 1 0 t\n1 Q0 m 1 0 t\n1 Q0 z 1 0 t\n", 0),  # ranks that say nothing
        ("1 Q0 a 1 0 t\n1 Q0 m 2 0 t\n1 Q0 z 3 -1 t\n", 0),  # a tie, as every run has some
        ("1 Q0 a x 0 t\n1 Q0 m y 0 t\n", 0),
        ("1\ta\t1\n1\tm\t2\n", 0),  # MS MARCO's ranks are all it has
    ],
)
@pytest.mark.parametrize("irregular", [False, True])
def test_ranks_that_equal_scores_contradict_are_noted(tmp_path, caplog, text, queries, irregular):
    caplog.set_level("INFO")
    path = written(tmp_path, text + "\n" * irregular)
    read_run_table(path)
    notes = [message for message in caplog.messages if "are ignored, because all their scores are equal" in message]
    assert len(notes) == bool(queries)
    assert all(f"the ranks of {queries} quer" in note and str(path) in note for note in notes)
    if "\t" not in text:
        caplog.clear()
        load_run(path)
        assert len(caplog.messages) == bool(queries)


def test_they_are_noted_wherever_a_run_is_read(tmp_path, capsys):
    run, other, qrels = (tmp_path / name for name in ("run", "other", "qrels"))
    run.write_text(CONSTANT)
    other.write_text("1 Q0 z 1 3 t\n1 Q0 b 2 2 t\n")
    qrels.write_text("1 0 a 1\n1 0 b 1\n")
    for command in (
        ["evaluate", "--qrels", qrels, "--runs", run, "--measures", "RR@10"],
        ["fuse", "--method", "rrf", "--runs", run, other, "--output", tmp_path / "fused"],
    ):
        assert tasb(*command) == 0
        assert capsys.readouterr().err.count("the ranks of 1 query are ignored") == 1


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("--qrels", CONSTANT, "6 columns (a run?)"),
        ("--runs", "1 0 a 1\n1 0 b 0\n", "4 columns (qrels?)"),
        ("--topics", CONSTANT, "1 column between tabs (a run?)"),
        ("--topics", "1 0 a 1\n1 0 b 0\n", "1 column between tabs (qrels?)"),
    ],
)
def test_files_of_another_kind(tmp_path, capsys, option, text, said):
    right = {"qrels": "1 0 a 1\n", "run": "1 Q0 a 1 1 t\n", "topics": "1\tsome words\n", "corpus": "a\ttext\n"}
    files = {name: tmp_path / f"{name}.tsv" for name in right}
    for name, content in right.items():
        files[name].write_text(content)
    wrong = tmp_path / "wrong.tsv"
    wrong.write_text(text)
    command = ["evaluate", "--qrels", files["qrels"], "--runs", files["run"], "--measures", "RR@10"]
    if option == "--topics":
        command = ["show", files["run"], "--topic", "1", "--topics", files["topics"], "--corpus", files["corpus"]]
    command[command.index(option) + 1] = wrong
    assert tasb(*command) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert "check that it is the right file" in printed
