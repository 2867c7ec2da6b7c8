"""README.md is short, and the programs that it and other pages show run as they stand there."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import pyserini_tasb as tasb
from pyserini_tasb.registry import HOMES, registry_of
from tests.command_line import tasb_process
from tests.conftest import TINY, TINY_MODEL
from tests.training.conftest import training_set  # noqa: F401 - a fixture

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
FIRST_SEARCH = (ROOT / "docs" / "first-search.md").read_text()
PYTHON_PAGE = (ROOT / "docs" / "python.md").read_text()
EXTEND_PAGE = (ROOT / "docs" / "extend.md").read_text()
PROGRAM = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[-+]?\d+\.\d+")
STEPS = 400


def program_of(page, text):
    (program,) = [program for program in re.findall(PROGRAM, page) if text in program]
    return program


def test_it_has_fewer_than_900_words():
    assert len(README.split()) < 900


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        ("use my own model", "encoders/README.md"),
        ("fuse", "docs/fusion.md#tuned-weights"),
        ("train", "docs/adapt.md"),
        ("cite", "#cite"),
    ],
)
def test_what_readers_want_is_on_the_first_screen(wanted, where):
    first_screen = README[: README.index("![")]
    (row,) = [line for line in first_screen.splitlines() if line.startswith(f"| **{wanted}")]
    assert f"]({where})" in row
    assert len(first_screen.split()) < 200


def test_it_cites_the_paper():
    citation = README[README.index("## Cite") :]
    for part in ("@inproceedings", "Efficiently Teaching an Effective Dense Retriever", "10.1145/3404835.3462891"):
        assert part in citation


@pytest.fixture
def research(tmp_path, collection, monkeypatch):
    """A folder with the files that the first program names: titles are queries, each relevant to its document."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path / "home"))
    random = np.random.default_rng(3)
    titled = [number for number, title in enumerate(collection.titles) if title and collection.texts[number]]
    (tmp_path / "documents").mkdir()
    lines = [json.dumps({"id": collection.docids[n], "contents": collection.texts[n]}) + "\n" for n in titled]
    (tmp_path / "documents" / "all.jsonl").write_text("".join(lines))
    (tmp_path / "queries.tsv").write_text("".join(f"q{n}\t{collection.titles[n]}\n" for n in titled))
    with (tmp_path / "scored.tsv").open("w") as scored:
        for n in titled:
            for other in random.choice([m for m in titled if m != n], 3, replace=False):
                negative = collection.docids[other]
                scored.write(
                    f"{random.normal(8):.3f}\t{random.normal(3):.3f}\tq{n}\t{collection.docids[n]}\t{negative}\n"
                )
    (tmp_path / "test.tsv").write_text((TINY / "topics.tsv").read_text())
    (tmp_path / "test.qrels").write_text((TINY / "qrels.txt").read_text())
    with (tmp_path / "bm25.txt").open("w") as run:
        for qid in collection.topics:
            for rank, n in enumerate(random.choice(titled, 20, replace=False), 1):
                run.write(f"{qid} Q0 {collection.docids[n]} {rank} {21 - rank} bm25\n")
    return tmp_path


def test_from_pairs_to_a_comparison(research, capsys):
    program = program_of(PYTHON_PAGE, "tasb.pairs(")
    assert f'"max_steps": {STEPS},' in program
    names = {}
    exec(compile(program.replace(f'"max_steps": {STEPS}', '"max_steps": 3'), "docs/python.md", "exec"), names)  # noqa: S102
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed if line][:4] == ["run", "bm25", "mine", "both"]
    assert names["model"].encoder == "tasb:mine"
    assert len(names["dense"]) == len(names["both"]) == 10
    assert names["dense"].hits == 10 * len((research / "documents" / "all.jsonl").read_text().splitlines())


def test_ten_lines_of_python(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path / "home"))
    program = program_of(README, "tasb.show(")
    assert len(program.strip().splitlines()) <= 10
    (commands,) = [block for block in re.findall(BLOCK, README) if "cacm_collection" in block]
    for line in commands.replace("\\\n", " ").strip().splitlines():
        python, *arguments = shlex.split(line)
        assert python == "python"
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    exec(compile(program, "README.md", "exec"), {})  # noqa: S102
    printed = capsys.readouterr().out
    table, _, shown = printed.partition("\n\n")
    (claimed,) = [block for block in re.findall(BLOCK, README) if block.startswith("run ")]
    for ours, theirs in zip(table.splitlines(), claimed.partition("\n\n")[0].splitlines(), strict=True):
        assert re.sub(NUMBER, "", ours).split() == re.sub(NUMBER, "", theirs).split()
        # The processor decides the last digits.
        assert [*map(float, re.findall(NUMBER, ours))] == pytest.approx(
            [*map(float, re.findall(NUMBER, theirs))], abs=0.003
        )
    assert claimed.splitlines()[-2] in shown  # what the † means; the last line is …
    assert "CACM-" in shown


def test_a_vector_from_a_text(capsys):
    program = program_of(FIRST_SEARCH, "TasbDocumentEncoder")
    exec(compile(program, "docs/first-search.md", "exec"), {})  # noqa: S102
    printed = FIRST_SEARCH[FIRST_SEARCH.index(program) + len(program) :].split("```")[2]
    assert capsys.readouterr().out.split() == printed.split()


def test_the_page_about_python_names_every_function_and_what_it_returns():
    rows = re.findall(r"^\| `(\w+)` \| .* \| `(\w+)`", PYTHON_PAGE, re.MULTILINE)
    functions = [name for name in tasb.__all__ if inspect.isfunction(getattr(tasb, name))]
    functions = set(functions) - {"cacm", "register", "register_encoders", "trusting"}  # no verbs
    assert sorted(name for name, _ in rows) == sorted(functions)
    for name, returned in rows:
        assert returned in str(inspect.signature(getattr(tasb, name)).return_annotation)


def test_the_programs_of_the_page_about_python(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    reading, failing = (program for program in re.findall(PROGRAM, PYTHON_PAGE) if "dl19-passage" in program)
    exec(compile(reading, "docs/python.md", "exec"), {})  # noqa: S102
    assert len(tasb.Run.read(tmp_path / "run.txt.gz")) == 43
    exec(compile(failing, "docs/python.md", "exec"), {})  # noqa: S102
    printed = PYTHON_PAGE[PYTHON_PAGE.index(failing) + len(failing) :].split("```")[2]
    assert capsys.readouterr().out.split() == printed.split()


def test_the_loss_and_the_sampler_of_the_page_about_extension(training_set, tmp_path, monkeypatch):  # noqa: F811
    loss, in_batch, sampler, _ = re.findall(PROGRAM, EXTEND_PAGE)
    (decorator,) = re.findall(PROGRAM, EXTEND_PAGE.replace("\n   ", "\n"))[4:]
    for program in (loss, in_batch, sampler):
        assert program.count("\n") <= 20
    (tmp_path / "my_training.py").write_text(loss + in_batch + sampler)
    config = training_set.config(tmp_path, name="page", workers=1)
    monkeypatch.chdir(tmp_path)
    settings = re.findall(r"--set (\S+my_training\S+)", EXTEND_PAGE)
    assert settings == ["loss.pairwise=my_training:margin_huber", "sampling.strategy=my_training:tas_harder"]
    tasb_process("train", config, "--set", *settings)
    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert len([step for step in steps if "loss" in step]) == 8
    monkeypatch.syspath_prepend(tmp_path)
    exec(compile(decorator, "docs/extend.md", "exec"), {})  # noqa: S102
    try:
        assert registry_of("pairwise-losses").reference("margin-huber") == "my_training:margin_huber"
        without_teacher = registry_of("in-batch-losses")["my_training:uniform_margin"]
        assert (without_teacher.needs_teacher, without_teacher.takes_temperature) == (False, True)
    finally:
        registry_of("pairwise-losses").remove("margin-huber")
        registry_of("in-batch-losses").remove("my_training:uniform_margin")


def test_the_short_examples_of_the_page_about_extension(tmp_path, monkeypatch):
    *_, examples = re.findall(PROGRAM, EXTEND_PAGE)
    (tmp_path / "my_models.py").write_text(examples)
    (tmp_path / "card.yaml").write_text(f"name: short\nmodel: {TINY_MODEL}\npooling: my_models:maximum\n")
    (tmp_path / "documents.txt").write_text("green apples\nred stones\n")
    monkeypatch.chdir(tmp_path)
    reader = re.search(r"--corpus (my_models:\S+)", EXTEND_PAGE)[1]
    tasb_process("encode", "--encoder", "card.yaml", "--corpus", reader, "--output", "vectors")
    assert len(np.load(next((tmp_path / "vectors").rglob("*.npy")))) == 2
    fusing = re.search(r"--method my_models:squares --normalization my_models:shares", EXTEND_PAGE)[0].split()
    tasb_process("fuse", "--runs", "dl19-passage.tasb", "dl19-passage.bm25", *fusing, "--output", "fused.txt")
    assert len((tmp_path / "fused.txt").read_text().splitlines()) > 43 * 100


def test_the_page_about_extension_has_every_axis():
    assert re.findall(r"^\| `([\w-]+)` \|", EXTEND_PAGE, re.MULTILINE) == list(HOMES)


def test_what_is_installed_first_comes_from_a_clone_while_the_package_is_not_published():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for page in (README, (ROOT / "docs" / "install.md").read_text()):
        packages = [line for line in page.splitlines() if re.match(r"pip install (?!torch)", line)]
        assert packages[0].startswith("pip install '.[cpu,onnx]' ")
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "pyserini_tasb").rglob("*.py")]
    for page in pages:
        for requirement, extras in re.findall(
            r"pip install (?:-e )?'(\.|pyserini-tasb)\[([\w,]+)\]'", page.read_text()
        ):
            assert set(extras.split(",")) <= set(project["optional-dependencies"]), page
            # By its name only an extra that nobody needs to begin with; tests/packaging adds one so.
            assert requirement == "." or extras in ("cpu", "onnx", "demo", "ray"), page
