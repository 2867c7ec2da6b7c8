"""Child processes of both kinds, functions and commands: how they end, and with whom."""

from __future__ import annotations

import multiprocessing.util
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from pyserini_tasb.artifacts import lock_file
from pyserini_tasb.commands import run_command, run_short_command
from pyserini_tasb.errors import TasbError
from pyserini_tasb.workers import Child
from tests.processes import MARK, marked


def answering(connection) -> None:
    """Answer with its process id, and sleep for as long as is asked."""
    while True:
        seconds = connection.recv()
        connection.send(os.getpid())
        time.sleep(seconds)


PARENT = """
    import sys, time
    from pyserini_tasb.workers import Child
    from tests.test_children import answering

    child = Child(answering, "a child", may_start_others={others})
    child.send({seconds})
    print(child.receive(), flush=True)
    {then}
"""


def parent(*, seconds: int, then: str, others: bool = False) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(PARENT.format(seconds=seconds, then=then, others=others))]


def test_a_child_ends_in_the_middle_of_a_step_with_a_parent_that_is_killed():
    with marked(parent(seconds=1000, then="time.sleep(1000)")) as process:
        assert int(process.popen.stdout.readline()) in process.living()
        process.popen.kill()
        assert process.orphans(5) == []
        assert process.popen.communicate() == ("", "")


def starting_another(connection) -> None:
    """Start a child, and say so and wait a second before the child is told what to do."""
    spawn = multiprocessing.util.spawnv_passfds

    def slowly(*arguments):
        pid = spawn(*arguments)
        connection.send(pid)
        time.sleep(1)
        return pid

    multiprocessing.util.spawnv_passfds = slowly
    Child(answering, "a child's child")


def test_a_parent_that_is_killed_while_its_child_starts_another():
    program = """
        import time
        from pyserini_tasb.workers import Child
        from tests.test_children import starting_another

        child = Child(starting_another, "a child", may_start_others=True)
        print(child.receive(), flush=True)
        time.sleep(1000)
    """
    with marked([sys.executable, "-c", textwrap.dedent(program)]) as process:
        assert int(process.popen.stdout.readline()) in process.living()
        process.popen.kill()
        assert process.orphans(10) == []
        assert process.popen.communicate() == ("", "")


@pytest.mark.parametrize("others", [False, True])
def test_a_child_that_nobody_stops_ends_with_the_program(others):
    with marked(parent(seconds=1000, then="", others=others)) as process:
        assert process.popen.wait(20) == 0
        assert process.orphans(5) == []


def test_a_signal_to_all_processes_leaves_children_to_their_parent():
    child = Child(answering, "a child")
    child.send(0)
    pid = child.receive()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    child.send(0)
    assert child.receive() == pid
    child.stop()
    with pytest.raises(TasbError, match="ended with exit status 0"):
        child.receive()


LAUNCHER = """
    import os, subprocess, sys, time
    os.environ["TORCHELASTIC_RUN_ID"] = "one"
    program = (
        "import time; from pyserini_tasb.workers import StopRequest, stop_with_launcher\\n"
        "with StopRequest() as stop:\\n"
        "    stop_with_launcher(); print('here', flush=True)\\n"
        "    while not stop.made: time.sleep(0.05)\\n"
        "print('stopped', flush=True)"
    )
    subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    time.sleep(1000)
"""


def test_a_rank_stops_politely_when_torchrun_is_killed():
    with marked([sys.executable, "-c", textwrap.dedent(LAUNCHER)]) as process:
        assert process.popen.stdout.readline() == "here\n"
        process.popen.kill()
        assert process.orphans(10) == []
        assert process.popen.communicate() == ("stopped\n", "")


@pytest.fixture
def run(tmp_path):
    """Run a Python program as a command."""

    def run(program: str, **options: object) -> int:
        return run_command(
            [sys.executable, "-c", textwrap.dedent(program)],
            folder=tmp_path,
            environment={**os.environ, MARK: str(tmp_path)},
            log=tmp_path / "log",
            on_screen=False,
            **options,
        )

    return run


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("print('said')", 0),
        ("print('said'); exit(3)", 3),
        ("import os; print('said', flush=True); os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import os; print('said', flush=True); os.kill(os.getpid(), 15)", -signal.SIGTERM),
    ],
)
def test_the_status_of_a_command(run, tmp_path, program, status):
    assert run(program) == status
    assert (tmp_path / "log").read_text() == "said\n"


def test_a_command_that_is_none(tmp_path):
    options = {"folder": tmp_path, "environment": {}, "log": tmp_path / "log", "on_screen": False}
    assert run_command([str(tmp_path / "none")], **options) == 127
    assert (tmp_path / "log").read_text() == f"{tmp_path / 'none'}: No such file or directory\n"


def test_signals_reach_a_command_as_they_would_elsewhere(tmp_path):
    """Python ignores two; what a process ignores or blocks is inherited."""
    command = ["cat", "/proc/self/status"]
    assert not run_command(command, folder=tmp_path, environment=os.environ, log=tmp_path / "log", on_screen=False)
    lines = dict(line.split(":", 1) for line in (tmp_path / "log").read_text().splitlines())
    assert int(lines["SigBlk"], 16) == 0
    assert not any(int(lines["SigIgn"], 16) >> (number - 1) & 1 for number in (signal.SIGPIPE, signal.SIGXFSZ))


def test_what_a_command_leaves_behind_ends_after_it(run, tmp_path):
    began = time.monotonic()
    program = """
        import subprocess, sys
        print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True).pid)
    """
    assert run(program) == 0
    assert time.monotonic() - began < 60
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "log").read_text()), 0)


def test_a_command_is_suspended_with_the_process_that_runs_it(tmp_path):
    program = f"""
        import os, pathlib
        from pyserini_tasb.commands import run_command
        ticking = "import os, time; print(os.getpid(), flush=True)\\nwhile True: time.sleep(0.05)"
        folder = pathlib.Path({str(tmp_path)!r})
        run_command([{sys.executable!r}, "-c", ticking], folder=folder, environment=os.environ, log=folder / "log")
    """
    log = tmp_path / "log"
    with marked([sys.executable, "-c", textwrap.dedent(program)]) as process:
        process.wait_until(lambda: log.exists() and log.read_text().endswith("\n"))
        ticking = int(log.read_text())
        process.popen.send_signal(signal.SIGSTOP)
        process.wait_until(lambda: state(ticking) == "T", 5)
        process.popen.send_signal(signal.SIGCONT)
        process.wait_until(lambda: state(ticking) in "SR", 5)
        process.popen.send_signal(signal.SIGSTOP)
        process.wait_until(lambda: state(ticking) == "T", 5)
        process.popen.kill()
        assert process.orphans(5) == []


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_the_last_words_of_a_command_that_is_stopped_are_in_its_log(run, tmp_path):
    stop = threading.Event()
    program = """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
        open("began", "w")
        time.sleep(1000)
    """

    def stop_it() -> None:
        while not (tmp_path / "began").exists():
            time.sleep(0.01)
        stop.set()

    threading.Thread(target=stop_it).start()
    with pytest.raises(KeyboardInterrupt):
        run(program, stop=stop)
    assert (tmp_path / "log").read_text() == "told to end\n"


def test_a_lock_lasts_as_long_as_any_process_that_got_it(tmp_path):
    path = tmp_path / "lock"
    with lock_file(path) as lock:
        copy = os.dup(lock)
    assert path.exists()
    with pytest.raises(TasbError, match="another one is running"), lock_file(path):
        pass
    os.close(copy)
    with lock_file(path):
        pass
    assert not path.exists()


def test_a_short_command_ends_in_time_and_says_how(tmp_path):
    done = run_short_command(
        [sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"]
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert (
        run_short_command([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]).returncode
        == 128 + signal.SIGKILL
    )
    with pytest.raises(subprocess.TimeoutExpired):
        run_short_command([sys.executable, "-c", "import time; time.sleep(1000)"], seconds=0.5)
