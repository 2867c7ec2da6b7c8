"""`tasb data pairs`, as a user meets it."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.train.data.pairs_command import run
from pyserini_tasb.train.store.pair_store import open_pair_store
from tests.conftest import TINY

OPTIONS = dict.fromkeys(
    ["collection", "queries", "scored_pairs", "triples", "qrels", "negatives", "known_positives", "negatives_per_query"]
) | {"relevant_grade": 1, "seed": 0, "skip_bad": False, "overwrite": False}


def tasb_data_pairs(output, **options):
    return run(argparse.Namespace(output=str(output), **(OPTIONS | options)))


@pytest.fixture
def scored(tmp_path, collection):
    """Options for a file of 60 scored pairs of the tiny collection, in no order."""
    randomness = np.random.default_rng(0)
    qids = list(collection.topics)
    lines = [
        f"{randomness.normal(9, 2):.4f}\t{randomness.normal(4, 2):.4f}\t{qids[n % 6]}\t"
        f"{collection.docids[n % 7]}\t{collection.docids[20 + n]}\n"
        for n in range(60)
    ]
    (tmp_path / "pairs.tsv").write_text("".join(lines))
    return {
        "collection": str(TINY / "corpus.jsonl"),
        "queries": str(TINY / "topics.tsv"),
        "scored_pairs": [str(tmp_path / "pairs.tsv")],
    }


def test_scored_pairs_with_known_positives(tmp_path, scored, capsys, collection):
    assert tasb_data_pairs(tmp_path / "store", **scored, known_positives=str(TINY / "qrels.txt")) == 0
    output = capsys.readouterr().out
    assert "pairs.tsv: pos_score TAB neg_score TAB qid TAB pos_pid TAB neg_pid" in output
    store = open_pair_store(tmp_path / "store")
    lines = [line.split("\t") for line in (tmp_path / "pairs.tsv").read_text().splitlines()]
    margins = np.array([float(line[0]) - float(line[1]) for line in lines])
    for figure in (
        "queries          6\n", "pairs            60 with scores\n", "pairs per query  min 10, median 10, max 10\n",
        "skipped rows     0\n", "repeated rows    0 left out\n",
        f"margins          mean {margins.mean():.4g}, deviation {margins.std():.4g}\n",
    ):  # fmt: skip
        assert figure in output
    assert " pairs/s" in output
    assert list(store.queries) == list(collection.topics.items())[:6]
    texts = dict(zip(collection.docids, zip(collection.titles, collection.texts, strict=True), strict=True))
    for docid, text in store.passages:
        assert text == " ".join(texts[docid]).strip()
    row = lines[17]
    query = list(collection.topics).index(row[2])
    found = [
        store.scores[index].tolist()
        for index in range(store.offsets[query], store.offsets[query + 1])
        if store.passages.id(int(store.negatives[index])) == row[4]
    ]
    assert found == [pytest.approx([float(row[0]), float(row[1])], rel=1e-6)]
    judged = [line.split() for line in (TINY / "qrels.txt").open()]
    for query, (qid, _) in enumerate(store.queries):
        expected = {docid for judged_qid, _, docid, grade in judged if judged_qid == qid and int(grade) > 0}
        expected |= {line[3] for line in lines if line[2] == qid}
        assert set(store.passages.ids(store.known_positives(query))) == expected
    recipe = json.loads((tmp_path / "store" / "manifest.json").read_text())["recipe"]
    assert [source["role"] for source in recipe["sources"]] == [
        "scored_pairs", "collection", "queries", "known_positives"
    ]  # fmt: skip
    assert all(len(source["sha256"]) == 64 and source["bytes"] for source in recipe["sources"])


def test_order_of_the_rows_does_not_matter(tmp_path, scored):
    tasb_data_pairs(tmp_path / "first", **scored)
    lines = (tmp_path / "pairs.tsv").read_text().splitlines(keepends=True)
    parts = [tmp_path / "a.tsv", tmp_path / "b.tsv"]
    parts[0].write_text("".join(lines[::-2]))
    parts[1].write_text("".join(lines[::2]))
    tasb_data_pairs(tmp_path / "second", **(scored | {"scored_pairs": [str(part) for part in parts]}))
    for file in (tmp_path / "first").rglob("*"):
        if file.is_file() and file != tmp_path / "first" / "manifest.json":
            assert file.read_bytes() == (tmp_path / "second" / file.relative_to(tmp_path / "first")).read_bytes()


def test_building_the_same_again_changes_nothing_and_another_is_refused(tmp_path, scored, capsys):
    tasb_data_pairs(tmp_path / "store", **scored)
    built = (tmp_path / "store" / "manifest.json").stat().st_mtime_ns
    copy = tmp_path / "elsewhere.tsv"
    copy.write_bytes((tmp_path / "pairs.tsv").read_bytes())
    assert tasb_data_pairs(tmp_path / "store", **(scored | {"scored_pairs": [str(copy)]})) == 0
    assert "built before" in capsys.readouterr().out
    assert (tmp_path / "store" / "manifest.json").stat().st_mtime_ns == built
    copy.write_text(copy.read_text() + "1\t2\t1\tCACM-0001\tCACM-0002\n")
    other = scored | {"scored_pairs": [str(copy)]}
    with pytest.raises(TasbError, match="something is there already"):
        tasb_data_pairs(tmp_path / "store", **other)
    assert len(open_pair_store(tmp_path / "store")) == 60
    assert tasb_data_pairs(tmp_path / "store", **other, overwrite=True) == 0
    assert len(open_pair_store(tmp_path / "store")) == 61


def test_damaged_store_is_not_taken_for_the_same(tmp_path, scored):
    tasb_data_pairs(tmp_path / "store", **scored)
    path = tmp_path / "store" / "scores.npy"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(TasbError, match="something is there already"):
        tasb_data_pairs(tmp_path / "store", **scored)
    assert tasb_data_pairs(tmp_path / "store", **scored, overwrite=True) == 0
    assert path.read_bytes()[-4:] != b"\0\0\0\1"


def test_bad_rows_stop_the_build_or_are_skipped_and_counted(tmp_path, scored, capsys):
    path = tmp_path / "pairs.tsv"
    path.write_text(path.read_text() + "1\tnan\t1\tCACM-0001\tCACM-0002\n1\t2\t1\tCACM-0001\tabsent\n")
    with pytest.raises(TasbError) as caught:
        tasb_data_pairs(tmp_path / "store", **scored)
    assert f"{path}:61: score 'nan' is not a finite number" in caught.value.found
    assert f"{path}:62: passage absent has no text" in caught.value.found
    assert list(tmp_path.iterdir()) == [path]
    assert tasb_data_pairs(tmp_path / "store", **scored, skip_bad=True) == 0
    output = capsys.readouterr().out
    assert "skipped rows     2\n" in output
    assert f"2 faulty in {path}, e.g.\n    {path}:61: score 'nan'" in output


@pytest.mark.parametrize(
    ("option", "line", "where"), [("queries", "1\tagain\n", "q.tsv:12"), ("collection", "d\tx\nd\ty\n", "c.tsv:2")]
)
def test_repeated_ids_are_named_with_file_and_line(tmp_path, scored, option, line, where):
    path = tmp_path / where.split(":")[0]
    path.write_text(("" if option == "collection" else (TINY / "topics.tsv").read_text() + "\n") + line)
    with pytest.raises(TasbError) as caught:
        tasb_data_pairs(tmp_path / "store", **(scored | {option: str(path)}))
    assert f"1 and {tmp_path}/{where}" in caught.value.found
    assert not (tmp_path / "store").exists()


def test_qrels_with_a_run(tmp_path, collection, capsys):
    judged = {line.split()[2] for line in (TINY / "qrels.txt").open()}
    other = [docid for docid in collection.docids if docid not in judged][:3]
    lines = [f"{qid} Q0 {docid} 1 {-n} t\n" for qid in ["1", "2", "999"] for n, docid in enumerate(other)]
    (tmp_path / "run.txt").write_text("".join(lines))
    options = {"collection": str(TINY / "corpus.jsonl"), "queries": str(TINY / "topics.tsv")}
    options |= {"qrels": str(TINY / "qrels.txt"), "negatives": str(tmp_path / "run.txt")}
    assert tasb_data_pairs(tmp_path / "store", **options, negatives_per_query=2) == 0
    output = capsys.readouterr().out
    assert "with labels" in output
    assert "1 queries of the run give no pair" in output
    store = open_pair_store(tmp_path / "store")
    relevant = [line.split()[2] for line in (TINY / "qrels.txt").open() if line.split()[0] == "1"]
    assert store.offsets[1] == 2 * len(relevant)
    assert sorted(store.passages.ids(store.known_positives(0))) == sorted(relevant)
    assert set(store.passages.ids(store.negatives)) <= set(other)


def test_triples(tmp_path, capsys):
    (tmp_path / "triples.tsv").write_text("q\tp\tn\nq\tp\tn\n")
    assert tasb_data_pairs(tmp_path / "store", triples=str(tmp_path / "triples.tsv")) == 0
    output = capsys.readouterr().out
    assert "query TAB positive TAB negative" in output
    assert "repeated rows    1 left out" in output


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, "none"),
        ({"triples": "t", "qrels": "q"}, "--triples, --qrels"),
        ({"scored_pairs": ["s"], "collection": "c"}, "no --queries"),
        ({"qrels": "q", "collection": "c", "queries": "q"}, "no --negatives"),
        ({"scored_pairs": ["s"], "collection": "c", "queries": "q", "negatives": "r"}, "--negatives"),
        ({"triples": "t", "known_positives": "q", "collection": "c"}, "--collection, --known-positives"),
        ({"scored_pairs": ["s"], "collection": "c", "queries": "q", "negatives_per_query": 3}, "--negatives-per-query"),
        ({"qrels": "q", "collection": "c", "queries": "q", "negatives": "r", "negatives_per_query": 0}, "0"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path, options, found):
    with pytest.raises(TasbError) as caught:
        tasb_data_pairs(tmp_path / "store", **options)
    assert caught.value.found == found
    assert list(tmp_path.iterdir()) == []
