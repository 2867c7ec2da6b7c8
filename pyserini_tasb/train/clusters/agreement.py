"""How well clusters agree with topic labels, next to chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate.topics import read_topics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SHUFFLES = 10


@dataclass(frozen=True)
class Agreement:
    """Clusters against labels, over the queries that have a label.

    Args:
        queries: with a label.
        labels: different ones.
        purity: the share of queries whose label is the most frequent one of their cluster.
        nmi: normalised mutual information (arithmetic mean).
        random_purity: of the same cluster sizes with the labels shuffled; the mean of 10 shuffles.
        random_nmi: likewise. Both rise with the number of clusters.
    """

    queries: int
    labels: int
    purity: float
    nmi: float
    random_purity: float
    random_nmi: float


def read_labels(path: Path, ids: Sequence[str]) -> dict[str, str]:
    """The labels of queries: qid → label, for those of `ids` that have one. A file of lines `qid TAB label`.

    Raises:
        TasbError: a faulty file, or none of `ids` has a label.
    """
    labels = read_topics(path)
    found = {qid: labels[qid] for qid in ids if qid in labels}
    if not found:
        raise TasbError(
            where=str(path),
            expected="labels of the clustered queries: qid TAB label",
            found=f"{len(labels)} labels, none of them of these {len(ids)} queries",
            do="check that the labels go with the queries",
        )
    return found


def agreement(ids: Sequence[str], assignment: NDArray[np.int64], labels: Mapping[str, str], seed: int) -> Agreement:
    """Compare.

    Args:
        ids: the qids.
        assignment: [queries] the cluster of each.
        labels: qid → label, of one query at least; queries without one do not count.
        seed: of the shuffles.
    """
    labelled = np.fromiter((qid in labels for qid in ids), dtype=np.bool_, count=len(ids))
    names, codes = np.unique([labels[qid] for qid in ids if qid in labels], return_inverse=True)
    _, clusters = np.unique(assignment[labelled], return_inverse=True)
    generator = np.random.default_rng(seed)
    chance = np.array([_measures(clusters, generator.permutation(codes)) for _ in range(SHUFFLES)]).mean(axis=0)
    purity, nmi = _measures(clusters, codes)
    return Agreement(len(codes), len(names), purity, nmi, float(chance[0]), float(chance[1]))


def _measures(clusters: NDArray[np.intp], codes: NDArray[np.intp]) -> tuple[float, float]:
    from sklearn.metrics import normalized_mutual_info_score

    shape = (int(clusters.max()) + 1, int(codes.max()) + 1)
    counts = np.bincount(np.ravel_multi_index((clusters, codes), shape), minlength=shape[0] * shape[1]).reshape(shape)
    purity = counts.max(axis=1).sum() / len(codes)
    return float(purity), float(normalized_mutual_info_score(codes, clusters))
