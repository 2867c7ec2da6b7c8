"""`tasb pseudo-queries`: out of titles and leading sentences."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pyserini_tasb import TasbError, mine, pseudo_queries
from pyserini_tasb.data.pseudo_queries import (
    PseudoQuery,
    PseudoQueryCounts,
    PseudoQueryRules,
    choose_queries,
    first_words,
    leading_sentences,
    pseudo_query,
    word_count,
)
from pyserini_tasb.formats.collections import Document, documents_of, open_collection
from pyserini_tasb.formats.qrels import read_qrels
from pyserini_tasb.formats.topics import read_topics
from tests.command_line import tasb
from tests.conftest import TINY


def chosen(documents, **rules):
    counts = PseudoQueryCounts()
    made = ((document.docid, [pseudo_query(document, PseudoQueryRules(**rules))]) for document in documents)
    return choose_queries(made, PseudoQueryRules(**rules), counts), counts


def test_titles_of_the_tiny_collection(collection, tmp_path):
    made = pseudo_queries(TINY / "corpus.jsonl", output=tmp_path / "pseudo")
    queries, qrels = read_topics(tmp_path / "pseudo" / "queries.tsv"), read_qrels(tmp_path / "pseudo" / "qrels.txt")
    assert queries.keys() == qrels.keys()
    titles = dict(zip(collection.docids, collection.titles, strict=True))
    for qid, query in queries.items():
        (docid,) = qrels[qid]
        assert qid == f"pseudo-{docid}"
        # One title is too long, and where it is too short, the document's first sentence stands in.
        assert query == first_words(titles[docid], 25) or word_count(titles[docid]) < 3
    # Five reports of a glossary have one title.
    shared = [docid for docid, title in titles.items() if title.startswith("Glossary of Computer Engineering")]
    assert len(shared) == 5
    assert not {f"pseudo-{docid}" for docid in shared} & queries.keys()
    report = made.summary
    assert "123 documents" in report
    assert "5 whose query other documents share" in report
    assert "0 without a title" not in report
    assert f"{len(queries)} pseudo-queries" in report
    assert not (tmp_path / "pseudo" / "collection").exists()


def test_passages_without_their_queries(collection, tmp_path):
    pseudo_queries(TINY / "corpus.jsonl", output=tmp_path / "pseudo", source="title", write_collection=True)
    lines = (tmp_path / "pseudo" / "collection" / "documents.jsonl").read_text().splitlines()
    passages = {record["id"]: record["contents"] for record in map(json.loads, lines)}
    # Of every document the title is gone, query or not, so that nothing but the text tells them apart.
    assert passages == dict(zip(collection.docids, collection.texts, strict=True))


def test_documents_alone_are_enough_to_mine(tmp_path, lucene_index, suitable_java):
    pseudo_queries(TINY / "corpus.jsonl", output=tmp_path / "pseudo", limit=20, write_collection=True)
    mine(
        tmp_path / "pseudo" / "queries.tsv", tmp_path / "pseudo" / "qrels.txt", tmp_path / "pseudo" / "collection",
        index=lucene_index, output=tmp_path / "pairs.tsv", hits=30, per_query=4, sampling="top",
    )  # fmt: skip
    rows = [line.split("\t") for line in (tmp_path / "pairs.tsv").read_text().splitlines()]
    assert len({qid for qid, _, _ in rows}) == 20
    assert all(qid == f"pseudo-{positive}" != f"pseudo-{negative}" for qid, positive, negative in rows)


def test_limit_draws_by_seed_and_docid():
    documents = [Document(f"d{number}", f"the title number {number}", "text") for number in range(500)]
    all_of_them, counts = chosen(documents, limit=50)
    assert (counts.queries, counts.beyond_limit) == (50, 450)
    assert np.array_equal(all_of_them, chosen(documents, limit=50)[0])
    assert not np.array_equal(all_of_them, chosen(documents, limit=50, seed=1)[0])
    assert np.array_equal(all_of_them[::-1], chosen(documents[::-1], limit=50)[0])
    # Uniform: neither the first nor the last are preferred.
    assert 10 < all_of_them[:250].sum() < 40
    more = chosen(documents, limit=60)[0]
    assert (all_of_them <= more).all()


def test_what_is_left_out_is_counted():
    documents = [
        Document("1", "A good long title", "text"),
        Document("2", "Short", ""),
        Document("3", "a  GOOD long title", "other text"),
        Document("4", "", ""),
        Document("5", "A title without a text", ""),
        Document("6", "Another good title", "text"),
    ]
    mask, counts = chosen(documents, source="title")
    assert mask.tolist() == [False] * 5 + [True]
    assert counts == PseudoQueryCounts(
        documents=6, without_source=1, too_short=1, nothing_left=1, shared=2, beyond_limit=0, queries=1
    )


@pytest.mark.parametrize(
    ("document", "rules", "expected"),
    [
        (("A title of words", "Text. More."), {}, ("A title of words", "Text. More.")),
        (("Short", "One two three. Four."), {}, ("One two three.", "Short Four.")),
        (("A title", "One two three. Four."), {"source": "sentence"}, ("One two three.", "A title Four.")),
        (("", "No. Not yet! Now it is\nenough? Rest"), {"min_words": 5}, ("No. Not yet! Now it is enough?", "Rest")),
        (("", "By J. B. Wegstein. Rest"), {}, ("By J. B. Wegstein.", "Rest")),
        (("", "one two three four five six"), {"max_words": 4}, ("one two three four", "five six")),
        (("", "One two three four five. Six."), {"max_words": 4}, ("One two three four", "Six.")),
        (("one two three four", "Text"), {"max_words": 3}, ("one two three", "Text")),
        (("", "機械学習。検索"), {}, ("機械学習。", "検索")),
    ],
)  # fmt: skip
def test_queries_and_what_is_left(document, rules, expected):
    assert pseudo_query(Document("d", *document), PseudoQueryRules(**rules)) == PseudoQuery(*expected)


@pytest.mark.parametrize(
    ("document", "rules", "fault"),
    [
        (("", "Text of a document. More."), {"source": "title"}, "without_source"),
        (("A title of words", ""), {"source": "sentence"}, "without_source"),
        (("A title of words", ""), {}, "nothing_left"),
        (("", "Only one sentence here."), {}, "nothing_left"),
        (("A title of words", "Only one sentence here."), {"source": "sentence"}, "nothing_left"),
        (("One", "two"), {}, "too_short"),
        (("One", "Text is long enough. More."), {"source": "title"}, "too_short"),
    ],
)
def test_documents_without_a_query(document, rules, fault):
    assert pseudo_query(Document("d", *document), PseudoQueryRules(**rules)) == fault


def test_words():
    assert word_count("don't  stop - now, U.S. 3.5") == 5
    assert word_count("機械 learning") == 3
    assert word_count(" … ") == 0
    assert first_words("a, b. c", 2) == "a, b."
    assert first_words("a b", 5) == "a b"
    assert leading_sentences("no end", 1) == "no end"


def test_queries_that_judge_the_model_are_not_made(tmp_path):
    titles = {"1": "The theory of graphs", "2": "the  THEORY of sets", "3": "Compilers for every language"}
    (tmp_path / "docs.jsonl").write_text(
        "".join(json.dumps({"id": id_, "title": title, "text": f"text {id_}"}) + "\n" for id_, title in titles.items())
    )
    made = pseudo_queries(
        tmp_path / "docs.jsonl", output=tmp_path / "pseudo", exclude={"a": "The theory of sets", "b": "compilers"}
    )
    assert list(read_topics(made.topics)) == ["pseudo-1", "pseudo-3"]
    assert made.counts.excluded == 1
    assert "1 whose query is excluded (exclude=)" in made.summary


PREDICTED = {
    "1": ["what is a graph", "what is a  graph", "too short", "graphs and trees today"],
    "2": ["What is a graph", "compilers for every language", "The whole text of it"],
    "3": [],
}


@pytest.fixture
def predicted(tmp_path):
    """A corpus, and what a model predicted for it."""
    documents = {"1": ("Graphs", "are old."), "2": ("The whole", "text of it"), "3": ("Nothing", "to ask.")}
    (tmp_path / "docs.jsonl").write_text(
        "".join(json.dumps({"id": id_, "title": t, "text": text}) + "\n" for id_, (t, text) in documents.items())
    )
    (tmp_path / "predicted").mkdir()
    lines = [json.dumps({"id": id_, "predicted_queries": queries}) + "\n" for id_, queries in PREDICTED.items()]
    (tmp_path / "predicted" / "000000.jsonl").write_text("".join(lines[:2]))
    (tmp_path / "predicted" / "000001.jsonl").write_text(lines[2])
    return tmp_path


def test_predicted_queries(predicted):
    made = pseudo_queries(
        predicted / "docs.jsonl",
        output=predicted / "pseudo",
        predictions=predicted / "predicted",
        write_collection=True,
    )
    # Each once; not what two documents share, and not what says all of its document.
    assert read_topics(made.topics) == {"pseudo-1-4": "graphs and trees today", "pseudo-2-2": PREDICTED["2"][1]}
    assert read_qrels(made.qrels) == {"pseudo-1-4": {"1": 1}, "pseudo-2-2": {"2": 1}}
    assert made.counts == PseudoQueryCounts(
        documents=3, predicted=7, without_prediction=1, too_short=1, repeated=1, nothing_left=1, shared=2, queries=2
    )
    # No document loses the words of its queries.
    lines = (made.corpus / "documents.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["contents"] == "Graphs are old."


def test_a_limit_of_predicted_queries_is_drawn_among_all_of_them(predicted):
    drawn = set()
    for seed in range(12):
        made = pseudo_queries(
            predicted / "docs.jsonl",
            output=predicted / f"{seed}",
            predictions=predicted / "predicted",
            limit=1,
            seed=seed,
        )
        drawn |= set(read_topics(made.topics))
    assert drawn == {"pseudo-1-4", "pseudo-2-2"}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda file: file.write_text(file.read_text().replace('"3"', '"4"')), "predictions for 3 next\n.*4"),
        (lambda file: file.unlink(), "predictions for 3 next\n.*the end"),
        (lambda file: file.write_text(file.read_text() * 2), "the end, after the last document\n.*predictions for 3"),
        (lambda file: file.write_text("what is a graph\n"), "JSONL, .*\n.*the form text"),
        (lambda file: [each.unlink() for each in file.parent.iterdir()], "an empty folder"),
    ],
)
def test_predictions_of_another_corpus(predicted, change, error):
    change(predicted / "predicted" / "000001.jsonl")
    with pytest.raises(TasbError, match=error):
        pseudo_queries(predicted / "docs.jsonl", output=predicted / "pseudo", predictions=predicted / "predicted")
    assert not (predicted / "pseudo").exists()


def test_predictions_and_a_source_do_not_go_together(predicted):
    with pytest.raises(TasbError, match="source= or predictions="):
        pseudo_queries(
            predicted / "docs.jsonl", output=predicted / "p", predictions=predicted / "predicted", source="title"
        )


def test_titles_of_every_form(tmp_path):
    lines = [
        {"id": "1", "title": " T ", "text": " text "},
        {"_id": "2", "contents": "A title\nline one\nline two"},
        {"docid": 3, "contents": "no title\n"},
        {"id": "4", "title": "A title", "contents": "A title and text"},
        {"id": "5", "title": "A title", "contents": "other text"},
        {"id": "6", "title": None, "text": "text"},
    ]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert list(documents_of(open_collection(tmp_path / "docs"))) == [
        Document("1", "T", "text"),
        Document("2", "A title", "line one line two"),
        Document("3", "", "no title"),
        Document("4", "A title", "and text"),
        Document("5", "A title", "other text"),
        Document("6", "", "text"),
    ]
    (tmp_path / "docs.tsv").write_text("7\tplain text\n")
    assert list(documents_of(open_collection(tmp_path / "docs.tsv"))) == [Document("7", "", "plain text")]


def test_sentences_of_a_lucene_index(lucene_index, suitable_java, tmp_path):
    pseudo_queries(lucene_index, output=tmp_path / "pseudo", source="sentence")
    queries = read_topics(tmp_path / "pseudo" / "queries.tsv")
    assert queries["pseudo-CACM-0001"].startswith("Preliminary Report-International Algebraic Language CACM")


def test_faulty_lines_are_all_named_and_nothing_is_written(tmp_path):
    (tmp_path / "docs.jsonl").write_text('{"id": "1", "text": "x"}\n{"text": "x"}\n{"id": "a b", "text": "x"}\n[]\n')
    with pytest.raises(TasbError) as error:
        pseudo_queries(tmp_path / "docs.jsonl", output=tmp_path / "pseudo")
    for number in (2, 3, 4):
        assert f"docs.jsonl:{number}: " in str(error.value)
    assert not (tmp_path / "pseudo").exists()


def test_a_docid_twice(tmp_path):
    (tmp_path / "docs.tsv").write_text("1\tone two three. more\n2\tfour five six. more\n1\tseven eight nine. more\n")
    with pytest.raises(TasbError, match="documents 3"):
        pseudo_queries(tmp_path / "docs.tsv", output=tmp_path / "pseudo")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_words": 0}, "min_words=0"),
        ({"min_words": 9, "max_words": 8}, "max_words=8"),
        ({"limit": 0}, "limit=0"),
        ({"source": "title"}, "none of 1: 1 without a title"),
    ],
)
def test_wrong_options(tmp_path, options, message):
    (tmp_path / "docs.tsv").write_text("1\tone two three. more\n")
    with pytest.raises(TasbError, match=message):
        pseudo_queries(tmp_path / "docs.tsv", output=tmp_path / "pseudo", **options)
    assert not (tmp_path / "pseudo").exists()


def test_what_stands_in_the_output_folder_stays(tmp_path):
    (tmp_path / "pseudo").mkdir()
    (tmp_path / "pseudo" / "queries.tsv").write_text("mine")
    with pytest.raises(TasbError, match="found:    it exists"):
        pseudo_queries(tmp_path / "not looked for yet", output=tmp_path / "pseudo")
    assert (tmp_path / "pseudo" / "queries.tsv").read_text() == "mine"


def test_as_typed(tmp_path):
    (tmp_path / "docs.tsv").write_text("7\tone two three. more\n")
    files = ["--corpus", str(tmp_path / "docs.tsv"), "--output", str(tmp_path / "out")]
    assert tasb("pseudo-queries", *files, "--source", "sentence", "--write-collection") == 0
    assert (tmp_path / "out" / "queries.tsv").read_text() == "pseudo-7\tone two three.\n"
    assert (tmp_path / "out" / "qrels.txt").read_text() == "pseudo-7 0 7 1\n"
    assert (tmp_path / "out" / "collection" / "documents.jsonl").read_text() == '{"id": "7", "contents": "more"}\n'
