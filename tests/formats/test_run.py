"""`Run`: to and from what researchers have in hand, in rank order, and lazy."""

from __future__ import annotations

import math
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserini_tasb import Run
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats import run_table
from pyserini_tasb.formats.named import load_run
from pyserini_tasb.formats.run import COLUMNS, as_run, named_runs

RUN = {"007": {"b": 2.5, "a": 1.0}, "7": {"c": -1.0}}
IDS = st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"], exclude_characters="\ufeff"), min_size=1, max_size=12)
SCORES = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0.0, -0.0, 1.0]))
RUNS = st.dictionaries(IDS, st.dictionaries(IDS, SCORES, min_size=1, max_size=6), min_size=1, max_size=4)


def in_rank_order(run):
    return [
        (qid, sorted(ranking.items(), key=lambda hit: (hit[1], hit[0]), reverse=True)) for qid, ranking in run.items()
    ]


def as_lists(run):
    return [(qid, list(ranking.items())) for qid, ranking in run.items()]


@given(RUNS)
def test_it_is_a_mapping_in_rank_order(run):
    found = Run(run)
    assert as_lists(found) == as_lists(found.to_dict()) == in_rank_order(run)
    assert found == run
    assert (len(found), found.hits) == (len(run), sum(map(len, run.values())))
    assert "no such query" not in found
    with pytest.raises(KeyError):
        found["no such query"]


@pytest.mark.parametrize("columns", list(COLUMNS))
@settings(max_examples=20)
@given(run=RUNS)
def test_data_frames_there_and_back(columns, run):
    frame = Run(run).to_pandas(columns)
    assert list(frame.columns) == [name for name in COLUMNS[columns] if name]
    query, document, rank, score = COLUMNS[columns]
    rows = [(qid, *hit) for qid, ranking in in_rank_order(run) for hit in ranking]
    assert list(frame[[query, document, score]].itertuples(index=False, name=None)) == rows
    if rank:
        first = {"pyserini": 1, "pyterrier": 0}[columns]
        assert frame[rank].tolist() == [first + place for ranking in run.values() for place in range(len(ranking))]
    shuffled = frame.sample(frac=1, random_state=0)
    assert Run.from_pandas(shuffled) == run
    assert as_lists(Run.from_pandas(frame)) == in_rank_order(run)


def test_queries_stay_in_the_order_in_which_a_frame_names_them_first():
    frame = pd.DataFrame({"qid": [9, 10, 9], "docno": ["x", "y", "z"], "score": [1, 2, 3]})
    assert as_lists(Run.from_pandas(frame)) == [("9", [("z", 3.0), ("x", 1.0)]), ("10", [("y", 2.0)])]


@pytest.mark.usefixtures("suitable_java")
def test_trec_run_there_and_back():
    trec_run = Run(RUN).to_trec_run("tag")
    assert Run.from_trec_run(trec_run) == RUN == as_run(trec_run)
    assert trec_run.run_data.iloc[0].tolist() == ["007", "Q0", "b", 1, 2.5, "tag"]
    assert trec_run.get_docs_by_topic("7")["docid"].tolist() == ["c"]


def test_ranx_run_there_and_back():
    ranx_run = Run(RUN, name="name").to_ranx()
    assert ranx_run.name == "name"
    assert Run.from_ranx(ranx_run) == RUN == as_run(ranx_run)
    assert Run.from_ranx(ranx_run).name == "name"


@settings(max_examples=20)
@given(run=RUNS, suffix=st.sampled_from([".txt", ".gz"]))
def test_files_there_and_back(run, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"run{suffix}"
        Run(run).write(path, tag="mine")
        found = Run.read(path)
        assert as_lists(found) == in_rank_order(run)
        assert found.name == str(path)
        assert as_lists(Run.read(str(path))) == in_rank_order(run)


def test_msmarco_files(tmp_path):
    Run(RUN).write(tmp_path / "run.tsv", output_format="msmarco")
    assert (tmp_path / "run.tsv").read_text() == "007\tb\t1\n007\ta\t2\n7\tc\t1\n"
    assert Run.read(tmp_path / "run.tsv") == {"007": {"b": 1.0, "a": 0.5}, "7": {"c": 1.0}}


def test_a_run_of_many_blocks_is_written_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(run_table, "ROWS_AT_ONCE", 7)
    run = {f"q{number}": {f"d{rank}": -float(rank) for rank in range(number % 5)} for number in range(40)}
    Run(run).write(tmp_path / "run.txt")
    assert load_run(tmp_path / "run.txt") == {qid: ranking for qid, ranking in run.items() if ranking}


def test_bundled_runs():
    assert as_run("dl19-passage.bm25") == load_run("dl19-passage.bm25")
    assert repr(as_run("dl19-passage.bm25")) == "Run('dl19-passage.bm25', 43 queries, 4,300 hits)"


@pytest.mark.parametrize(
    ("run", "found"),
    [
        ({"q": {"d": math.nan, "e": 1.0}, "a b": {"": 1.0}}, ["score nan of query q", "qid 'a b'", "docid ''"]),
        ({"q": {"d": math.inf}}, ["score inf of query q, document d"]),
        ({"q": {"a\0": 1.0}}, ["docid 'a\\x00' of query q"]),
        ({"q": {"\udcff": 1.0}}, ["docid '\\udcff' of query q"]),
        ({"": {"a": 1.0}}, ["qid ''"]),
    ],
)
def test_faults_are_named_with_the_run(run, found):
    for make in (Run, as_run):
        with pytest.raises(TasbError) as caught:
            make(run, name="mine")
        assert caught.value.where == "mine"
        assert all(part in caught.value.found for part in found)


def test_numbers_for_ids_become_strings():
    assert Run({7: {42: 1, "a": 2.0}}) == {"7": {"42": 1.0, "a": 2.0}}


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        ({"qid": ["q", "q"], "docno": ["d", "d"], "score": [1, 2]}, "document d a second time for query q"),
        ({"qid": ["q", "7"], "docno": ["d", None], "score": [1, 2]}, "1 rows without, the first at 1"),
        ({"qid": ["q"], "docno": ["d"], "score": [math.nan]}, "score nan of query q, document d"),
        ({"qid": ["q"], "docno": ["a b"], "score": [1]}, "docid 'a b' of query q"),
        ({"query": ["q"], "docno": ["d"], "score": [1]}, "query docno score"),
        ({}, "no columns"),
    ],
)
def test_faulty_frames(frame, found):
    with pytest.raises(TasbError) as caught:
        Run.from_pandas(pd.DataFrame(frame))
    assert found in caught.value.found


def test_what_is_no_run():
    with pytest.raises(TasbError) as caught:
        as_run(7)
    assert "a run for runs=: a path or name, a dictionary" in caught.value.expected
    assert caught.value.found == "int"


def test_a_query_s_own_document_is_dropped_wherever_the_run_comes_from(tmp_path):
    run = {"a": {"a": 9.0, "b": 8.0}, "b": {"a": 9.0}, "c": {"c": 1.0}}
    left = {"a": {"b": 8.0}, "b": {"a": 9.0}}
    Run(run).write(tmp_path / "run")
    for given_run in (run, Run(run), Run(run).to_pandas(), tmp_path / "run"):
        assert as_run(given_run, remove_query=True) == left


def test_the_name_of_a_file_is_its_path_unless_it_is_called_otherwise(tmp_path):
    Run(RUN).write(tmp_path / "run")
    assert as_run(tmp_path / "run").name == str(tmp_path / "run")
    assert as_run(tmp_path / "run", name="mine").name == as_run(RUN, name="mine").name == "mine"


@pytest.mark.parametrize(
    ("given_runs", "names"),
    [
        ("a.txt", ["a.txt"]),
        (Path("a.txt"), ["a.txt"]),
        (RUN, ["run 1"]),
        (Run(RUN, name="bm25"), ["bm25"]),
        (Run(RUN).to_pandas(), ["run 1"]),
        ({"one": RUN, "two": "a.txt", "three": Run(RUN)}, ["one", "two", "three"]),
        ({"one": {}, "two": RUN}, ["one", "two"]),
        ([RUN, "a.txt", dict(RUN)], ["run 1", "a.txt", "run 3"]),
        ([Run(RUN), Run(RUN)], ["run", "run (2)"]),
        (["a.txt", "a.txt"], ["a.txt", "a.txt"]),
        ((dict(RUN) for _ in range(2)), ["run 1", "run 2"]),
        ([RUN, RUN], ["run 1", "run 1"]),
    ],
)
def test_one_run_or_several_with_their_names(given_runs, names):
    assert [name for name, _ in named_runs(given_runs)] == names


def test_html_shows_the_first_hits_and_escapes_ids():
    shown = Run({"q<1>": {f"d{rank}": -float(rank) for rank in range(9)}})._repr_html_()
    assert "q&lt;1&gt;" in shown
    assert "<td>d4</td>" in shown
    assert "<td>d5</td>" not in shown


def test_millions_of_hits_take_arrays_only_and_dictionaries_are_made_when_asked_for():
    queries, depth = 200, 1_000
    docids = [f"{number:07}" for number in range(depth)]
    run = Run({f"q{number}": dict(zip(docids, range(depth), strict=True)) for number in range(queries)})
    arrays = run.table.docids.nbytes + run.table.scores.nbytes + run.table.starts.nbytes
    assert arrays < 17 * queries * depth
    tracemalloc.start()
    try:
        found = run["q7"]
        assert tracemalloc.get_traced_memory()[0] < 400_000  # one query's, not 200 queries'
    finally:
        tracemalloc.stop()
    assert list(found)[:2] == ["0000999", "0000998"]
    assert run["q7"] is not found  # nothing is kept


def test_a_tag_that_is_no_column_leaves_the_old_file(tmp_path):
    path = tmp_path / "run.txt"
    path.write_text("old")
    for tag in ("two words", "", "nul\0"):
        with pytest.raises(TasbError, match=r"tag="):
            Run(RUN).write(path, tag=tag)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_scores_of_numpy_types_are_float64():
    run = Run({"q": {"a": np.float32(0.1), "b": np.int64(3)}})
    assert run["q"] == {"b": 3.0, "a": float(np.float32(0.1))}
