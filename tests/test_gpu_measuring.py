"""The parts of `make gpu-check`: they measure and judge rightly, tested without a GPU and in a time of their own."""

from __future__ import annotations

import copy
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pyserini_tasb.data.kmeans import kmeans
from pyserini_tasb.models.queues import in_turn
from tests.conftest import TINY_MODEL
from tests.models.packed_attention import each_by_itself


class Notes:
    """A stand-in for a benchmark's `Results`, which keeps all that it is told."""

    def __init__(self):
        self.rows, self.skipped, self.notes = {}, [], []

    def skip(self, what, why):
        self.skipped.append(f"{what}: {why}")

    def note(self, text):
        self.notes.append(text)

    def has(self, *_):
        return True

    def write(self):
        pass


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


class Pipeline:
    """A GPU and processes that tokenise, in a time of their own; units of 100 passages are one batch each.

    Args:
        processes: those that tokenise; each holds a unit.
        tokenising: seconds that a process takes for a unit.
        computing: seconds that the GPU takes for it.
    """

    def __init__(self, processes, tokenising, computing):
        self.now, self.free = 1_000.0, 0.0
        self.tokenising, self.computing = tokenising, computing
        self.tokenised = SimpleNamespace(pids=range(processes))
        self.encoder = SimpleNamespace(device="cpu", batches_ahead=lambda _: 4)

    def units(self, tokenised, numbers):
        ready = [0.0 for _ in tokenised.pids]
        for number in numbers:
            process = number % len(ready)
            waited = max(0.0, ready[process] - self.now)
            self.now += waited
            ready[process] = self.now + self.tokenising
            yield number, waited

    def begin_tokens(self, _encoder, _token_ids, _lengths):
        done = self.free = max(self.free, self.now) + self.computing

        def wait():
            self.now = max(self.now, done)

        return wait

    def measured(self, module, monkeypatch, *, units, seconds):
        """The clock's report."""
        stopped = []
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: self.now, perf_counter=lambda: self.now))
        monkeypatch.setattr(module, "signal", SimpleNamespace(SIGINT=2, raise_signal=stopped.append))
        monkeypatch.setattr(module.TokenisedUnits, "units", self.units)
        monkeypatch.setattr(module.TextEncoder, "begin_tokens", self.begin_tokens)

        def begun():
            for unit, _ in module.TokenisedUnits.units(self.tokenised, range(units)):
                if stopped:
                    return
                yield unit, module.TextEncoder.begin_tokens(self.encoder, None, np.full(100, 80))

        with module.PipelineClock(self.now - 7, seconds) as clock:
            list(in_turn(begun(), 4))
        return clock


@pytest.mark.parametrize(
    ("tokenising", "computing", "rate", "without_tokens"),
    [(4.0, 0.1, 100, 100), (4.0, 0.9, 100, 100), (0.2, 0.1, 1_000, 0), (0.1, 0.5, 200, 0)],
)
def test_tokens_that_are_held_ready_do_not_count(gpu_module, monkeypatch, tokenising, computing, rate, without_tokens):
    """Four processes hold four units when the first vectors come, which are computed at once."""
    pipeline = Pipeline(4, tokenising, computing)
    clock = pipeline.measured(gpu_module("pipeline_clock"), monkeypatch, units=1_000, seconds=60)
    found = clock.report()
    assert clock.done
    assert found["passages"] / found["seconds"] == pytest.approx(rate, rel=0.05)  # four units come at once
    assert found["tokens"] == 80 * found["passages"]
    assert found["seconds"] == pytest.approx(60, abs=4)
    assert found["% without tokens"] == pytest.approx(without_tokens, abs=1)
    assert found["to the first vectors"] == pytest.approx(7 + computing, abs=4 * tokenising)


def test_a_corpus_that_ends_early_is_timed_while_it_flows(gpu_module, monkeypatch):
    clock = Pipeline(2, 1.0, 0.1).measured(gpu_module("pipeline_clock"), monkeypatch, units=30, seconds=1_000)
    found = clock.report()
    assert not clock.done
    assert found["passages"] / found["seconds"] == pytest.approx(200, rel=0.02)
    speed = gpu_module("encoding_speed")
    monkeypatch.setattr(speed, "encode_corpus", lambda *_: None)
    given = {"corpus": "a.tsv", "output": "out", "device": "cpu", "unit": 1, "seconds": 1, "started": 0}
    with pytest.raises(SystemExit, match="give more --seconds"):
        speed.run_pipeline({"model": "m"}, **given)


def test_the_profile_is_of_a_pipeline_that_flows(gpu_module, monkeypatch):
    module, said = gpu_module("pipeline_clock"), []
    pipeline = Pipeline(4, 4.0, 0.1)
    pipeline.encoder.device = "cuda:0"

    class Profile:
        fault = ""

        def __init__(self, device):
            said.append((device, pipeline.now))

        def begin_window(self):
            said.append(("window", pipeline.now))

        @property
        def seconds(self):
            return pipeline.now - said[-1][1]

        def end(self, waited):
            said.append((waited, pipeline.now))

        def shares(self):
            return (0.2, 0.1, 0.7)

    monkeypatch.setattr(module, "GpuProfile", Profile)
    found = pipeline.measured(module, monkeypatch, units=200, seconds=30).report()
    (device, began), (_, window), (waited, end) = said
    assert device == "cuda:0"
    assert window - began >= 4  # until units come that were not held
    assert end - window == pytest.approx(10, abs=4)
    assert waited == pytest.approx(end - window, rel=0.05)
    assert found["passages"] / found["seconds"] == pytest.approx(100, rel=0.05)
    assert [found[name] for name in module.SHARES] == [20, 10, 70]


@pytest.mark.parametrize("rate", [100, 1_500, 15_000])
@pytest.mark.parametrize("processes", [1, 4, 55])
def test_the_pipeline_gets_many_more_units_than_are_held(gpu_module, rate, processes):
    module = gpu_module("encoding_speed")
    count, unit = module.pipeline_size(rate, processes, 12)
    assert 1 <= unit <= 16_384
    assert unit * processes <= rate * 12 * max(1 / 15, processes / 24)
    passed = 2 * (processes + 1) * unit
    assert count > passed + rate * 12 * (1 + gpu_module("pipeline_clock").PROFILED)


def test_what_a_gpu_does_is_read_from_its_kernels_and_copies(gpu_module):
    clock = gpu_module("pipeline_clock")
    # Before the window: 0 to 10. In it: kernels for 3, of which two run at once, copies for 2, of which 1 beside one.
    spans = [(0, 9, False), (9.5, 11, False), (12, 14, False), (13, 14, False), (13, 15, True), (19, 19, False)]
    assert clock.busy([clock.Span(*span) for span in spans], 9) == (3, 1)

    def event(name, start, end, *, on_gpu=True, mark=False):
        kinds = torch.autograd.DeviceType
        device = kinds.CUDA if on_gpu else kinds.CPU
        times = SimpleNamespace(start=start, end=end)
        return SimpleNamespace(name=name, device_type=device, time_range=times, is_user_annotation=mark)

    events = [
        event("cudaLaunchKernel", 0, 1, on_gpu=False),
        event("a step", 0, 9, mark=True),
        event("void direct_copy_kernel", 1e6, 2e6),
        event("Memcpy DtoD (Device -> Device)", 2e6, 3e6),
        event("Memcpy HtoD (Pinned -> Device)", 3e6, 4e6),
        event("Memcpy DtoH (Device -> Pinned)", 4e6, 5e6),
    ]
    assert list(clock.spans_of(events)) == [(1, 2, False), (2, 3, False), (3, 4, True), (4, 5, True)]


def test_the_profiler_of_torch_counts_microseconds(gpu_module):
    on_cpu = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
    with on_cpu as profile, torch.profiler.record_function("slow"):
        time.sleep(0.1)
    (slow,) = [event for event in profile.events() if event.name == "slow"]
    slow.device_type, slow.is_user_annotation = torch.autograd.DeviceType.CUDA, False
    (span,) = gpu_module("pipeline_clock").spans_of([slow])
    assert 0.1 <= span.end - span.start < 90


def test_the_shares_are_of_the_window(gpu_module, monkeypatch):
    module, now, did = gpu_module("pipeline_clock"), [50.0], []
    kernel = SimpleNamespace(start=1e6, end=4e6)  # the window is of the last 10 s of what is seen
    copy_there = SimpleNamespace(start=4e6, end=4.5e6)
    mark = SimpleNamespace(start=11e6, end=11e6)
    on_gpu = {"device_type": torch.autograd.DeviceType.CUDA, "is_user_annotation": False}
    events = [
        SimpleNamespace(name=name, time_range=times, **on_gpu)
        for name, times in (("gemm", kernel), ("Memcpy HtoD (Pinned -> Device)", copy_there), ("fill", mark))
    ]
    given = {"start": lambda: did.append("start"), "stop": lambda: did.append("stop"), "events": lambda: events}
    monkeypatch.setattr(torch.profiler, "profile", lambda **_: SimpleNamespace(**given))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: did.append("wait"))
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    profile = module.GpuProfile("cpu")
    assert (profile.shares(), profile.fault) == ((), "the corpus ended too early")
    profile = module.GpuProfile("cpu")
    profile.begin_window()
    now[0] += 10
    profile.end(6.0)
    assert did == ["start", "start", "wait", "wait", "stop"]
    assert profile.shares() == pytest.approx((0.3, 0.05, 0.6))
    events.clear()
    assert (profile.shares(), profile.fault) == ((), "torch.profiler saw nothing")


def test_a_profiler_that_fails_costs_only_the_shares(gpu_module, monkeypatch):
    module = gpu_module("pipeline_clock")

    class Refuses:
        def __init__(self, **_):
            raise RuntimeError("no CUPTI here\nat all")

    monkeypatch.setattr(torch.profiler, "profile", Refuses)
    profile = module.GpuProfile("cuda:0")
    profile.begin_window()
    profile.end(1.0)
    assert (profile.shares(), profile.fault) == ((), "no CUPTI here")
    said = gpu_module("encoding_speed").limit({"fault": profile.fault})
    assert said == "the pipeline's limit is not known: no CUPTI here"


@pytest.mark.parametrize(
    ("happens", "said"),
    [
        (subprocess.CalledProcessError(-9, "python"), "its process failed, see above"),
        (subprocess.TimeoutExpired("python", 12), "it took more than 12 s (--limit)"),
        ({"skipped": "RuntimeError: no kernel"}, "RuntimeError: no kernel"),
    ],
)
def test_onnx_runtime_costs_no_other_row(gpu_module, monkeypatch, tmp_path, happens, said):
    module, results = gpu_module("encoding_speed"), Notes()

    def child(*_):
        if isinstance(happens, Exception):
            raise happens
        return happens

    monkeypatch.setattr(module, "child", child)
    left = gpu_module("time_left").TimeLeft(None, results)
    card = SimpleNamespace(values={})
    module.add_onnxruntime(card, "cpu", [], [], np.ones((1, 2)), tmp_path, results, left, judged=True)
    assert results.skipped == [f"ONNX Runtime: {said}"]


@pytest.mark.parametrize("judged", [True, False])
def test_onnx_runtime_is_measured_with_random_weights(gpu_module, monkeypatch, tmp_path, judged):
    from pyserini_tasb.encoding import export

    forced = []

    def refuse(*_, force):
        forced.append(force)
        raise MemoryError("too large")

    monkeypatch.setattr(export, "export_model", refuse)
    card = gpu_module("settings").encoder_card(TINY_MODEL).values
    given = {"texts": "texts.json", "folder": str(tmp_path / "exported"), "judged": judged}
    found = gpu_module("encoding_speed").run_onnxruntime(card, "cpu", **given)
    assert found == {"skipped": "MemoryError: too large"}
    assert forced == [not judged]


@pytest.mark.parametrize(("there", "paper"), [((8_841_823, 768), True), ((8_000_000, 768), False)])
def test_the_papers_times_stand_beside_as_many_vectors(gpu_module, monkeypatch, there, paper):
    module, results, told = gpu_module("table_1"), Notes(), []
    vectors = type("Vectors", (), {"shape": there, "nbytes": 0, "__len__": lambda _: there[0]})()
    encoder = SimpleNamespace(dimension=768, computes=lambda: "torch fp32")
    monkeypatch.setattr(module, "random_vectors", lambda *_: vectors)
    monkeypatch.setattr(module, "TextEncoder", lambda *_, **__: encoder)
    monkeypatch.setattr(module, "TorchFlat", lambda *_, **__: SimpleNamespace(search=None))
    monkeypatch.setattr(module, "add_recall", lambda *_: None)
    for name in ("add_row", "add_faiss"):
        monkeypatch.setattr(module, name, lambda *_, as_in_paper: told.append(as_in_paper))
    arguments = SimpleNamespace(vectors=8_841_823, batches=[1, 10], depth=1_000)
    module.measure(arguments, "cpu", TINY_MODEL, [], results)
    assert told == [paper] * 3
    assert ("no more vectors fit" in " ".join(results.notes)) is not paper


def test_half_precision_is_compared_with_vectors_in_fp32(gpu_module, monkeypatch):
    module, given = gpu_module("table_1"), []

    class Recorded(module.TorchFlat):
        def __init__(self, blocks, **options):
            given.append((blocks[0].dtype, options.get("precision", "fp32")))
            super().__init__(blocks, **options)

    monkeypatch.setattr(module, "TorchFlat", Recorded)
    results, floors = Notes(), {}
    results.floor = lambda what, found, least: floors.update({what: (found, least)})
    module.add_recall(32, "cpu", SimpleNamespace(recall_vectors=500, depth=20), results)
    half = [(torch.float32, "bf16"), (torch.float32, "fp16"), (torch.float16, "fp16")]
    assert given == [(torch.float32, "fp32"), *half]
    assert [least for _, least in floors.values()] == [0.999] * 3


def test_cudas_own_memory_is_part_of_11_gib(gpu_module, monkeypatch):
    module, results = gpu_module("training_speed"), Notes()
    shares = []
    total = 100 * 2**30
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 2 * 2**30)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, _: shares.append(100 * share))
    monkeypatch.setattr(module, "add_speed", lambda *_, **__: None)
    for of_others in (0, 50):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, used=of_others: ((97.25 - used) * 2**30, total))
        module.add_small_gpu({}, 1, "cuda:0", results)
    assert shares == pytest.approx([10.25, 100, 10.5, 100])
    assert results.notes[0] == "at most 11 GiB: 10.25 for torch, 0.75 for CUDA itself"


def test_the_teacher_is_on_the_students_gpu(gpu_module, monkeypatch):
    module = gpu_module("training_speed")
    monkeypatch.setattr(module, "ColBertTeacher", lambda scorer, _: scorer)
    monkeypatch.setattr(module, "ColBertScorer", lambda _, options: SimpleNamespace(device=options.device, tokenizer=0))
    student = SimpleNamespace(device="cuda:0", compute=torch.float32)
    request = SimpleNamespace(student=student, device="cuda:1", model="m", tokens=lambda _: None)
    assert module.colbert_of_a_folder(request).device == "cuda:0"


def test_rows_of_training_are_expected_to_take_as_long_as_others(gpu_module, monkeypatch):
    module, results = gpu_module("training_speed"), Notes()
    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def add_speed(_, size, *__):
        now[0] += 9 + 2 * size / 32  # 25 steps in 2 s
        results.rows[f"batches of {size}"] = {"ms a step": 2_000 * size / 32 / 25}

    monkeypatch.setattr(module, "add_speed", add_speed)
    rows = module.PaperRows({}, 20, "cpu", results)
    assert rows.seconds(32) == module.FIRST_SECONDS
    rows.add(32)
    assert [rows.seconds(size) for size in (32, 96, 256)] == pytest.approx([11, 15, 25])


def test_training_measures_first_what_matters_most(gpu_module, monkeypatch):
    module, results, order = gpu_module("training_speed"), Notes(), []
    monkeypatch.setattr(module, "add_speed", lambda _, size, *__, name="", **___: order.append(f"{size}{name}"))
    for name in ("add_small_gpu", "add_killed_run", "add_losses", "add_peer", "add_compiled"):
        monkeypatch.setattr(module, name, lambda *_, name=name: order.append(name))
    arguments = SimpleNamespace(limit=None, steps=2, batches=[32, 96, 256])
    module.measure({}, Path(), "cuda:0", arguments, results)
    first = ["32", "add_small_gpu", "add_killed_run", "96", "256", "add_losses"]
    assert order == [*first, "32, with padding", "add_peer", "add_compiled"]
    order.clear()
    arguments.limit = 1e-9
    module.measure({}, Path(), "cuda:0", arguments, results)
    assert not order
    assert [line.partition(":")[0] for line in results.skipped][:3] == [
        "batches of 32",
        "batches of 32, at most 11 GiB",
        "a run that is killed",
    ]


@pytest.mark.parametrize(
    ("shares", "said"),
    [((95, 1, 0), "the kernels"), ((40, 50, 0), "the copies"), ((50, 1, 40), "the tokens"), ((50, 1, 5), "Python")],
)
def test_the_limit_of_the_pipeline_is_said(gpu_module, shares, said):
    module = gpu_module("encoding_speed")
    found = module.limit(dict(zip(module.SHARES, shares, strict=True)))
    assert found.startswith(f"the pipeline's limit: {said}")
