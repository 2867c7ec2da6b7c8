"""`tasb regress` in this process, with a home and a Pyserini cache of its own; stages whose commands leave a trace."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.command_line import tasb

if TYPE_CHECKING:
    from collections.abc import Callable

# A module of stages: counts how often it ran, then writes a run, sleeps or fails.
STAGE_MODULE = """
import pathlib, sys, time
what, output, *rest = sys.argv[1:]
with open(output + ".count", "a") as count:
    count.write("x")
print("line one", flush=True)
if what == "fail":
    sys.exit("no luck")
if what == "sleep":
    time.sleep(60)
if what != "nothing":
    pathlib.Path(output).parent.mkdir(exist_ok=True)
    pathlib.Path(output).write_text("".join(pathlib.Path(path).read_text() for path in rest))
"""
NO_RESOURCES = {"disk_gb": 0, "memory_gb": 0}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """The user's folder, empty; so is Pyserini's cache."""
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYSERINI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "home"


@pytest.fixture
def output(tmp_path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def regress(output, capsys) -> Callable[..., Done]:
    """`tasb regress …` with the folder of outputs, for files whose commands are the tests' own."""

    def run(*arguments: object) -> Done:
        status = tasb("regress", *arguments, "--output", output, "--allow-commands")
        return Done(status, *capsys.readouterr(), output)

    return run


@dataclass(frozen=True)
class Done:
    """What a command left."""

    status: int
    stdout: str
    stderr: str
    output: Path = field(repr=False)

    def result(self, name: str) -> dict[str, Any]:
        return json.loads((self.output / "results" / f"{name}.json").read_text())


@pytest.fixture
def stages(tmp_path, monkeypatch) -> Path:
    """Makes `python -m counting` a command, also with the folder of outputs as its working directory."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "counting.py").write_text(STAGE_MODULE)
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{Path(__file__).parents[2]}")
    return folder


@pytest.fixture
def small(tmp_path) -> Small:
    return Small(tmp_path)


class Small:
    """Two queries, three judgments, and regressions on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.qrels = self.write("small.qrels", "1 0 a 1\n1 0 b 1\n2 0 c 1\n")
        # RR: 1 and 1/2; R@10: 1/2 and 1.
        self.run = self.write("small.run", "1 Q0 a 1 9 x\n1 Q0 z 2 8 x\n2 Q0 z 1 9 x\n2 Q0 c 2 8 x\n")
        arguments = [("RR@10", "-c -M 10 -m recip_rank"), ("R@10", "-c -m recall.10")]
        self.topics = self.write_yaml(
            "small-topics",
            topics="small",
            qrels=str(self.qrels),
            measures=[{"measure": name, "label": name, "trec_eval": given} for name, given in arguments],
        )

    def write(self, name: str, text: str) -> Path:
        (self.folder / name).write_text(text)
        return self.folder / name

    def write_yaml(self, name: str, **keys: object) -> Path:
        return self.write(f"{name}.yaml", yaml.safe_dump({"name": name, **keys}))

    def regression(self, name: str = "small", **keys: object) -> Path:
        """A regression that expects what the run has, unless `keys` say otherwise."""
        source = {"kind": "pyserini-2cr", "reference": "nowhere"}
        about = {
            "topics": str(self.topics),
            "resources": NO_RESOURCES,
            "run": str(self.run),
            "expected": [{"source": source, "values": {"RR@10": 0.75, "R@10": 0.75}}],
        }
        return self.write_yaml(name, **about | keys)

    def made(self, name: str = "small", *, what: str = "copy", read: object = None, **keys: object) -> Path:
        """A regression whose run a stage makes, out of a file."""
        run = f"runs/{name}.txt"
        command = ["counting", what, run, str(read or self.run)]
        stage = {"stage": "search", "command": command, "outputs": [run]}
        return self.regression(name, **{"stages": [stage], "run": run} | keys)


def counts(output: Path) -> dict[str, int]:
    """How often each output was made."""
    return {path.name.removesuffix(".count"): path.stat().st_size for path in output.rglob("*.count")}
