"""int8 by measurement: weights of 8 or of 7 bits, and whether it is faster than fp32, for passages and for queries.

A processor's flags do not tell. On x86 without VNNI int8 is still faster, by less. Sums of two 8-bit products saturate
there, which costs some models much accuracy and others none. So an export tries both, and fp32 beside them. What came
out is in `export.json`, with the processor's name.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pyserini_tasb.encoding.export_accuracy import is_accurate
from pyserini_tasb.encoding.export_graph import optimise, quantise
from pyserini_tasb.encoding.outliers import divide_outliers
from pyserini_tasb.environment.processor import processor, threads
from pyserini_tasb.errors import TasbError
from pyserini_tasb.models.onnx import OnnxGraph, Timing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.environment.processor import WeightBits
    from pyserini_tasb.models.backends import Texts
    from pyserini_tasb.models.onnx import Accuracy, Candidate, ExportAbout


LOG = logging.getLogger(__name__)

VARIABLE = "PYSERINI_TASB_INT8"
INT8: dict[WeightBits, Candidate] = {8: "int8 of 8 bits", 7: "int8 of 7 bits"}


def asked_bits() -> WeightBits | None:
    """The bits of int8 weights that PYSERINI_TASB_INT8 asks for; None where the measurement decides.

    Raises:
        TasbError: it asks for something else.
    """
    asked = os.environ.get(VARIABLE, "")
    for bits in INT8:
        if asked == str(bits):
            return bits
    if asked:
        raise TasbError(
            where=f"the variable {VARIABLE}",
            expected=f"{' or '.join(map(str, INT8))}, the bits of int8 weights",
            found=f"`{asked}`",
            do=f"set it to one of them, or `unset {VARIABLE}`: then a measurement decides",
        )
    return None


@dataclass(frozen=True)
class Int8Graph:
    """A graph with int8 weights.

    Attributes:
        path: its file.
        bits: the bits of its weights.
        accuracy: its accuracy compared with torch in fp32.
        timing: its times and those of fp32; None if the user chose the bits.
    """

    path: Path
    bits: WeightBits
    accuracy: Accuracy
    timing: Timing | None


def best_int8_graph(
    fused: Path,
    accuracy_of: Callable[[OnnxGraph], Accuracy],
    passages: Sequence[Sequence[int]],
    queries: Sequence[Sequence[int]],
    model: str,
) -> Int8Graph:
    """The better int8 graph of a model on this machine; its candidates are written beside the fused graph.

    Args:
        fused: the graph in fp32.
        accuracy_of: compares a graph's vectors with exact ones.
        passages: token ids of some.
        queries: token ids of some.
        model: its name, for a note.

    Raises:
        TasbError: PYSERINI_TASB_INT8 asks for something else than bits.
    """
    asked = asked_bits()
    divided = fused.with_name("divided.onnx")
    texts = itertools.chain.from_iterable(itertools.zip_longest(passages, queries, fillvalue=()))
    divide_outliers(fused, divided, filter(None, texts))
    paths = {bits: fused.with_name(f"int8-{bits}.onnx") for bits in ([asked] if asked else INT8)}
    graphs, accuracies = {}, {}
    for bits, path in paths.items():
        quantised = fused.with_name("quantised.onnx")
        quantise(divided, quantised, bits)
        optimise(quantised, path)
        graphs[bits] = OnnxGraph(path, "cpu", by_turns=True)
        accuracies[bits] = accuracy_of(graphs[bits])
    if asked:
        return Int8Graph(paths[asked], asked, accuracies[asked], None)
    optimise(fused, fused.with_name("fp32.onnx"))
    candidates: dict[Candidate, Encodes] = {INT8[bits]: graph for bits, graph in graphs.items()}
    candidates["fp32"] = OnnxGraph(fused.with_name("fp32.onnx"), "cpu", by_turns=True)
    timing = timed(candidates, passages, queries)
    LOG.info("measured %s on %s: %s", model, processor(), speeds(timing))
    bits = best_bits(accuracies, timing)
    return Int8Graph(paths[bits], bits, accuracies[bits], timing)


class Encodes(Protocol):
    """A model's graph."""

    def vectors(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors [texts, dimension] of token ids and mask [texts, tokens]."""


# (texts, tokens of each): as long as passages and queries of MS MARCO are; few passages, as there is little time.
PASSAGES, QUERIES = (2, 80), (1, 10)
# So many rounds at least, and for so long.
ROUNDS, SECONDS = 3, 0.3
TURN_SECONDS = 0.02


def timed(
    candidates: Mapping[Candidate, Encodes], passages: Sequence[Sequence[int]], queries: Sequence[Sequence[int]]
) -> Timing:
    """Measure candidates by turns; under a second for a model of DistilBERT's size on two cores with AVX2.

    A turn has several batches where they are short: the first one finds the caches full of another candidate's weights.
    The least time of all is the one that other programs disturbed least.

    Args:
        candidates: graphs of one model.
        passages: token ids; the first are repeated or cut to the length that is measured.
        queries: token ids.
    """

    def least(texts: Sequence[Sequence[int]], shape: tuple[int, int]) -> dict[Candidate, float]:
        ids = np.resize(np.array([token for ids in texts[:1] for token in ids], np.int64), shape)
        found = dict.fromkeys(candidates, float("inf"))
        start_of_all, rounds = time.perf_counter(), 0
        while rounds < ROUNDS or time.perf_counter() - start_of_all < SECONDS:
            rounds += 1
            for name, graph in candidates.items():
                end = time.perf_counter() + TURN_SECONDS
                while (start := time.perf_counter()) < end:
                    graph.vectors(ids, np.ones_like(ids))
                    found[name] = min(found[name], 1e3 * (time.perf_counter() - start))
        return {name: round(milliseconds, 3) for name, milliseconds in found.items()}

    return Timing(passages=least(passages, PASSAGES), queries=least(queries, QUERIES), threads=threads())


# A candidate that takes so many times another's time is as fast: the next run may turn them around.
EQUAL = 1.25


def best_bits(accuracies: Mapping[WeightBits, Accuracy], timing: Timing) -> WeightBits:
    """The bits of the most accurate weights, of those that are accurate enough and as fast as any of them.

    If none is accurate enough, speed does not count: a forced export gets the most accurate one. One graph serves
    passages and queries, so that both are rounded in the same way: the sum of both times, each as a share of fp32's,
    has to be small.
    """

    def share(bits: WeightBits) -> float:
        return sum(times[INT8[bits]] / times["fp32"] for times in (timing.passages, timing.queries))

    accurate = [bits for bits, accuracy in accuracies.items() if is_accurate(accuracy, "int8")]
    fastest = min(map(share, accurate), default=0)
    fit = [bits for bits in accurate if share(bits) <= EQUAL * fastest] or accuracies
    return max(fit, key=lambda bits: accuracies[bits].cosine_mean)


def is_faster(about: ExportAbout, texts: Texts) -> bool:
    """True if int8 is to be taken for such texts: it was measured to be faster, or the user chose its bits."""
    if about.timing is None:
        return True
    times = about.timing.queries if texts == "queries" else about.timing.passages
    return times[INT8[about.weight_bits]] < times["fp32"]


def speeds(timing: Timing) -> str:
    """The numbers in a line."""
    parts = (
        f"{kind}: " + ", ".join(f"{name} {milliseconds:.1f} ms" for name, milliseconds in times.items())
        for kind, times in ((f"{PASSAGES[0]} passages", timing.passages), ("a query", timing.queries))
    )
    return f"{'; '.join(parts)} (threads: {timing.threads})"
