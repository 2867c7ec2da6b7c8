"""`tasb mine`: negatives out of real BM25 and dense rankings, and out of a run made by hand."""

from __future__ import annotations

import sys
from collections import defaultdict

import numpy as np
import pytest

import pyserini_tasb as tasb
from pyserini_tasb import TasbError
from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.formats.qrels import read_qrels
from pyserini_tasb.formats.text_store import write_text_store
from pyserini_tasb.formats.topics import read_topics
from pyserini_tasb.indexes.flat_file import flat_vectors
from tests.command_line import tasb as tasb_command
from tests.conftest import DATA, TINY, TINY_MODEL, plain_vectors
from tests.encoding.corpus.vector_folders import write_vector_folder
from tests.reranking.models import make_bert_cat, make_colbert, make_mono_t5


def mine(output, *, per_query=50, overwrite=True, **options):
    """The rows written; what is said of them is printed."""
    print(tasb.mine(output=output, per_query=per_query, overwrite=overwrite, **options).summary)
    return [line.split("\t") for line in output.read_text().splitlines()]


def tiny(output, **options):
    sources = {"topics": TINY / "topics.tsv", "qrels": TINY / "qrels.txt", "corpus": TINY / "corpus.jsonl"}
    return mine(output, **{name: str(path) for name, path in sources.items()} | options)


def negatives_of(rows):
    by_query = defaultdict(set)
    for qid, _, negative in rows:
        by_query[qid].add(negative)
    return by_query


@pytest.fixture
def handmade(tmp_path):
    """Five passages that the run ranks for q1 in the order of their ids; d2 is relevant and d4 has its text."""
    texts = {"d1": "merge sort", "d2": "quick sort", "d3": "heap sort", "d4": "Quick\tSORT ", "d5": "radix sort"}
    (tmp_path / "docs.jsonl").write_text(
        "".join(f'{{"id": "{docid}", "text": "{text}"}}\n'.replace("\t", "\\t") for docid, text in texts.items())
    )
    (tmp_path / "topics.tsv").write_text("q1\tfast sort\n")
    (tmp_path / "qrels.txt").write_text("q1 0 d2 1\n")
    ranked = [*texts, "elsewhere"]
    (tmp_path / "run.txt").write_text(
        "".join(f"q1 Q0 {docid} {rank} {10 - rank} tag\n" for rank, docid in enumerate(ranked, 1))
    )

    def run(output=tmp_path / "pairs.tsv", **options):
        sources = {"topics": "topics.tsv", "qrels": "qrels.txt", "corpus": "docs.jsonl", "run": "run.txt"}
        return mine(output, **{name: str(tmp_path / file) for name, file in sources.items()} | options)

    return run


def test_bm25_negatives_are_hits_but_no_positives(lucene_index, suitable_java, tmp_path, capsys):
    from pyserini.search.lucene import LuceneSearcher

    rows = tiny(tmp_path / "pairs.tsv", index=str(lucene_index), hits=20, per_query=1000)
    searcher, topics, qrels = (
        LuceneSearcher(str(lucene_index)),
        read_topics(TINY / "topics.tsv"),
        read_qrels(TINY / "qrels.txt"),
    )
    expected = {
        qid: {hit.docid for hit in searcher.search(text, 20)} - qrels[qid].keys() for qid, text in topics.items()
    }
    assert negatives_of(rows) == expected
    # Every positive with every negative.
    assert len(rows) == sum(len(qrels[qid]) * len(negatives) for qid, negatives in expected.items())
    assert f"{len(rows)} pairs in" in capsys.readouterr().out


def test_dense_negatives_scored_by_a_card(faiss_index, suitable_java, tmp_path, collection, expected_scores, capsys):
    cutoff = 0.75
    rows = tiny(
        tmp_path / "pairs.tsv", dense_index=str(faiss_index), encoder=str(TINY_MODEL), hits=60, per_query=5,
        score_with=str(TINY_MODEL), margin_cutoff=cutoff,
    )  # fmt: skip
    passages = [f"{title} {text}".strip() for title, text in zip(collection.titles, collection.texts, strict=True)]
    vectors = dict(zip(collection.docids, plain_vectors(TINY_MODEL, passages), strict=True))
    queries = dict(zip(collection.topics, plain_vectors(TINY_MODEL, list(collection.topics.values())), strict=True))
    qrels = read_qrels(TINY / "qrels.txt")
    assert rows
    for positive_score, negative_score, qid, positive, negative in rows:
        assert float(positive_score) == pytest.approx(queries[qid] @ vectors[positive], abs=1e-3)
        assert float(negative_score) == pytest.approx(queries[qid] @ vectors[negative], abs=1e-3)
        assert float(positive_score) - float(negative_score) > cutoff
        assert positive in qrels[qid]
        assert negative not in qrels[qid]
        assert sum(score > expected_scores[qid][negative] + 1e-3 for score in expected_scores[qid].values()) < 60
    assert max(map(len, negatives_of([row[2:] for row in rows]).values())) == 5
    report = capsys.readouterr().out
    assert "are too close to every positive (margin_cutoff=)" in report
    assert f"{len(rows)} pairs in" in report


def test_torch_finds_the_same_dense_negatives(faiss_index, suitable_java, tmp_path):
    options = {"dense_index": str(faiss_index), "encoder": str(TINY_MODEL), "hits": 60, "per_query": 1000}
    expected = negatives_of(tiny(tmp_path / "faiss.tsv", **options))
    assert min(map(len, expected.values())) > 30
    assert negatives_of(tiny(tmp_path / "torch.tsv", search_with="torch", **options)) == expected
    docids, vectors = (faiss_index / "docid").read_text().split(), np.array(flat_vectors(faiss_index / "index"))
    unindexed = write_vector_folder(tmp_path / "vectors", docids, vectors)
    assert negatives_of(tiny(tmp_path / "vectors.tsv", **options | {"dense_index": str(unindexed)})) == expected
    with pytest.raises(TasbError, match="nowhere"):
        tiny(tmp_path / "none.tsv", search_with="torch", **options | {"dense_index": "nowhere"})


def test_a_prebuilt_index_without_faiss(suitable_java, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(TasbError, match=r"(?s)prebuilt-name.*pip install faiss-cpu"):
        tiny(tmp_path / "none.tsv", dense_index="prebuilt-name", encoder=str(TINY_MODEL), hits=60, per_query=5)


@pytest.mark.parametrize("kind", ["bm25", "dense"])
def test_the_same_bytes_whatever_the_threads_and_other_ones_for_another_seed(
    kind, lucene_index, faiss_index, suitable_java, tmp_path
):
    options = {"index": str(lucene_index)}
    if kind == "dense":
        options = {"dense_index": str(faiss_index), "encoder": str(TINY_MODEL), "score_with": str(TINY_MODEL)}
        options["allow_reversed"] = True  # what the teacher itself found scores higher than most positives
    for name, changed in {"one": {}, "four": {"threads": 4}, "seed": {"seed": 1}}.items():
        tiny(tmp_path / name, hits=60, per_query=7, sampling="random", **options | changed)
    one, four, seed = ((tmp_path / name).read_bytes() for name in ("one", "four", "seed"))
    assert one == four
    assert one != seed


def test_a_querys_draw_does_not_depend_on_the_other_queries(lucene_index, suitable_java, tmp_path):
    all_rows = tiny(tmp_path / "all.tsv", index=str(lucene_index), per_query=7)
    (tmp_path / "one.tsv").write_text((TINY / "topics.tsv").read_text().splitlines(keepends=True)[5])
    rows = tiny(tmp_path / "some.tsv", index=str(lucene_index), per_query=7, topics=str(tmp_path / "one.tsv"))
    assert rows == [row for row in all_rows if row[0] == "12"]


def test_the_guard_removes_and_counts(handmade, capsys):
    assert handmade() == [["q1", "d2", negative] for negative in ("d1", "d3", "d5")]
    report = capsys.readouterr().out
    assert "6 hits at depth 200" in report
    assert "1 are not in the collection" in report
    assert "1 are positives" in report
    assert "1 have the text of a positive" in report
    assert "3 negatives of 1 queries: at most 50 each, stratified by scores of the search" in report
    assert "\n  0 " not in report


def test_as_typed(handmade, tmp_path, capsys):
    files = [str(tmp_path / name) for name in ("topics.tsv", "qrels.txt", "docs.jsonl", "run.txt", "typed.tsv")]
    options = ["--topics", "--qrels", "--corpus", "--run", "--output"]
    typed = [word for pair in zip(options, files, strict=True) for word in pair]
    assert tasb_command("mine", *typed) == 0
    assert (tmp_path / "typed.tsv").read_text() == "q1\td2\td1\nq1\td2\td3\nq1\td2\td5\n"
    assert "are the query itself" not in capsys.readouterr().out
    assert tasb_command("mine", *typed, "--overwrite", "--sampling", "top", "--per-query", "1", "--skip-top", "1") == 0
    assert (tmp_path / "typed.tsv").read_text() == "q1\td2\td3\n"
    assert "are among the first ranks (--skip-top)" in capsys.readouterr().out
    assert tasb_command("mine", *typed, "--margin-cutoff", "1") == 2
    assert "no --score-with" in capsys.readouterr().err


def test_depth_skipped_ranks_and_the_top(handmade):
    assert handmade(hits=4) == [["q1", "d2", "d1"], ["q1", "d2", "d3"]]
    assert handmade(skip_top=1) == [["q1", "d2", "d3"], ["q1", "d2", "d5"]]
    assert handmade(sampling="top", per_query=2) == [["q1", "d2", "d1"], ["q1", "d2", "d3"]]


def test_positives_below_the_wanted_grade_are_none(handmade, tmp_path):
    (tmp_path / "qrels.txt").write_text("q1 0 d2 2\nq1 0 d3 1\n")
    assert {row[2] for row in handmade(min_relevance=2)} == {"d1", "d3", "d5"}
    assert {row[2] for row in handmade()} == {"d1", "d5"}


def test_topics_and_positives_without_what_they_need_are_counted(handmade, tmp_path, capsys):
    (tmp_path / "topics.tsv").write_text("q1\tfast sort\nq2\tunjudged\nq3\tgone\nq4\tirrelevant\nq5\tnot in the run\n")
    (tmp_path / "qrels.txt").write_text("q1 0 d2 1\nq1 0 gone 1\nq3 0 gone 1\nq4 0 d1 0\nq5 0 d1 1\n")
    assert {row[0] for row in handmade()} == {"q1"}
    report = capsys.readouterr().out
    for line in (
        "5 topics, 4 positives",
        "1 topics have no qrels: q2",
        "1 topics have no positive with a text in the collection: q3",
        "1 topics have no positive (min_relevance=): q4",
        "1 topics have no hit that can be a negative: q5",
        "2 positives are not in the collection",
    ):
        assert line in report


def test_an_empty_passage_is_neither_positive_nor_negative(handmade, tmp_path, capsys):
    with (tmp_path / "docs.jsonl").open("a") as file:
        file.write('{"id": "elsewhere", "text": " "}\n{"id": "empty", "text": ""}\n')
    (tmp_path / "qrels.txt").write_text("q1 0 d2 1\nq1 0 empty 1\n")
    assert handmade() == [["q1", "d2", negative] for negative in ("d1", "d3", "d5")]
    assert "1 positives are not in the collection, or are empty" in capsys.readouterr().out


def test_a_text_store_is_read_where_it_is(handmade, tmp_path):
    store = tmp_path / "store"
    write_text_store(store, [("d1", "merge sort"), ("d2", "quick sort")])
    assert handmade(corpus=str(store)) == [["q1", "d2", "d1"]]


def test_scores_do_not_change_what_top_and_random_draw(handmade):
    for sampling in ("top", "random"):
        unscored = handmade(sampling=sampling, per_query=2)
        scored = handmade(sampling=sampling, per_query=2, score_with=str(TINY_MODEL))
        assert [row[2:] for row in scored] == unscored
        with_cutoff = handmade(sampling=sampling, per_query=2, score_with=str(TINY_MODEL), margin_cutoff=-1e9)
        assert [row[2:] for row in with_cutoff] == unscored
        # In other batches the last digits are others.
        for one, other in zip(with_cutoff, scored, strict=True):
            assert list(map(float, one[:2])) == pytest.approx(list(map(float, other[:2])), rel=1e-6)


def test_passages_with_vectors_are_not_encoded_again(handmade, tmp_path, monkeypatch):
    expected = handmade(score_with=str(TINY_MODEL))
    vectors = tasb.encode(tmp_path / "docs.jsonl", encoder=str(TINY_MODEL), output=tmp_path / "v", device="cpu")
    encode, texts = TextEncoder.encode, []

    def noted(self, given, *arguments, **options):
        texts.extend(given)
        return encode(self, given, *arguments, **options)

    monkeypatch.setattr(TextEncoder, "encode", noted)
    rows = handmade(score_with=str(TINY_MODEL), vectors=vectors)
    assert texts == ["fast sort"]
    for row, other in zip(rows, expected, strict=True):
        assert row[2:] == other[2:]
        assert list(map(float, row[:2])) == pytest.approx(list(map(float, other[:2])), rel=1e-5)


def test_vectors_that_do_not_fit(handmade, tmp_path):
    vectors = tasb.encode(tmp_path / "docs.jsonl", encoder=str(TINY_MODEL), output=tmp_path / "v", device="cpu")
    (tmp_path / "card.yaml").write_text(f"name: other\nmodel: {TINY_MODEL}\npooling: mean\n")
    with pytest.raises(TasbError, match=r"(?s)vectors of the encoder `tasb:.*card.yaml`.*another folder as vectors="):
        handmade(score_with=f"tasb:{tmp_path}/card.yaml", vectors=vectors)
    with (tmp_path / "docs.jsonl").open("a") as file:
        file.write('{"id": "new", "text": "a new document"}\n')
    with pytest.raises(TasbError, match="none for 1 of them: new"):
        handmade(score_with=str(TINY_MODEL), vectors=vectors)


def rank_first(tmp_path, docid):
    """A run in which this passage is far ahead."""
    others = [other for other in ("d1", "d3", "d5") if other != docid]
    scores = {docid: 100.0} | dict.fromkeys(others, 1.0)
    (tmp_path / "run.txt").write_text("".join(f"q1 Q0 {hit} 1 {score} tag\n" for hit, score in scores.items()))


def test_strata_are_of_the_teachers_scores(handmade, tmp_path):
    scored = {row[4]: float(row[1]) for row in handmade(score_with=str(TINY_MODEL))}
    worst = min(scored, key=scored.get)
    rank_first(tmp_path, worst)
    assert [row[2] for row in handmade(per_query=1)] == [worst]
    assert [row[4] for row in handmade(per_query=1, score_with=str(TINY_MODEL))] != [worst]


def test_what_the_cutoff_removes_is_not_drawn(handmade, tmp_path):
    rows = handmade(score_with=str(TINY_MODEL))
    margins = {row[4]: float(row[0]) - float(row[1]) for row in rows}
    closest = min(margins, key=margins.get)
    rank_first(tmp_path, closest)
    cutoff = margins[closest] + 1e-4  # in other batches the last digits are others
    assert sum(margin > cutoff for margin in margins.values()) == len(margins) - 1
    (row,) = handmade(score_with=str(TINY_MODEL), margin_cutoff=cutoff, sampling="top", per_query=1)
    assert row[4] != closest


def test_a_negative_too_close_to_one_positive_serves_another(handmade, tmp_path, capsys):
    (tmp_path / "qrels.txt").write_text("q1 0 d2 1\nq1 0 d5 1\n")
    rows = handmade(score_with=str(TINY_MODEL))
    scores = {row[3]: float(row[0]) for row in rows} | {row[4]: float(row[1]) for row in rows}
    low, high = sorted(("d2", "d5"), key=scores.get)
    # Between the two positives' margins to d1, so that d1 is clear of the higher one only.
    cutoff = (scores[low] + scores[high]) / 2 - scores["d1"]
    rows = handmade(score_with=str(TINY_MODEL), margin_cutoff=cutoff)
    assert [row[3] for row in rows if row[4] == "d1"] == [high]
    assert "pairs left out: the negative is too close to that positive" in capsys.readouterr().out


SELF = DATA / "self"
OWN = {
    "topics": str(SELF / "queries.tsv"), "qrels": str(SELF / "qrels.txt"),
    "corpus": str(SELF / "collection.jsonl"), "run": str(SELF / "run.txt"),
}  # fmt: skip


def test_a_query_is_never_its_own_negative(tmp_path, capsys):
    assert mine(tmp_path / "pairs.tsv", **OWN) == [["a1", "a2", "a4"], ["a3", "a4", "a2"]]
    assert "2 are the query itself (keep_query= keeps them)" in capsys.readouterr().out
    assert len(mine(tmp_path / "kept.tsv", **OWN, keep_query=True)) == 4
    assert "are the query itself" not in capsys.readouterr().out


def test_what_is_the_query_itself_is_not_drawn(tmp_path):
    rows = mine(tmp_path / "pairs.tsv", **OWN, sampling="top", per_query=1)
    assert rows == [["a1", "a2", "a4"], ["a3", "a4", "a2"]]


def test_a_teacher_that_contradicts_the_labels_is_refused(handmade, tmp_path, capsys):
    margins = {row[4]: float(row[0]) - float(row[1]) for row in handmade(score_with=str(TINY_MODEL))}
    report = capsys.readouterr().out
    share = 100 * sum(margin > 0 for margin in margins.values()) / len(margins)
    assert f"{TINY_MODEL} agrees with the labels in {share:.3g} % of 3 pairs" in report
    before = (tmp_path / "pairs.tsv").read_bytes()
    # The passage that the teacher likes least becomes the only positive.
    scores = {"d2": 0.0} | {docid: -margin for docid, margin in margins.items()}
    worst = min(scores, key=scores.get)
    (tmp_path / "qrels.txt").write_text(f"q1 0 {worst} 1\n")
    with pytest.raises(TasbError) as caught:
        handmade(score_with=str(TINY_MODEL))
    assert "in 100 % of the pairs the teacher puts the negative first" in caught.value.found
    assert (tmp_path / "pairs.tsv").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {
        "docs.jsonl", "topics.tsv", "qrels.txt", "run.txt", "pairs.tsv"
    }  # fmt: skip
    handmade(score_with=str(TINY_MODEL), allow_reversed=True)
    assert "warning: in 100 % of the pairs" in capsys.readouterr().out


def test_topics_without_hits_and_judged_queries_that_are_no_topics_are_named(handmade, tmp_path, capsys):
    (tmp_path / "topics.tsv").write_text("q1\tfast sort\nq5\tnot in the run\n")
    (tmp_path / "qrels.txt").write_text("q1 0 d2 1\nq5 0 d1 1\nq6 0 d1 1\nq7 0 d1 0\n")
    handmade()
    report = capsys.readouterr().out
    assert "1 topics have no hit that can be a negative: q5\n  1 topics among these have no hits at all: q5\n" in report
    assert "1 judged queries are not among the topics: q6\n" in report


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dense_index": "x", "run": None}, "no encoder="),
        ({"encoder": "tasb"}, "encoder='tasb' with a search that needs no encoder"),
        ({"threads": 0}, "threads= at least 1"),
        ({"margin_cutoff": 1.0}, "no score_with="),
        ({"vectors": "v"}, "no score_with="),
        ({"skip_top": 200}, "skip_top=200"),
        ({"per_query": 0}, "per_query= at least 1"),
        ({"corpus": "/nowhere"}, "no such file"),
        ({"min_relevance": 3}, "1 no positive, 0 no positive with a text"),
    ],
)
def test_wrong_options_leave_everything_as_it_was(handmade, tmp_path, options, message):
    (tmp_path / "pairs.tsv").write_text("before")
    files = sorted(tmp_path.iterdir())
    with pytest.raises(TasbError, match=message):
        handmade(**options)
    assert (tmp_path / "pairs.tsv").read_text() == "before"
    assert sorted(tmp_path.iterdir()) == files


def test_no_pairs_at_all_is_an_error_that_says_why(handmade, tmp_path):
    (tmp_path / "run.txt").write_text("q1 Q0 d2 1 2 tag\nq1 Q0 unknown 2 1 tag\n")
    with pytest.raises(TasbError, match=r"2 hits for 1 topics, of which 1 are not in the collection.*1 are positives"):
        handmade()
    assert not (tmp_path / "pairs.tsv").exists()


def test_an_output_folder_that_cannot_be_made(handmade, tmp_path):
    with pytest.raises(TasbError, match="a file that can be written"):
        handmade(output=tmp_path / "topics.tsv" / "pairs.tsv")


@pytest.mark.parametrize("make", [make_bert_cat, make_colbert, make_mono_t5])
def test_a_teacher_that_takes_long_shows_how_far_it_is(handmade, tmp_path, monkeypatch, capsys, make):
    from pyserini_tasb.reranking import transformer_scorers

    teacher = make(tmp_path / "teacher")
    for seconds, shown in ((0.0, True), (60.0, False)):
        monkeypatch.setattr(transformer_scorers, "BAR_AFTER_SECONDS", seconds)
        capsys.readouterr()
        handmade(score_with=str(teacher), allow_reversed=True)
        assert ("scoring: " in capsys.readouterr().err) == shown


def test_indexes_that_are_none(handmade, tmp_path, suitable_java):
    (tmp_path / "empty").mkdir()
    with pytest.raises(TasbError, match="an empty folder"):
        handmade(run=None, index=str(tmp_path / "empty"))
    with pytest.raises(TasbError, match="no such folder, and no prebuilt index"):
        handmade(run=None, index="nosuchindex")
    with pytest.raises(TasbError, match="an empty folder"):
        handmade(run=None, dense_index=str(tmp_path / "empty"), encoder=str(TINY_MODEL))
    with pytest.raises(TasbError, match="no such folder, and no prebuilt index"):
        handmade(run=None, dense_index="nosuchindex", encoder=str(TINY_MODEL))


def test_an_index_of_vectors_is_no_bm25_index(handmade, faiss_index, suitable_java):
    with pytest.raises(TasbError, match="a Lucene index"):
        handmade(run=None, index=str(faiss_index))
