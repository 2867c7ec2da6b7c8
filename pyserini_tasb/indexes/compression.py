"""Product quantisers trained for ranking: most of what codes lose against exact search is won back.

A product quantiser cuts a vector into parts and keeps the number of the nearest of 256 centroids for each. Faiss places
centroids where vectors are, whatever is asked for. Here the parts may overlap, and each fits what the others leave.
Then the centroids, and the matrix that multiplies a query before it meets them, learn from queries to rank as the
vectors themselves do. Codes are as small as before, and Faiss knows all parts of the index.

The ideas are of JPQ (Zhan et al., CIKM 2021: train centroids for ranking, against passages that the codes rank too
high, with the codes fixed) and Distill-VQ (Xiao et al., SIGIR 2022: the uncompressed vectors are the teacher, so that
queries need no judgements). JPQ fine-tunes the query encoder. Here a matrix stands in for that: the index keeps it, and
queries are encoded as for any other index of these vectors.
"""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.encoding.index_manifest import require_among
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.indexes.quality import exact_top
from pyserini_tasb.indexes.quantised import FITTED_ON, Codes
from pyserini_tasb.indexes.vector_source import sampled_rows

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
BEST, RANDOM = 100, 32
# In each phase codes and lists are made anew.
PHASES, EPOCHS = 3, 3
QUERIES_A_STEP = 64
RECALL_DEPTH = 10
# Steps are relative to the size of what they change, so that vectors of any length train alike.
STEP_OF_CENTROIDS, STEP_OF_MATRIX = 0.01, 0.003
WARM_UP = 20
# How often each part's code is chosen after the fit, when codes are still those of Faiss.
FIRST_SWEEPS = 2
SCORED_AT_ONCE = 1 << 14


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
        encoders: the encoders of these vectors.
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
            do=f"{again}: they need no judgments",
        )
    for encoder in queries.encoders if encoders else ():
        require_among(encoders, asdict(encoder), encoder.name, str(folder))
    vectors = np.concatenate([np.asarray(block, np.float32) for _, block in queries.blocks()])
    order = np.random.default_rng(seed).permutation(len(vectors))
    held_out = min(round(HELD_OUT * len(vectors)), MOST_HELD_OUT)
    return TrainingQueries(vectors[order[held_out:]], vectors[order[:held_out]], str(folder))


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
        """Its gain in recall, in words."""
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
        index: the index of all vectors of the source; changed in place.
        source: read once for the exact best, and twice in each phase, for codes and lists.
        queries: the training queries.
        seed: the seed of what is drawn. The same seed and number of threads give the same index.
    """
    from tqdm.auto import tqdm

    start = time.monotonic()
    random = np.random.default_rng(seed)
    everything = np.concatenate([queries.vectors, queries.held_out])
    learned_from, held_out = np.split(np.arange(len(everything)), [len(queries.vectors)])
    codes = Codes(index)
    exact, best = exact_top(source, everything, BEST)

    def recall() -> float:
        found = codes.search(queries.held_out, RECALL_DEPTH)
        return float(
            np.mean([np.isin(*pair).mean() for pair in zip(best[held_out, :RECALL_DEPTH], found, strict=True)])
        )

    before = recall()
    codes.fit(sampled_rows(source, FITTED_ON, seed))
    codes.choose(source, FIRST_SWEEPS)
    student = _Student.of(codes, temperature=float(exact.std(axis=1).mean()))
    batches = -(-len(learned_from) // QUERIES_A_STEP)
    steps = PHASES * EPOCHS * batches
    optimiser, schedule = student.optimiser(steps)
    with _threads_of_faiss(), tqdm(total=steps, desc="training codes", unit=" steps") as progress:
        for phase in range(PHASES):
            began = time.monotonic()
            codes.choose(source)
            lists = _Lists.drawn(source, everything, best, codes.search(everything, BEST), random)
            prepared = time.monotonic()
            kept, lowest = student.copy(), student.loss(lists, codes, held_out)
            if phase == 0:
                # A step takes about three times as long for a query as its loss alone.
                each = 3 * (time.monotonic() - prepared) * len(learned_from) / len(held_out)
                seconds = PHASES * (prepared - began + EPOCHS * each)
                LOG.info("training codes with %s queries, for about %.0f s", f"{len(learned_from):,}", seconds)
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


@contextlib.contextmanager
def _threads_of_faiss() -> Iterator[None]:
    """Let torch use as many threads as Faiss: the same bytes, and a machine that is shared, ask for it."""
    import faiss
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(faiss.omp_get_max_threads())
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
    """The numbers that are trained.

    Args:
        matrix: [dimension of codes, dimension of queries].
        centroids: [parts, centroids, numbers of a part].
        temperature: scores are divided by it before the softmax.
    """

    matrix: torch.Tensor
    centroids: torch.Tensor
    temperature: float

    @classmethod
    def of(cls, codes: Codes, temperature: float) -> _Student:
        """The numbers of the index as they are."""
        import torch

        return cls(torch.from_numpy(codes.matrix), torch.from_numpy(codes.centroids), temperature)

    def copy(self) -> _Student:
        """A copy that further steps do not change."""
        return _Student(self.matrix.detach().clone(), self.centroids.detach().clone(), self.temperature)

    def become(self, other: _Student) -> None:
        """Take the numbers of another."""
        import torch

        with torch.no_grad():
            self.matrix.copy_(other.matrix)
            self.centroids.copy_(other.centroids)

    def write_to(self, codes: Codes) -> None:
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

    def losses(self, lists: _Lists, codes: Codes, some: Rows) -> torch.Tensor:
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

    def loss(self, lists: _Lists, codes: Codes, some: Rows) -> float:
        """The mean divergence over some queries, as a number."""
        import torch

        with torch.no_grad():
            batches = [some[at : at + QUERIES_A_STEP] for at in range(0, len(some), QUERIES_A_STEP)]
            return float(torch.cat([self.losses(lists, codes, each) for each in batches]).mean())
