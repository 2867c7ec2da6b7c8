from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from pyserini_tasb.artifacts import write_manifest
from pyserini_tasb.errors import TasbError
from pyserini_tasb.outputs import new_folder

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, content: str, *, overwrite: bool = False) -> None:
    with new_folder(folder, overwrite=overwrite) as beside:
        (beside / "part").mkdir()
        (beside / "part" / "data").write_text(content)
        write_manifest(beside / "part", "test", 1, {})
        write_manifest(beside, "test", 1, {})


def test_it_is_there_only_when_it_is_complete(tmp_path):
    with new_folder(tmp_path / "deep" / "new") as beside:
        (beside / "data").write_text("x")
        assert not (tmp_path / "deep" / "new").exists()
    assert (tmp_path / "deep" / "new" / "data").read_text() == "x"
    assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / "new"]


def test_occupied_folder_is_refused_and_an_empty_one_taken(tmp_path):
    (tmp_path / "new").mkdir()
    write(tmp_path / "new", "1")
    with pytest.raises(TasbError, match="found:    it exists"):
        write(tmp_path / "new", "2")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(TasbError, match="found:    a file"):
        write(tmp_path / "file", "2")
    assert (tmp_path / "new" / "part" / "data").read_text() == "1"


def test_overwrite_replaces_a_store_and_leaves_nothing_else(tmp_path):
    write(tmp_path / "new", "1")
    write(tmp_path / "new", "2", overwrite=True)
    assert (tmp_path / "new" / "part" / "data").read_text() == "2"
    assert list(tmp_path.iterdir()) == [tmp_path / "new"]


def test_overwrite_refuses_what_is_more_than_a_store(tmp_path):
    write(tmp_path / "new", "1")
    (tmp_path / "new" / "part" / "thesis.txt").write_text("mine")
    with pytest.raises(TasbError, match=r"found:    part/thesis\.txt"):
        write(tmp_path / "new", "2", overwrite=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("mine")
    with pytest.raises(TasbError, match=r"no manifest\.json"):
        write(tmp_path / "home", "2", overwrite=True)
    with pytest.raises(TasbError, match="found:    a file"):
        write(tmp_path / "home" / "thesis.txt", "2", overwrite=True)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "mine"
    assert (tmp_path / "new" / "part" / "data").read_text() == "1"


def test_failing_overwrite_keeps_the_old_one(tmp_path):
    write(tmp_path / "new", "1")
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "new", overwrite=True):
        1 / 0  # noqa: B018
    assert (tmp_path / "new" / "part" / "data").read_text() == "1"
    assert list(tmp_path.iterdir()) == [tmp_path / "new"]


def test_disk_that_refuses_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    write(tmp_path / "new", "1")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TasbError, match="No space left"):
        write(tmp_path / "new", "2", overwrite=True)
    assert (tmp_path / "new" / "part" / "data").read_text() == "1"
    assert list(tmp_path.iterdir()) == [tmp_path / "new"]


def test_two_builds_at_a_time_are_refused_and_a_killed_one_is_cleared_away(tmp_path):
    program = """
        import sys, time
        from pathlib import Path
        from pyserini_tasb.outputs import new_folder
        with new_folder(Path(sys.argv[1])) as beside:
            (beside / "scratch").mkdir()
            (beside / "scratch" / "rubbish").write_text("x")
            print("here", flush=True)
            time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), tmp_path / "new"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"here\n"
        with pytest.raises(TasbError, match="another one is running"):
            write(tmp_path / "new", "1")
        other.send_signal(signal.SIGKILL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.lock", "new.part"]
    write(tmp_path / "new", "1")
    assert list(tmp_path.iterdir()) == [tmp_path / "new"]
    assert sorted(path.name for path in (tmp_path / "new").rglob("*")) == [
        "data", "manifest.json", "manifest.json", "part",
    ]  # fmt: skip
