"""`tasb rerank` in this process: names, tags, resuming, what is printed, what is refused."""

from __future__ import annotations

import json
import re
import shutil

import pytest

import pyserini_tasb
from pyserini_tasb import Run, TasbError
from pyserini_tasb.formats.collections import open_collection
from pyserini_tasb.formats.named import load_run
from pyserini_tasb.recipes.lookup import default_tag
from pyserini_tasb.reranking import scorers
from pyserini_tasb.reranking.rerank import top_of_run
from tests.conftest import TINY, TINY_MODEL
from tests.reranking.fakes import LengthScorer


class Interrupted(LengthScorer):
    """Ctrl-C while the fifth query is scored."""

    def score_pairs(self, *sides):
        if len(self.queries) == 4:
            raise KeyboardInterrupt
        return super().score_pairs(*sides)


@pytest.fixture
def scorer(monkeypatch):
    """In place of every model: a passage's length is its score."""
    scorer = LengthScorer()
    monkeypatch.setattr(scorers, "load_scorer", lambda *_, **__: scorer)
    return scorer


@pytest.fixture
def interrupt(scorer, monkeypatch):
    def interrupted(job) -> bytes:
        """What the job would write; it is left after four of ten queries."""
        whole = job.but(output=job.output.with_name("whole.run"))().read_bytes()
        with monkeypatch.context() as patched:
            patched.setattr(scorers, "load_scorer", lambda *_, **__: Interrupted())
            with pytest.raises(KeyboardInterrupt):
                job()
        scorer.queries.clear()
        return whole

    return interrupted


def test_what_is_printed(job, scorer, capsys):
    job()
    printed = capsys.readouterr()
    assert re.fullmatch(
        rf"{job.output}: 10 queries, 50 passages; [\d.]+ ms per query on average, median [\d.]+, "
        r"95th percentile [\d.]+; [\d,]+ passages per second\n",
        printed.out,
    )
    assert re.search(r"re-ranking: 100%.* 10/10 \[.* queries/s\]", printed.err)


def test_from_python(job, ranking, collection):
    given = {"model": str(TINY_MODEL), "topics": collection.topics, "corpus": TINY / "corpus.jsonl", "device": "cpu"}
    run = pyserini_tasb.rerank(ranking, depth=5, **given)
    assert run == Run.read(job())
    assert (run.name, len(run.sizes), run.sizes[0], len(run.seconds)) == ("tiny-tasb", 10, 5, 10)
    assert run.summary.startswith("10 queries, 50 passages; ")
    written = pyserini_tasb.rerank(Run(ranking), depth=5, output=job.output.with_name("again.run"), **given)
    assert written == run
    assert job.output.with_name("again.run").read_bytes() == job.output.read_bytes()
    ranking = ranking | {"found-nothing": {}}
    kept = pyserini_tasb.rerank(ranking, depth=5, keep_rest=True, tag="mine", backend="torch", **given)
    assert (kept.name, len(kept), kept.hits) == ("mine", 10, 80)
    with pytest.raises(TasbError, match=r"a tag without white space(?s:.*)name another with tag=$"):
        pyserini_tasb.rerank(ranking, tag="a b", **given)


def test_names_of_bundled_runs_and_topics(job, scorer, tmp_path, capsys):
    tops = top_of_run(load_run("dl19-passage.bm25"), 2)
    docids = sorted({docid for ranking in tops.values() for docid in ranking})
    (tmp_path / "c.tsv").write_text("".join(f"{docid}\ttext of {docid}\n" for docid in docids))
    found = load_run(job.but(run="dl19-passage.bm25", topics="dl19-passage", corpus=tmp_path / "c.tsv", depth=2)())
    assert list(found) == list(tops)
    assert {qid: set(ranking) for qid, ranking in found.items()} == {qid: set(docids) for qid, docids in tops.items()}
    assert "43 queries, 86 passages" in capsys.readouterr().out


def test_default_tags(tmp_path, monkeypatch):
    model = shutil.copytree(TINY_MODEL, tmp_path / "my model")
    assert default_tag("tasb:minilm") == "tasb:minilm"
    assert default_tag("a/b") == "a/b"
    assert default_tag(str(model)) == default_tag(f"{model}/") == default_tag(f"tasb:{model}") == "my_model"
    monkeypatch.chdir(model)
    assert default_tag(".") == "my_model"
    (tmp_path / "my card.yaml").touch()
    assert default_tag(str(tmp_path / "my card.yaml")) == "my_card"


def test_the_tag(job, scorer):
    assert {line.split()[5] for line in job().open()} == {"tiny-tasb"}
    assert {line.split()[5] for line in job.but("--tag", "mine", "--overwrite")().open()} == {"mine"}


@pytest.mark.parametrize("tag", ["", "a b", "a\tb", " a", "\udcff"])
def test_a_tag_that_is_no_column(job, tag):
    with pytest.raises(TasbError, match="a tag without white space"):
        job.but("--tag", tag)()


@pytest.mark.parametrize("option", ["--query-max-length", "--max-length"])
def test_lengths_without_room_for_text(job, option):
    with pytest.raises(TasbError, match=rf"{option[2:].replace('-', '_')}= of at least 3(?s:.*)found: +2\n"):
        job.but(option, "2")()


def test_an_interrupted_command_goes_on(job, scorer, interrupt, collection, ranking, tmp_path, capsys):
    whole = interrupt(job)
    assert job.output.with_name("second.run.part").read_bytes() == b"".join(whole.splitlines(keepends=True)[:20])
    capsys.readouterr()
    assert job().read_bytes() == whole
    assert scorer.queries == [{collection.topics[qid]} for qid in list(ranking)[4:]]
    printed = capsys.readouterr()
    assert "10 queries, 50 passages; 4 of the queries finished by an earlier run" in printed.out
    assert "| 4/10 [" in printed.err
    assert sorted(path.name for path in tmp_path.glob("second.run*")) == ["second.run"]


def test_a_command_that_had_all_queries_loads_no_model(job, interrupt, monkeypatch):
    whole = interrupt(job)
    job.output.with_name("second.run.part").write_bytes(whole)
    monkeypatch.setattr(scorers, "load_scorer", None)
    assert job().read_bytes() == whole


def changed_run(job, tmp_path):
    job.run.write_text(job.run.read_text().replace(" 9.5 ", " 0.5 "))


def changed_topics(job, tmp_path):
    (tmp_path / "topics.tsv").write_text((TINY / "topics.tsv").read_text().replace("IBM", "other"))
    return job.but(topics=tmp_path / "topics.tsv")


def changed_passages(job, tmp_path):
    texts = (TINY / "corpus.jsonl").read_text().replace("CACM ", "CACM, ")
    (tmp_path / "corpus.jsonl").write_text(texts)
    return job.but(corpus=tmp_path / "corpus.jsonl")


def changed_model(job, tmp_path):
    folder = shutil.copytree(TINY_MODEL, tmp_path / "tiny-tasb")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_heads": 4}))
    return job.but(model=folder)


def changed_card(job, tmp_path):
    (tmp_path / "tiny-tasb.yaml").write_text(f"name: tiny\nmodel: {TINY_MODEL}\npassage_prefix: 'passage: '\n")
    return job.but(model=tmp_path / "tiny-tasb.yaml")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (changed_run, "not the same run; not the same passages"),  # the sixth comes in
        (changed_topics, "not the same topics"),
        (changed_passages, "not the same passages"),
        (changed_model, "not the same model"),
        (changed_card, "not the same model"),
        (lambda job, _: job.but("--tag", "mine"), "tag tiny-tasb, not mine"),
        (lambda job, _: job.but("--max-length", "9"), "max_length None, not 9"),
        (lambda job, _: job.but("--query-max-length", "9"), "query_max_length None, not 9"),
        (lambda job, _: job.but("--precision", "bf16"), "precision None, not bf16"),
        (lambda job, _: job.but(depth=8), "not the same run; not the same passages; depth 5, not 8"),
        (lambda job, _: job.but("--device", "meta"), "device cpu, not meta"),
    ],
)
def test_another_command_is_refused(job, interrupt, tmp_path, change, found):
    interrupt(job)
    part = job.output.with_name("second.run.part").read_bytes()
    with pytest.raises(TasbError, match=rf"second\.run\.part\n(?s:.*)found: +{found}\n"):
        (change(job, tmp_path) or job)()
    assert job.output.with_name("second.run.part").read_bytes() == part


def test_changes_that_change_no_score_are_in_nobodys_way(job, scorer, interrupt, tmp_path):
    """Other names, other queries' topics, passages below the depth, the same weights elsewhere."""
    whole = interrupt(job)
    model = shutil.copytree(TINY_MODEL, tmp_path / "moved" / "tiny-tasb")
    texts = dict(open_collection(TINY / "corpus.jsonl"))
    (tmp_path / "c.tsv").write_text("unused\tnothing\n" + "".join(f"{id_}\t{text}\n" for id_, text in texts.items()))
    (tmp_path / "topics.tsv").write_text((TINY / "topics.tsv").read_text() + "unused\tnothing\n")
    job.run.write_text(job.run.read_text().replace(" 1.0 first", " 0.5 second"))
    moved = job.but(model=model, corpus=tmp_path / "c.tsv", topics=tmp_path / "topics.tsv")
    assert moved().read_bytes() == whole
    assert len(scorer.queries) == 6


def test_an_output_that_is_there(job, scorer):
    whole = job().read_bytes()
    with pytest.raises(TasbError, match=r"second\.run\n(?s:.*)it exists(?s:.*)overwrite=True"):
        job()
    job.output.write_text("old")
    assert job.but("--overwrite")().read_bytes() == whole


def test_an_unknown_model_is_found_before_anything_is_read(job):
    with pytest.raises(TasbError, match="nosuchcard"):
        job.but(model="tasb:nosuchcard", run="absent.run")()


def test_queries_without_a_topic(job, tmp_path):
    (tmp_path / "topics.tsv").write_text("1\tone\n")
    with pytest.raises(TasbError, match=r"topics\.tsv\n(?s:.*)1 topics, and none for 9 \("):
        job.but(topics=tmp_path / "topics.tsv")()


def test_passages_without_text(job, tmp_path):
    (tmp_path / "c.tsv").write_text("CACM-0001\tone\n")
    with pytest.raises(TasbError, match=r"c\.tsv\n(?s:.*) not in the collection\n"):
        job.but(corpus=tmp_path / "c.tsv")()


def test_a_depth_below_one(job):
    with pytest.raises(TasbError, match="a depth of 1 or more"):
        job.but(depth=0)()


def test_an_empty_run(job):
    job.run.write_text("")
    with pytest.raises(TasbError, match=r"first\.run\n(?s:.*)an empty file"):
        job()


def own_first(job, ranking, tmp_path):
    """The job, over a run whose queries have the first of their documents' ids; and what the run has else."""
    own = {qid: next(iter(scores)) for qid, scores in ranking.items()}
    assert len(set(own.values())) > 5
    run, topics = [], dict(line.rstrip("\n").split("\t") for line in (TINY / "topics.tsv").open())
    chosen = {docid: qid for qid, docid in own.items()}
    for docid, qid in chosen.items():
        run += [f"{docid} Q0 {found} 0 {score} first\n" for found, score in ranking[qid].items()]
    job.run.write_text("".join(run))
    (tmp_path / "own.tsv").write_text("".join(f"{docid}\t{topics[qid]}\n" for docid, qid in chosen.items()))
    return job.but(topics=tmp_path / "own.tsv"), [line for line in run if line.split()[0] != line.split()[2]]


@pytest.mark.parametrize("more", [(), ("--keep-rest",)])
def test_queries_that_are_documents(job, scorer, ranking, tmp_path, more):
    job, lines = own_first(job, ranking, tmp_path)
    found = job.but("--remove-query", *more)().read_bytes()
    (tmp_path / "without.run").write_text("".join(lines))
    whole = job.but(*more, run=tmp_path / "without.run", output=tmp_path / "expected.run")().read_bytes()
    assert found == whole
    assert {len(ranking) for ranking in load_run(job.output).values()} == {7 if more else 5}


def test_what_was_begun_with_the_query_s_own_document_is_not_gone_on_with(job, scorer, interrupt, ranking, tmp_path):
    job, _ = own_first(job, ranking, tmp_path)
    interrupt(job)
    with pytest.raises(TasbError, match="not the same run; not the same passages"):
        job.but("--remove-query")()
