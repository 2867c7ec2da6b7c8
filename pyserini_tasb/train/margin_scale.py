"""The scale of the teachers' margins: measured before training, rescaled if asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.train.losses import MarginRescale, MarginStatistics, scale_warning

if TYPE_CHECKING:
    from pyserini_tasb.train.in_batch import InBatchTeacher
    from pyserini_tasb.train.run_config import MarginsConfig
    from pyserini_tasb.train.store import PairStore

PAIRS_MEASURED = 256  # by the in-batch teacher, which has to encode them; they give the deviation to about 5 %


@dataclass(frozen=True)
class MarginScale:
    """How each teacher's margins are rescaled, and what looks wrong about them then."""

    pairwise: MarginRescale
    in_batch: MarginRescale
    warning: str | None = None


def fit_margin_scale(
    store: PairStore,
    teacher: InBatchTeacher | None,
    wanted: MarginsConfig | None,
    *,
    normalised_student: bool = False,
) -> MarginScale:
    """Measure both teachers' margins on pairs of the store; bring them to `wanted`, if that is given.

    Raises:
        TasbError: margins are to be rescaled, and all are equal.
    """
    observed = {}
    if store.supervision != "labels":
        margins = store.manifest["margins"]
        observed["pairwise"] = MarginStatistics(len(store), margins["mean"], margins["deviation"])
    if teacher is not None:
        observed["in-batch"] = _of_teacher(teacher, store)
    rescales = {name: _rescale(wanted, statistics) for name, statistics in observed.items()}
    seen = {name: _rescaled(observed[name], rescales[name]) for name in observed}
    return MarginScale(
        rescales.get("pairwise", MarginRescale()),
        rescales.get("in-batch", MarginRescale()),
        scale_warning(seen, normalised_student=normalised_student),
    )


def _of_teacher(teacher: InBatchTeacher, store: PairStore) -> MarginStatistics:
    rows = np.unique(np.linspace(0, len(store) - 1, PAIRS_MEASURED, dtype=np.int64))
    queries = np.searchsorted(store.offsets, rows, side="right") - 1
    texts = (store.passages.texts(numbers[rows]) for numbers in (store.positives, store.negatives))
    return MarginStatistics.of(teacher.margins(store.queries.texts(queries), *texts).cpu().numpy())


def _rescale(wanted: MarginsConfig | None, observed: MarginStatistics) -> MarginRescale:
    return (
        MarginRescale() if wanted is None else MarginRescale.fit(observed, deviation=wanted.deviation, mean=wanted.mean)
    )


def _rescaled(observed: MarginStatistics, rescale: MarginRescale) -> MarginStatistics:
    mean = rescale.scale * observed.mean + rescale.shift
    return MarginStatistics(observed.count, mean, rescale.scale * observed.deviation)
