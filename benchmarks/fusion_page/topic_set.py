"""A set of judged queries with the two runs that are fused."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pyserini_tasb.evaluation.measures import evaluate_run
from pyserini_tasb.formats.named import load_qrels, load_run_table
from pyserini_tasb.formats.run_table import RunTable, concatenated
from pyserini_tasb.fusion.fuse import fuse_tables
from pyserini_tasb.fusion.tuning_set import TuningSet

if TYPE_CHECKING:
    from pyserini_tasb.formats.qrels import QrelsDict
    from pyserini_tasb.formats.run_table import RunDict
    from pyserini_tasb.fusion.methods import Fusion

# The grade from which TREC-DL counts a passage as relevant.
RELEVANT = 2
PerQuery = Mapping[str, NDArray[np.float64]]
MEASURES = ("nDCG@10", f"R(rel={RELEVANT})@100")


@dataclass(frozen=True, eq=False)
class TopicSet:
    """A set of topics.

    Attributes:
        tables: the runs, TAS-B's and BM25's; `runs` are the same.
        tasb: TAS-B by itself, measure by measure; `bm25` likewise.
    """

    name: str
    qrels: QrelsDict
    tables: tuple[RunTable, ...]

    @classmethod
    def load(cls, name: str) -> TopicSet:
        return cls(name, load_qrels(name), tuple(load_run_table(f"{name}.{each}") for each in ("tasb", "bm25")))

    @property
    def title(self) -> str:
        """As people call it."""
        return self.name.removesuffix("-passage").upper()

    @functools.cached_property
    def runs(self) -> tuple[RunDict, ...]:
        return tuple(table.to_run() for table in self.tables)

    @functools.cached_property
    def tasb(self) -> PerQuery:
        return self.per_query(self.runs[0])

    @functools.cached_property
    def bm25(self) -> PerQuery:
        return self.per_query(self.runs[1])

    def fused(self, fusion: Fusion) -> RunDict:
        return concatenated(list(fuse_tables(self.tables, fusion))).to_run()

    def per_query(self, run: RunDict) -> PerQuery:
        """Values of all judged queries, in the order of the qrels."""
        return evaluate_run(run, self.qrels, MEASURES).per_query

    def tuning_set(self, fusion: Fusion) -> TuningSet:
        return TuningSet.of(self.tables, self.qrels, fusion)
