from __future__ import annotations

import contextlib
import io
import os
import pty
import termios
import time

import pytest

from pyserini_tasb.training import progress as progress_module
from pyserini_tasb.training.progress import Progress
from tests.clock import time_passes_in_sleep


@pytest.fixture
def sleep(monkeypatch):
    return time_passes_in_sleep(monkeypatch, progress_module)


def step(progress, number, loss=2.0, **others):
    losses = {"loss": loss, "pairwise": loss / 2, "in batch": None, **others}
    progress.step(number, losses, pairs=32, tokens=750, tokens_with_padding=1_000)


def test_a_line_now_and_then_where_there_is_no_terminal(sleep):
    stream = io.StringIO()
    with Progress(total=1_000, stream=stream, seconds_between_lines=30) as progress:
        for number in range(1, 63):
            sleep(2)
            step(progress, number)
    assert stream.getvalue().splitlines() == [
        f"step {number} of 1,000 · loss 2 (pairwise 1) · 16 pairs/s · {left} left · padding 25%"
        for number, left in {1: "33:18", 16: "32:48", 31: "32:18", 46: "31:48", 61: "31:18", 62: "31:16"}.items()
    ]


def test_what_matters_last():
    progress = Progress(stream=io.StringIO(), seconds_between_lines=0)
    step(progress, 1)
    progress.evaluated(1, "nDCG@10", 0.41234, best=True)
    step(progress, 2)
    printed = progress._stream.getvalue().splitlines()
    assert printed[1] == "step 1: nDCG@10 0.4123, the best so far"
    assert "nDCG@10 0.4123 at 1" in printed[2]
    assert "left" not in printed[2]  # no end is known
    assert " of " not in printed[2]


def test_losses_are_smoothed():
    progress = Progress(stream=io.StringIO())
    for number in range(1, 1_001):
        step(progress, number, loss=1.0 if number % 2 else 3.0)
    assert 1.9 < progress._losses["loss"].value < 2.1
    for number in range(1_001, 1_201):
        step(progress, number, loss=9.0)
    assert progress._losses["loss"].value > 8.8


def test_pairs_per_second_leave_out_what_is_not_training(sleep):
    progress = Progress(stream=io.StringIO())
    for number in range(1, 6):
        sleep(0.02)
        step(progress, number)
    with progress.pause():
        sleep(1)
    sleep(0.02)
    step(progress, 6)
    assert progress.pairs_per_second == pytest.approx(1_600)  # 32 in 20 ms; with the pause 172


def test_time_left_counts_this_sessions_steps(sleep):
    progress = Progress(done=900, total=1_000, stream=io.StringIO())
    sleep(0.1)
    step(progress, 910)
    assert progress.seconds_left == pytest.approx(0.9)  # by all 910 steps it would be 0.01


def test_time_left_leaves_out_the_evaluation_of_the_start(sleep):
    progress = Progress(total=11, stream=io.StringIO())
    with progress.pause():
        sleep(0.5)
    sleep(0.01)
    step(progress, 1)
    assert progress.seconds_left == pytest.approx(0.1)  # with it 5.1


def shown_in_a_terminal(total, columns=120):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    with os.fdopen(theirs, "w") as stream, Progress(total=total, stream=stream) as progress:
        for number in range(1, 4):
            step(progress, number)
            time.sleep(0.15)
        progress.evaluated(3, "nDCG@10", 0.5, best=False)
        step(progress, 4)
    shown = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal, contextlib.suppress(OSError):  # it ends with EIO
        while some := terminal.read(10_000):
            shown += some
    return shown.decode()


def test_a_bar_in_a_terminal():
    shown = shown_in_a_terminal(total=4)
    assert "\r" in shown
    assert "100%|" in shown
    assert "\rstep 3: nDCG@10 0.5000\r\n" in shown  # above the bar, on a line of its own
    last = shown.rstrip().rpartition("\r")[2]
    assert "step 4 of 4 · loss 2 (pairwise 1)" in last


def test_a_terminal_and_no_known_end():
    shown = shown_in_a_terminal(total=None)
    assert "%|" not in shown
    assert "step 4 · loss 2" in shown.rstrip().rpartition("\r")[2]


def test_a_terminal_of_no_width_gets_lines():
    shown = shown_in_a_terminal(total=4, columns=0)
    assert shown.startswith("step 1 of 4 · loss 2")
    assert shown.rstrip().splitlines()[-1].startswith("step 4 of 4 · loss 2")
