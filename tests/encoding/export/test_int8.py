"""int8 by measurement: which weights are taken, for which texts, where that is kept, and how a user decides instead."""

from __future__ import annotations

import itertools
import json
import time

import numpy as np
import pytest

from pyserini_tasb import TasbError
from pyserini_tasb.encoding import int8, onnx_runtime
from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.encoding.int8 import best_bits, timed
from pyserini_tasb.encoding.onnx_runtime import cache_folder, cached_export, cached_timings
from pyserini_tasb.environment.processor import processor
from pyserini_tasb.models.onnx import Accuracy, Timing, read_about
from pyserini_tasb.recipes.types import EncoderCard
from tests.command_line import tasb
from tests.conftest import TINY, TINY_MODEL
from tests.encoding.conftest import write_timing


def card(**keys):
    return EncoderCard(name="tiny", model=str(TINY_MODEL), **keys)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def accuracy(cosine):
    return Accuracy(passages=1, queries=1, cosine_mean=cosine, cosine_min=cosine, overlap_at_10=1, rbo=1)


@pytest.mark.parametrize(
    ("cosines", "passages", "queries", "bits"),
    [
        # 8 and 7 bits: cosines, and times beside fp32's 100
        ((0.9998, 0.9997), (65, 64), (44, 50), 8),  # as issue 20 measured with AVX2: as fast, and more accurate
        ((0.9996, 0.9997), (65, 66), (44, 44), 7),  # as fast, and less accurate: saturated
        ((0.97, 0.9997), (40, 80), (40, 80), 7),  # not accurate enough, however fast
        ((0.9998, 0.9997), (80, 60), (80, 60), 7),  # slower
        ((0.9998, 0.9997), (100, 60), (20, 60), 8),  # both kinds of texts count
        ((0.5, 0.6), (65, 64), (50, 50), 7),  # none is accurate: whoever forces the export gets the nearest
        ((float("nan"), 0.99), (50, 90), (50, 90), 7),
    ],
)
def test_the_most_accurate_of_the_fastest_weights(cosines, passages, queries, bits):
    accuracies = {8: accuracy(cosines[0]), 7: accuracy(cosines[1])}
    times = [{"fp32": 100, "int8 of 8 bits": eight, "int8 of 7 bits": seven} for eight, seven in (passages, queries)]
    assert best_bits(accuracies, Timing(passages=times[0], queries=times[1], threads=2)) == bits


class Sleeper:
    """A graph whose batches take so many milliseconds, the first one far more."""

    def __init__(self, name, milliseconds, turns):
        self.name, self.milliseconds, self.turns, self.batches = name, milliseconds, turns, []

    def vectors(self, ids, mask):
        slow = not self.batches
        self.turns.append(self.name)
        self.batches.append(ids)
        time.sleep((5 if slow else 1) * self.milliseconds[len(ids)] / 1e3)
        assert mask.shape == ids.shape
        assert mask.all()


def test_times_are_taken_by_turns_and_the_least_counts():
    turns = []
    of = {"fp32": {2: 40, 1: 8}, "int8 of 8 bits": {2: 20, 1: 12}}
    sleepers = {name: Sleeper(name, milliseconds, turns) for name, milliseconds in of.items()}
    timing = timed(sleepers, [[7, 8, 9], [5]], [[1, 2, 3]])
    for name, milliseconds in of.items():
        assert timing.passages[name] == pytest.approx(milliseconds[2], rel=0.5, abs=2)
        assert timing.queries[name] == pytest.approx(milliseconds[1], rel=0.5, abs=2)
    assert timing.passages["int8 of 8 bits"] < timing.passages["fp32"]
    assert timing.queries["int8 of 8 bits"] > timing.queries["fp32"]
    changes = sum(one != other for one, other in itertools.pairwise(turns))
    assert changes == 2 * 2 * int8.ROUNDS - 1
    for batches in (sleeper.batches for sleeper in sleepers.values()):
        assert {batch.shape for batch in batches} == {(2, 80), (1, 10)}
        np.testing.assert_array_equal(batches[0][0][:6], [7, 8, 9, 7, 8, 9])


def test_the_first_use_measures_once_and_writes_it_beside_the_processors_name(empty_cache, notes):
    start = time.perf_counter()
    first = TextEncoder(card(precision="int8"), backend="onnx").computes()
    assert f"measured {TINY_MODEL} on {processor()}: 2 passages: int8 of 8 bits " in notes.text
    (folder,) = (path for path in cache_folder().iterdir() if read_about(path).precision == "int8")
    about = read_about(folder)
    assert about.processor == processor()
    for times in (about.timing.passages, about.timing.queries):
        assert set(times) == {"fp32", "int8 of 8 bits", "int8 of 7 bits"}
        assert 0 < min(times.values()) <= max(times.values()) < 1e3 * (time.perf_counter() - start)
    notes.clear()
    again = TextEncoder(card(precision="int8"), backend="onnx")
    assert again.computes() == first
    assert "measured" not in notes.text


def test_another_processor_measures_anew_in_the_same_cache(empty_cache, monkeypatch, notes):
    here = cached_export(card(), "int8")
    write_timing(here, passages=(10, 5), queries=(10, 5))
    for module in (onnx_runtime, int8):
        monkeypatch.setattr(module, "processor", lambda: "another")
    there = cached_export(card(), "int8")
    assert there != here
    assert "measured" in notes.text.partition("on another: ")[0]
    write_timing(there, passages=(10, 20), queries=(10, 20))
    assert TextEncoder(card(precision="int8"), backend="onnx").computes() == "onnx fp32"
    monkeypatch.undo()


@pytest.mark.parametrize("content", [b"", b"{", None])
def test_half_a_measurement_is_none(empty_cache, notes, content):
    path = cached_export(card(), "int8") / "export.json"
    write_timing(path.parent, passages=(10, 20), queries=(10, 20))
    path.write_bytes(path.read_bytes()[:-40] if content is None else content)
    notes.clear()
    TextEncoder(card(precision="int8"), backend="onnx")
    assert "is damaged (export.json" in notes.text
    assert "measured " in notes.text
    times = json.loads(path.read_text())["timing"]["passages"]
    assert (times["fp32"], times["int8 of 8 bits"]) != (10, 20)


def test_an_edited_measurement_is_none(empty_cache, notes):
    path = cached_export(card(), "int8") / "export.json"
    known = json.loads(path.read_text())
    known["timing"]["passages"]["fp32"] = 0.001
    path.write_text(json.dumps(known))
    cached_export(card(), "int8")
    assert "is damaged (export.json has other values)" in notes.text


@pytest.mark.parametrize("bits", [7, 8])
def test_the_user_decides_instead(empty_cache, monkeypatch, notes, bits):
    measured = cached_export(card(), "int8")
    write_timing(measured, passages=(10, 20), queries=(10, 20))
    notes.clear()
    monkeypatch.setenv("PYSERINI_TASB_INT8", str(bits))
    assert TextEncoder(card(precision="int8"), backend="onnx").computes() == "onnx int8"
    assert "measured" not in notes.text
    (chosen,) = (path for path in cache_folder().iterdir() if path != measured)
    assert read_about(chosen).weight_bits == bits
    monkeypatch.delenv("PYSERINI_TASB_INT8")
    assert TextEncoder(card(precision="int8"), backend="onnx").computes() == "onnx fp32"


@pytest.mark.parametrize("asked", ["9", "off", "08", "8 "])
def test_other_bits_are_refused(monkeypatch, asked, notes):
    monkeypatch.setenv("PYSERINI_TASB_INT8", asked)
    with pytest.raises(TasbError, match=r"the variable PYSERINI_TASB_INT8[\s\S]*8 or 7, the bits of int8 weights"):
        TextEncoder(card(precision="int8"), backend="onnx")
    assert TextEncoder(card(precision="fp32"), backend="onnx").computes() == "onnx fp32"


def test_tasb_export_says_what_was_measured(tmp_path, capsys, empty_cache):
    sample = ("--sample", TINY / "corpus.jsonl", TINY / "topics.tsv")
    arguments = ("export", "--encoder", TINY_MODEL, "--precision", "int8", *sample, "--output")
    assert tasb(*arguments, tmp_path / "out") == 0
    assert "\n  on this processor: 2 passages: int8 of 8 bits " in capsys.readouterr().out
    assert not list(cached_timings())  # what a user keeps is not of the cache
