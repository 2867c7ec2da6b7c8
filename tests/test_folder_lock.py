import errno
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from pyserini_tasb.artifacts import lock_file, locked_folder, locks_work
from pyserini_tasb.errors import TasbError

HOLDER = """
    import sys, time
    from pathlib import Path
    from pyserini_tasb.artifacts import locked_folder
    with locked_folder(Path(sys.argv[1])):
        print("here", flush=True)
        time.sleep(60)
"""


def test_one_process_at_a_time_and_a_killed_one_holds_nobody_up(tmp_path):
    folder = tmp_path / "a" / "b"
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(HOLDER), folder], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"here\n"
        with pytest.raises(TasbError, match=rf"running \(process {other.pid} on"), locked_folder(folder):
            pass
        assert (folder / ".lock").exists()  # whoever is refused leaves the holder's file
        other.send_signal(signal.SIGKILL)
    with locked_folder(folder):
        pass
    assert list(folder.iterdir()) == []


def test_a_lock_that_its_holder_has_just_removed_is_not_taken_for_one(tmp_path, monkeypatch):
    """Between opening the file and locking it, the holder may end: locking what it removed would exclude nobody."""
    path, lock, locked = tmp_path / ".lock", fcntl.flock, []

    def flock(handle, how):
        if not locked:
            path.unlink()
        locked.append(handle)
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock_file(path):
        assert path.exists()
        with pytest.raises(TasbError, match="another one is running"), lock_file(path):
            pass
    assert not path.exists()


def test_a_file_system_without_locks_is_worked_on_without(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    assert locks_work(tmp_path)
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert not locks_work(tmp_path)
    assert not list(tmp_path.iterdir())
    with locked_folder(tmp_path):
        (tmp_path / "work").touch()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TasbError, match="a folder to write to"), locked_folder(tmp_path / "file" / "folder"):
        pass


def test_a_process_that_has_it_for_a_moment_does_not_make_the_file_stay(tmp_path):
    """Between fork and exec, a process that this one starts has all of its open files."""
    path = tmp_path / "a.lock"
    with lock_file(path) as handle:
        copy = os.dup(handle)
        threading.Timer(0.03, os.close, [copy]).start()
    assert not path.exists()


def test_the_file_stays_while_somebody_else_has_it(tmp_path):
    path = tmp_path / "a.lock"
    with lock_file(path) as handle:
        copy = os.dup(handle)
    assert path.exists()
    os.close(copy)
    with lock_file(path):
        pass
    assert not path.exists()
