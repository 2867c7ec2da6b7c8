"""`tasb show --html`: what is in the page, when it is written, and when it is refused."""

from __future__ import annotations

import itertools
import json
import re

import pytest

import pyserini_tasb
from pyserini_tasb import Run, TasbError
from pyserini_tasb.evaluation.overlap import rank_biased_overlap
from pyserini_tasb.retrieval import hits as hits_module
from tests.command_line import tasb
from tests.conftest import write_tsv
from tests.retrieval.hybrid.lucene_indexes import index_documents

DENSE = {"q1": {"a": 10.0, "b": 8.0, "c": 6.0}, "q2": {"c": 5.0}}
SPARSE = {"q1": {"b": 4.0, "d": 2.0}}
TEXTS = {"a": "alpha", "b": "beta", "c": "gamma", "d": "delta"}
TOPICS = {"q2": "the third", "q1": "which letters"}
QRELS = {"q1": {"b": 2, "a": 0}}


@pytest.fixture
def corpus(tmp_path):
    return write_tsv(tmp_path / "corpus.tsv", TEXTS)


@pytest.fixture
def recipe(tmp_path):
    """Writes a recipe of two runs."""

    def written(method="linear", weights=(1, 0.5)):
        path = tmp_path / f"{method}.yaml"
        inputs = "".join(f"  - {{kind: run, weight: {weight}}}\n" for weight in weights)
        provenance = "provenance: {tuned: false, source: these tests}\n"
        path.write_text(f"name: {method}\ninputs:\n{inputs}method: {method}\n{provenance}")
        return path

    return written


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())[1])


def test_runs_side_by_side(corpus, tmp_path):
    page = tmp_path / "hits.html"
    runs = {"dense": DENSE, "sparse": SPARSE}
    shown = pyserini_tasb.show(runs, corpus=corpus, topics=TOPICS, qrels=QRELS, html=page, hits=2)
    assert (shown.runs, shown.measure, shown.summary) == (
        ("dense", "sparse"),
        "nDCG@10",
        "2 topics, 2 runs, 4 documents",
    )
    data = data_of(page)
    assert data["runs"] == ["dense", "sparse"]
    assert dict(zip(data["ids"], data["texts"], strict=True)) == TEXTS
    second, first = data["topics"]  # in the order of the topics
    assert (second["id"], second["text"]) == ("q2", "the third")
    assert (first["id"], first["text"]) == ("q1", "which letters")
    a, b, c, d = (data["ids"].index(docid) for docid in "abcd")
    dense, sparse = first["runs"]
    assert (dense["found"], dense["docs"], dense["scores"]) == (3, [a, b], [10, 8])
    assert (sparse["found"], sparse["docs"], sparse["below"]) == (2, [b, d], [])
    assert sorted(first["grades"]) == sorted([[a, 0], [b, 2]])
    evaluated = pyserini_tasb.evaluate(runs, qrels=QRELS, measures="nDCG@10")
    assert first["values"] == [round(evaluated[name].overall["nDCG@10"], 6) for name in runs]
    assert first["overlaps"] == [round(rank_biased_overlap("abc", "bd"), 6)]
    # A run that lacks the topic, and no judgment.
    assert [run["docs"] for run in second["runs"]] == [[c], []]
    assert (second["values"], second["overlaps"], second["grades"]) == ([None, None], [0], [])


def test_a_rank_below_what_is_shown(corpus, tmp_path):
    page = tmp_path / "hits.html"
    shown = pyserini_tasb.show({"dense": DENSE, "other": {"q1": {"c": 1.0}}}, corpus=corpus, html=page, hits=1)
    (query, _) = shown.queries
    assert [hit.ranks for run in query.runs for hit in run.hits] == [(1, None), (3, 1)]
    data = data_of(page)
    assert data["topics"][0]["runs"][0]["below"] == [[data["ids"].index("c"), 3]]


def test_every_overlap_is_where_the_page_looks_for_it(corpus, tmp_path):
    rankings = ["abcd", "dcba", "acbd", "bd"]
    runs = {name: {"q": {docid: 9.0 - place for place, docid in enumerate(name)}} for name in rankings}
    page = tmp_path / "hits.html"
    pyserini_tasb.show(runs, corpus=corpus, html=page)
    expected = [round(rank_biased_overlap(*both), 6) for both in itertools.combinations(rankings, 2)]
    assert data_of(page)["topics"][0]["overlaps"] == expected


def test_a_recipe_shows_the_parts_of_the_scores(corpus, tmp_path, recipe):
    page, by_hand = tmp_path / "hits.html", {"a": [10, 1], "b": [8, 2], "c": [6, 1], "d": [6, 1]}
    third = {"q1": {"c": 1.0}}
    runs = {"dense": DENSE, "sparse": SPARSE, "third": third}
    shown = pyserini_tasb.show(runs, corpus=corpus, recipe=recipe(), html=page)
    assert (shown.runs, shown.inputs) == (("linear", "dense", "sparse", "third"), ("dense", "sparse"))
    fused = pyserini_tasb.fuse({"dense": DENSE, "sparse": SPARSE}, recipe=recipe())
    assert {hit.docid: hit.score for hit in shown.queries[0].hits} == fused["q1"]
    data = data_of(page)
    assert data["inputs"] == [1, 2]
    of_fused, *others = data["topics"][0]["runs"]
    assert {data["ids"][doc]: parts for doc, parts in zip(of_fused["docs"], of_fused["parts"], strict=True)} == by_hand
    assert [run["parts"] for run in others] == [[], [], []]
    assert "10.0000 of dense + 1.0000 of sparse" in repr(shown)


def test_a_fused_run_from_python_brings_its_parts(corpus):
    dense, sparse = Run(DENSE, name="dense"), Run(SPARSE, name="sparse")
    fused = pyserini_tasb.fuse([dense, sparse], method="rrf")
    shown = pyserini_tasb.show([sparse, fused, dense], topic="q1", corpus=corpus)
    assert shown.inputs == ("dense", "sparse")
    assert {hit.docid: hit.parts for hit in shown.queries[0].runs[1].hits}["b"] == (1 / 62, 1 / 61)
    # Not without its inputs, not of a maximum, and not if the inputs make other scores.
    assert pyserini_tasb.show([fused, dense], topic="q1", corpus=corpus).inputs == ()
    highest = pyserini_tasb.fuse([dense, sparse], method="combmax")
    assert pyserini_tasb.show([highest, dense, sparse], topic="q1", corpus=corpus).inputs == ()
    others = [fused, Run({"q1": {"d": 1.0}}, name="dense"), sparse]
    assert not any(hit.parts for hit in pyserini_tasb.show(others, topic="q1", corpus=corpus).queries[0].hits)


@pytest.mark.parametrize(
    ("runs", "method", "found"),
    [
        (["dense"], "linear", r"expected: 2 runs, in this order: run, run\n  found:    1: dense\n"),
        (["dense", "sparse"], "combmax", r"adds the runs' contributions: borda(?s:.*)`combmax`, which does not\n"),
    ],
)
def test_a_fusion_that_does_not_fit(corpus, tmp_path, recipe, runs, method, found):
    given = {name: {"dense": DENSE, "sparse": SPARSE}[name] for name in runs}
    with pytest.raises(TasbError, match=found):
        pyserini_tasb.show(given, corpus=corpus, recipe=recipe(method), html=tmp_path / "hits.html")
    assert not (tmp_path / "hits.html").exists()


def test_parts_of_a_topic_that_an_input_lacks(corpus, recipe):
    shown = pyserini_tasb.show({"dense": DENSE, "sparse": SPARSE}, corpus=corpus, topic="q2", recipe=recipe())
    assert [hit.parts for hit in shown.queries[0].hits] == [(5.0, 0.0)]
    assert "5.0000 of dense + 0.0000 of sparse" in repr(shown)


def test_set_needs_a_recipe(corpus):
    with pytest.raises(TasbError, match="recipe= beside set="):
        pyserini_tasb.show(DENSE, topic="q1", corpus=corpus, set="depth=3")


@pytest.fixture
def files(tmp_path):
    for name, run in {"dense.txt": DENSE, "sparse.txt": SPARSE}.items():
        Run(run).write(tmp_path / name)
    return [tmp_path / "dense.txt", tmp_path / "sparse.txt"]


def test_the_command_writes_the_same_bytes_again(files, corpus, tmp_path, capsys):
    pages = [tmp_path / "one.html", tmp_path / "other.html"]
    for page in pages:
        assert tasb("show", *files, "--recipe", "rrf", "--corpus", corpus, "--html", page) == 0
        assert capsys.readouterr().out == f"{page}: 2 topics, 3 runs, 4 documents\n"
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_a_page_that_exists_is_kept(files, corpus, tmp_path, capsys):
    page = tmp_path / "hits.html"
    page.write_text("mine")
    command = ["show", *files, "--corpus", corpus, "--html", page]
    assert tasb(*command) == 2
    assert "found:    it exists\n  do this:  choose another --html, or add --overwrite" in capsys.readouterr().err
    assert page.read_text() == "mine"
    # Nor is it lost to a corpus that is damaged.
    corpus.write_text("a\talpha\nb\n")
    assert tasb(*command, "--overwrite") == 2
    assert page.read_text() == "mine"
    corpus.write_text("a\talpha\nb\tbeta\n")
    assert tasb(*command, "--overwrite") == 0
    assert "<title>Hits of" in page.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.tsv", "dense.txt", "hits.html", "sparse.txt"]


def test_a_page_does_not_replace_its_input(files, corpus, capsys):
    assert tasb("show", *files, "--corpus", corpus, "--html", files[0], "--overwrite") == 2
    assert "it is also an input" in capsys.readouterr().err
    assert files[0].read_text().startswith("q1 Q0 a")


def test_a_page_to_standard_output(files, corpus, capfdbinary):
    assert tasb("show", *files, "--corpus", corpus, "--html", "-") == 0
    captured = capfdbinary.readouterr()
    assert captured.out.startswith(b"<!doctype html>")
    assert captured.out.endswith(b"</html>")
    assert b"2 topics" in captured.err


def test_all_topics_only_in_a_page(files, corpus, capsys):
    assert tasb("show", *files, "--corpus", corpus) == 2
    assert "expected: --topic, or --html for all of them\n  found:    neither\n" in capsys.readouterr().err


def test_several_runs_in_the_terminal(files, corpus, capsys, monkeypatch):
    monkeypatch.chdir(files[0].parent)
    assert tasb("show", "dense.txt", "sparse.txt", "--topic", "q1", "--corpus", corpus, "--hits", 1) == 0
    assert capsys.readouterr().out == (
        "query q1\n"
        "dense.txt: 1 of 3 hits\n  1  a  10.0000\n     not in sparse.txt\n     alpha\n"
        "sparse.txt: 1 of 2 hits\n  1  b  4.0000\n     rank 2 in dense.txt\n     beta\n"
    )
    assert tasb("show", "dense.txt", "sparse.txt", "--topic", "q3", "--corpus", corpus) == 2
    assert "dense.txt, sparse.txt\n  expected: --topic of the runs: q1, q2, …" in capsys.readouterr().err
    assert tasb("show", "dense.txt", "dense.txt", "--topic", "q1", "--corpus", corpus) == 2
    assert "expected: different runs\n  found:    dense.txt more than once" in capsys.readouterr().err


def test_several_runs_in_a_notebook(corpus):
    table = pyserini_tasb.show({"dense": DENSE, "<i>": SPARSE}, topic="q1", corpus=corpus)._repr_html_()
    assert table.count("<table>") == 2
    assert "<td>rank 1 in &lt;i&gt;</td>" in table
    assert "<td>rank 2 in dense</td>" in table


def test_topics_of_a_page(corpus, tmp_path, caplog):
    page = tmp_path / "hits.html"
    caplog.set_level("INFO")
    topics = {"q0": "nothing is found", "q1": "which letters"}
    pyserini_tasb.show(DENSE, corpus=corpus, topics=topics, html=page)
    assert [topic["id"] for topic in data_of(page)["topics"]] == ["q0", "q1"]
    assert data_of(page)["topics"][0]["runs"] == [{"found": 0, "docs": [], "scores": [], "below": [], "parts": []}]
    assert "1 queries of the runs have no topic, and are not in the page: q2, …" in caplog.text
    with pytest.raises(TasbError, match="a topic for every query"):
        pyserini_tasb.show(DENSE, corpus=corpus, topics={"q9": "of others"}, html=tmp_path / "new.html")


def test_documents_without_text(tmp_path):
    corpus, page = tmp_path / "corpus.jsonl", tmp_path / "hits.html"
    corpus.write_text(json.dumps({"id": "a", "contents": ""}) + "\n" + json.dumps({"id": "b", "contents": "x" * 5_000}))
    pyserini_tasb.show({"q": {"a": 3.0, "b": 2.0, "nowhere": 1.0}}, corpus=corpus, html=page)
    assert data_of(page)["texts"] == ["", "x" * 2_000 + "…", None]


def test_a_lucene_index(tmp_path):
    documents = [{"id": docid, "contents": text} for docid, text in TEXTS.items()]
    index = index_documents(
        tmp_path / "lucene", documents, "--collection", "JsonCollection", "--generator",
        "DefaultLuceneDocumentGenerator", "--storeRaw",
    )  # fmt: skip
    pyserini_tasb.show({"dense": DENSE, "sparse": SPARSE}, corpus=index, html=tmp_path / "hits.html")
    data = data_of(tmp_path / "hits.html")
    assert dict(zip(data["ids"], data["texts"], strict=True)) == TEXTS


def test_a_page_that_would_be_huge(corpus, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    run = {f"q{number}": {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0} for number in range(10)}
    monkeypatch.setattr(hits_module, "LARGEST_BYTES", 10 * 2 * 300)
    monkeypatch.setattr(hits_module, "NOTED_BYTES", 10 * 300)
    with pytest.raises(TasbError) as raised:
        pyserini_tasb.show(run, corpus=tmp_path / "never read", html=tmp_path / "hits.html")
    assert raised.value.found == "10 topics, 40 hits of 1 run: about 0 MB"
    assert raised.value.do == "hits=2 shows fewer hits for each topic, topic= shows some of the topics"
    pyserini_tasb.show(run, corpus=corpus, html=tmp_path / "hits.html", hits=2)
    assert "10 topics, 20 hits of 1 run: about 0 MB" in caplog.text


def test_all_of_dev_is_refused_before_the_corpus_is_read(tmp_path):
    docids = {f"d{number}": float(-number) for number in range(100)}
    run = Run({str(qid): docids for qid in range(6_980)}, name="dev")
    with pytest.raises(TasbError, match=r"6,980 topics, 698,000 hits of 1 run: about 209 MB(?s:.*)hits=47"):
        pyserini_tasb.show(run, corpus=tmp_path / "never read", html=tmp_path / "hits.html")


def test_one_measure_for_all(corpus, tmp_path):
    shown = pyserini_tasb.show(DENSE, corpus=corpus, qrels=QRELS, measure="RR", html=tmp_path / "hits.html")
    assert (shown.measure, shown.queries[0].runs[0].value) == ("RR", 0.5)
    with pytest.raises(TasbError, match="measures as ir-measures writes them"):
        pyserini_tasb.show(DENSE, corpus=corpus, qrels=QRELS, measure="nDGC@10", html=tmp_path / "new.html")
