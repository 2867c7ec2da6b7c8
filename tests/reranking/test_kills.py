"""`kill -9`, and the same command again: the same bytes, and no query scored a second time that was on disk."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap

import pytest
import torch

from pyserini_tasb.errors import TasbError
from tests.conftest import TINY_MODEL

# Forks `tasb rerank`, with a scorer that needs no model, for every moment at which something is scored or written.
EVERY_MOMENT = """
    import json, os, signal, sys
    from pathlib import Path

    import numpy as np

    from pyserini_tasb.reranking import partial_run
    from pyserini_tasb.reranking import partial_run as run_lines
    from pyserini_tasb.reranking import scorers as pair_scorer
    from tests.command_line import tasb

    folder, model = Path(sys.argv[1]), sys.argv[2]
    output, scored = folder / "out.run", folder / "scored"
    arguments = ["rerank", "--run", str(folder / "first.run"), "--topics", str(folder / "topics.tsv"), "--corpus",
                 str(folder / "c.tsv"), "--model", model, "--device", "cpu", "--output", str(output)]

    def moment(name):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    class Scorer:
        def score_pairs(self, queries, passages, query_rows, passage_rows):
            moment("score")
            with scored.open("a") as file:
                file.write(queries.texts([0])[0])
            return np.array([len(text) / 7 for text in passages.texts(passage_rows)], dtype=np.float32)

    def before_and_after(owner, name):
        original = getattr(owner, name)
        def watched(*arguments, **options):
            moment(name)
            done = original(*arguments, **options)
            moment(name)
            return done
        setattr(owner, name, watched)

    def append_in_halves(self, query):
        lines = run_lines.run_lines(query.qid, query.docids, query.scores, self._tag)
        with self._part.path.open("ab") as file:
            for half in (lines[:9], lines[9:]):
                file.write(half)
                file.flush()
                moment("write")
            os.fsync(file.fileno())

    def rerank(kill_at):
        '''Exit status, and which queries were scored.'''
        global left
        scored.write_text("")
        child = os.fork()
        if not child:
            left = kill_at
            partial_run.PartialRun.append = append_in_halves
            for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir")):
                before_and_after(owner, name)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os._exit(tasb(*arguments))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return status, scored.read_text()

    def whole_queries():
        part = output.with_name("out.run.part")
        lines = part.read_text().split("\\n")[:-1] if part.exists() else []
        return sum(all(f"{qid} Q0 {docid} " in "".join(lines) for docid in "ab") for qid in ("q1", "q2", "q3"))

    pair_scorer.load_scorer = lambda *_, **__: Scorer()
    left = 0
    tasb(*arguments)  # what it imports, each fork has
    output.unlink()
    found = {"whole": [*rerank(0), output.read_text()], "killed": []}
    output.unlink()
    for kill_at in range(1, 1000):
        status, _ = rerank(kill_at)
        if status == 0:
            break
        before = whole_queries()
        again, rescored = rerank(0)
        names = sorted(path.name for path in folder.glob("out.run*"))
        found["killed"].append([status, before, again, rescored, output.read_text(), names])
        output.unlink()
    print(json.dumps(found))
"""


def test_a_kill_at_any_moment(tmp_path):
    (tmp_path / "first.run").write_text("".join(f"q{q} Q0 {d} 0 1 t\n" for q in (1, 2, 3) for d in "ab"))
    (tmp_path / "topics.tsv").write_text("q1\t1\nq2\t2\nq3\t3\n")
    (tmp_path / "c.tsv").write_text("a\tlong text\nb\ttext\n")
    command = [sys.executable, "-c", textwrap.dedent(EVERY_MOMENT), tmp_path, TINY_MODEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    status, scored, whole = found["whole"]
    assert (status, scored, len(whole.splitlines())) == (0, "123", 6)
    assert len(found["killed"]) > 20
    refused = 0
    for status, before, again, rescored, run, names in found["killed"]:
        assert status == -signal.SIGKILL
        assert run == whole
        assert names == ["out.run"]
        if again == 2:  # nothing was left to do: the run is there
            refused += 1
            assert (before, rescored) == (0, "")
        else:
            assert (again, rescored) == (0, "123"[before:])
    assert {before for _, before, *_ in found["killed"]} == {0, 1, 2, 3}
    assert 0 < refused < 10


UNTIL_THE_FOURTH = """
    import sys, time

    from pyserini_tasb.reranking.scorers import BiEncoderScorer
    from tests.command_line import tasb

    calls, score_pairs = [], BiEncoderScorer.score_pairs

    def waiting(self, *sides):
        calls.append(sides)
        if len(calls) == 4:
            print("here", flush=True)
            time.sleep(60)
        return score_pairs(self, *sides)

    BiEncoderScorer.score_pairs = waiting
    tasb(*sys.argv[1:])
"""


@pytest.fixture
def one_thread(monkeypatch):
    """Here and in the other process: the last bits of scores depend on it, and on a busy machine it is faster."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_real_model_killed_while_it_scores(job, one_thread, tmp_path, capsys):
    whole = job.but(output=tmp_path / "whole.run")().read_bytes()
    command = [sys.executable, "-c", textwrap.dedent(UNTIL_THE_FOURTH), *job.arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == b"here\n"
        with pytest.raises(TasbError, match="another one is running"):
            job()
        process.send_signal(signal.SIGKILL)
    assert job.output.with_name("second.run.part").read_bytes() == b"".join(whole.splitlines(keepends=True)[:15])
    assert job().read_bytes() == whole
    assert "3 of the queries finished by an earlier run" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.glob("second.run*")) == ["second.run"]
