"""Product quantisers trained for ranking: most of what codes lose against exact search is won back.

A product quantiser cuts a vector into parts and keeps the number of the nearest of 256 centroids for each. Faiss places
centroids where vectors are, whatever is asked for. Here the centroids, and the matrix that a query is multiplied with
before it meets them, learn from queries to rank as the vectors themselves do. The codes stay, so the index is as large
and as fast as before, and Faiss knows all of its parts.

The ideas are of JPQ (Zhan et al., CIKM 2021: train centroids for ranking, against passages that the codes rank too
high, with the codes fixed) and Distill-VQ (Xiao et al., SIGIR 2022: the uncompressed vectors are the teacher, so that
queries need no judgements). JPQ fine-tunes the query encoder. Here a matrix stands in for that: the index keeps it, and
queries are encoded as for any other index of these vectors.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.encoding.index_manifest import require_among
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.indexes.quality import exact_top

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from pyserini_tasb.encoding.index_manifest import EncoderIdentity
    from pyserini_tasb.indexes.vector_source import VectorSource

    Floats = NDArray[np.float32]
    Rows = NDArray[np.int64]


LOG = logging.getLogger(__name__)

LEAST_QUERIES = 200
# Of the queries, so many tell when to stop; they also measure the index.
HELD_OUT, MOST_HELD_OUT = 0.1, 500
# Passages of a query that are ranked: the best by the vectors, the best by the codes, and some of all.
BEST, RANDOM = 200, 32
# In each phase codes and lists are made anew.
PHASES, EPOCHS = 3, 3
QUERIES_A_STEP = 64
RECALL_DEPTH = 10
BITS = 8
# Steps are relative to the size of what they change, so that vectors of any length train alike.
STEP_OF_CENTROIDS, STEP_OF_MATRIX = 0.01, 0.003
WARM_UP = 20
SCORED_AT_ONCE = 1 << 14
ALONG, SWEEPS = 4.0, 2
CHOSEN_AT_ONCE = 1 << 13


@dataclass(frozen=True)
class TrainingQueries:
    """Vectors of queries to train codes with.

    Args:
        vectors: [queries, dimension].
        held_out: [queries, dimension], which tell when to stop.
        name: where they are from.
    """

    vectors: Floats
    held_out: Floats
    name: str

    @property
    def described(self) -> str:
        """The queries held out, in words."""
        return f"{len(self.held_out):,} queries of {self.name} that were held out of the training"


def training_queries(
    folder: Path, source: VectorSource, encoders: Sequence[EncoderIdentity], seed: int
) -> TrainingQueries:
    """The queries of a vector folder, some of them held out.

    Args:
        folder: what `tasb encode --kind query` wrote.
        source: the vectors that are indexed.
        encoders: that belong to them.
        seed: the seed by which queries are held out.

    Raises:
        TasbError: no vectors of queries, too few, or by an encoder that does not belong to the vectors.
    """
    from pyserini_tasb.encoding.vectors import VectorFolder

    queries = VectorFolder(folder)
    again = f"encode queries with the encoder of the passages (`tasb encode --kind query`), for {argument('queries')}"
    if queries.kind != "query" or queries.dimension != source.dimension:
        raise TasbError(
            where=str(folder),
            expected=f"vectors of queries, of {source.dimension} dimensions",
            found=f"vectors of {'queries' if queries.kind == 'query' else 'passages'}, of {queries.dimension}",
            do=again,
        )
    if queries.count < LEAST_QUERIES:
        raise TasbError(
            where=str(folder),
            expected=f"{LEAST_QUERIES} queries or more to learn from; some thousands are better",
            found=f"{queries.count:,}",
            do=f"{again}: they need no judgements",
        )
    for encoder in queries.encoders if encoders else ():
        require_among(encoders, asdict(encoder), encoder.name, str(folder))
    vectors = np.concatenate([np.asarray(block, np.float32) for _, block in queries.blocks()])
    order = np.random.default_rng(seed).permutation(len(vectors))
    held_out = min(round(HELD_OUT * len(vectors)), MOST_HELD_OUT)
    return TrainingQueries(vectors[order[held_out:]], vectors[order[:held_out]], str(folder))


def require_trainable(index: Any, kind: str) -> None:
    """Refuse to train an index for ranking that has no product quantiser behind a rotation.

    Args:
        index: untrained.
        kind: as it was asked for.

    Raises:
        TasbError: it has none.
    """
    try:
        _quantised(index)
    except ValueError as error:
        raise TasbError(
            where=f"{argument('kind', kind)}",
            expected=f"a product quantiser behind a rotation, which {argument('queries')} trains",
            found="another kind of index",
            do=f"choose {argument('kind', 'jpq')}, OPQ64,PQ64 or OPQ48,IVF1024,PQ48, or leave out "
            f"{argument('queries')}",
        ) from error


def _quantised(index: Any) -> tuple[Any, Any]:
    """The rotation and the index of codes behind it.

    Raises:
        ValueError: there are none.
    """
    import faiss

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexRefine):
        return _quantised(index.base_index)
    if isinstance(index, faiss.IndexPreTransform) and index.chain.size() == 1:  # type: ignore[attr-defined]
        rotation = faiss.downcast_VectorTransform(index.chain.at(0))  # type: ignore[attr-defined]
        codes: Any = faiss.downcast_index(index.index)
        quantised = isinstance(codes, faiss.IndexPQ | faiss.IndexIVFPQ) and codes.pq.nbits == BITS
        if isinstance(rotation, faiss.OPQMatrix) and quantised:
            return rotation, codes
    raise ValueError("no product quantiser behind a rotation")


def balance_rotation(index: Any, sample: Floats) -> None:
    """Set the rotation to one that needs no iterations, for training goes on from there anyway.

    Principal axes are dealt out to the parts so that the products of their variances come out alike (Ge et al.,
    Optimized Product Quantization, CVPR 2013, Section 3.2).

    Args:
        index: that has a rotation.
        sample: [vectors, dimension].
    """
    import faiss

    rotation, codes = _quantised(index)
    parts, width = codes.pq.M, codes.pq.dsub
    variances, axes = np.linalg.eigh(np.cov(sample, rowvar=False, dtype=np.float64))
    logarithms = np.log(np.maximum(variances, variances.max() * 1e-9))
    logarithms -= logarithms.min()  # none below 0: a part grows with each axis
    dealt: list[list[int]] = [[] for _ in range(parts)]
    sums = np.zeros(parts)
    for axis in np.argsort(-logarithms, kind="stable")[: parts * width].tolist():
        full = [np.inf if len(each) == width else 0.0 for each in dealt]
        part = int(np.argmin(sums + full))
        dealt[part].append(axis)
        sums[part] += logarithms[axis]
    matrix = axes[:, np.concatenate(dealt)].T
    faiss.copy_array_to_vector(np.ascontiguousarray(matrix, np.float32).ravel(), rotation.A)
    rotation.is_trained, rotation.is_orthonormal = True, True


@dataclass(frozen=True)
class Trained:
    """How a training for ranking went.

    Args:
        queries, held_out: how many were learned from, and how many told when to stop.
        recall_before, recall_after: recall@10 of the codes, over the queries held out.
        seconds: the time that it took.
    """

    queries: int
    held_out: int
    recall_before: float
    recall_after: float
    seconds: float

    @property
    def summary(self) -> str:
        """What it was worth."""
        return (
            f"in {self.seconds:,.1f} s with {self.queries:,} queries: recall@10 was {self.recall_before:.4f} and is "
            f"{self.recall_after:.4f} for {self.held_out:,} others"
        )


def train_for_ranking(index: Any, source: VectorSource, queries: TrainingQueries, seed: int) -> Trained:
    """Train the codes of an index, their centroids and the matrix before them, to rank as the vectors do.

    The loss is the KL divergence (as `kldiv` among the in-batch losses: paper, Table 3) over a list of passages for
    each query: the best by the vectors, the best by the codes as they are now, and a few of all. Memory holds the index
    and 20 bytes for each passage of a list. Vectors are read from the source, block by block.

    Args:
        index: of all vectors of the source; changed in place.
        source: read once for the exact best, and twice in each phase, for codes and lists.
        queries: to learn from.
        seed: the seed of what is drawn. The same seed and number of threads give the same index.
    """
    from tqdm.auto import tqdm

    start = time.monotonic()
    random = np.random.default_rng(seed)
    everything = np.concatenate([queries.vectors, queries.held_out])
    learned_from, held_out = np.split(np.arange(len(everything)), [len(queries.vectors)])
    codes = _Codes(index)
    exact, best = exact_top(source, everything, BEST)

    def recall() -> float:
        found = codes.search(queries.held_out, RECALL_DEPTH)
        return float(
            np.mean([np.isin(*pair).mean() for pair in zip(best[held_out, :RECALL_DEPTH], found, strict=True)])
        )

    before = recall()
    student = _Student.of(codes, temperature=float(exact.std(axis=1).mean()))
    batches = -(-len(learned_from) // QUERIES_A_STEP)
    steps = PHASES * EPOCHS * batches
    optimiser, schedule = student.optimiser(steps)
    with tqdm(total=steps, desc="training codes", unit=" steps") as progress:
        for _ in range(PHASES):
            codes.choose(source)
            lists = _Lists.drawn(source, everything, best, codes.search(everything, BEST), random)
            kept, lowest = student.copy(), student.loss(lists, codes, held_out)
            for _ in range(EPOCHS):
                for some in np.array_split(random.permutation(learned_from), batches):
                    optimiser.zero_grad()
                    student.losses(lists, codes, some).mean().backward()  # type: ignore[no-untyped-call]
                    optimiser.step()
                    schedule.step()
                    progress.update()
                loss = student.loss(lists, codes, held_out)
                if loss < lowest:
                    kept, lowest = student.copy(), loss
            student.become(kept)
            student.write_to(codes)
    after = recall()
    return Trained(
        queries=len(learned_from),
        held_out=len(held_out),
        recall_before=before,
        recall_after=after,
        seconds=round(time.monotonic() - start, 1),
    )


class _Codes:
    """The trained parts of an index: a rotation, centroids, and the codes of each row.

    Args:
        index: a product quantiser behind a rotation, over all vectors.
    """

    def __init__(self, index: Any) -> None:
        import faiss

        self._rotation, coded = _quantised(index)
        self._quantiser, width = coded.pq, coded.code_size
        self._lists: Any = None if isinstance(coded, faiss.IndexPQ) else coded.invlists
        if isinstance(coded, faiss.IndexPQ):
            self._flat: Any = coded
        else:
            self._flat = faiss.IndexPQ(coded.d, coded.pq.M, coded.pq.nbits, faiss.METRIC_INNER_PRODUCT)
            self._flat.is_trained, self._flat.ntotal = True, coded.ntotal
            faiss.copy_array_to_vector(np.empty(coded.ntotal * width, np.uint8), self._flat.codes)
            self.set(self.matrix, self.centroids)
        self.rows = faiss.rev_swig_ptr(self._flat.codes.data(), self._flat.ntotal * width).reshape(-1, width)
        for ids, codes in self._in_lists():
            self.rows[ids] = codes

    def _in_lists(self) -> Iterator[tuple[Rows, NDArray[np.uint8]]]:
        """The rows and the codes of each inverted list, where Faiss has them."""
        import faiss

        lists = self._lists
        for number in range(lists.nlist if lists else 0):
            size = lists.list_size(number)
            if size:
                codes = faiss.rev_swig_ptr(lists.get_codes(number), size * lists.code_size)
                yield faiss.rev_swig_ptr(lists.get_ids(number), size), codes.reshape(size, -1)

    @property
    def matrix(self) -> Floats:
        """[dimension of codes, dimension of queries], which a query is multiplied with."""
        import faiss

        return faiss.vector_to_array(self._rotation.A).reshape(self._rotation.d_out, self._rotation.d_in).copy()

    @property
    def centroids(self) -> Floats:
        """[parts, centroids, numbers of a part]"""
        import faiss

        quantiser = self._quantiser
        return faiss.vector_to_array(quantiser.centroids).reshape(quantiser.M, quantiser.ksub, quantiser.dsub).copy()

    def set(self, matrix: Floats, centroids: Floats) -> None:
        """Take another matrix and other centroids."""
        import faiss

        faiss.copy_array_to_vector(np.ascontiguousarray(matrix).ravel(), self._rotation.A)
        self._rotation.is_orthonormal = False
        for quantiser in (self._quantiser, self._flat.pq):
            faiss.copy_array_to_vector(np.ascontiguousarray(centroids).ravel(), quantiser.centroids)

    def choose(self, source: VectorSource) -> None:
        """Choose the codes of all rows anew, for the centroids and the matrix as they are now.

        Faiss takes the nearest centroids. Here an error counts more where it changes the scores of queries near the
        passage, which is along its own direction (Guo et al., Accelerating Large-Scale Inference with Anisotropic
        Vector Quantization, ICML 2020): the sum of |e|^2 and ALONG times the square of e along the passage is least,
        with e the passage minus what stands for it. One part's code is chosen after the other, given all others.

        Args:
            source: all vectors.
        """
        matrix, centroids = self.matrix, self.centroids
        start = 0
        for _, vectors in source.blocks(CHOSEN_AT_ONCE):
            rows = self.rows[start : start + len(vectors)]
            rows[:] = _chosen(np.asarray(vectors, np.float32), rows, matrix, centroids)
            start += len(vectors)
        for ids, codes in self._in_lists():
            codes[:] = self.rows[ids]

    def search(self, queries: Floats, depth: int) -> Rows:
        """The rows that rank first by codes, in all lists: [queries, at most depth]."""
        found: Rows = self._flat.search(queries @ self.matrix.T, min(depth, len(self.rows)))[1]
        return found


def _chosen(passages: Floats, codes: NDArray[np.uint8], matrix: Floats, centroids: Floats) -> NDArray[np.uint8]:
    """Codes of passages, [passages, parts].

    Args:
        passages: [passages, dimension].
        codes: [passages, parts], to begin with.
        matrix: [dimension of codes, dimension of queries].
        centroids: [parts, centroids, numbers of a part].
    """
    codes, parts, width = codes.astype(np.int64), len(centroids), centroids.shape[2]
    products = matrix @ matrix.T
    directions = passages / np.maximum(np.linalg.norm(passages, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    turned, along = passages @ matrix.T, directions @ matrix.T
    standing = np.concatenate([centroids[part][codes[:, part]] for part in range(parts)], axis=1)
    # Of |e|^2, half the gradient by what stands for the passage; and e along the passage's direction.
    gradient = standing @ products - turned
    short = np.einsum("id,id->i", directions, passages) - np.einsum("id,id->i", along, standing)
    everyone = np.arange(len(passages))
    for part in [*range(parts)] * SWEEPS:
        at = slice(part * width, (part + 1) * width)
        own, block, now = centroids[part], products[at, at], codes[:, part]
        before = standing[:, at]
        each = along[:, at] @ own.T
        short += each[everyone, now]
        costs = 2 * (gradient[:, at] - before @ block) @ own.T + np.einsum("cw,wv,cv->c", own, block, own)
        costs += ALONG * np.square(short[:, np.newaxis] - each)
        codes[:, part] = now = costs.argmin(axis=1)
        short -= each[everyone, now]
        change = own[now] - before
        gradient += change @ products[at]
        standing[:, at] += change
    return codes.astype(np.uint8)


@dataclass(frozen=True)
class _Lists:
    """Passages for each query, and how the vectors score them.

    Args:
        queries: [queries, dimension].
        rows: [queries, passages], in ascending order.
        scores: [queries, passages]; -inf where a row stands there a second time.
    """

    queries: Floats
    rows: Rows
    scores: Floats

    @classmethod
    def drawn(
        cls, source: VectorSource, queries: Floats, best: Rows, found: Rows, random: np.random.Generator
    ) -> _Lists:
        """The best by the vectors, those that codes have found, and some of all."""
        some = random.integers(0, source.count, (len(queries), RANDOM))
        rows = np.sort(np.concatenate([best, found, some], axis=1), axis=1)
        scores = _exact_scores(source, queries, rows)
        scores[:, 1:][rows[:, 1:] == rows[:, :-1]] = -np.inf
        return cls(queries, rows, scores)


def _exact_scores(source: VectorSource, queries: Floats, rows: Rows) -> Floats:
    """Inner products [queries, passages] of each query with its passages."""
    scores = np.empty(rows.size, np.float32)
    order = np.argsort(rows, axis=None, kind="stable")
    sorted_rows = rows.ravel()[order]
    start = 0
    for _, vectors in source.blocks():
        first, last = np.searchsorted(sorted_rows, (start, start + len(vectors)))
        for at in range(first, last, SCORED_AT_ONCE):
            places = order[at : min(at + SCORED_AT_ONCE, last)]
            passages = np.asarray(vectors[rows.ravel()[places] - start], np.float32)
            scores[places] = np.einsum("id,id->i", queries[places // rows.shape[1]], passages)
        start += len(vectors)
    return scores.reshape(rows.shape)


@dataclass(frozen=True)
class _Student:
    """What is trained.

    Args:
        matrix: [dimension of codes, dimension of queries].
        centroids: [parts, centroids, numbers of a part].
        temperature: scores are divided by it before the softmax.
    """

    matrix: torch.Tensor
    centroids: torch.Tensor
    temperature: float

    @classmethod
    def of(cls, codes: _Codes, temperature: float) -> _Student:
        """As Faiss has trained it."""
        import torch

        return cls(torch.from_numpy(codes.matrix), torch.from_numpy(codes.centroids), temperature)

    def copy(self) -> _Student:
        """As it is now."""
        return _Student(self.matrix.detach().clone(), self.centroids.detach().clone(), self.temperature)

    def become(self, other: _Student) -> None:
        """Take the numbers of another."""
        import torch

        with torch.no_grad():
            self.matrix.copy_(other.matrix)
            self.centroids.copy_(other.centroids)

    def write_to(self, codes: _Codes) -> None:
        """Put it into the index."""
        codes.set(self.matrix.detach().numpy(), self.centroids.detach().numpy())

    def optimiser(self, steps: int) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        """Adam, with steps that become smaller until the last."""
        import torch

        groups = []
        for tensor, step in ((self.centroids, STEP_OF_CENTROIDS), (self.matrix, STEP_OF_MATRIX)):
            size = float(tensor.detach().square().mean().sqrt())
            groups.append({"params": [tensor.requires_grad_()], "lr": step * size})
        adam = torch.optim.Adam(groups, betas=(0.9, 0.99))
        return adam, torch.optim.lr_scheduler.LambdaLR(
            adam, lambda step: min(1, (step + 1) / WARM_UP) * (1 - step / steps)
        )

    def losses(self, lists: _Lists, codes: _Codes, some: Rows) -> torch.Tensor:
        """The divergence of each of some queries' lists."""
        import torch

        queries = torch.from_numpy(lists.queries[some])
        teacher = torch.from_numpy(lists.scores[some])
        of_passages = torch.from_numpy(codes.rows[lists.rows[some]]).long()  # [queries, passages, parts]
        parts, _, width = self.centroids.shape
        # What each part of a query scores with each centroid: [queries, parts, centroids].
        table = torch.einsum("qpw,pcw->qpc", (queries @ self.matrix.T).view(-1, parts, width), self.centroids)
        student = table.gather(2, of_passages.transpose(1, 2)).sum(1)
        absent = teacher.isneginf()
        ours = (student / self.temperature).masked_fill(absent, -torch.inf).log_softmax(1).masked_fill(absent, 0)
        theirs = (teacher / self.temperature).log_softmax(1)
        return (theirs.exp() * (theirs.masked_fill(absent, 0) - ours)).sum(1)

    def loss(self, lists: _Lists, codes: _Codes, some: Rows) -> float:
        """The mean divergence over some queries, as a number."""
        import torch

        with torch.no_grad():
            batches = [some[at : at + QUERIES_A_STEP] for at in range(0, len(some), QUERIES_A_STEP)]
            return float(torch.cat([self.losses(lists, codes, each) for each in batches]).mean())
