"""BM25 over the embedded collection, from its archive to Anserini's numbers; the demo's are in tests/pipelines."""

from __future__ import annotations


def test_bm25_reaches_the_published_numbers(regress):
    done = regress("cacm.bm25")
    assert done.status == 0, done.stdout
    checks = done.result("cacm.bm25")["checks"]
    assert [(check["expected"], check["verdict"]) for check in checks] == [(0.3123, "OK"), (0.1942, "OK")]
    run = done.output / "runs" / "cacm.bm25.txt"
    run.write_text("".join(line for line in run.open() if line.split()[0] != "1"))
    again = regress("cacm.bm25", "--stage", "evaluate")
    assert again.status == 1
    assert "the run lacks 1 of 52 judged queries, which count as 0: 1" in again.stdout
