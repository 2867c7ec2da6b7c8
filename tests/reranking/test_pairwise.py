"""`tasb rerank --pairwise`: a duoT5 compares the passages of the top with each other."""

from __future__ import annotations

import math

import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.named import load_run
from pyserini_tasb.formats.run_table import ranked_docids
from pyserini_tasb.reranking import scorers
from tests.command_line import tasb
from tests.reranking.fakes import RankScorer
from tests.reranking.scorers.tiny_t5 import DUO, PlainT5, make_t5

PAIRWISE = ("--pairwise", "sym-sum", "--allow-bin")


@pytest.fixture(scope="module")
def duo(tmp_path_factory):
    return make_t5(tmp_path_factory.mktemp("t5") / "duot5-tiny")


def test_scores_are_those_of_plain_transformers(job, duo, ranking, collection, capsys):
    texts = {
        docid: f"{title} {text}"
        for docid, title, text in zip(collection.docids, collection.titles, collection.texts, strict=True)
    }
    qids = list(ranking)[:2]
    job.run.write_text("".join(line for line in job.run.open() if line.split()[0] in qids))
    found = load_run(job.but(*PAIRWISE, model=duo, depth=3)())
    plain = PlainT5(duo)
    for qid in qids:
        top = ranked_docids(ranking[qid])[:3]

        def p(first, second, query=collection.topics[qid]):
            return math.exp(plain.log_probabilities(DUO.format(query, texts[first], texts[second]))[1])

        expected = {one: sum(p(one, other) + 1 - p(other, one) for other in top if other != one) for one in top}
        assert found[qid] == pytest.approx(expected, abs=1e-3)
        assert list(found[qid]) == sorted(expected, key=expected.get, reverse=True)
    assert "2 queries, 6 passages" in capsys.readouterr().out


def test_the_top_50_unless_it_is_said(job, collection, monkeypatch, capsys):
    scorer = RankScorer()
    monkeypatch.setattr(scorers, "load_list_scorer", lambda *_, **__: scorer)
    qid = next(iter(collection.topics))
    job.run.write_text("".join(f"{qid} Q0 {docid} 0 {60 - n} t\n" for n, docid in enumerate(collection.docids[:60])))
    arguments = [argument for argument in job.arguments if argument not in ("--depth", str(job.depth))]
    assert tasb(*arguments, *PAIRWISE) == 0
    assert "1 queries, 50 passages" in capsys.readouterr().out
    assert len(load_run(job.output)[qid]) == 50


def test_an_interrupted_command_goes_on_with_the_same_method_only(job, monkeypatch):
    def load(*, interrupted):
        monkeypatch.setattr(scorers, "load_list_scorer", lambda *_, **__: RankScorer(4 if interrupted else None))

    load(interrupted=False)
    whole = job.but(*PAIRWISE, output=job.output.with_name("whole.run"))().read_bytes()
    load(interrupted=True)
    with pytest.raises(KeyboardInterrupt):
        job.but(*PAIRWISE)()
    load(interrupted=False)
    with pytest.raises(TasbError, match="pairwise sym-sum, not max"):
        job.but("--pairwise", "max", "--allow-bin")()
    with pytest.raises(TasbError, match="pairwise sym-sum, not None"):
        job()
    with pytest.raises(TasbError, match=r"answers None, not \['no', 'yes'\]"):
        job.but(*PAIRWISE, "--answers", "no", "yes")()
    assert job.but(*PAIRWISE)().read_bytes() == whole


def test_other_answers_go_on_as_well(job, monkeypatch):
    answers = (*PAIRWISE, "--answers", "no", "yes")
    monkeypatch.setattr(scorers, "load_list_scorer", lambda *_, **__: RankScorer(4))
    with pytest.raises(KeyboardInterrupt):
        job.but(*answers)()
    monkeypatch.setattr(scorers, "load_list_scorer", lambda *_, **__: RankScorer())
    assert len(load_run(job.but(*answers)())) == 10


def test_a_model_that_compares_nothing(job):
    with pytest.raises(TasbError, match="a duoT5, for pairwise="):
        job.but(*PAIRWISE)()
    assert not job.output.exists()


def test_a_duo_t5_without_pairwise(job, duo):
    with pytest.raises(TasbError, match=r"found: +a duoT5"):
        job.but("--allow-bin", model=duo)()
