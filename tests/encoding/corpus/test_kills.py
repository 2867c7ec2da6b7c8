"""`kill -9`, and the same command again: the same bytes as without."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap

import pytest

from tests.command_line import tasb_argv
from tests.conftest import TINY, TINY_MODEL
from tests.encoding.corpus.conftest import contents, encode
from tests.processes import marked

# Forks `tasb encode` with the model's libraries imported, and has it kill itself at a moment: one is before and after
# everything that is brought to the disk, renamed or removed, and before every batch.
RANDOM_MOMENTS = """
    import json, os, random, signal, sys
    from pathlib import Path

    from pyserini_tasb.encoding.encoders import TextEncoder
    from pyserini_tasb.recipes.lookup import encoder_card
    from tests.command_line import tasb

    arguments, left = sys.argv[1:], 0
    TextEncoder(encoder_card(arguments[2]))  # imports, once for all, what takes longest

    def watch(owner, name):
        original = getattr(owner, name)
        def watched(*arguments, **options):
            for act in (lambda: None, lambda: original(*arguments, **options)):
                done = act()
                global left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return done
        setattr(owner, name, watched)

    def encode(moments):
        global left
        child = os.fork()
        if not child:
            left = moments
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os._exit(tasb(*arguments))
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink"), (TextEncoder, "begin_tokens")):
        watch(owner, name)
    randomness = random.Random(0)
    statuses = [encode(randomness.randrange(1, 40)) for _ in range(10)]
    while statuses[-1] < 0:
        statuses.append(encode(100))
    print(json.dumps(statuses))
"""


def test_ten_random_moments(encoded, tmp_path):
    options = ["--unit-size", 20, "--max-length", 256, "--device", "cpu", "--output-format", "faiss", "jsonl", "npy"]
    arguments = ["--encoder", TINY_MODEL, "--corpus", TINY / "corpus.jsonl", "--output", tmp_path / "out", *options]
    command = [sys.executable, "-c", textwrap.dedent(RANDOM_MOMENTS), "encode", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    statuses = json.loads(done.stdout.splitlines()[-1])
    assert statuses[:-1] == [-signal.SIGKILL] * (len(statuses) - 1)
    assert (statuses[-1], len(statuses) > 10) == (0, True)
    assert contents(tmp_path / "out") == {
        name: content for name, content in contents(encoded).items() if "parquet" not in name
    }


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_two_processes_and_the_one_that_started_them(encoded, tmp_path, number):
    options = ["--max-length", 256, "--processes", 2]
    arguments = ["--encoder", TINY_MODEL, "--corpus", TINY / "corpus.jsonl", "--output", tmp_path / "out"]
    command = tasb_argv("encode", *arguments, *options, "--unit-size", 20)
    with marked(command) as first:
        first.wait_until(lambda: list((tmp_path / "out").glob("units/*.json")))
        assert len(first.living()) >= 5  # two that encode, two that tokenise
        first.popen.send_signal(number)
        assert first.popen.wait() == (-number if number == signal.SIGKILL else 128 + number)
        # No waiting for them: the next command does.
        assert encode(tmp_path / "out", *options) == 0
        assert first.orphans(0) == []
        assert "Traceback" not in first.popen.communicate()[1]
    found = contents(tmp_path / "out")
    assert found == {name: content for name, content in contents(encoded).items() if name in found}
    assert len(found) == 22
