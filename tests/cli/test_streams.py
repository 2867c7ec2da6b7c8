"""Closed, full and broken standard streams end the command line cleanly: with a message and a status, no traceback."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.command_line import tasb_argv
from tests.conftest import TINY, TINY_MODEL

FUSE = ("fuse", "--method", "rrf", "--runs", "dl19-passage.tasb", "dl19-passage.bm25", "--output")
COMMANDS = [
    ("--help",),
    ("--version",),
    ("--print-completion", "bash"),
    ("search", "--help"),
    ("list", "encoders", "--json"),
    ("evaluate", "--qrels", "dl19-passage", "--runs", "dl19-passage.tasb", "--measures", "nDCG@10"),
]
FULL, BROKEN, CLOSED = "full", "broken", "closed"
REASONS = {FULL: "No space left on device", CLOSED: "it is closed"}


def run_with(arguments, unbuffered=False, **streams):
    """`tasb …` with streams that cannot be used: its status, output and errors, where these can be read.

    Args:
        streams: what is wrong with stdin, stdout and stderr.
    """
    numbers = {"stdin": 0, "stdout": 1, "stderr": 2}
    closed = [numbers[name] for name, fault in streams.items() if fault == CLOSED]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors, Path("/dev/full").open("wb") as full:
        reading, broken = os.pipe()
        os.close(reading)
        usual = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": errors}
        done = subprocess.run(
            tasb_argv(*arguments),
            check=False,
            env=environment | ({"PYTHONUNBUFFERED": "1"} if unbuffered else {}),
            preexec_fn=lambda: [os.close(number) for number in closed],
            **usual | {name: {FULL: full, BROKEN: broken}.get(fault, usual[name]) for name, fault in streams.items()},
        )
        os.close(broken)
        for file in (out, errors):
            file.seek(0)
        return done.returncode, out.read().decode(), errors.read().decode()


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_an_output_that_cannot_be_written_is_a_failure(arguments):
    for fault, reason in REASONS.items():
        message = f"tasb: cannot write to standard output: {reason}\n"
        assert run_with(arguments, stdout=fault) == (1, "", message)
        assert run_with(arguments, stdout=fault, stderr=FULL) == (1, "", "")
    assert run_with(arguments, unbuffered=True, stdout=FULL) == (
        1,
        "",
        f"tasb: cannot write to standard output: {REASONS[FULL]}\n",
    )
    assert run_with(arguments, stdin=CLOSED, stdout=CLOSED, stderr=CLOSED) == (1, "", "")


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_reader_who_has_seen_enough_ends_it_silently(arguments):
    assert run_with(arguments, stdout=BROKEN) == (141, "", "")
    assert run_with(arguments, unbuffered=True, stdout=BROKEN) == (141, "", "")


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_nobody_needs_the_other_streams(arguments):
    usual = run_with(arguments)
    assert usual[0] == 0
    assert usual[1]
    for fault in (CLOSED, FULL, BROKEN):
        assert run_with(arguments, stderr=fault) == (0, usual[1], "")
    assert run_with(arguments, stdin=CLOSED) == usual


@pytest.mark.parametrize(
    "arguments", [("nonsense",), (), ("evaluate", "--qrels", "no.txt", "--runs", "dl19-passage.tasb")]
)
def test_a_mistake_is_one_with_any_streams(arguments):
    usual = run_with(arguments)
    assert usual[:2] == (2, "")
    for fault in (CLOSED, FULL, BROKEN):
        assert run_with(arguments, stderr=fault) == (2, "", "")
        assert run_with(arguments, stdout=fault) == usual
    assert run_with(arguments, stdin=CLOSED, stdout=CLOSED, stderr=CLOSED) == (2, "", "")


def test_what_is_printed_gets_into_no_file_that_takes_the_place_of_a_closed_stream(tmp_path):
    assert run_with([*FUSE, tmp_path / "usual.txt"])[0] == 0
    assert run_with([*FUSE, tmp_path / "closed.txt"], stdin=CLOSED, stdout=CLOSED, stderr=CLOSED)[0] == 1
    assert (tmp_path / "closed.txt").read_bytes() == (tmp_path / "usual.txt").read_bytes()


@pytest.mark.parametrize("fault", [CLOSED, FULL])
def test_processes_that_inherit_the_streams_do_their_work(tmp_path, fault):
    encode = ("encode", "--encoder", TINY_MODEL, "--corpus", TINY / "corpus.jsonl", "--processes", 2, "--output")
    code, _, errors = run_with([*encode, tmp_path / "usual"])
    assert (code, "Traceback" in errors) == (0, False)
    code, _, errors = run_with([*encode, tmp_path / "vectors"], stdin=CLOSED, stdout=fault)
    assert code == 1
    assert errors.splitlines()[-1] == f"tasb: cannot write to standard output: {REASONS[fault]}"
    assert "Traceback" not in errors
    assert run_with([*encode, tmp_path / "silent"], stdin=CLOSED, stdout=fault, stderr=fault) == (1, "", "")
    for folder in ("vectors", "silent"):
        for file in (tmp_path / "usual").glob("*.npy"):
            assert (tmp_path / folder / file.name).read_bytes() == file.read_bytes()
