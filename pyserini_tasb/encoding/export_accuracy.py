"""How close an exported model's vectors and rankings are to torch's in fp32, and how close they must be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluation.overlap import overlap, rank_biased_overlap
from pyserini_tasb.models.onnx import Accuracy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    BothVectors = tuple[NDArray[np.float32], NDArray[np.float32]]
    """Vectors of passages [passages, dimension], and of queries [queries, dimension]."""


TOP = 10
RANKING = 100
# (least cosine of all, mean cosine, mean overlap of the first ten)
FLOORS = {"fp32": (0.99999, 0.99999, 0.99), "int8": (0.9, 0.98, 0.8)}


def measure(exact: BothVectors, exported: BothVectors) -> Accuracy:
    """Compare vectors of passages [passages, dimension] and queries [queries, dimension], and the rankings they make.

    Args:
        exact: the vectors that torch computes in fp32.
        exported: the exported model's vectors of the same texts.
    """
    cosines = np.concatenate([_cosines(one, other) for one, other in zip(exact, exported, strict=True)])
    rankings = list(zip(_rankings(*exact), _rankings(*exported), strict=True))
    return Accuracy(
        passages=len(exact[0]),
        queries=len(exact[1]),
        cosine_mean=float(cosines.mean()),
        cosine_min=float(cosines.min()),
        overlap_at_10=float(np.mean([overlap(one[:TOP], other[:TOP]) for one, other in rankings])),
        rbo=float(np.mean([rank_biased_overlap(one, other) for one, other in rankings])),
    )


def is_accurate(accuracy: Accuracy, precision: str) -> bool:
    """True if a model loses no more accuracy than its precision allows."""
    least, mean, top = FLOORS[precision]
    # Said so that vectors of nan fail.
    return accuracy.cosine_min >= least and accuracy.cosine_mean >= mean and accuracy.overlap_at_10 >= top


class InaccurateError(TasbError):
    """An exported model that loses more accuracy than its precision allows.

    Args:
        accuracy: the measured accuracy.
        precision: the precision of the exported model.
        model: its name.
    """

    def __init__(self, accuracy: Accuracy, precision: str, model: str) -> None:
        least, mean, top = FLOORS[precision]
        super().__init__(
            where=model,
            expected=f"of {precision}: cosines to torch in fp32 of {least} or more, on average {mean}, and a top-10 "
            f"overlap of {top}",
            found=describe(accuracy),
            # By whatever verb the model is exported, `tasb export` has these options.
            do="take fp32 (or bf16 with torch), measure with --sample on texts of your own, or write it all the same "
            "(tasb export --force)",
        )
        self.accuracy = accuracy


def require_accuracy(accuracy: Accuracy, precision: str, model: str) -> None:
    """Check that a model loses no more accuracy than its precision allows.

    Raises:
        InaccurateError: it loses more.
    """
    if not is_accurate(accuracy, precision):
        raise InaccurateError(accuracy, precision, model)


def describe(accuracy: Accuracy) -> str:
    """The numbers in a line."""
    return (
        f"cosine {accuracy.cosine_mean:.6f} on average, {accuracy.cosine_min:.6f} at least; top-10 overlap "
        f"{accuracy.overlap_at_10:.4f}, RBO {accuracy.rbo:.4f} "
        f"({accuracy.queries} queries, {accuracy.passages} passages)"
    )


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    exact, exported = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(exported, axis=1)
    cosines: NDArray[np.float64] = (exact * exported).sum(axis=1) / lengths
    return cosines


def _rankings(passages: NDArray[np.float32], queries: NDArray[np.float32]) -> list[list[int]]:
    rankings: list[list[int]] = np.argsort(-(queries @ passages.T), axis=1, kind="stable")[:, :RANKING].tolist()
    return rankings
