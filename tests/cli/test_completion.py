"""Bash completes what a user has begun to type."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.command_line import tasb_process

pytest.importorskip("shtab")
COMPLETE = """
{script}
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
{function}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def script():
    return tasb_process("--print-completion", "bash").stdout


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("tasb reg", ["regress"]),
        ("tasb re", ["regress", "report", "rerank", "rerank-depths"]),
        ("tasb search --in", ["--in-memory", "--index"]),
        ("tasb search --output-format ", ["msmarco", "trec"]),
        ("tasb evaluate --qrels bm", ["bm25.run"]),
        ("tasb doctor bm", ["bm25.run"]),
    ],
)
def test_bash(script, tmp_path, words, completed):
    (tmp_path / "bm25.run").write_text("")
    quoted = " ".join(f"'{word}'" for word in words.split(" "))
    # The line with which the script ends names the function that bash calls.
    function = script.rstrip().splitlines()[-1].split()[-2]
    program = COMPLETE.format(script=script, words=quoted, function=function)
    done = subprocess.run(
        [shutil.which("bash"), "--norc", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert sorted(done.stdout.split()) == completed


def test_zsh():
    assert tasb_process("--print-completion", "zsh").stdout.startswith("#compdef tasb\n")
