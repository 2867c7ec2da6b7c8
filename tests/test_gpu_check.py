"""`make gpu-check` with tiny sizes on the CPU, in an environment with torch, transformers and what these bring."""

from __future__ import annotations

import copy
import itertools
import json
import os
import re
import subprocess
import sys
import time
import venv
from importlib.metadata import distributions
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

import pyserini_tasb
from pyserini_tasb.data.kmeans import kmeans
from pyserini_tasb.models.backends import TorchModel
from pyserini_tasb.models.queues import TorchQueue
from pyserini_tasb.recipes.types import EncoderCard
from pyserini_tasb.training.config import TrainConfig
from tests.conftest import TINY, TINY_MODEL
from tests.models.packed_attention import each_by_itself

ROOT = Path(__file__).parents[1]
GPU = ROOT / "benchmarks" / "gpu"
# What is installed on a machine that has torch and little else. Newer versions of transformers bring pydantic; those of
# a machine without a network may not.
INSTALLED, ABSENT = {"torch", "transformers", "numpy", "safetensors", "pytest"}, {"pydantic", "pydantic-core"}


@pytest.fixture
def gpu_module(benchmark_module, monkeypatch):
    """Imports a script of benchmarks/gpu by its name."""
    monkeypatch.syspath_prepend(str(GPU))
    # What the scripts set, for themselves and for what they start.
    for variable in ("PYTHONPATH", "HF_HUB_OFFLINE", "TQDM_DISABLE", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(variable, os.environ.get(variable, ""))
    return benchmark_module


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
    """The exit status, what was said, the document, the page, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("gpu-out")
    command = [bare_python, GPU / "check.py", "--quick", "--folder", folder, "--limit", "300"]
    start = time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=_environment())
    seconds = time.monotonic() - start
    (document,) = folder.glob("*.json")
    said = done.stdout + done.stderr
    return done.returncode, said, json.loads(document.read_text()), document.with_suffix(".md").read_text(), seconds


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
    status, said, document, _, seconds = checked
    assert status == 0, said
    parts = document["benchmarks"]
    assert list(parts) == list(gpu_module("check").LIMITS)
    assert not [name for name, part in parts.items() if "broke" in part], said
    assert [floor for part in parts.values() for floor in part["floors"] if not floor["met"]] == []
    assert seconds < 180  # a minute where nothing else runs
    assert document["machine"]["versions"]["torch"] == torch.__version__


def test_the_parts_measure_what_they_say(checked):
    parts = checked[2]["benchmarks"]
    assert set(parts["table_1"]["rows"]) == {"batches of 1", "batches of 10", "batches of 100"}
    for row in parts["table_1"]["rows"].values():
        assert row["total ms"] == pytest.approx(row["encode ms"] + row["search ms"], rel=1e-6)
        assert row["total p99"] >= row["total ms"]
        assert "paper ms" not in row  # that is of as many vectors as MS MARCO has
    encoding = parts["encoding_speed"]
    assert encoding["rows"]["tokens to vectors, fp32"]["least cosine"] > 0.9999
    assert 0 < encoding["rows"]["tokens to vectors, fp32"]["% of the peak"] < 100
    assert encoding["notes"][0].startswith("200 passages of ")
    skipped = " ".join(skip for part in parts.values() for skip in part["skipped"])
    assert "ONNX Runtime: onnxruntime is not installed" in skipped
    assert "faiss-gpu: faiss is not installed" in skipped
    judged = [floor["what"] for floor in parts["training_speed"]["floors"]]
    assert judged[0].startswith("mean loss in fp32 beside the CPU's")
    assert "killed and resumed, the same bytes" in judged
    assert parts["training_speed"]["rows"]["batches of 4"]["ms a step"] > 0
    assert any("torch finds no GPU" in note for note in parts["doctor"]["notes"])
    (tests,) = parts["bare_tests"]["rows"].values()
    assert (tests["failed"], tests["skipped"]) == (0, 0)
    assert tests["passed"] > 10


def test_the_page_has_the_numbers_of_the_json(checked, gpu_module):
    _, said, document, page, _ = checked
    measuring = gpu_module("measuring")
    assert page.startswith(f"# {document['machine']['processor']}\n")
    for name, part in document["benchmarks"].items():
        assert f"\n## {name}\n\n{measuring.markdown(part)}\n" in page, said
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
    "hangs": "import subprocess, time; subprocess.Popen(['sleep', '321.5']); time.sleep(60)",
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
    monkeypatch.setattr(check, "LIMITS", dict.fromkeys(BODIES, 60) | {"hangs": 6})
    monkeypatch.setattr(check, "WITH_PASSAGES", {"met"})

    def run(*given):
        monkeypatch.setattr(sys, "argv", ["check.py", "--quick", "--folder", str(tmp_path / "out"), *given])
        status = check.main()
        (document,) = (tmp_path / "out").glob("*.json")
        return status, json.loads(document.read_text())["benchmarks"], document.with_suffix(".md").read_text()

    return run


def test_a_part_that_fails_or_takes_too_long_hides_no_other(small_parts):
    status, parts, page = small_parts("--passages", "some.tsv")
    assert status == 1
    assert list(parts) == list(BODIES)
    assert parts["breaks"]["broke"] == "it ended with status 1"
    assert parts["hangs"]["broke"] == "it was stopped after 6 s"
    # The results from before the failure are kept.
    assert all(part["rows"] == {"first tiny": {"seconds": 1.0}} for part in parts.values())
    assert parts["met"]["notes"] == ["of some.tsv"]
    assert "complete" not in parts["met"]
    for line in ("It broke: it was stopped after 6 s.", "MISSED: speed 0.5, wanted at least 1", "of some.tsv"):
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
    assert sum(limits.values()) <= 300
    assert all((GPU / f"{name}.py").exists() for name in limits)


def test_an_unknown_setting_is_refused(gpu_module):
    settings = gpu_module("settings")
    config = settings.training_configuration(batch_size=96, data__pairs="pairs", loss__alpha=0.5)
    assert (config.batch_size, config.data.pairs, config.loss.alpha) == (96, Path("pairs"), 0.5)
    assert config.loss.needs_teacher
    with pytest.raises(KeyError):
        settings.training_configuration(loss__beta=1)


def test_operations_are_those_that_torch_counts(gpu_module):
    """Attention on CPUs is not counted by every version of torch."""
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import DistilBertConfig, DistilBertModel

    from pyserini_tasb.models.bert_dot import BertDot

    config = DistilBertConfig(vocab_size=50, dim=32, n_layers=3, n_heads=2, hidden_dim=64)
    model = BertDot(DistilBertModel(config)).eval()
    ids = torch.randint(3, 50, (4, 20))
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(ids, torch.ones_like(ids))
    expected = gpu_module("encoding_speed").operations(config, [20] * 4)
    attention = 4 * config.dim * (2 * 4 * 20**2 + 4 * 20)
    assert counter.get_total_flops() in {expected, expected - attention}


def test_layers_are_compiled_once_for_any_number_of_tokens(gpu_module):
    """Layers are only traced here, not compiled: a GPU has to tell whether it pays."""
    from torch._dynamo.testing import CompileCounter
    from transformers import DistilBertConfig, DistilBertModel

    from pyserini_tasb.models.bert_dot import BertDot
    from pyserini_tasb.models.on_gpu import pack_texts

    config = DistilBertConfig(vocab_size=50, dim=16, n_layers=4, n_heads=2, hidden_dim=32, dropout=0.0)
    plain = BertDot(DistilBertModel(config)).eval()
    compiled = copy.deepcopy(plain)
    for model in (plain, compiled):
        pack_texts(model.transformer, each_by_itself)
    counter = CompileCounter()
    gpu_module("training_speed").compile_layers(SimpleNamespace(model=compiled), counter)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    counts = []
    for lengths in ([3, 9, 1, 4], [5, 2], [30, 6, 7, 7, 7]):
        mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
        vectors = [model(3 * mask, mask) for model in (plain, compiled)]
        torch.testing.assert_close(*vectors)
        counts.append(counter.frame_count)
    assert 0 < counts[0] == counts[-1]


def test_the_mixture_has_clusters(gpu_module):
    vectors = gpu_module("clustering").mixture(400, 4, 64, "cpu")
    assert vectors.shape == (400, 64)
    assert vectors.dtype == np.float32
    assert kmeans(vectors, 4, device="cpu").objective[-1] > 0


def test_the_clock_of_the_pipeline_reads_that_of_the_gpu(gpu_module, monkeypatch, tmp_path):
    """Each event is a millisecond after the one before: of a batch's seven, three are copies."""
    ticks = itertools.count()

    class Event:
        def __init__(self, *, enable_timing):
            assert enable_timing

        def record(self):
            self.tick = next(ticks)

        def elapsed_time(self, later):
            return later.tick - self.tick

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(TorchModel, "queue", lambda model, pad_id: TorchQueue(model.module, "cpu", pad_id))
    clock = gpu_module("pipeline_clock").PipelineClock(time.time())
    begin = TorchQueue.begin
    with clock:
        given = {"encoder": str(TINY_MODEL), "device": "cpu", "backend": "torch", "unit_size": 20}
        pyserini_tasb.encode(TINY / "corpus.jsonl", output=tmp_path / "out", **given)
    assert TorchQueue.begin is begin
    found = clock.report()
    assert 0 < found["passages"] < 123
    assert found["% computing"] / found["% copies"] == pytest.approx(4 / 3)
    assert found["to the first vectors"] > 0


@pytest.mark.parametrize(
    ("shares", "said"),
    [((95, 1, 0), "the kernels"), ((40, 50, 0), "the copies"), ((50, 1, 40), "the tokens"), ((50, 1, 5), "Python")],
)
def test_the_limit_of_the_pipeline_is_said(gpu_module, shares, said):
    module = gpu_module("encoding_speed")
    found = module.limit(dict(zip(module.SHARES, shares, strict=True)))
    assert found.startswith(f"the pipeline's limit: {said}")
