"""Runs as columns, read and written: the same as by line, only faster."""

from __future__ import annotations

import gzip
import io
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats import run_files, run_table
from pyserini_tasb.formats.lines import LONGEST_LINE
from pyserini_tasb.formats.named import load_run, load_run_table
from pyserini_tasb.formats.run import Run
from pyserini_tasb.formats.run_files import IrregularLinesError, parse_block, read_run, read_run_table, write_run
from pyserini_tasb.formats.run_table import RunTable
from pyserini_tasb.formats.text_columns import pack, unpack

IDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=" \t\n\r\f\v\x1c\x1d\x1e\x1f\ufeff\0"),
    min_size=1,
    max_size=20,
)
SCORES = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0.5, 1.0, -0.0, 0.0]))
RUNS = st.dictionaries(IDS, st.dictionaries(IDS, SCORES, min_size=1, max_size=8), min_size=1, max_size=4)


@pytest.fixture
def blocks_of_a_few_lines(monkeypatch):
    monkeypatch.setattr(run_files, "BLOCK_BYTES", 700)
    monkeypatch.setattr(run_table, "ROWS_AT_ONCE", 50)


def ranked(run):
    return {
        qid: sorted(((score, docid) for docid, score in ranking.items()), reverse=True) for qid, ranking in run.items()
    }


def pairs(run):
    return {qid: [(score, docid) for docid, score in ranking.items()] for qid, ranking in run.items()}


@given(RUNS)
def test_a_table_is_the_run_as_trec_eval_ranks_it(run):
    table = RunTable.from_run(run)
    assert pairs(table.to_run()) == ranked(run)
    assert list(table.to_run()) == list(run)


@given(run=RUNS, suffix=st.sampled_from([".txt", ".gz"]))
def test_written_as_by_line_and_read_back(tmp_path_factory, run, suffix):
    folder = tmp_path_factory.mktemp("runs")
    ours = folder / f"ours{suffix}"
    write_run(ours, [RunTable.from_run(run)], "tag")
    by_line = [
        f"{qid} Q0 {docid} {rank} {score!r} tag\n"
        for qid, ranking in ranked(run).items()
        for rank, (score, docid) in enumerate(ranking, 1)
    ]
    opened = gzip.open if suffix == ".gz" else open
    with opened(ours, "rb") as file:
        assert file.read() == "".join(by_line).encode()
    assert pairs(read_run_table(ours).to_run()) == ranked(run)


@pytest.mark.parametrize("name", ["dl19-passage.tasb", "dl20-passage.bm25"])
def test_real_runs_are_read_in_blocks(name, blocks_of_a_few_lines):
    assert pairs(load_run_table(name).to_run()) == ranked(load_run(name))


HIT = "q Q0 d 1 2.5 tag\n"


@pytest.mark.parametrize("long", ["x", "x ", " ", "é"])
def test_a_line_of_absurd_length_is_named_without_being_held_in_memory(tmp_path, long):
    path = tmp_path / "run"
    path.write_text(HIT + long * (1 << 24) + "\n" + HIT.replace("d 1 2.5", "e 1 nan"))
    named = [] if long == " " else [f"{path}:2: more than {LONGEST_LINE:,} characters"]
    tracemalloc.start()
    try:
        with pytest.raises(TasbError) as error:
            read_run_table(path)
        assert tracemalloc.get_traced_memory()[1] < 10 * run_files.BLOCK_BYTES
    finally:
        tracemalloc.stop()
    assert [line.strip() for line in error.value.found.splitlines()[1:]] == [
        *named, f"{path}:3: score 'nan' is not a finite number"
    ]  # fmt: skip


def test_blocks_end_at_the_first_line_that_is_too_long():
    file = io.BytesIO(HIT.encode() + b"x" * 20 * run_files.BLOCK_BYTES)
    with pytest.raises(IrregularLinesError):
        list(run_files.line_blocks(file))
    assert file.tell() < 3 * run_files.BLOCK_BYTES


@pytest.mark.parametrize("length", [LONGEST_LINE, LONGEST_LINE + 1])
def test_all_readers_and_dictionaries_have_the_same_longest_line(tmp_path, length):
    path = tmp_path / "run"
    path.write_text(HIT + HIT.replace("d", "d" * (1 + length - len(HIT))))
    irregular = tmp_path / "irregular"
    irregular.write_text("\n" + path.read_text())
    if length == LONGEST_LINE:
        assert read_run_table(path).to_run() == read_run(path) == read_run_table(irregular).to_run()
        return
    for each in (path, irregular):
        with pytest.raises(TasbError, match=r"\d: more than 4,096 characters"):
            read_run_table(each)
    with pytest.raises(TasbError, match="at most 4,096 characters"):
        Run({"q": {"d" * length: 1.0}})


@pytest.mark.usefixtures("blocks_of_a_few_lines")
def test_queries_go_on_over_blocks_and_long_docids_count_whole(tmp_path):
    numbers = random.Random(0).sample(range(10**9), 200)
    run = {f"q{query}": {f"collection/part-{n % 7}/{n}": n % 5 / 4 for n in numbers[query::3]} for query in range(3)}
    path = tmp_path / "run"
    Run(run).write(path, tag="t")
    assert pairs(read_run_table(path).to_run()) == ranked(run)


@pytest.mark.parametrize(
    "content",
    [
        b"q Q0 d 1 2 t\r\nq Q0 e 2 1 t\r\n",
        b"q Q0 d 1 2 t\n\nq Q0 e 2 1 t",
        b"q  Q0 d 1 2 t\n",
        b" q Q0 d 1 2 t \n",
        b"\xef\xbb\xbfq Q0 d 1 2 t\n",
        b"q\tQ0\td\t1\t2\tt\n",
        b"q Q0 d 1 1e-3 t\nq Q0 e 1 -.5 t\nq Q0 f 1 +4 t\n",
        b"q Q0 d 1 2 t\np Q0 d 1 2 t\nq Q0 e 1 1 t\n",
        "q Q0 d\u00a0\u3000 1 2 t\n".encode(),
        b"q Q0 d 9 1 t\nq Q0 10 1 1 t\nq Q0 9 1 1 t\nq Q0 a 1 3 t\n",
        b"q Q0 d 1 2 t",
    ],
)
def test_unusual_files_are_read_as_by_line(tmp_path, content):
    path = tmp_path / "run"
    path.write_bytes(content)
    assert pairs(read_run_table(path).to_run()) == ranked(read_run(path))


@pytest.mark.parametrize(
    "line",
    [
        b"q1 Q0 d1 1 2.5", b"q1 Q0 white space 1 2.5 tag", b"q1 0 d1 1", b"q1 Q0 d9 1 high tag", b"q1 Q0 d9 1 nan tag",
        b"q1 Q0 d9 1 -inf tag", b"q1 Q0 d9 1 1e999 tag", b"q1 Q0 d9 1 1_0 tag", b"q1 Q0 d1 2 2.4 tag",
        b"q1 Q0 d\xff 1 2.5 tag", b"q1 Q0\nd 1 2.5 tag", b"q1\0Q0 d 1 2.5 tag",
    ],
)  # fmt: skip
def test_faults_are_named_as_by_line(tmp_path, line):
    path = tmp_path / "run"
    path.write_bytes(b"q1 Q0 d1 1 2.5 tag\nq2 Q0 d1 1 1 tag\n" + line + b"\nq3 Q0 d1 1 1 tag\n")
    with pytest.raises(TasbError) as by_line:
        read_run(path)
    with pytest.raises(TasbError) as caught:
        read_run_table(path)
    assert str(caught.value) == str(by_line.value)
    assert f"{path}:3: " in str(caught.value)


def test_a_regular_file_is_not_read_by_line(tmp_path):
    lines = b"q1 Q0 d1 1 2.5 tag\nq1 Q0 d2 2 2.25 tag\n"
    assert parse_block(lines, run_files.TREC).scores.tolist() == [2.5, 2.25]
    with pytest.raises(IrregularLinesError):
        parse_block(lines + b"\n", run_files.TREC)


@pytest.mark.parametrize(
    "lines",
    [
        b"q Q0 d 1 2 t x\nq Q0 e 2 1\n",  # as many columns as two lines have
        b"q Q0 d 1\n2 t\n",
        b"q Q0 d 1 2 t\n q Q0 e 2 1\n",
        b"\nq Q0 d 1 2\n",
        b"q\rQ0 d 1 2 t\n",
    ],
)
def test_columns_are_not_taken_from_other_lines(lines):
    with pytest.raises(IrregularLinesError):
        parse_block(lines, run_files.TREC)


@pytest.mark.parametrize("queries", [[0, 1, 2], [1, 2], [2, 0], [0, 2], [-1, 1, 2], [1, -1, 2], [-1], []])
@pytest.mark.parametrize("depth", [None, 1, 2, 5])
def test_rows_of_some_queries(queries, depth):
    run = {f"q{query}": {f"d{n}": 9.0 - n for n in range(query, query + 3)} for query in range(3)}
    table = RunTable.from_run(run).taken(np.array(queries, dtype=np.int64), depth)
    assert table.qids == tuple(f"q{query}" if query >= 0 else "" for query in queries)
    expected = [list(run[f"q{query}"].values())[:depth] if query >= 0 else [] for query in queries]
    assert table.lengths.tolist() == [len(scores) for scores in expected]
    assert table.scores.tolist() == [score for scores in expected for score in scores]
    assert [docid.decode() for docid in unpack(table.docids).tolist()] == [
        f"d{9 - score:.0f}" for score in table.scores.tolist()
    ]


def test_ranking_a_table_leaves_it_as_it_is():
    table = RunTable(("q", "r"), np.array([0, 2, 4]), pack([b"a", b"b", b"c", b"d"]), np.array([1.0, 2.0, 3.0, 3.0]))
    assert list(table.ranked().to_run().items()) == [("q", {"b": 2.0, "a": 1.0}), ("r", {"d": 3.0, "c": 3.0})]
    assert list(table.ranked().to_run()["r"]) == ["d", "c"]
    assert table.scores.tolist() == [1.0, 2.0, 3.0, 3.0]


def test_nul_in_an_id_is_refused(tmp_path):
    with pytest.raises(TasbError, match="NUL"):
        RunTable.from_run({"q": {"a\0": 1.0}})


def test_empty_and_missing_files(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(TasbError, match="an empty file"):
        read_run_table(tmp_path / "empty")
    with pytest.raises(TasbError, match="No such file"):
        read_run_table(tmp_path / "absent")
    with pytest.raises(TasbError, match=r"did you mean `dl19-passage\.tasb`"):
        load_run_table("dl19-passage.tsb")


@pytest.mark.parametrize("name", ["run.tsv", "run.tsv.gz"])
def test_msmarco_format(tmp_path, name):
    path = tmp_path / name
    table = RunTable.from_run({"7": {"b": 1.0, "a": 2.0}, "007": {"c": 5.0}})
    write_run(path, [table], "unused", output_format="msmarco")
    content = gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes()
    assert content == b"7\ta\t1\n7\tb\t2\n007\tc\t1\n"
    assert read_run_table(path).to_run() == {"7": {"a": 1.0, "b": 0.5}, "007": {"c": 1.0}}


@pytest.mark.parametrize("line", ["7\tb\t0", "7\tb\t1.5", "7\ta\t2", "7\tb\tx", "7\tb"])
def test_faulty_msmarco_lines_are_named(tmp_path, line):
    path = tmp_path / "run.tsv"
    path.write_text(f"7\ta\t1\n{line}\n")
    with pytest.raises(TasbError, match=r"run\.tsv:2: "):
        read_run_table(path)


@pytest.mark.parametrize(
    ("tables", "tag"),
    [
        ([], "tag"),
        ([RunTable.from_run({"q": {"d": 1.0}})], "two words"),
        ([RunTable(("q",), np.array([0, 1]), np.array([[1 << 60]], dtype=np.uint64), np.array([np.nan]))], "tag"),
    ],
)
def test_what_cannot_be_written_leaves_the_old_file(tmp_path, tables, tag):
    path = tmp_path / "run.txt"
    path.write_text("old")
    with pytest.raises(TasbError):
        write_run(path, tables, tag)
    assert [file.name for file in tmp_path.iterdir()] == ["run.txt"]
    assert path.read_text() == "old"


def test_scores_that_differ_in_their_last_bit_are_still_ranked():
    score = 1.0
    run = {"q": {}}
    for number in range(300):
        run["q"][f"{number:03}"] = score
        score = np.nextafter(score, 2).item() if number % 3 else score
    assert pairs(RunTable.from_run(run).to_run()) == ranked(run)


OWN_IDS = st.sampled_from(["a", "b", "ab", "abcdefgh", "abcdefghi", "abcdefgh-abcdefgh", "7", "07", "é"])


@given(st.dictionaries(OWN_IDS, st.dictionaries(OWN_IDS, SCORES, min_size=1), min_size=1))
def test_a_query_s_own_document_is_dropped_as_by_line(tmp_path_factory, run):
    path = tmp_path_factory.mktemp("runs") / "run"
    Run(run).write(path, tag="tag")
    left = read_run_table(path, remove_query=True).to_run()
    assert pairs(left) == ranked(load_run(path, remove_query=True))
    assert list(left) == list(load_run(path, remove_query=True))
    assert RunTable.from_run(left).without_own_documents().to_run() == left


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_ranks_of_the_msmarco_format_are_counted_without_it(tmp_path, end):
    path = tmp_path / "run.tsv"
    path.write_bytes(end.join(["x\ta\t1", "x\tx\t2", "x\tb\t3", "x\tc\t49", "y\tx\t3", "z\tz\t1", ""]).encode())
    assert read_run_table(path, remove_query=True).to_run() == {
        "x": {"a": 1, "b": 1 / 2, "c": 1 / 48},
        "y": {"x": 1 / 3},
    }
