"""`tasb show`: queries of a run with the text of their hits."""

from __future__ import annotations

import json
import re

import pytest

import pyserini_tasb
from pyserini_tasb import Run, TasbError
from pyserini_tasb.formats.text_store import write_text_store
from pyserini_tasb.retrieval.hits_with_text import Hit, first_lines, on_one_line
from tests.command_line import tasb
from tests.conftest import TINY, write_tsv
from tests.retrieval.hybrid.lucene_indexes import index_documents

RUN = {"q1": {"a": 1.0, "b": 3.0, "c": 2.0}, "q2": {"c": 0.5}}
TEXTS = {"a": "alpha", "b": " ".join(["beta"] * 80), "c": "gamma"}
TOPICS = {"q1": "which letters", "q2": "the third"}
QRELS = {"q1": {"b": 2, "a": 0}}


@pytest.fixture
def corpus(tmp_path):
    return write_tsv(tmp_path / "corpus.tsv", TEXTS)


def test_from_python(corpus):
    shown = pyserini_tasb.show(RUN, topic="q1", corpus=corpus, hits=2, topics=TOPICS, qrels=QRELS)
    (query,) = shown.queries
    assert (query.qid, query.query, query.found) == ("q1", "which letters", 3)
    assert query.hits == (Hit(1, "b", 3.0, TEXTS["b"], 2, ranks=(1,)), Hit(2, "c", 2.0, "gamma", None, ranks=(2,)))
    title, counted, first, one, two, second, text = repr(shown).splitlines()
    assert (title, counted) == ("query q1: which letters", "run: 2 of 3 hits")
    assert (first, second) == ("  1  b  3.0000  grade 2", "  2  c  2.0000  not judged")
    assert (one, text) == (f"     {('beta ' * 19).strip()}", "     gamma")
    assert two.endswith("beta…")
    assert "<td>2</td><td>c</td><td>2.0000</td><td>not judged</td><td>gamma</td>" in shown._repr_html_()
    assert "…</td>" not in shown._repr_html_()


def test_several_queries_as_numbers(corpus):
    shown = pyserini_tasb.show(Run({"1": {"a": 1.0}, "2": {"c": 1.0}}), topic=[2, 1], corpus=corpus)
    assert repr(shown).split("\n\n") == [
        "query 2\nrun: 1 of 1 hits\n  1  c  1.0000\n     gamma",
        "query 1\nrun: 1 of 1 hits\n  1  a  1.0000\n     alpha",
    ]
    assert "grade" not in shown._repr_html_()


def test_the_command(corpus, tmp_path, capsys, monkeypatch):
    Run(RUN).write(tmp_path / "run.txt")
    topics = tmp_path / "topics.tsv"
    topics.write_text("".join(f"{qid}\t{text}\n" for qid, text in TOPICS.items()))
    monkeypatch.setenv("COLUMNS", "60")
    command = ["show", tmp_path / "run.txt", "--corpus", corpus, "--topics", topics, "--topic"]
    assert tasb(*command, "q1", "--topic", "q2") == 0
    out = capsys.readouterr().out
    assert "query q1: which letters\n" in out
    assert "query q2: the third\n" in out
    assert max(map(len, out.splitlines())) <= max(60, len(str(tmp_path / "run.txt")) + 20)
    assert [line for line in out.splitlines() if "beta" in line] == [
        f"     {' '.join(['beta'] * 11)}",
        f"     {' '.join(['beta'] * 11)}…",
    ]
    assert tasb(*command, "q3") == 2
    assert capsys.readouterr().err == (
        f"tasb show: {tmp_path / 'run.txt'}\n  expected: --topic of the run: q1, q2, …\n  found:    `q3`\n"
        "  do this:  check that the run and the topic belong together\n"
    )


@pytest.mark.parametrize("kind", ["jsonl", "lucene", "store"])
def test_other_corpora(kind, collection, tmp_path):
    docids, texts = collection.docids[:3], [f"text {number}" for number in range(3)]
    corpus = TINY / "corpus.jsonl"
    if kind == "lucene":
        documents = [{"id": docid, "contents": text} for docid, text in zip(docids, texts, strict=True)]
        corpus = index_documents(
            tmp_path / "lucene", documents, "--collection", "JsonCollection", "--generator",
            "DefaultLuceneDocumentGenerator", "--storeRaw",
        )  # fmt: skip
    elif kind == "store":
        write_text_store(tmp_path / "store", zip(docids, texts, strict=True))
        corpus = tmp_path / "store"
    else:
        texts = [f"{collection.titles[row]} {collection.texts[row]}" for row in range(3)]
    shown = pyserini_tasb.show({"q": dict(zip(docids, [3.0, 2.0, 1.0], strict=True))}, topic="q", corpus=corpus)
    assert [hit.text for hit in shown.queries[0].hits] == texts


def test_documents_that_the_corpus_lacks(corpus):
    shown = pyserini_tasb.show({"q": {"nowhere": 2.0, "a": 1.0}}, topic="q", corpus=corpus)
    assert "  1  nowhere  2.0000\n     (not in the corpus)\n" in repr(shown)
    with pytest.raises(TasbError, match=r"1 of them(?s:.*)1 \(nowhere\) not in the collection"):
        pyserini_tasb.show({"q": {"nowhere": 2.0}}, topic="q", corpus=corpus)


def test_a_query_without_a_topic(corpus):
    with pytest.raises(TasbError, match=r"a topic for every query(?s:.*)1 \(q2\)"):
        pyserini_tasb.show(RUN, topic="q2", corpus=corpus, topics={"q1": "which letters"})


def test_nothing_moves_the_cursor(tmp_path, capsys):
    """Ids and texts that would clear the screen, hide a link, or turn the reading direction."""
    evil = "\x1b[2J\x1b]8;;http://evil\x07click\x1b]8;;\x07 \u202egnp\u202c \x9b31m"
    corpus, run, topics = (tmp_path / name for name in ("corpus.jsonl", "run.txt", "topics.tsv"))
    corpus.write_text(json.dumps({"id": "d\x7f", "contents": evil}) + "\n")
    run.write_text("q\x1b[31m Q0 d\x7f 1 2.0 t\n")
    topics.write_text("q\x1b[31m\ta \x1b[5mquery\n")
    assert tasb("show", run, "--topic", "q\x1b[31m", "--corpus", corpus, "--topics", topics) == 0
    out = capsys.readouterr().out
    assert "click" in out
    assert all(line.isprintable() for line in out.splitlines())
    assert pyserini_tasb.show(run, topic="q\x1b[31m", corpus=corpus)._repr_html_().isprintable()
    marked = pyserini_tasb.show({"q<i>": {"d<b>": 1.0, "d\x7f": 2.0}}, topic="q<i>", corpus=corpus)
    assert not {"<i>", "<b>"} & set(re.findall("<.*?>", marked._repr_html_()))


def test_scripts_stay_whole():
    persian, family = "می\u200cخواهم", "👨\u200d👩\u200d👧"  # noqa: RUF001
    assert on_one_line(f"{persian}\n  {family}") == f"{persian} {family}"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("one two three", ["one two", "three"]),
        ("one two three four", ["one two", "three f…"]),
        ("unbreakably", ["unbreaka", "bly"]),
        ("密集检索很有用吗", ["密集检索", "很有用吗"]),
        ("密集检索很有用吗?", ["密集检索", "很有用…"]),
        ("e\u0301" * 9, ["e\u0301" * 8, "e\u0301"]),
    ],
)
def test_the_first_lines(text, lines):
    assert first_lines(text, 8, 2) == lines
