"""The scale of the teachers' margins: measured before training, rescaled if asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from pyserini_tasb.artifacts import values_explained
from pyserini_tasb.data.pair_store import all_equal
from pyserini_tasb.errors import TasbError
from pyserini_tasb.training.losses import InBatchScores
from pyserini_tasb.training.teacher_vectors import VectorTeacher

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal

    from numpy.typing import NDArray

    from pyserini_tasb.data.pair_store import PairStore
    from pyserini_tasb.training.config import MarginsConfig
    from pyserini_tasb.training.teachers import InBatchTeacher


@dataclass(frozen=True)
class MarginScale:
    """How each teacher's margins are rescaled, and what looks wrong about them then."""

    pairwise: MarginRescale
    in_batch: MarginRescale
    warning: str | None = None

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> MarginScale:
        """The scale in a checkpoint, where it stands as `asdict` made it."""
        return cls(MarginRescale(**state["pairwise"]), MarginRescale(**state["in_batch"]), state["warning"])


PAIRS_MEASURED = 256  # by the in-batch teacher, which has to encode them; they give the deviation to about 5 %


def fit_margin_scale(
    store: PairStore,
    teacher: InBatchTeacher | VectorTeacher | None,
    wanted: MarginsConfig | None,
    *,
    key: str,
    pairwise_counts: bool,
    student_scores: Literal["dot products", "cosines", "of any size"],
) -> MarginScale:
    """Measure both teachers' margins on pairs of the store; bring them to `wanted`, if that is given.

    Args:
        store: the pairs, with the pairwise teacher's margins.
        teacher: the in-batch teacher, if there is one.
        wanted: the scale, if one is configured.
        key: the configuration's key for that scale.
        pairwise_counts: whether the loss learns from the pairwise teacher's margins. Otherwise nothing about them looks
            wrong.
        student_scores: what the student's margins can be: that is what looks wrong, or not. Where they are `of any
            size`, no scale that somebody chose looks wrong.

    Raises:
        TasbError: margins are to be rescaled, and all are equal.
    """
    observed = {}
    if store.supervision != "labels":
        with values_explained(store.folder):
            mean, deviation = (float(store.manifest["margins"][name]) for name in ("mean", "deviation"))
        observed["pairwise"] = MarginStatistics(len(store), mean, deviation)
    if teacher is not None:
        observed["in-batch"] = _in_batch_statistics(teacher, store)
    rescales = {name: _rescale(wanted, statistics) for name, statistics in observed.items()}
    warning = None
    if wanted is None or student_scores != "of any size":
        learned = [name for name in observed if name != "pairwise" or pairwise_counts]
        seen = {name: _rescaled(observed[name], rescales[name]) for name in learned}
        warning = scale_warning(seen, key, normalised_student=student_scores == "cosines")
    return MarginScale(rescales.get("pairwise", MarginRescale()), rescales.get("in-batch", MarginRescale()), warning)


def _in_batch_statistics(teacher: InBatchTeacher | VectorTeacher, store: PairStore) -> MarginStatistics:
    rows = np.unique(np.linspace(0, len(store) - 1, PAIRS_MEASURED, dtype=np.int64))
    queries = np.searchsorted(store.offsets, rows, side="right") - 1
    positives, negatives = store.positives[rows], store.negatives[rows]
    if isinstance(teacher, VectorTeacher):  # which knows texts by their numbers only
        return MarginStatistics.of(teacher.margins_of_pairs(queries, positives, negatives).cpu().numpy())
    texts = (store.queries.texts(queries), store.passages.texts(positives), store.passages.texts(negatives))
    return MarginStatistics.of(teacher.margins(*texts).cpu().numpy())


def _rescale(wanted: MarginsConfig | None, observed: MarginStatistics) -> MarginRescale:
    return (
        MarginRescale() if wanted is None else MarginRescale.fit(observed, deviation=wanted.deviation, mean=wanted.mean)
    )


def _rescaled(observed: MarginStatistics, rescale: MarginRescale) -> MarginStatistics:
    mean = rescale.scale * observed.mean + rescale.shift
    return MarginStatistics(observed.count, mean, rescale.scale * observed.deviation)


CHUNK = 1_000_000  # margins at a time, which may be memory-mapped


@dataclass(frozen=True)
class MarginStatistics:
    """Statistics of a teacher's margins.

    Attributes:
        count: margins seen.
        mean: the margins, in the teacher's units.
        deviation: standard deviation of these margins (not of a population they were drawn from).
    """

    count: int
    mean: float
    deviation: float

    @classmethod
    def of(cls, margins: NDArray[np.floating[Any]]) -> MarginStatistics:
        """Statistics of an array of margins, in fp64; it may be larger than memory."""
        whole = cls(0, 0.0, 0.0)
        for start in range(0, len(margins), CHUNK):
            chunk = np.asarray(margins[start : start + CHUNK], dtype=np.float64)
            whole = whole.merged(cls(len(chunk), float(chunk.mean()), float(chunk.std())))
        return whole

    def merged(self, other: MarginStatistics) -> MarginStatistics:
        """Statistics of both together (Chan et al., 1979), so that batches can be added up."""
        count = self.count + other.count
        if not count:
            return self
        share = other.count / count
        difference = other.mean - self.mean
        variance = (1 - share) * self.deviation**2 + share * other.deviation**2 + share * (1 - share) * difference**2
        return MarginStatistics(count, self.mean + share * difference, math.sqrt(variance))


# The published BERT_CAT ensemble's margins on the 41 first rows that Hugging Face shows of
# sentence-transformers/msmarco, bert-ensemble-margin-mse; over all rows they range from -10 to 23.
BERT_CAT_MARGINS = MarginStatistics(count=41, mean=12.7, deviation=5.4)
Margins = TypeVar("Margins", torch.Tensor, "NDArray[np.float32]")


@dataclass(frozen=True)
class MarginRescale:
    """margin → scale · margin + shift.

    Attributes:
        scale: above 0, so that no order is turned round.
        shift: the shift, in the student's units. With 0, passages that the teacher thinks equal stay equal.

    Raises:
        ValueError: `scale` is not above 0, or a number is not finite.
    """

    scale: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.scale < math.inf and math.isfinite(self.shift)):
            raise ValueError(f"expected a scale above 0 and a finite shift, found {self.scale} and {self.shift}")

    @classmethod
    def fit(
        cls,
        observed: MarginStatistics,
        *,
        deviation: float = BERT_CAT_MARGINS.deviation,
        mean: float | None = None,
    ) -> MarginRescale:
        """The rescaling that brings margins from the observed deviation to the wanted one.

        The default is the deviation of the teacher that the paper's learning rate and alpha were chosen with. The mean
        is left to follow: it says how hard the negatives are, and shifting those of mined negatives to the mean of
        BM25's would give passages that the teacher thinks equal a large margin.

        Args:
            observed: the teacher's margins as they are.
            deviation: the wanted one, above 0.
            mean: the wanted one; None for no shift.

        Raises:
            TasbError: all observed margins are equal.
        """
        if all_equal(observed.mean, observed.deviation):
            raise TasbError(
                expected="a teacher whose margins differ",
                found=f"{observed.count} margins, all of them {observed.mean:g}",
                do="check the teacher's scores; margins that are all equal cannot be rescaled",
            )
        scale = deviation / observed.deviation
        return cls(scale, 0.0 if mean is None else mean - scale * observed.mean)

    def margins(self, margins: Margins) -> Margins:
        """Pairwise margins, rescaled."""
        return self.scale * margins + self.shift

    def scores(self, scores: InBatchScores) -> InBatchScores:
        """In-batch scores whose margins are rescaled: every score times `scale`, `shift` added to the own positives."""
        own = torch.eye(scores.size, dtype=scores.positives.dtype, device=scores.positives.device)
        return InBatchScores(self.scale * scores.positives + self.shift * own, self.scale * scores.negatives)


# Below a tenth of BERT_CAT's deviation lie cosines (0.1 to 0.2) and probabilities (below 0.5), above ten times
# no teacher that we know.
ODD_FACTOR = 10
APART_FACTOR = 4
COSINE_DEVIATION = 0.5  # margins of cosines lie between -2 and 2


def scale_warning(
    teachers: Mapping[str, MarginStatistics], key: str, *, normalised_student: bool = False
) -> str | None:
    """A warning of what looks wrong about the size of teachers' margins; None if nothing does.

    Args:
        teachers: margins as the student will see them, by what to call the teacher (`pairwise`, `in-batch`).
        key: the configuration's key that rescales them.
        normalised_student: whether the student's scores are cosines.
    """
    several = {name: margins for name, margins in teachers.items() if margins.count > 1}
    equal = [name for name, margins in several.items() if all_equal(margins.mean, margins.deviation)]
    seen = {name: margins for name, margins in several.items() if name not in equal}
    judge = _odd_for_cosines if normalised_student else _odd_for_dot_products
    found = [
        f"The {name} teacher's margins have a standard deviation of {margins.deviation:.3g} (mean {margins.mean:.3g}), "
        f"which is {odd}"
        for name, margins in seen.items()
        if (odd := judge(margins.deviation))
    ]
    by_deviation = sorted(seen, key=lambda name: seen[name].deviation)
    if by_deviation:
        low, high = by_deviation[0], by_deviation[-1]
        if seen[high].deviation > APART_FACTOR * seen[low].deviation:
            found.append(
                f"The {high} teacher's margins have a standard deviation of {seen[high].deviation:.3g}, the {low} "
                f"teacher's of {seen[low].deviation:.3g}: the student cannot follow both, and alpha does not balance "
                "them."
            )
    if found:
        found.append(f"Rescale them with the key `{key}`.")
    found += [
        f"The {name} teacher's margins are all equal (mean {several[name].mean:.3g}), so they do not say which "
        "negative is harder, and cannot be rescaled. Check its scores."
        for name in equal
    ]
    return " ".join(found) or None


def _odd_for_dot_products(deviation: float) -> str | None:
    usual = BERT_CAT_MARGINS.deviation
    if deviation < usual / ODD_FACTOR:
        return f"small, as with cosines or probabilities; BERT_CAT's is {usual}."
    return f"large; BERT_CAT's is {usual}." if deviation > usual * ODD_FACTOR else None


def _odd_for_cosines(deviation: float) -> str | None:
    return (
        "out of reach for a normalised student, whose margins are at most 2." if deviation > COSINE_DEVIATION else None
    )
