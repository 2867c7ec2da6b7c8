"""The commands that a regression that somebody sent may run."""

from __future__ import annotations

import re

import pytest

from pyserini_tasb.recipes.lookup import own_folder
from pyserini_tasb.regression.condition import load_condition
from pyserini_tasb.regression.two_cr import pyserini_conditions, two_cr_file
from tests.command_line import tasb
from tests.regression.conftest import Done

RUN = "runs/small.txt"


@pytest.fixture
def regress(output, capsys):
    """`tasb regress …` without `--allow-commands`."""

    def run(*arguments):
        status = tasb("regress", *arguments, "--output", output)
        return Done(status, *capsys.readouterr(), output)

    return run


def stage(*command, name="small.search"):
    return {"stage": "search", "name": name, "command": list(command), "outputs": [RUN]}


def refused(small, *command):
    """The faults found in a stage of this command."""
    (of_stage,) = load_condition(str(small.regression(stages=[stage(*command)], run=RUN))).stages
    return list(of_stage.refused)


@pytest.mark.parametrize(
    "command",
    [
        ("counting", "copy", RUN),
        ("timeit", "-s", "import os"),
        ("-c", "print(1)"),
        ("pyserini",),
        ("pyserini.search", "--output", RUN, ";", "touch x"),  # hands its arguments to a shell
        ("pyserini.2cr.odqa", "--directory", "$(touch x)"),
        ("pyserini.eval.convert_trec_run_to_dpr_retrieval_run", "--topics", "x"),  # evaluates what it reads
        ("pyserini.server.rest",),
        ("pyserini.search..x",),
        ("pyserini.search/../../x",),
        ("pyserini.search.lucene\n",),
        ("pyserini_evil.search.lucene",),
        ("pyserini_tasb",),
        ("pyserini_tasb.cli.main",),
        ("pyserini_tasb.formats.cacm_collection", "cacm"),
        ("pyserini_tasb", "--version"),
        ("pyserini_tasb", "regress", "other.yaml", "--allow-commands"),
        ("pyserini_tasb", "study", "study.yaml"),
        ("pyserini_tasb", "train", "train.yaml"),
        ("pyserini_tasb", "msmarco", "--output", "x"),
        ("pyserini_tasb", "fuse", "--output", "/etc/passwd"),
        ("pyserini_tasb", "fuse", "--output=/etc/passwd"),
        ("pyserini_tasb", "fuse", "--output", "~/.bashrc"),
        ("pyserini_tasb", "fuse", "--output", "../run.txt"),
        ("pyserini_tasb", "fuse", "--output", "runs/../../run.txt"),
        ("pyserini_tasb", "fuse", "--output", ".."),
        ("pyserini_tasb", "search", "--index", "/indexes/mine", "--output", "/indexes/mine"),
        ("pyserini_tasb", "search", "--index=/indexes/mine", "--output=/indexes/mine"),
        ("pyserini_tasb", "search", "--index", "/indexes/mine", "-o", "/indexes/mine"),
        ("pyserini.fusion", "/etc/passwd"),
        ("pyserini.index.lucene", "--input", "@arguments"),
        ("pyserini.index.lucene", "--input", "/documents", "--index", "/indexes/mine"),
        ("pyserini.fusion", "-o/etc/passwd"),
        ("pyserini.index.lucene", "@arguments"),  # args4j reads more arguments there
        ("pyserini.search.faiss", "--encoder", "https://example.org/model"),
        ("pyserini.search.faiss", "--encoder-class", "qwen3", "--encoder", "x"),
        ("pyserini.encode", "encoder", "--encoder", "somebody/DSE-model"),
        ("pyserini.search.faiss", "--encoded-queries", "vectors"),
        ("pyserini.search.lucene", "--encoded", "vectors"),
    ],
)
def test_refused(small, command):
    assert refused(small, *command)


@pytest.mark.parametrize(
    "command",
    [
        ("pyserini.search.lucene", "--bm25", "--index", "indexes/cacm", "--topics", "dl19-passage", "--output", RUN),
        (
            "pyserini.search.hybrid",
            "dense",
            "--index",
            "a.b-c",
            "--encoder",
            "castorini/x",
            "fusion",
            "--alpha",
            "-0.1",
        ),
        ("pyserini.index.lucene", "--input", "cacm/archive..2", "--index", "./indexes/x", "-storeRaw"),
        ("pyserini.encode", "input", "--corpus", "x", "encoder", "--encoder", "tasb", "output", "--embeddings", "y"),
        ("pyserini.fusion", "--method", "rrf", "--runs", "a", "b", "--output", RUN),
        ("pyserini.fusion", "--method", "rrf", "--runs", "/runs/a", "../b", "--output", RUN),
        ("pyserini_tasb", "search", "--encoder", "tasb:/models/mine", "--index=/indexes/mine", "--output", RUN),
        ("pyserini_tasb", "search", "--encoder", "tasb:minilm", "--output", RUN),
        ("pyserini_tasb", "search", "--latency", "--latency-queries", "/queries.tsv", "--output", RUN),
        ("pyserini_tasb", "hybrid", "--dense-index", "/a", "/b", "--sparse-index", "/c", "--output", RUN),
        ("pyserini_tasb", "index", "--vectors", "/v", "--query-encoder", "/models/mine", "--output", "x"),
        ("pyserini_tasb", "expand", "--corpus", "/c", "--predictions", "/p.txt", "--output", "x"),
        ("pyserini_tasb", "evaluate", "--runs", "/a", "/b", "--baseline", "/a", "--qrels", "/q"),
        ("pyserini_tasb", "rerank", "--allow-bin", "--model", "castorini/duot5-3b-msmarco", "--output", RUN),
    ],
)
def test_allowed(small, command):
    assert refused(small, *command) == []


def test_all_faults_are_named_by_file_and_line_before_anything_runs(regress, small, stages):
    first = small.regression("first", stages=[stage("counting", "copy", RUN, str(small.run))], run=RUN)
    second = small.write_yaml(
        "second",
        topics=str(small.topics),
        resources={"disk_gb": 0, "memory_gb": 0},
        runs_of=[str(first)],
        stages=[stage("pyserini_tasb", "fuse", "--output", "../x", name="second.fuse")],
        run=RUN,
        expected="measure",
    )
    done = regress(second)
    assert done.status == 2
    lines = first.read_text().splitlines()
    assert f"{first}:{lines.index('  - counting') + 1}: `counting` is none of these modules" in done.stderr
    assert f"{first}:{lines.index(f'  - {small.run}') + 1}: `{small.run}` is outside" in done.stderr
    assert re.search(rf"{second}:\d+: `\.\./x` is outside of the folder of outputs", done.stderr)
    assert "add --allow-commands" in done.stderr
    assert not done.output.exists()
    plan = regress(second, "--dry-run")
    assert plan.status == 0
    assert plan.stdout.count("REFUSED without --allow-commands: ") == 3
    assert "REFUSED" not in regress(second, "--dry-run", "--allow-commands").stdout
    assert regress(first, "--allow-commands").result("first")["verdict"] == "OK"
    assert regress(first, "--stage", "evaluate").status == 0  # runs no command


def test_a_stage_that_shares_its_name_with_an_allowed_one_is_refused(regress, small, stages):
    bad = small.regression("bad", stages=[stage("counting", "copy", RUN, "x")], run=RUN)
    good = small.regression("good", stages=[stage("pyserini.fusion", "--output", RUN)], run=RUN)
    assert "expected: one command of this name: python -m counting" in regress(bad, good).stderr


def test_files_in_the_users_folder_are_not_the_packages_own(regress, small, home, stages):
    (home / "regressions").mkdir(parents=True)
    small.made("mine").rename(home / "regressions" / "mine.yaml")
    assert "`counting` is none of these modules" in regress("mine").stderr


def test_the_packages_own_files_and_pyserinis_need_no_permission():
    names = [path.stem for path in own_folder("regressions").glob("*.yaml")]
    assert not [name for name in names for stage in load_condition(name).stages if stage.refused]
    path = own_folder("regressions") / "cacm.bm25.yaml"
    assert not [stage for stage in load_condition(str(path)).stages if stage.refused]
    names = [condition.name for condition in two_cr_file("msmarco-v1-passage").conditions if "tasb" in condition.name]
    for name in names:
        assert not [s for found in pyserini_conditions(f"msmarco-v1-passage:{name}") for s in found.stages if s.refused]


def test_2cr_is_read_from_the_installed_pyserini_only(regress, tmp_path):
    (tmp_path / "msmarco-x.yaml").write_text("conditions: []\n")
    done = regress("--2cr", f"{tmp_path}/msmarco-x:y")
    assert "a 2CR file of the installed Pyserini" in done.stderr


def test_pyserini_is_not_taken_from_the_folder_of_outputs(regress, small, output):
    """Somebody sends a folder of outputs along, with modules of the names that commands import."""
    trap = "import pathlib\npathlib.Path('trapped').touch()\n"
    (output / ".tasb-steps").mkdir(parents=True)
    for name in ("pyserini", "pyserini/fusion", "numpy"):
        (output / name).mkdir()
        for module in ("__init__.py", "__main__.py"):
            (output / name / module).write_text(trap)
    for name in ("a.txt", "b.txt"):
        (output / name).write_text(small.run.read_text())
    command = ("pyserini.fusion", "--method", "average", "--runs", "a.txt", "b.txt", "--output", RUN)
    done = regress(small.regression(stages=[stage(*command)], run=RUN))
    assert not (output / "trapped").exists()
    assert done.result("small")["verdict"] == "OK"
