"""A file that grows: whoever is killed at any moment has lost only what was being added."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.resume import partial_file

# Forks a process that writes three blocks, for every moment at which it touches the disk, which kills it then.
EVERY_MOMENT = """
    import json, os, signal, sys
    from pathlib import Path

    from pyserini_tasb.resume import partial_file

    path, blocks = Path(sys.argv[1]), [b"one", b"two", b"three"]

    def write():
        '''How many blocks were there.'''
        with partial_file(path, "a file") as part:
            done = part.about or {"blocks": 0, "bytes": 0}
            part.begin(done, done["bytes"])
            for number, block in enumerate(blocks[done["blocks"]:], done["blocks"] + 1):
                part.append(block)
                part.note({"blocks": number, "bytes": part.size})
            part.finish()
        return done["blocks"]

    def moment():
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    def before_and_after(owner, name):
        original = getattr(owner, name)
        def watched(*arguments, **options):
            moment()
            done = original(*arguments, **options)
            moment()
            return done
        setattr(owner, name, watched)

    found = []
    for left in range(1, 1000):
        child = os.fork()
        if not child:
            for owner, name in ((os, "fsync"), (Path, "open"), (Path, "replace"), (Path, "unlink")):
                before_and_after(owner, name)
            write()
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            break
        path.unlink(missing_ok=True)  # of one that was killed at its very end
        found.append([write(), path.read_text(), [file.name for file in path.parent.iterdir()]])
        path.unlink()
    print(json.dumps(found))
"""


def test_a_kill_at_any_moment(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(EVERY_MOMENT), tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert len(found) > 30
    counts = [blocks for blocks, *_ in found]
    until_the_end = counts[: len(counts) - counts[::-1].index(3)]  # whoever has finished begins anew
    assert sorted(set(until_the_end)) == [0, 1, 2, 3]
    assert until_the_end == sorted(until_the_end)
    assert all((text, names) == ("onetwothree", ["out"]) for _, text, names in found)


def test_what_is_behind_the_certain_bytes_is_cut_off(tmp_path):
    path = tmp_path / "new" / "out"
    with partial_file(path, "a file") as part:
        assert (part.size, part.about) == (0, {})
        part.begin({"of": "this"})
        part.append(b"certain, and more")
    with partial_file(path, "a file") as part:
        assert (part.size, part.about) == (17, {"of": "this"})
        part.begin({"of": "this"}, 7)
        part.append(b"!")
        part.finish()
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == {"out": b"certain!"}


def test_one_process_at_a_time(tmp_path):
    refused = pytest.raises(TasbError, match=r"out\.lock\n(?s:.*)another one is running")
    with partial_file(tmp_path / "out", "a file"), refused, partial_file(tmp_path / "out", "a file"):
        pass


def test_nowhere_to_write(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(TasbError, match="expected: a file of numbers"),
        partial_file(tmp_path / "file" / "o", "a file of numbers"),
    ):
        pass
