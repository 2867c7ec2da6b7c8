"""`make gpu-check` with tiny sizes on the CPU, in an environment with torch, transformers and what these bring."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import venv
from importlib.metadata import distributions
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from pyserini_tasb.recipes.types import EncoderCard
from pyserini_tasb.training.config import TrainConfig
from tests.processes import marked

ROOT = Path(__file__).parents[1]
GPU = ROOT / "benchmarks" / "gpu"
# What is installed on a machine that has torch and little else. Newer versions of transformers bring pydantic; those of
# a machine without a network may not.
INSTALLED, ABSENT = {"torch", "transformers", "numpy", "safetensors", "pytest"}, {"pydantic", "pydantic-core"}


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """A Python with links to the packages of `INSTALLED`, and to those that they require."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(folder, symlinks=True)
    known = {_name(each.metadata["Name"]): each for each in distributions()}
    wanted, seen = set(INSTALLED), set(ABSENT)
    (packages,) = folder.glob("lib/python*/site-packages")
    while wanted:
        name = wanted.pop()
        seen.add(name)
        if name not in known:  # for other systems or versions of Python
            continue
        required = (line for line in known[name].requires or () if "extra ==" not in line)
        wanted |= {_name(re.match(r"[\w.-]+", line)[0]) for line in required} - seen
        for file in known[name].files or ():
            top = file.parts[0]
            source = Path(known[name].locate_file(top))
            if top not in {"..", "__pycache__", "bin"} and source.exists() and not (packages / top).is_symlink():
                (packages / top).symlink_to(source)
    return folder / "bin" / "python"


def _name(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def checked(bare_python, tmp_path_factory):
    """The exit status, what was said, the document, and the page."""
    folder = tmp_path_factory.mktemp("gpu-out")
    command = [bare_python, GPU / "check.py", "--quick", "--folder", folder, "--limit", "900"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=_environment())
    (document,) = folder.glob("*.json")
    said = done.stdout + done.stderr
    return done.returncode, said, json.loads(document.read_text()), document.with_suffix(".md").read_text()


def _environment():
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    return kept | {"CUDA_VISIBLE_DEVICES": ""}


def test_the_environment_has_little(bare_python):
    names = ["torch", "transformers", "pydantic", "pyserini", "faiss", "ir_measures", "sklearn", "pyserini_tasb"]
    code = f"import importlib.util as u; print([bool(u.find_spec(name)) for name in {names}])"
    command = [bare_python, "-P", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment())
    assert done.stdout.strip() == str([True, True, *[False] * 6])


def test_every_part_runs(checked, gpu_module):
    status, said, document, _ = checked
    assert status == 0, said
    parts = document["benchmarks"]
    assert list(parts) == list(gpu_module("check").LIMITS)
    assert not [name for name, part in parts.items() if "broke" in part], said
    assert [floor for part in parts.values() for floor in part["floors"] if not floor["met"]] == []
    assert document["machine"]["versions"]["torch"] == torch.__version__


def test_the_parts_measure_what_they_say(checked):
    parts = checked[2]["benchmarks"]
    recall = {name: row for name, row in parts["table_1"]["rows"].items() if "recall" in row}
    formats = ("bf16", "fp16", "fp16, vectors stored in fp16")
    assert list(recall) == [f"{name} beside fp32, 2,000 vectors" for name in formats]
    searched = {name: row for name, row in parts["table_1"]["rows"].items() if name not in recall}
    assert list(searched) == ["batches of 1", "batches of 10", "batches of 100"]
    for row in searched.values():
        assert row["total ms"] == pytest.approx(row["encode ms"] + row["search ms"], rel=1e-6)
        assert row["total p99"] >= row["total ms"]
        assert "paper ms" not in row  # that is of as many vectors as MS MARCO has
    encoding = parts["encoding_speed"]
    assert encoding["rows"]["tokens to vectors, fp32"]["least cosine"] > 0.9999
    assert 0 < encoding["rows"]["tokens to vectors, fp32"]["% of the peak"] < 100
    assert encoding["notes"][0].startswith("200 passages of CACM, ")
    (flowing,) = [row for name, row in encoding["rows"].items() if name.endswith(", once it flows")]
    assert flowing["passages/s"] > 0
    assert 0 < flowing["% of the peak"] < 100
    skipped = " ".join(skip for part in parts.values() for skip in part["skipped"])
    assert "ONNX Runtime: onnxruntime is not installed" in skipped
    assert "faiss-gpu: faiss is not installed" in skipped
    judged = [floor["what"] for floor in parts["training_speed"]["floors"]]
    assert judged[0] == "killed and resumed, the same bytes"
    assert judged[1].startswith("mean loss in fp32 beside the CPU's")
    assert parts["training_speed"]["rows"]["batches of 4"]["ms a step"] > 0
    assert any("torch finds no GPU" in note for note in parts["doctor"]["notes"])
    (tests,) = parts["bare_tests"]["rows"].values()
    assert (tests["failed"], tests["skipped"]) == (0, 0)
    assert tests["passed"] > 10


def test_the_page_has_the_numbers_of_the_json(checked, gpu_module):
    _, said, document, page = checked
    measuring = gpu_module("measuring")
    assert page.startswith(f"# {document['machine']['processor']}\n")
    for name, part in document["benchmarks"].items():
        measured = gpu_module("every_benchmark").measured(part, document["machine"])
        assert f"\n## {name}\n\n{measured}\n\n{measuring.markdown(part)}\n" in page, said
        for row, values in part["rows"].items():
            columns = [(column, form) for column, form in part["columns"].items() if column in values]
            (line,) = [line for line in page.splitlines() if line.startswith(f"| {row} |")]
            shown = [cell for cell in line.strip("| ").split(" | ")[1:] if cell]
            assert shown == [measuring.formatted(values[column], form) for column, form in columns]


SMALL = """
import sys
sys.path[:0] = [{folder!r}, {root!r}]
from measuring import Options, Results
parser = Options(__file__, "Small.", quick={{"size": "tiny"}})
parser.add_argument("--size", default="whole")
parser.add_argument("--passages")
arguments = parser.parse_args()
results = Results(arguments, {{"seconds": ".1f"}})
results.rows["first " + arguments.size] = {{"seconds": 1.0}}
results.write()
{body}
sys.exit(results.finish())
"""
BODIES = {
    "breaks": "1 / 0",
    "hangs": "import subprocess, time; subprocess.Popen(['sleep', '321.5']); time.sleep(600)",
    "missed": "results.floor('speed', 0.5, least=1)",
    "met": "results.note(f'of {arguments.passages}')",
}


@pytest.fixture
def small_parts(gpu_module, monkeypatch, tmp_path):
    """`check`, of small parts."""
    check = gpu_module("check")
    for name, body in BODIES.items():
        (tmp_path / f"{name}.py").write_text(SMALL.format(folder=str(ROOT / "benchmarks"), root=str(ROOT), body=body))
    monkeypatch.setattr(check, "HERE", tmp_path)
    monkeypatch.setattr(check, "LIMITS", dict.fromkeys(BODIES, 300) | {"hangs": 25})
    monkeypatch.setattr(check, "WITH_PASSAGES", {"met"})

    def run(*given):
        monkeypatch.setattr(sys, "argv", ["check.py", "--quick", "--folder", str(tmp_path / "out"), *given])
        status = check.main()
        (document,) = (tmp_path / "out").glob("*.json")
        return status, json.loads(document.read_text())["benchmarks"], document.with_suffix(".md").read_text()

    return run


def test_each_part_says_its_commit_date_and_files(small_parts, gpu_module, monkeypatch):
    measuring = gpu_module("measuring")
    for commit, name, given in (("aaaaaaa", "met", ["--passages", "some.tsv"]), ("bbbbbbb", "missed", [])):
        monkeypatch.setenv("COMMIT", commit)
        _, parts, page = small_parts("--part", name, *given)
    changes = "+" * measuring.commit().endswith("+")
    today = parts["met"]["machine"]["date"]
    for name, commit, files in (("met", "aaaaaaa", ", passages some.tsv"), ("missed", "bbbbbbb", "")):
        assert f"## {name}\n\nCommit {commit}{changes}, {today}, small sizes (`--quick`){files}.\n" in page
    parts["met"]["machine"]["versions"]["torch"] = "1.0"
    said = gpu_module("every_benchmark").measured(parts["met"], parts["missed"]["machine"])
    assert said.endswith(", passages some.tsv, torch 1.0.")


def test_other_sizes_have_files_of_their_own(small_parts, gpu_module, monkeypatch, tmp_path):
    small_parts("--part", "met")
    check, every = gpu_module("check"), gpu_module("every_benchmark")
    (small,) = (tmp_path / "out").glob("*.json")
    assert small.stem.endswith("-quick")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(check, "machine", lambda: {**json.loads(small.read_text())["machine"], "gpu": "Some GPU"})
    monkeypatch.setattr(every, "page", lambda _: "")
    monkeypatch.setattr(sys, "argv", ["check.py", "--folder", str(tmp_path / "out"), "--part", "missed"])
    whole = tmp_path / "out" / "some-gpu.json"
    whole.write_text(small.read_text())  # as earlier versions mixed them
    assert check.main() == 1
    parts = json.loads(whole.read_text())["benchmarks"]
    assert {name: list(part["rows"]) for name, part in parts.items()} == {"missed": ["first whole"]}


CHECK_SMALL = """
import sys
from pathlib import Path
sys.path[:0] = [{gpu!r}, {benchmarks!r}]
import check
check.HERE = Path({parts!r})
check.LIMITS = dict.fromkeys(["met", "hangs"], 600)
sys.exit(check.main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_is_stopped_ends_its_part_and_keeps_its_rows(small_parts, tmp_path, number):
    script = tmp_path / "check_small.py"
    script.write_text(CHECK_SMALL.format(gpu=str(GPU), benchmarks=str(GPU.parent), parts=str(tmp_path)))
    command = [sys.executable, str(script), "--quick", "--folder", str(tmp_path / "out"), "--part"]
    with marked([*command, "hangs"]) as process:
        process.wait_until(lambda: list((tmp_path / "out").glob("*.hangs.part")))
        process.popen.send_signal(number)
        assert process.popen.wait() == (-number if number == signal.SIGKILL else 128 + number)
        left = process.orphans(0 if number == signal.SIGKILL else 15)
        assert number == signal.SIGKILL or not left
    if number == signal.SIGKILL:
        assert not list((tmp_path / "out").glob("*.json"))
        subprocess.run([*command, "met"], check=True, capture_output=True)
    (document,) = (tmp_path / "out").glob("*.json")
    part = json.loads(document.read_text())["benchmarks"]["hangs"]
    assert part["rows"] == {"first tiny": {"seconds": 1.0}}
    reason = "this program was killed meanwhile" if number == signal.SIGKILL else "it was stopped by a signal"
    assert part["broke"] == reason
    assert reason in document.with_suffix(".md").read_text()
    assert not list((tmp_path / "out").glob("*.part"))


def test_a_part_that_fails_or_takes_too_long_hides_no_other(small_parts):
    status, parts, page = small_parts("--passages", "some.tsv")
    assert status == 1
    assert list(parts) == list(BODIES)
    assert parts["breaks"]["broke"] == "it ended with status 1"
    assert parts["hangs"]["broke"] == "it was stopped after 25 s"
    # The results from before the failure are kept.
    assert all(part["rows"] == {"first tiny": {"seconds": 1.0}} for part in parts.values())
    assert parts["met"]["notes"] == ["of some.tsv"]
    assert "complete" not in parts["met"]
    for line in ("It broke: it was stopped after 25 s.", "MISSED: speed 0.5, wanted at least 1", "of some.tsv"):
        assert line in page
    assert page.count("| first tiny | 1.0 |") == 4
    left = subprocess.run(["pgrep", "-f", "sleep 321.5"], capture_output=True, text=True, check=False)
    assert not left.stdout  # nothing that it started
    # One part alone keeps what the others said.
    status, parts, page = small_parts("--part", "met")
    assert (status, list(parts)) == (0, list(BODIES))
    assert parts["met"]["notes"] == ["of None"]
    assert "## missed" in page


def leaves(values, path=()):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def fields(model, path=()):
    """The keys of a class of pydantic, with those of its sections that are not left out."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and hasattr(inner, "model_fields"):
            yield from fields(inner, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize(("name", "model"), [("card", EncoderCard), ("paper", TrainConfig)])
def test_settings_without_pydantic_are_those_of_the_classes(name, model):
    values = yaml.safe_load((GPU / f"{name}.yaml").read_text())
    assert {path for path, _ in leaves(values)} == set(fields(model))
    made = model.model_validate(values)
    for path, value in leaves(values):
        found = made
        for key in path:
            found = getattr(found, key)
        assert (list(found) if isinstance(found, tuple) else str(found) if isinstance(found, Path) else found) == value


def test_the_documentation_has_the_parts_and_their_limits(gpu_module):
    limits = gpu_module("check").LIMITS
    page = (ROOT / "docs" / "gpu.md").read_text()
    found = re.findall(r"^\| `(\w+)` \| .* \| (\d+) s \|$", page, re.MULTILINE)
    assert {name: int(seconds) for name, seconds in found} == limits
    assert sum(limits.values()) <= 285  # the start of check.py itself comes on top
    assert all((GPU / f"{name}.py").exists() for name in limits)


def test_an_unknown_setting_is_refused(gpu_module):
    settings = gpu_module("settings")
    config = settings.training_configuration(batch_size=96, data__pairs="pairs", loss__alpha=0.5)
    assert (config.batch_size, config.data.pairs, config.loss.alpha) == (96, Path("pairs"), 0.5)
    assert config.loss.needs_teacher
    with pytest.raises(KeyError):
        settings.training_configuration(loss__beta=1)


def test_rows_without_time_are_skipped(gpu_module, monkeypatch):
    module, added, skipped = gpu_module("time_left"), [], []
    results = SimpleNamespace(skip=lambda what, why: skipped.append(f"{what}: {why}"))
    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(module.checkout, "STARTED", 0.0)
    left = module.TimeLeft(32, results)
    left.add("first", lambda: added.append("first"), expected=30)
    now[0] = 25.0
    left.add("second", lambda: added.append("second"), expected=6)
    left.add("third", lambda: added.append("third"), expected=5)

    def hang():
        try:
            time.sleep(60)
        except Exception:  # noqa: BLE001 - the time is no fault
            added.append("hidden")

    now[0] = 29.9
    left.add("fourth", hang, expected=0)
    assert added == ["first", "third"]
    assert skipped == [
        "second: 5 s are left, and it takes about 6 s (--limit)",
        "fourth: it took more than 0 s",
    ]
    assert module.TimeLeft(None, results).seconds == float("inf")


def test_padding_leaves_the_users_own_variable(gpu_module, monkeypatch):
    module = gpu_module("model_files")
    for before in (None, "1", "0"):
        if before is None:
            monkeypatch.delenv(module.PACKING_VARIABLE, raising=False)
        else:
            monkeypatch.setenv(module.PACKING_VARIABLE, before)
        with module.padding():
            assert os.environ[module.PACKING_VARIABLE] == "0"
        assert os.environ.get(module.PACKING_VARIABLE) == before
