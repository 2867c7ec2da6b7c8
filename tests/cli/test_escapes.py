"""Names from files cannot control a terminal: whatever is printed of them is escaped."""

from __future__ import annotations

import contextlib
import json
import os
import pty

import pytest

from tests.command_line import tasb, tasb_argv

CLEAR = "\x1b[2J"
RUN = f"1{CLEAR} Q0 a{CLEAR} 1 2 t\n1{CLEAR} Q0 b 2 1 t\n"
OTHER = f"1{CLEAR} Q0 b 1 2 t\n"
COMMANDS = (
    "evaluate --qrels {0}/qrels.txt --runs {0}/one.run {0}/two.run --measures nDCG@10",
    "evaluate --qrels {0}/qrels.txt --runs {0}/one.run --measures nDCG@10 --json",
    "evaluate --qrels {0}/other.txt --runs {0}/one.run",
    "fuse --method rrf --runs {0}/one.run {0}/two.run --output {0}/fused.run",
    "fuse --method rrf --runs {0}/one.run {0}/absent.run --output {0}/fused.run",
    "show {0}/one.run --topics {0}/topics.tsv --corpus {0}/corpus.jsonl --qrels {0}/qrels.txt",
    "show {0}/one.run --topic 2" + CLEAR,
    "pseudo-queries --corpus {0}/corpus.jsonl --source title --output {0}/queries",
    "list fusion-recipes",
    "doctor --index {0}/absent",
    "search --index {0} --encoder tasb:" + CLEAR + " --topics {0}/topics.tsv --output {0}/found.run",
    "regress {0}/regression.yaml --dry-run",
    "ver" + CLEAR + "b",
    "list --" + CLEAR,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / f"folder{CLEAR}"
    (folder / "fusion").mkdir(parents=True)
    texts = {
        "one.run": RUN,
        "two.run": OTHER,
        "qrels.txt": f"1{CLEAR} 0 b 1\n",
        "other.txt": f"2{CLEAR} 0 b 1\n",
        "topics.tsv": f"1{CLEAR}\ta query {CLEAR}\n",
        "corpus.jsonl": json.dumps({"id": f"a{CLEAR}", "title": f"A title {CLEAR}", "text": f"text {CLEAR}"}) + "\n",
        "regression.yaml": f"name: mine\n{CLEAR}: x\n",
        f"fusion/mine{CLEAR}.yaml": "name: mine\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(folder))
    return folder


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.split()[:2]).replace(CLEAR, "!"))
def test_no_escape_is_printed(command, folder, capfd):
    words = [word.format(folder) for word in command.split(" ")]
    with contextlib.suppress(SystemExit):
        tasb(*words)
    printed = "".join(capfd.readouterr())
    assert printed.strip()
    assert "\x1b" not in printed


def test_a_run_on_a_terminal_is_escaped_and_in_a_pipe_it_is_not(folder, capfdbinary):
    fuse = ("fuse", "--method", "rrf", "--runs", folder / "one.run", folder / "two.run", "--output", "-")
    assert tasb(*fuse) == 0
    assert b"a\x1b[2J" in capfdbinary.readouterr().out
    shown = []

    def read(descriptor: int) -> bytes:
        shown.append(os.read(descriptor, 4096))
        return shown[-1]

    assert pty.spawn(tasb_argv(*fuse), read) == 0
    assert b"a\\x1b[2J" in b"".join(shown)
    assert b"\x1b[2J" not in b"".join(shown)
