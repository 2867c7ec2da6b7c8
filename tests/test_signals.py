"""Signals to verbs: all that they started ends with them, no lock stays, and the same command goes on.

The last test sends signals at random moments, as many as are asked for, and prints what came of each:
`SIGNALS=20 make test ARGS='tests/test_signals.py -k random -s'`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import textwrap
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import yaml

from pyserini_tasb.artifacts import locked_folder
from pyserini_tasb.errors import TasbError
from tests.command_line import tasb_argv
from tests.conftest import TINY, TINY_MODEL
from tests.processes import marked
from tests.training.conftest import training_set  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
# A command that starts another in a session of its own; both last until there is a file `go`. It ends slowly.
SLOW = """
import pathlib, signal, subprocess, sys, time
output, seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(seconds), sys.exit(1)))
subprocess.Popen(
    [sys.executable, "-c", "import pathlib, time\\nwhile not pathlib.Path('go').exists(): time.sleep(0.05)"],
    start_new_session=True,
)
pathlib.Path("began").touch()
while not pathlib.Path("go").exists():
    time.sleep(0.05)
output.parent.mkdir(exist_ok=True)
output.write_text("1 Q0 a 1 9 x\\n")
"""


@dataclass(frozen=True)
class Job:
    """A command, and what it leaves.

    Args:
        command: that begins it, and goes on.
        output: its folder.
        result: what has to come out the same, read from there.
    """

    command: list[str]
    output: Path
    result: Callable[[Path], object]


def files(folder: Path, *patterns: str) -> dict[str, bytes]:
    paths = [path for pattern in patterns for path in folder.glob(pattern) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


def regress(folder: Path, seconds: float = 0) -> Job:
    (folder / "modules").mkdir(parents=True)
    (folder / "modules" / "slow.py").write_text(SLOW)
    (folder / "qrels").write_text("1 0 a 1\n")
    topics = {"name": "t", "topics": "t", "qrels": str(folder / "qrels")}
    topics["measures"] = [{"measure": "RR@10", "label": "RR@10", "trec_eval": "-c -M 10 -m recip_rank"}]
    (folder / "t.yaml").write_text(yaml.safe_dump(topics))
    stage = {"stage": "search", "command": ["slow", "runs/r.txt", str(seconds)], "outputs": ["runs/r.txt"]}
    source = {"kind": "pyserini-2cr", "reference": "nowhere"}
    about = {"name": "r", "topics": str(folder / "t.yaml"), "resources": {"disk_gb": 0, "memory_gb": 0}}
    about |= {"run": "runs/r.txt", "expected": [{"source": source, "values": {"RR@10": 1.0}}], "stages": [stage]}
    (folder / "r.yaml").write_text(yaml.safe_dump(about))
    output = folder / "out"
    words = ["regress", folder / "r.yaml", "--allow-commands", "--output", output]
    program = f"""
        import os, sys
        os.environ["PYTHONPATH"] = {str(folder / "modules")!r} + ":" + os.environ.get("PYTHONPATH", "")
        sys.argv[1:] = {[*map(str, words)]!r}
        from pyserini_tasb.__main__ import run
        run()
    """
    return Job([sys.executable, "-c", textwrap.dedent(program)], output, lambda output: files(output, "runs/*"))


def demo(folder: Path, steps: str = "Step('slow', '', ('-c', SLOW, 'slow/a', '0'), outputs=('slow/a',))") -> Job:
    """The demo with other steps, and what it shows at its end."""
    output = folder / "out"
    program = f"""
        import sys
        from pyserini_tasb import demo
        from pyserini_tasb.regression.steps import Step
        from tests.test_signals import SLOW
        table = Step("table", "", ("-c", "print('the table')"), stdout=demo.TABLE)
        check = Step("check", "", ("-c", "print('map all 0.3123\\\\nP_30 all 0.1942')"), stdout=demo.ANSERINI)
        demo.STEPS = ({steps}, table, check)
        sys.argv[1:] = ["demo", "--output", {str(output)!r}]
        from pyserini_tasb.__main__ import run
        run()
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return Job(command, output, lambda output: files(output, "slow/*", "runs/*", "results/*"))


def encode(folder: Path) -> Job:
    output = folder / "out"
    options = ["--encoder", TINY_MODEL, "--corpus", TINY / "corpus.jsonl", "--unit-size", 2, "--processes", 2]
    command = tasb_argv("encode", *options, "--device", "cpu", "--output", output)
    return Job(command, output, lambda output: files(output, "manifest.json", "units/*"))


def train(training_set, folder: Path) -> Job:  # noqa: F811
    folder.mkdir(exist_ok=True)
    config = training_set.config(folder, max_steps=40, workers=2, checkpoint={"every": 5, "keep": 1})
    command = tasb_argv("train", config)
    return Job(command, folder / "run", lambda output: files(output, "model/*.safetensors", "model/config.json"))


def signalled(job: Job, number: int, moment: Callable[[], object]) -> dict[str, object]:
    """What came of a signal at a moment."""
    with marked(job.command) as process:
        process.wait_until(moment)
        process.popen.send_signal(number)
        orphans = process.orphans()
        out, err = process.popen.communicate()
    with locked_folder(job.output):  # refused if something still held it
        pass
    status = process.popen.returncode
    assert status == (-number if number == signal.SIGKILL else 128 + number), (out, err)
    assert not orphans
    assert "Traceback" not in out + err
    return {"out": out, "err": err}


def finished(job: Job) -> object:
    """Its result, once the same command has gone on to the end."""
    with marked(job.command) as process:
        out, err = process.popen.communicate()
        assert process.popen.returncode == 0, (out, err)
        assert not process.orphans()
    return job.result(job.output)


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("verb", [regress, demo])
def test_a_command_ends_with_the_verb_that_runs_it(verb, number, tmp_path):
    job = verb(tmp_path)
    began = job.output / "began"
    said = signalled(job, number, began.exists)
    if number not in (signal.SIGINT, signal.SIGKILL):
        assert said["err"].endswith(f"\ntasb {verb.__name__}: ended by {number.name}\n")
    assert not job.result(job.output)
    (job.output / "go").touch()
    (made,) = [content for name, content in finished(job).items() if not name.startswith("results")]
    assert made == b"1 Q0 a 1 9 x\n"


def test_while_a_command_of_a_killed_verb_ends_a_second_run_is_refused(tmp_path):
    job = regress(tmp_path, seconds=4)
    with marked(job.command) as process:
        process.wait_until((job.output / "began").exists)
        process.popen.kill()
        process.popen.wait()
        with pytest.raises(TasbError, match="another one is running"), locked_folder(job.output):
            pass
        with marked(job.command) as second:
            _, err = second.popen.communicate()
        assert second.popen.returncode == 2
        assert f"another one is running (process {process.popen.pid} " in err
        assert process.living()
        assert not process.orphans()
    (job.output / "go").touch()
    assert finished(job) == {"runs/r.txt": b"1 Q0 a 1 9 x\n"}


def test_what_nohup_ignores_stays_ignored(tmp_path):
    job = regress(tmp_path)
    with marked(job.command, ignored=[signal.SIGHUP]) as process:
        process.wait_until((job.output / "began").exists)
        for pid in process.living():
            os.kill(pid, signal.SIGHUP)
        (job.output / "go").touch()
        out, err = process.popen.communicate()
    assert process.popen.returncode == 0, (out, err)


def study(training_set, folder: Path) -> Job:  # noqa: F811
    folder.mkdir(exist_ok=True)
    values = yaml.safe_load(training_set.config(folder, max_steps=30, workers=1).read_text())
    task = {"topics": TINY / "topics.tsv", "qrels": TINY / "qrels.txt", "collection": TINY / "corpus.jsonl"}
    config = {
        "name": folder.name,
        "output": str(folder / "study"),
        "train": {key: value for key, value in values.items() if key not in ("name", "output")},
        "axes": {"rate": {"low": {}, "high": {"optimiser.learning_rate": 0.002}}},
        "cells": [{"levels": {"rate": ["low", "high"]}, "seeds": [1]}],
        "tasks": {"search": {key: str(value) for key, value in task.items()}},
        "device": "cpu",
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(config))

    def values_of(output: Path) -> object:
        rows = {
            str(path.relative_to(output)): json.loads(path.read_text())["values"] for path in output.rglob("row.json")
        }
        return rows, files(output, "cells/*/*/run/model/*.safetensors")

    return Job(tasb_argv("study", folder / "study.yaml"), folder / "study", values_of)


def real_demo(_training_set, folder: Path) -> Job:
    """The demo's own steps with BM25: the others take minutes."""
    return demo(folder, "*demo.STEPS[:3]")


def real_regress(_training_set, folder: Path) -> Job:
    """A stage that ends of itself."""
    job = regress(folder)
    slow = folder / "modules" / "slow.py"
    slow.write_text(slow.read_text().replace('while not pathlib.Path("go").exists():', "for _ in range(30):"))
    return job


VERBS = {
    "regress": real_regress,
    "demo": real_demo,
    "encode": lambda _training_set, folder: encode(folder),
    "train": train,
    "study": study,
}
SIGNALS = int(os.environ.get("SIGNALS", "0"))


@pytest.mark.skipif(not SIGNALS, reason="takes minutes: ask for it by SIGNALS=20")
def test_random_moments(training_set, tmp_path):  # noqa: F811
    whole, rows = {}, []
    for verb, make in VERBS.items():
        begun = time.monotonic()
        whole[verb] = finished(make(training_set, tmp_path / verb)), time.monotonic() - begun
    randomness = random.Random(int(os.environ.get("SEED", "1")))
    for count in range(SIGNALS):
        verb = list(VERBS)[count % len(VERBS)]
        number = ENDING[count // len(VERBS) % len(ENDING)]
        expected, seconds = whole[verb]
        moment = randomness.uniform(0, seconds)
        job = VERBS[verb](training_set, tmp_path / f"{verb}-{count}")
        with marked(job.command) as process:
            time.sleep(moment)
            process.popen.send_signal(number)
            orphans = process.orphans()
            said = "".join(process.popen.communicate())
        same = finished(job) == expected
        traceback = "Traceback" in said
        rows.append((verb, number.name, f"{moment:.1f} s", process.popen.returncode, len(orphans), traceback, same))
        if orphans or traceback or not same:
            print(said)
    print("\n| verb | signal | after | exit status | orphans | traceback | resumed to the same bytes |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print("|", " | ".join({True: "yes", False: "no"}.get(cell, str(cell)) if isinstance(cell, bool) else str(cell)
                              for cell in row), "|")  # fmt: skip
    assert all(row[4:] == (0, False, True) for row in rows)
