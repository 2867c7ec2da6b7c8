from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserini_tasb import TasbError
from pyserini_tasb.training.journal import MetricsLog, read_metrics, truncate_to

# Writes until it is killed; says when there is something to tear.
WRITER = """
import sys
from pathlib import Path
from pyserini_tasb.training.journal import MetricsLog

log = MetricsLog(Path(sys.argv[1]))
for step in range(1, 10**9):
    log.append("step", step, {"loss": step / 7, "note": "x" * 5_000})
    if step == 20:
        print("go", flush=True)
"""


def written(path, steps, **values):
    with MetricsLog(path) as log:
        for step in steps:
            log.append("step", step, {"loss": step / 8, **values})


def steps_in(path):
    return [record["step"] for record in read_metrics(path)]


def test_records_are_there_before_the_log_is_closed(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append("step", 1, {"loss": 0.25, "in_batch": None, "tokens": np.int64(7), "rate": np.float32(0.5)})
    log.append("evaluation", 1, {"measure": "nDCG@10", "value": 0.5})
    assert list(read_metrics(tmp_path / "metrics.jsonl")) == [
        {"kind": "step", "step": 1, "loss": 0.25, "in_batch": None, "tokens": 7, "rate": 0.5},
        {"kind": "evaluation", "step": 1, "measure": "nDCG@10", "value": 0.5},
    ]
    log.sync()
    log.close()


def test_numbers_that_are_not_finite_are_null(tmp_path):
    written(tmp_path / "log", [1], nan=math.nan, infinite=np.float64("inf"))
    line = (tmp_path / "log").read_text()
    assert json.loads(line, parse_constant=pytest.fail) == {
        "kind": "step", "step": 1, "loss": 0.125, "nan": None, "infinite": None,
    }  # fmt: skip


def test_killed_while_writing(tmp_path):
    path = tmp_path / "log"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "go\n"
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate()
    before = steps_in(path)
    assert before == list(range(1, len(before) + 1))
    assert len(before) >= 20
    truncate_to(path, 15)
    with MetricsLog(path) as log:
        log.append("step", 16, {})
    assert steps_in(path) == list(range(1, 17))


def test_resumed_log_has_the_bytes_of_one_that_never_stopped(tmp_path):
    written(tmp_path / "whole", range(1, 31))
    written(tmp_path / "stopped", range(1, 24))
    with (tmp_path / "stopped").open("ab") as file:
        file.write(b'{"kind": "step", "st')
    truncate_to(tmp_path / "stopped", 20)
    written(tmp_path / "stopped", range(21, 31))
    assert (tmp_path / "stopped").read_bytes() == (tmp_path / "whole").read_bytes()


@settings(max_examples=60)
@given(data=st.data())
def test_torn_at_any_byte(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("torn") / "log"
    steps = sorted(data.draw(st.lists(st.integers(0, 12), max_size=10)))
    written(path, steps, note="é\n{")
    content = path.read_bytes()
    torn = content[: data.draw(st.integers(0, len(content)))] + data.draw(st.sampled_from([b"", b"\0\0\0", b"\0\n\0"]))
    path.write_bytes(torn)
    whole = torn[: torn.rfind(b"}\n") + 2] if b"}\n" in torn else b""
    kept = [json.loads(line)["step"] for line in whole.splitlines()]
    last = data.draw(st.integers(0, 12))
    truncate_to(path, last)
    assert steps_in(path) == [step for step in kept if step <= last]
    written(path, [13])
    assert steps_in(path) == [*(step for step in kept if step <= last), 13]


def test_both_kinds_of_a_step_are_kept(tmp_path):
    with MetricsLog(tmp_path / "log") as log:
        for kind, step in (("step", 4), ("evaluation", 4), ("step", 5), ("evaluation", 5)):
            log.append(kind, step, {})
    truncate_to(tmp_path / "log", 4)
    assert [(record["kind"], record["step"]) for record in read_metrics(tmp_path / "log")] == [
        ("step", 4), ("evaluation", 4),
    ]  # fmt: skip


def test_opening_removes_an_unfinished_line_however_long(tmp_path):
    path = tmp_path / "log"
    written(path, [1])
    whole = path.read_bytes()
    path.write_bytes(whole + b"x" * 200_000)
    MetricsLog(path).close()
    assert path.read_bytes() == whole
    path.write_bytes(b"x" * 200_000)
    MetricsLog(path).close()
    assert path.read_bytes() == b""


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "log"
    written(path, range(1, 5))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], "oops\n", lines[2], '{"step": "four"}\n', lines[3]]))
    before = path.read_bytes()
    with pytest.raises(TasbError) as caught:
        list(read_metrics(path))
    assert "log:2: not such an object" in caught.value.found
    assert "log:4: not such an object" in caught.value.found
    with pytest.raises(TasbError, match="log:2"):
        truncate_to(path, 4)
    assert path.read_bytes() == before
    truncate_to(path, 1)
    assert steps_in(path) == [1]


def test_no_log_yet(tmp_path):
    truncate_to(tmp_path / "log", 10)
    assert not (tmp_path / "log").exists()
    with pytest.raises(TasbError, match="No such file"):
        list(read_metrics(tmp_path / "log"))
    MetricsLog(tmp_path / "log").close()
    assert list(read_metrics(tmp_path / "log")) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_disk_is_heard_at_once():
    log = MetricsLog(Path("/dev/full"))
    with pytest.raises(OSError, match="No space left"):
        log.append("step", 1, {"loss": 1.0})
