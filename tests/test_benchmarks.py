"""Benchmark scripts start, and what they name of ours exists: most take too long to be run here.

What they have in common is run: estimates, floors, omissions, the run of all, the page with every processor's column.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import MODULE, TASB, parse

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
# Parts of benchmarks, and studies, which take hours, count no time, or need vectors that take hours.
PARTS = {"avx2_only", "every_benchmark", "gemm", "marked_page", "measuring", "peer_training", "peers"}
PARTS |= {"plan", "random_distilbert", "real_texts", "speed_chart", "speed_page"}
STUDIES = {"adapt", "rerank_depths", "trained_compression", "walks"}
SCRIPTS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "benchmarks").rglob("*.py"))

# Runs each script with `--help` in a fork of this process, which has imported what takes seconds. Packages of the
# `bench` extra that the `test` extra lacks cannot be imported: a script imports those where it needs them.
START_ALL = """
import json, os, runpy, sys, traceback
from pathlib import Path

import faiss, onnx, onnxruntime, torch
from transformers import AutoModel, AutoTokenizer, DistilBertModel

sys.modules |= dict.fromkeys(("accelerate", "datasets", "sentence_transformers"))
folder, *scripts = sys.argv[1:]
for number, script in enumerate(scripts):
    said = os.open(Path(folder, f"{number}.txt"), os.O_WRONLY | os.O_CREAT)
    child = os.fork()
    if not child:
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.argv = [script, "--help"]
        sys.path[0] = str(Path(script).parent)
        status = 0
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as exit_:
            status = exit_.code or 0
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)
    print(json.dumps([script, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]), flush=True)
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Exit status of each script, and what it said."""
    folder = tmp_path_factory.mktemp("started")
    done = subprocess.run(
        [sys.executable, "-c", START_ALL, folder, *SCRIPTS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    statuses = map(json.loads, done.stdout.splitlines())
    return {script: (status, (folder / f"{n}.txt").read_text()) for n, (script, status) in enumerate(statuses)}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_starts(started, script):
    status, said = started[script]
    assert status == 0, said
    has_a_command_line = '__name__ == "__main__"' in (ROOT / script).read_text()
    assert said.startswith("usage: ") == has_a_command_line, said


def test_every_benchmark_has_a_quick_run(started, benchmark_module):
    names = {path.stem for path in BENCHMARKS.glob("*.py")} - PARTS - STUDIES
    assert names == set(benchmark_module("every_benchmark").BENCHMARKS)
    for name in names:
        _, said = started[f"benchmarks/{name}.py"]
        assert "--quick" in said, name
        assert "Results(" in (text := (BENCHMARKS / f"{name}.py").read_text()), name
        assert "results.expect(" in text, name


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_a_script_imports_exists(script):
    """Wherever it imports it: inside functions, and in programs that it starts."""
    for program in programs((ROOT / script).read_text()):
        tree = ast.parse(program)
        types = {id(node) for block in ast.walk(tree) if is_for_types(block) for node in ast.walk(block)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == MODULE:
                module = importlib.import_module(node.module)
                # What a module itself imports for types only, it does not have when it runs.
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert not missing or id(node) in types, (node.module, missing)


def is_for_types(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def programs(text):
    """A script, and those of its strings that are programs."""
    yield text
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search("^(from|import) ", node.value):
            try:
                ast.parse(node.value)
            except SyntaxError:  # prose
                continue
            yield node.value


@pytest.mark.parametrize("grid", ["steps", "mpnet_steps"])
def test_commands_of_the_ablation_are_commands_of_ours(monkeypatch, grid):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "ablation"))
    steps = importlib.import_module(grid).steps(Path("msmarco"))
    made = [product for step in steps for product in step.products]
    assert len(made) == len(set(made)), "two steps make one file"
    ours = [step.arguments[len(TASB) :] for step in steps if step.arguments[: len(TASB)] == TASB]
    assert len(ours) > 8
    for arguments in ours:
        parse(*arguments)


@pytest.fixture
def results(benchmark_module, tmp_path):
    """Makes the results of a benchmark called `small` with these options."""
    measuring = benchmark_module("measuring")

    def make(*given):
        options = measuring.Options("small.py", "A small one.", quick={"rounds": 2, "sizes": [1, 2]})
        options.add_argument("--rounds", type=int, default=5)
        options.add_argument("--sizes", type=int, nargs="+", default=[100])
        options.add_argument("--corpora", type=Path, nargs="+", default=[])
        options.add_argument("--encoder", default="tasb:minilm")
        arguments = options.parse_args([*given, "--output", str(tmp_path / "small.json")])
        return measuring.Results(arguments, {"seconds": ".2f", "times": ".1f"})

    return make


def test_quick_changes_defaults_only(results, tmp_path):
    settings = []
    for given in ([], ["--quick"], ["--quick", "--rounds", "7"]):
        results(*given).finish()
        settings.append(json.loads((tmp_path / "small.json").read_text())["settings"])
    assert [(each["rounds"], each["sizes"]) for each in settings] == [(5, [100]), (2, [1, 2]), (7, [1, 2])]


def test_settings_have_no_folders(results, tmp_path):
    files = [tmp_path / "one.tsv", tmp_path / "two.tsv"]
    card = tmp_path / "card.yaml"
    card.touch()
    results("--corpora", *map(str, files), "--encoder", str(card)).finish()
    settings = json.loads((tmp_path / "small.json").read_text())["settings"]
    assert (settings["corpora"], settings["encoder"]) == (["one.tsv", "two.tsv"], "card.yaml")
    results().finish()
    assert json.loads((tmp_path / "small.json").read_text())["settings"]["encoder"] == "tasb:minilm"


def test_results_say_how_long_before_and_what_was_missed(results, tmp_path, capsys):
    found = results("--quick")
    found.expect("two rounds", python=30)
    first, estimate = capsys.readouterr().out.splitlines()
    assert first.startswith("small: ")
    assert re.match(r"about \d+ s: two rounds \(30 s on ", estimate)
    found.rows["ours"] = {"seconds": 0.5, "times": [3.0, 2.0, 4.0]}
    found.floor("speed", 3.0, least=2)
    found.floor("memory", 5.0, most=4)
    assert found.finish() == 1
    said = capsys.readouterr().out
    assert re.search(r"^ours +0.50 +3.0 \(2.0-4.0\)$", said, re.MULTILINE)
    assert "met: speed 3, wanted at least 2" in said
    assert "MISSED: memory 5, wanted at most 4" in said
    written = json.loads((tmp_path / "small.json").read_text())
    assert [floor["met"] for floor in written["floors"]] == [True, False]
    assert written["estimate"] > 0
    assert written["machine"]["processor"]
    assert not math.isnan(written["seconds"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_meets_no_floor(results, value):
    found = results()
    found.floor("difference", value, most=1)
    assert found.finish() == 1


@pytest.mark.parametrize(("amx", "quick", "judged"), [(True, False, 2), (True, True, 0), (False, False, 0)])
def test_the_speed_of_encoding_is_judged_by_default_sizes_on_processors_with_amx(
    amx, quick, judged, results, benchmark_module, monkeypatch
):
    encode = benchmark_module("encode")
    monkeypatch.setattr(encode, "cpu_has_amx", lambda: amx)
    found = results()
    for way in ("Pyserini", *map(" ".join, encode.OURS)):
        found.rows[way] = {"times Pyserini": [8.0, 8.0, 8.0], "least cosine": 1.0}
    encode.judge(found, quick=quick)
    speeds = [floor for floor in found.floors if "times Pyserini" in floor["what"]]
    assert [floor["met"] for floor in speeds] == [False] * judged
    assert len(found.floors) == judged + 3  # the cosines of three ways, in any case


def test_a_processor_is_called_by_its_name(benchmark_module, monkeypatch):
    measuring = benchmark_module("measuring")
    monkeypatch.setattr(measuring, "processor", lambda: "Intel(R) Xeon(R) Processor, family 6 (amx_int8)")
    assert measuring.machine()["processor"] == "Intel Xeon, family 6 (amx_int8)"


def test_what_the_processor_cannot_multiply_is_skipped_and_said(results, benchmark_module, monkeypatch, capsys):
    measuring, gemm = benchmark_module("measuring"), benchmark_module("gemm")
    monkeypatch.setattr(gemm, "SIZE", 64)
    for has_bf16, has_int8, expected in (
        (False, False, {"fp32"}),
        (True, False, {"fp32", "bf16"}),
        (False, True, {"fp32", "int8"}),
    ):
        monkeypatch.setattr(measuring, "cpu_has_bf16", lambda has=has_bf16: has)
        monkeypatch.setattr(measuring, "cpu_has_int8", lambda has=has_int8: has)
        assert set(gemm.gemm_peaks(1, results())) == expected
        said = capsys.readouterr().out
        assert ("skipped bf16 GEMM peak: this processor has neither AMX nor AVX512-BF16\n" in said) is not has_bf16
        assert ("skipped int8 GEMM peak: this processor has no VNNI\n" in said) is not has_int8


def test_a_missing_package_is_skipped_and_said(results, capsys):
    found = results()
    assert not found.has("no_such_package", "a peer")
    assert found.has("json", "another")
    assert found.skipped == ["a peer: no_such_package is not installed (pip install 'pyserini-tasb[bench]')"]
    assert "skipped a peer: " in capsys.readouterr().out


def test_each_round_begins_with_another_way(benchmark_module):
    called = []
    ways = {name: lambda name=name: called.append(name) or len(called) for name in "abc"}
    found = benchmark_module("measuring").by_turns(ways, 3)
    assert "".join(called) == "abcbcacab"
    assert found == {"a": [1, 6, 8], "b": [2, 4, 9], "c": [3, 5, 7]}


def test_real_texts_are_in_the_repository(benchmark_module, tmp_path):
    texts = benchmark_module("real_texts")
    assert len(set(texts.passages(None, 500))) == 500
    assert len(texts.queries(None)) > 2_000  # the largest batch of the TAS-B paper's Table 1
    corpus, topics = texts.as_files(None, None, tmp_path)
    lines = corpus.read_text().splitlines()
    assert all(line.count("\t") == 1 for line in lines)
    assert 40 < sum(len(line.split()) for line in lines) / len(lines) < 70
    given = tmp_path / "given.tsv"
    given.write_text("7\tone text\n8\tanother\n9\tone text\n")
    assert texts.passages(given, 2) == ["one text", "another"]
    assert texts.queries(given) == ["one text", "another"]
    assert texts.as_files(given, None, tmp_path) == (given, topics)


def test_sentence_transformers_gets_the_pairs_that_ours_draws(benchmark_module, tmp_path):
    benchmark_module("train_speed").build_pairs(argparse.Namespace(corpus=None, topics=None, batch_size=4), tmp_path)
    peer = benchmark_module("peer_training")
    of = {"model": "", "output": "", "seed": 1, "max_length": 30, "precision": "fp32"}
    found = peer.pairs_in_order(peer.PeerRun(pairs=str(tmp_path / "pairs"), batch_size=4, steps=3, **of))
    assert {len(values) for values in found.values()} == {12}
    rows = [line.split("\t") for line in (tmp_path / "pairs.tsv").read_text().splitlines()]
    texts = {name: (tmp_path / f"{name}.tsv").read_text().splitlines() for name in ("topics", "corpus")}
    known = {name: dict(line.split("\t") for line in lines) for name, lines in texts.items()}
    expected = {
        (known["topics"][qid], known["corpus"][positive], known["corpus"][negative])
        for _, _, qid, positive, negative in rows
    }
    assert set(zip(found["query"], found["positive"], found["negative"], strict=True)) <= expected
    assert len(set(found["query"])) > 8


SMALL = """
import sys
sys.path.insert(0, {folder!r})
from measuring import Options, Results
parser = Options(__file__, "Small.", quick={{"rounds": 1}})
parser.add_argument("--rounds", type=int)
parser.add_argument("--corpus")
results = Results(parser.parse_args(), {{"seconds": ".1f"}})
{body}
sys.exit(results.finish())
"""
BODIES = {
    "met": "results.rows['ours'] = {'seconds': 1.0}; results.floor('speed', 2, least=1)",
    "missed": "results.rows['ours'] = {'seconds': 1.0}; results.floor('speed', 0.5, least=1)",
    "broke": "1 / 0",
    "hangs": "import time; time.sleep(60)",
    "skipped": "results.skip('all', 'no such thing here')",
}


@pytest.fixture
def small_benchmarks(benchmark_module, monkeypatch, tmp_path):
    """`every_benchmark`, of small ones."""
    every = benchmark_module("every_benchmark")
    for name, body in BODIES.items():
        (tmp_path / f"{name}.py").write_text(SMALL.format(folder=str(BENCHMARKS), body=body))
    monkeypatch.setattr(every, "HERE", tmp_path)
    monkeypatch.setattr(every, "BENCHMARKS", tuple(BODIES))
    monkeypatch.setattr(every, "LIMIT_SECONDS", 15)

    def run(*given):
        monkeypatch.setattr(sys, "argv", ["every_benchmark.py", "--folder", str(tmp_path / "out"), *given])
        status = every.main()
        (document,) = (tmp_path / "out").glob("*.json")
        return status, json.loads(document.read_text()), document.with_suffix(".md").read_text()

    return run


def test_what_breaks_or_misses_a_floor_hides_no_other(small_benchmarks, benchmark_module):
    state = benchmark_module("every_benchmark").state
    status, document, page = small_benchmarks("--only", "met", "skipped")
    assert status == 0
    assert [state(found) for found in document["benchmarks"].values()] == ["met", "skipped"]
    status, document, page = small_benchmarks("--only", "broke", "missed", "hangs")
    assert status == 1
    states = {name: state(found) for name, found in document["benchmarks"].items()}
    assert states == {"met": "met", "missed": "missed", "broke": "broke", "hangs": "broke", "skipped": "skipped"}
    assert document["machine"]["versions"]["torch"]
    assert page.startswith(f"# {document['machine']['processor']}\n")
    for line in (
        "speed: 0.5, wanted at least 1",
        "it ended with status 1",
        "it was stopped after 15 s",
        "no such thing",
    ):
        assert line in page
    status, document, page = small_benchmarks("--only", "met")
    assert (status, len(document["benchmarks"])) == (0, len(BODIES))
    assert "it ended with status 1" in page  # as before


def test_a_missed_floor_is_status_1(small_benchmarks):
    assert small_benchmarks("--only", "missed")[0] == 1


def test_the_page_is_what_the_files_say(benchmark_module):
    page = benchmark_module("speed_page")
    text = (ROOT / "docs" / "speed.md").read_text()
    assert page.with_results(text, page.tables(page.documents(ROOT / "docs" / "speed"))) == text


def test_the_chart_is_what_the_files_say(benchmark_module):
    chart = benchmark_module("speed_chart")
    text = chart.PICTURE.read_text()
    assert text == chart.picture(list(chart.panels()))
    shown = re.findall(r">([\d.]+)×<", text)  # noqa: RUF001
    measured = [json.loads(path.read_text())["benchmarks"] for path in sorted((ROOT / "docs" / "speed").glob("*.json"))]
    for benchmarks, processor in zip(measured, text.split('font-size="13"')[1:], strict=True):
        for name in ("encode", "query_latency"):
            for row in ("Pyserini", "onnx int8"):
                ratio, *_ = benchmarks[name]["rows"][row]["times Pyserini"]
                assert f">{ratio:.1f}×<" in processor  # noqa: RUF001
    assert len(shown) == text.count("<rect")
    with_amx = [
        "amx" in json.loads(path.read_text())["machine"]["processor"]
        for path in sorted((ROOT / "docs" / "speed").glob("*.json"))
    ]
    assert sorted(set(with_amx)) == [False, True]
    assert [" with AMX, " in each for each in text.split('font-size="13"')[1:]] == with_amx


def test_a_new_column_leaves_the_others_as_they_were(benchmark_module):
    page = benchmark_module("speed_page")
    known = page.documents(ROOT / "docs" / "speed")
    other = copy.deepcopy(known[0])
    other["machine"]["processor"] = "Another"
    for result in other["benchmarks"].values():
        result["rows"] = {"a new row": dict.fromkeys(result["columns"], 1)}
    for shown in page.TABLES:
        before, after = list(page.table(shown, known)), list(page.table(shown, [*known, other]))
        assert [line[:-1] for line in after[: len(before)]] == before
        in_other = shown.benchmark in other["benchmarks"]
        assert [line[0] for line in after[len(before) :]] == ["a new row"] * in_other
    floors = page.floors(known).splitlines()
    assert all(
        line.startswith(old)
        for line, old in zip(page.floors([*known, other]).splitlines()[2:], floors[2:], strict=True)
    )
