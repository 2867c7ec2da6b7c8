"""`pairs`: a store from what people have, what is said of it, and what is refused."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from pyserini_tasb import pairs
from pyserini_tasb.data.pair_store import open_pair_store
from pyserini_tasb.errors import TasbError
from tests.conftest import DATA, TINY


@pytest.fixture
def notes(caplog):
    caplog.set_level(logging.INFO, logger="pyserini_tasb")
    return caplog


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
        "corpus": str(TINY / "corpus.jsonl"),
        "topics": str(TINY / "topics.tsv"),
        "scored_pairs": [str(tmp_path / "pairs.tsv")],
    }


def test_scored_pairs_with_known_positives(tmp_path, scored, notes, collection):
    made = pairs(output=tmp_path / "store", **scored, known_positives=str(TINY / "qrels.txt"))
    output = made.summary
    assert "pairs.tsv: pos_score TAB neg_score TAB qid TAB pos_pid TAB neg_pid" in notes.text
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
    pairs(output=tmp_path / "first", **scored)
    lines = (tmp_path / "pairs.tsv").read_text().splitlines(keepends=True)
    parts = [tmp_path / "a.tsv", tmp_path / "b.tsv"]
    parts[0].write_text("".join(lines[::-2]))
    parts[1].write_text("".join(lines[::2]))
    pairs(output=tmp_path / "second", **(scored | {"scored_pairs": [str(part) for part in parts]}))
    for file in (tmp_path / "first").rglob("*"):
        if file.is_file() and file != tmp_path / "first" / "manifest.json":
            assert file.read_bytes() == (tmp_path / "second" / file.relative_to(tmp_path / "first")).read_bytes()


def test_building_the_same_again_changes_nothing_and_another_is_refused(tmp_path, scored):
    pairs(output=tmp_path / "store", **scored)
    built = (tmp_path / "store" / "manifest.json").stat().st_mtime_ns
    copy = tmp_path / "elsewhere.tsv"
    copy.write_bytes((tmp_path / "pairs.tsv").read_bytes())
    made = pairs(output=tmp_path / "store", **(scored | {"scored_pairs": [str(copy)]}))
    assert "built before" in made.summary
    assert (tmp_path / "store" / "manifest.json").stat().st_mtime_ns == built
    copy.write_text(copy.read_text() + "1\t2\t1\tCACM-0001\tCACM-0002\n")
    other = scored | {"scored_pairs": [str(copy)]}
    with pytest.raises(TasbError, match="found:    it exists"):
        pairs(output=tmp_path / "store", **other)
    assert len(open_pair_store(tmp_path / "store")) == 60
    pairs(output=tmp_path / "store", **other, overwrite=True)
    assert len(open_pair_store(tmp_path / "store")) == 61


def test_damaged_store_is_not_taken_for_the_same(tmp_path, scored):
    pairs(output=tmp_path / "store", **scored)
    path = tmp_path / "store" / "scores.npy"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(TasbError, match="found:    it exists"):
        pairs(output=tmp_path / "store", **scored)
    pairs(output=tmp_path / "store", **scored, overwrite=True)
    assert path.read_bytes()[-4:] != b"\0\0\0\1"


def test_bad_rows_stop_the_build_or_are_skipped_and_counted(tmp_path, scored):
    path = tmp_path / "pairs.tsv"
    path.write_text(path.read_text() + "1\tnan\t1\tCACM-0001\tCACM-0002\n1\t2\t1\tCACM-0001\tabsent\n")
    with pytest.raises(TasbError) as caught:
        pairs(output=tmp_path / "store", **scored)
    assert f"{path}:61: score 'nan' is not a finite number" in caught.value.found
    assert f"{path}:62: passage absent has no text" in caught.value.found
    assert list(tmp_path.iterdir()) == [path]
    made = pairs(output=tmp_path / "store", **scored, skip_bad=True)
    output = made.summary
    assert "skipped rows     2\n" in output
    assert f"2 faulty in {path}, e.g.\n    {path}:61: score 'nan'" in output


@pytest.mark.parametrize(
    ("option", "line", "where"), [("topics", "1\tagain\n", "q.tsv:12"), ("corpus", "d\tx\nd\ty\n", "c.tsv:2")]
)
def test_repeated_ids_are_named_with_file_and_line(tmp_path, scored, option, line, where):
    path = tmp_path / where.split(":")[0]
    path.write_text(("" if option == "corpus" else (TINY / "topics.tsv").read_text() + "\n") + line)
    with pytest.raises(TasbError) as caught:
        pairs(output=tmp_path / "store", **(scored | {option: str(path)}))
    assert f"1 and {tmp_path}/{where}" in caught.value.found
    assert not (tmp_path / "store").exists()


def test_qrels_with_a_run(tmp_path, collection, notes):
    judged = {line.split()[2] for line in (TINY / "qrels.txt").open()}
    other = [docid for docid in collection.docids if docid not in judged][:3]
    lines = [f"{qid} Q0 {docid} 1 {-n} t\n" for qid in ["1", "2", "999"] for n, docid in enumerate(other)]
    (tmp_path / "run.txt").write_text("".join(lines))
    options = {"corpus": str(TINY / "corpus.jsonl"), "topics": str(TINY / "topics.tsv")}
    options |= {"qrels": str(TINY / "qrels.txt"), "negatives": str(tmp_path / "run.txt")}
    made = pairs(output=tmp_path / "store", **options, negatives_per_query=2)
    output = made.summary
    assert "with labels" in output
    assert "1 queries of the run give no pair" in notes.text
    store = open_pair_store(tmp_path / "store")
    relevant = [line.split()[2] for line in (TINY / "qrels.txt").open() if line.split()[0] == "1"]
    assert store.offsets[1] == 2 * len(relevant)
    assert sorted(store.passages.ids(store.known_positives(0))) == sorted(relevant)
    assert set(store.passages.ids(store.negatives)) <= set(other)


def test_triples(tmp_path, notes):
    (tmp_path / "triples.tsv").write_text("q\tp\tn\nq\tp\tn\n")
    made = pairs(output=tmp_path / "store", triples=str(tmp_path / "triples.tsv"))
    output = made.summary
    assert "query TAB positive TAB negative" in notes.text
    assert "repeated rows    1 left out" in output


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, "none"),
        ({"triples": "t", "qrels": "q"}, "triples=, qrels="),
        ({"scored_pairs": ["s"], "corpus": "c"}, "no topics="),
        ({"qrels": "q", "corpus": "c", "topics": "q"}, "no negatives="),
        ({"scored_pairs": ["s"], "corpus": "c", "topics": "q", "negatives": "r"}, "negatives="),
        ({"triples": "t", "known_positives": "q", "corpus": "c"}, "corpus=, known_positives="),
        ({"scored_pairs": ["s"], "corpus": "c", "topics": "q", "negatives_per_query": 3}, "negatives_per_query="),
        ({"qrels": "q", "corpus": "c", "topics": "q", "negatives": "r", "negatives_per_query": 0}, "0"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path, options, found):
    with pytest.raises(TasbError) as caught:
        pairs(output=tmp_path / "store", **options)
    assert caught.value.found == found
    assert list(tmp_path.iterdir()) == []


CASES = DATA / "train" / "pairs"
TEXTS = {"corpus": str(CASES / "collection.tsv"), "topics": str(CASES / "queries.tsv")}
SELF = DATA / "self"


def case(*names):
    return TEXTS | {"scored_pairs": [str(CASES / name) for name in names]}


def pairs_in(folder):
    """(qid, positive, negative) of every pair of a store."""
    store = open_pair_store(folder)
    queries = np.repeat(np.arange(len(store.queries)), np.diff(store.offsets))
    columns = (store.queries.ids(queries), store.passages.ids(store.positives), store.passages.ids(store.negatives))
    return set(zip(*columns, strict=True))


def test_swapped_columns_are_refused_and_what_was_there_stays(tmp_path):
    with pytest.raises(TasbError) as caught:
        pairs(output=tmp_path / "store", **case("reversed.tsv"))
    assert caught.value.found == ("in 100 % of the pairs the teacher puts the negative first: are the columns swapped?")
    assert caught.value.where == str(CASES / "reversed.tsv")
    assert "allow_reversed=True" in caught.value.do
    assert not (tmp_path / "store").exists()
    pairs(output=tmp_path / "store", **case("positive_as_negative.tsv"))
    before = (tmp_path / "store" / "manifest.json").read_bytes()
    with pytest.raises(TasbError, match="swapped"):
        pairs(output=tmp_path / "store", **case("reversed.tsv"), overwrite=True)
    assert (tmp_path / "store" / "manifest.json").read_bytes() == before
    made = pairs(output=tmp_path / "store", **case("reversed.tsv"), overwrite=True, allow_reversed=True)
    output = made.summary
    assert "teacher          agrees with the labels in 0 % of 4 pairs (100 % against, 0 % tied)\n" in output
    assert "warning          in 100 % of the pairs the teacher puts the negative first" in output


@pytest.mark.parametrize(
    ("rows", "source"),
    [
        (["-1\tq1\tp1\tp2", "-2\tq1\tp1\tp3", "2\tq2\tp2\tp4"], "scored_pairs"),
        (["1\t2\ttopic\tone passage\ta second", "3\t3\ttopic\tone passage\ta third"], "triples"),
    ],
)
def test_margins_and_triples_of_texts_are_compared_with_the_labels_too(tmp_path, rows, source):
    (tmp_path / "rows.tsv").write_text("\n".join(rows))
    path = str(tmp_path / "rows.tsv")
    options = {"triples": path} if source == "triples" else TEXTS | {"scored_pairs": [path]}
    with pytest.raises(TasbError, match=r"in (66\.7|50) % of the pairs the teacher puts the negative first"):
        pairs(output=tmp_path / "store", **options)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["rows.tsv"]


@pytest.mark.parametrize(("against", "tied", "warned"), [(2, 0, False), (3, 0, True), (0, 10, True), (1, 5, False)])
def test_more_than_a_fifth_against_is_a_warning(tmp_path, against, tied, warned):
    margins = [-1] * against + [0] * tied + [1] * (10 - against - tied)
    qids, passages = ["q1", "q2"], [f"p{number}" for number in range(1, 9)]
    rows = [(qids[n % 2], passages[n // 2], passages[n // 2 + 1]) for n in range(10)]
    lines = ["\t".join(map(str, (margin, *row))) for margin, row in zip(margins, rows, strict=True)]
    (tmp_path / "margins.tsv").write_text("\n".join(lines))
    made = pairs(output=tmp_path / "store", **TEXTS, scored_pairs=[str(tmp_path / "margins.tsv")])
    output = made.summary
    agreeing = 10 * (10 - against - tied)
    assert f"labels in {agreeing} % of 10 pairs ({10 * against} % against, {10 * tied} % tied)" in output
    assert ("  warning " in output) == warned


def test_a_positive_that_is_its_negative_is_named_or_counted(tmp_path):
    with pytest.raises(TasbError) as caught:
        pairs(output=tmp_path / "store", **case("same.tsv"))
    assert f"{CASES / 'same.tsv'}:1: passage p1 is the positive and the negative" in caught.value.found
    assert not (tmp_path / "store").exists()
    made = pairs(output=tmp_path / "store", **case("same.tsv"), skip_bad=True)
    assert "skipped rows     1\n" in made.summary
    assert pairs_in(tmp_path / "store") == {("q1", "p1", "p3")}


def test_triples_whose_texts_are_equal(tmp_path):
    path = tmp_path / "triples.tsv"
    path.write_text("q\tone\tother\nq\tOne  passage\tone passage \nquick sort\tone\tQuick  Sort\n")
    with pytest.raises(TasbError) as caught:
        pairs(output=tmp_path / "store", triples=str(path))
    assert caught.value.found == f"1 faulty line:\n    {path}:2: positive and negative have the same text"
    made = pairs(output=tmp_path / "store", triples=str(path), skip_bad=True)
    output = made.summary
    assert "skipped rows     1\n" in output
    assert "query itself     1 negatives left out: they are the query itself\n" in output
    assert len(open_pair_store(tmp_path / "store")) == 1
    pairs(output=tmp_path / "kept", triples=str(path), skip_bad=True, keep_query=True)
    assert len(open_pair_store(tmp_path / "kept")) == 2


def test_judged_positives_are_no_negatives(tmp_path):
    options = case("positive_as_negative.tsv") | {"known_positives": str(CASES / "qrels.txt")}
    made = pairs(output=tmp_path / "store", **options)
    assert pairs_in(tmp_path / "store") == {("q1", "p1", "p3")}
    assert "known negatives  1 left out: they are judged positives of their query\n" in made.summary
    pairs(output=tmp_path / "unjudged", **case("positive_as_negative.tsv"))
    assert len(open_pair_store(tmp_path / "unjudged")) == 2


def test_queries_that_lose_every_negative_are_counted(tmp_path):
    (tmp_path / "pairs.tsv").write_text("q1\tp1\tp4\nq2\tp2\tp3\nq2\tp2\tp2\n")
    options = TEXTS | {"scored_pairs": [str(tmp_path / "pairs.tsv")], "known_positives": str(CASES / "qrels.txt")}
    made = pairs(output=tmp_path / "store", **options, skip_bad=True)
    assert "queries          1; 1 more have no negative left\n" in made.summary


def test_known_positives_beside_qrels_are_no_negatives(tmp_path):
    (tmp_path / "more.txt").write_text("q1 0 p5 1\nq1 0 elsewhere 1\nq9 0 p1 1\n")
    (tmp_path / "run.txt").write_text("q1 Q0 p4 1 3 t\nq1 Q0 p5 2 2 t\nq1 Q0 p3 3 1 t\n")
    options = TEXTS | {"qrels": str(CASES / "qrels.txt"), "negatives": str(tmp_path / "run.txt")}
    for count in (None, 1):  # what is left out is not drawn
        folder = tmp_path / f"store{count}"
        made = pairs(output=folder, **options, known_positives=str(tmp_path / "more.txt"), negatives_per_query=count)
        assert pairs_in(folder) == {("q1", "p1", "p3"), ("q1", "p4", "p3")}
    output = made.summary
    assert "known negatives  2 left out: they are judged positives of their query\n" in output
    assert "known positives  3; 1 more have no text\n" in output


def test_judged_queries_that_give_no_pair_are_named(tmp_path, notes):
    options = TEXTS | {"qrels": str(CASES / "qrels.txt"), "negatives": str(CASES / "negatives.run.txt")}
    pairs(output=tmp_path / "store", **options)
    assert "1 judged queries are not in the run: q3\n" in notes.text
    notes.clear()
    (tmp_path / "run.txt").write_text((CASES / "negatives.run.txt").read_text() + "q3 Q0 p3 1 9 t\n")
    pairs(output=tmp_path / "other", **options | {"negatives": str(tmp_path / "run.txt")})
    assert "are not in the run" not in notes.text
    assert "1 judged queries have no negative in the run: q3\n" in notes.text


def test_margins_that_are_all_equal_are_said_to_be(tmp_path):
    (tmp_path / "margins.tsv").write_text("0.1\tq1\tp1\tp2\n0.1\tq1\tp1\tp3\n0.1\tq2\tp2\tp3\n")
    made = pairs(output=tmp_path / "store", **TEXTS, scored_pairs=[str(tmp_path / "margins.tsv")])
    assert "; all are equal, so they do not say which negative is harder\n" in made.summary


def test_a_query_is_never_its_own_negative(tmp_path):
    texts = {"corpus": str(SELF / "collection.jsonl"), "topics": str(SELF / "queries.tsv")}
    rows = {(qid, positive, negative) for qid, positive in (("a1", "a2"), ("a3", "a4")) for negative in ("a1", "a3")}
    (tmp_path / "pairs.tsv").write_text("".join("\t".join(row) + "\n" for row in sorted(rows)))
    for source in (
        {"qrels": str(SELF / "qrels.txt"), "negatives": str(SELF / "run.txt")},
        {"scored_pairs": [str(tmp_path / "pairs.tsv")]},
    ):
        folders = [tmp_path / f"{name}{len(source)}" for name in ("store", "kept")]
        made = pairs(output=folders[0], **texts, **source)
        assert "query itself     2 negatives left out: they are the query itself\n" in made.summary
        kept = pairs_in(folders[0])
        assert len(kept) == len(rows) - 2 or "qrels" in source
        assert not {(qid, negative) for qid, _, negative in kept} & {("a1", "a1"), ("a3", "a3")}
        pairs(output=folders[1], **texts, **source, keep_query=True)
        own = {(qid, negative) for qid, _, negative in pairs_in(folders[1]) if qid == negative}
        assert own == {("a1", "a1"), ("a3", "a3")}
