"""`train` from a plain script, whose worker processes must not run the script again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

SCRIPT = """\
import pathlib
import pyserini_tasb as tasb

with pathlib.Path("runs-of-the-script").open("a") as file:
    file.write("once\\n")
result = tasb.train("config.yaml")
print(result.steps, pathlib.Path(result).name, result.encoder)
"""


@pytest.fixture
def script(training_set, tmp_path):
    config = training_set.config(tmp_path, workers=1)
    (tmp_path / "script.py").write_text(SCRIPT)
    return config


def started(folder):
    # Started in the background, a process ignores SIGINT; a user's does not.
    return subprocess.Popen(
        [sys.executable, "script.py"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler), process_group=0,  # noqa: PLW1509
    )  # fmt: skip


def test_it_trains_once(script, tmp_path):
    out, err = started(tmp_path).communicate(timeout=300)
    assert out.startswith("8 model tasb:"), err
    assert (tmp_path / "runs-of-the-script").read_text() == "once\n"


def test_ctrl_c_ends_it_resumable(script, tmp_path):
    script.write_text(yaml.safe_dump(yaml.safe_load(script.read_text()) | {"max_steps": 100_000}))
    log = tmp_path / "run" / "metrics.jsonl"
    with started(tmp_path) as process:
        while not log.exists() or log.read_text().count('"step"') < 4:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it, too
        out, err = process.communicate(timeout=60)
    assert out == ""
    assert err.count("Traceback") == 1
    assert "the same call continues" in err.splitlines()[-1]
    assert process.returncode == 1
    assert list((tmp_path / "run" / "checkpoints").iterdir())
