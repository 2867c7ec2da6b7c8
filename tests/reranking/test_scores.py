"""What `tasb rerank` writes, for each kind of model: the scores of plain transformers, pair by pair."""

from __future__ import annotations

import numpy as np
import pytest

from tests.reranking.conftest import DEPTH
from tests.reranking.models import MAKERS, PLAIN_SCORES


@pytest.mark.parametrize("kind", MAKERS)
def test_scores_are_those_of_plain_transformers(kind, job, models, ranking, collection):
    texts = {
        docid: f"{title} {text}"
        for docid, title, text in zip(collection.docids, collection.titles, collection.texts, strict=True)
    }
    ranking = dict(list(ranking.items())[:3])  # a model is loaded anew for every pair
    kept = [line for line in job.run.open() if line.split()[0] in ranking]
    job.run.write_text("".join(kept))
    rows = [line.split(" ") for line in job.but(model=models[kind])().open()]
    assert [row[0] for row in rows] == [qid for qid in ranking for _ in range(DEPTH)]
    assert {(row[1], row[5]) for row in rows} == {("Q0", f"{models[kind].name}\n")}
    for qid in ranking:
        # Of the four passages with the same first score, those with the greatest docids.
        top = sorted(ranking[qid], key=lambda docid: (ranking[qid][docid], docid), reverse=True)[:DEPTH]
        plain = {docid: PLAIN_SCORES[kind](models[kind], collection.topics[qid], texts[docid]) for docid in top}
        found = {row[2]: float(row[4]) for row in rows if row[0] == qid}
        assert found == pytest.approx(plain, abs=1e-4)
        assert max(plain.values()) - min(plain.values()) > 0.01
        assert list(found) == sorted(found, key=lambda docid: (found[docid], docid), reverse=True)
        assert [int(row[3]) for row in rows if row[0] == qid] == list(range(1, DEPTH + 1))
    assert all(str(np.float32(row[4])) == row[4] for row in rows)


def only_score(job) -> float:
    return float(job.but("--overwrite", *job.more)().read_text().split()[4])


@pytest.mark.parametrize("kind", ["bi-encoder", "colbert"])
def test_texts_are_cut_where_it_is_said(kind, job, models, tmp_path):
    words = "list of programs and systems for computers"
    cut = ("--query-max-length", "5", "--max-length", "6")  # of these, two are special tokens
    (tmp_path / "topics.tsv").write_text(f"q\t{words}\n")
    (tmp_path / "c.tsv").write_text(f"long\t{words}\n")
    job.run.write_text("q Q0 long 1 1 t\n")
    long = job.but(model=models[kind], topics=tmp_path / "topics.tsv", corpus=tmp_path / "c.tsv")
    whole, shortened = only_score(long), only_score(long.but(*cut))
    (tmp_path / "topics.tsv").write_text("q\tlist of programs\n")
    (tmp_path / "c.tsv").write_text("long\tlist of programs and\n")
    assert shortened == pytest.approx(only_score(long), abs=1e-4)
    assert abs(shortened - whole) > 0.01
