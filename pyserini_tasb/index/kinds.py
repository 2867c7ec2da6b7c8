"""Named kinds of Faiss index: each name stands for a factory string and its parameters at search time."""

from __future__ import annotations

import math
from dataclasses import dataclass

LUCENE_KINDS = ("lucene-flat", "lucene-hnsw")
REFINEMENTS = {"fp32": "RFlat", "fp16": "Refine(SQfp16)"}
# Candidates that are ranked again exactly, as a multiple of the hits asked for.
REFINED_PER_HIT = 4


@dataclass(frozen=True)
class FaissRecipe:
    """What `faiss.index_factory` and `faiss.ParameterSpace` make an index of; Faiss keeps both in its file.

    Args:
        factory: https://github.com/facebookresearch/faiss/wiki/The-index-factory
        parameters: of the search, such as `nprobe=64`; empty for Faiss's own.
    """

    factory: str
    parameters: str = ""

    def refined(self, precision: str) -> FaissRecipe:
        """With a second stage that ranks what the first has found by the vectors themselves.

        Args:
            precision: `fp32` or `fp16`, of these vectors.
        """
        refined = FaissRecipe(f"{self.factory},{REFINEMENTS[precision]}", self.parameters)
        return refined.with_parameters(f"k_factor_rf={REFINED_PER_HIT}")

    def with_parameters(self, parameters: str) -> FaissRecipe:
        """With more parameters, which come after its own and so win."""
        return FaissRecipe(self.factory, ",".join(filter(None, (self.parameters, parameters))))


KINDS = {
    "flat": FaissRecipe("Flat"),
    "fp16": FaissRecipe("SQfp16"),
    "bf16": FaissRecipe("SQbf16"),
    "int8": FaissRecipe("SQ8"),
    "hnsw": FaissRecipe("HNSW32", "efSearch=256"),
    "ivf": FaissRecipe("IVF{lists},Flat", "nprobe={probes}"),
    "ivfpq": FaissRecipe("OPQ{parts},IVF{lists},PQ{parts}", "nprobe={probes}"),
}
"""name → recipe; what stands in braces follows from the vectors."""


def recipe_of(name: str, count: int, dimension: int) -> FaissRecipe:
    """The recipe behind a kind's name, for `count` vectors; any other name is a factory string itself."""
    if name not in KINDS:
        return FaissRecipe(name)
    # 4 √n, as Faiss's guidelines advise, but no more than leaves it 39 vectors a list to train on.
    lists = max(1, min(round(4 * math.sqrt(count)), count // 39))
    values = {"lists": lists, "probes": min(lists, max(16, lists // 32)), "parts": _parts(dimension)}
    return FaissRecipe(KINDS[name].factory.format(**values), KINDS[name].parameters.format(**values))


def _parts(dimension: int) -> int:
    """A byte for 8 numbers, or as near to that as the dimension divides."""
    return next(parts for parts in range(max(dimension // 8, 1), 0, -1) if dimension % parts == 0)
