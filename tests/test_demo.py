"""The whole demo, as a user runs it. Its one full run is shared by the tests here."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

import pytest

from pyserini_tasb import TasbQueryEncoder, demo
from pyserini_tasb.environment import java
from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes.lookup import encoder_card
from pyserini_tasb.regression.steps import Step
from tests.command_line import tasb, tasb_process

if TYPE_CHECKING:
    import subprocess


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    # Pyserini reads any topics path with "beir" in it as tab-separated, and "ance" in an encoder's name as ANCE.
    return tmp_path_factory.mktemp("demo") / "beir performance"


@pytest.fixture(scope="module")
def first_run(folder) -> subprocess.CompletedProcess[str]:
    return tasb_process("demo", "--output", folder)


def table(folder, name=demo.TABLE) -> dict[str, dict[str, float]]:
    head, *rows = (folder / name).read_text().split("\n\n")[0].splitlines()
    measures = head.split()[1:]
    values = {row.split()[0]: re.findall(r"(?<= )0\.\d{4}", row) for row in rows}
    return {run: dict(zip(measures, map(float, cells), strict=True)) for run, cells in values.items()}


def test_bm25_prints_the_numbers_anserini_publishes(first_run):
    assert "MAP 0.3123, P@30 0.1942: matches Anserini's published numbers" in first_run.stdout


def test_the_table_compares_five_systems_by_the_repaired_qrels(first_run, folder):
    values = table(folder)
    assert list(values) == [
        "runs/bm25.txt",
        *(f"runs/{name}.txt" for name in ("untrained", "trained", "minilm", "hybrid")),
    ]
    assert values["runs/bm25.txt"] == {"nDCG@10": 0.4604, "AP@1000": 0.3241, "P@30": 0.1981, "R@1000": 0.9310}
    # Vectors differ a little between builds of PyTorch and kinds of processors, BM25 does not.
    assert values["runs/untrained.txt"]["AP@1000"] == pytest.approx(0.1424, abs=0.003)
    assert values["runs/minilm.txt"]["AP@1000"] == pytest.approx(0.3115, abs=0.003)
    assert "52 queries of cacm/qrels.repaired.txt; differences to runs/bm25.txt" in first_run.stdout


def test_what_is_found_without_training_is_shown_before_the_training(first_run, folder):
    values = table(folder, demo.FIRST_TABLE)
    assert list(values) == ["runs/bm25.txt", "runs/minilm.txt", "runs/minilm-hybrid.txt"]
    bm25, minilm, hybrid = (row["nDCG@10"] for row in values.values())
    assert hybrid > max(bm25, minilm) + 0.05
    shown = first_run.stderr.index((folder / demo.FIRST_TABLE).read_text())
    assert shown < first_run.stderr.index("pseudo-queries --corpus")


def test_training_closes_most_of_the_gap_to_its_teacher(first_run, folder):
    values = {name: row["nDCG@10"] for name, row in table(folder).items()}
    untrained, trained, teacher = (values[f"runs/{name}.txt"] for name in ("untrained", "trained", "minilm"))
    assert (trained - untrained) / (teacher - untrained) > 0.7
    assert values["runs/hybrid.txt"] > max(trained, values["runs/bm25.txt"]) + 0.05


def test_the_trained_model_is_there_for_stock_pyserini_as_the_demo_says(first_run, folder):
    name = re.search(r"^The trained model, .*--encoder (tasb:.*)$", first_run.stdout, re.MULTILINE)[1]
    assert [*TasbQueryEncoder(name).encode("parallel algorithms").shape] == [384]
    assert encoder_card(name).name == "demo"


def test_every_command_is_told_before_its_time(first_run):
    lines = iter(first_run.stderr.splitlines())
    for step in demo.STEPS:
        assert f"$ {step.command}" in lines
        assert any(re.match(r"tasb demo: note: done in [\d.]+ s", line) for line in lines)


def test_a_second_run_runs_nothing_and_prints_the_same_results(first_run, folder):
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    start = time.monotonic()
    again = tasb_process("demo", "--output", folder)
    assert time.monotonic() - start < 60
    assert again.stderr.count("done before") == len(demo.STEPS)
    assert again.stdout.partition("BM25 with Anserini's")[2] == first_run.stdout.partition("BM25 with Anserini's")[2]
    assert written == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_bm25_that_does_not_match_fails(first_run, folder, monkeypatch, capsys):
    monkeypatch.setattr(demo, "PUBLISHED", {"map": "0.3124", "P_30": "0.1942"})
    assert tasb("demo", "--output", folder) == 1
    assert "DOES NOT MATCH" in capsys.readouterr().out


def test_a_failing_step_ends_the_demo_with_its_log(tmp_path, monkeypatch, capsys):
    failing = Step("failing", "fails", ("-c", "raise SystemExit('no luck')"))
    monkeypatch.setattr(demo, "STEPS", (failing,))
    assert tasb("demo", "--output", tmp_path / "out") == 1
    assert "no luck\nThe same command goes on from this step." in capsys.readouterr().err


def test_without_a_suitable_java_it_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setattr(java, "find_java", lambda: None)
    with pytest.raises(TasbError, match=r"do this: .*jdk"):
        demo.demo(tmp_path)


def test_without_the_demo_extra_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "DEMO_MODULES", ("faiss", "no_such_module"))
    with pytest.raises(TasbError, match=r"found: +no no_such_module\n.*pip install 'pyserini-tasb\[demo\]'"):
        demo.demo(tmp_path)


def test_each_step_reads_only_what_an_earlier_one_made():
    made: set[str] = set()
    for step in demo.STEPS:
        assert set(step.inputs) <= made, step.name
        made.update(step.products)


def test_its_regressions_are_green_on_the_finished_demo(first_run, folder, tmp_path):
    # What the demo has done it does not do again: only the two runs that are judged are made anew.
    output = tmp_path / "out"
    (output / ".tasb-steps").mkdir(parents=True)
    (output / "cacm-demo").symlink_to(folder)
    done = tasb_process(
        "regress", "cacm.tasb-demo", "cacm.hybrid", "--output", output,
        env={**os.environ, "PYSERINI_TASB_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert re.search(r"\n2 conditions: (2 OK\*?|1 OK\*?, 1 OK\*?);", done.stdout), done.stdout
