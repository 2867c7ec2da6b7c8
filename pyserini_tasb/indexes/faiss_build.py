"""Build a Faiss index of any kind: train it on a sample, add the vectors block by block."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.artifacts import whole_file, whole_text_file
from pyserini_tasb.bars import hidden
from pyserini_tasb.environment.checks import release
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.indexes.compression import train_for_ranking
from pyserini_tasb.indexes.faiss_folder import DOCID, INDEX, faiss_message, open_folder
from pyserini_tasb.indexes.lengths import (
    LEAST_SPREAD,
    SAMPLE,
    AsTheyAre,
    InListsByDirection,
    WithLinksByDirection,
    graph_of,
    keep_no_residuals,
    lists_of,
    spread_of_lengths,
)
from pyserini_tasb.indexes.quality import faiss_advice
from pyserini_tasb.indexes.quantised import balance_rotation, narrow_and_wide, require_parts_that_divide, widen
from pyserini_tasb.indexes.vector_source import sampled_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.indexes.build import FaissRecipe
    from pyserini_tasb.indexes.compression import Trained, TrainingQueries
    from pyserini_tasb.indexes.lengths import Adding
    from pyserini_tasb.indexes.quality import Search
    from pyserini_tasb.indexes.vector_source import VectorSource


LOG = logging.getLogger(__name__)

# 1.11 has RaBitQ of one bit and 1.13.1 of several, but its inner products are wrong until 1.14.
FIRST_WITH_RABITQ = "1.14.0"
# Before, the edges of a graph depend on which of several threads came first.
FIRST_WITH_ORDERED_GRAPHS = "1.15.1"
# Faiss's k-means draws 256 vectors a centroid from what it gets, and warns below 39.
VECTORS_PER_LIST = 64
LEAST_SAMPLE = 100_000
# Below that, threads have less than a millisecond's work before they wait for each other, and that many thousand times.
LEAST_FOR_THREADS = 5_000
PROBED = 1_000  # vectors, to estimate how long lists take
SECONDS_BETWEEN_NOTES = 30
WRITTEN_AT_ONCE = 1 << 24
NOT_FOUND = -1  # Faiss's label where there are fewer hits than asked for


def make_index(recipe: FaissRecipe, dimension: int) -> Any:
    """Faiss's object for a recipe, untrained; inner product all through.

    Raises:
        TasbError: Faiss does not know the factory string, or makes of it an index for other distances.
    """
    import faiss

    if "RaBitQ" in recipe.factory and release(faiss.__version__) < release(FIRST_WITH_RABITQ):
        raise TasbError(
            where=f"{argument('kind', recipe.factory)}",
            expected=f"Faiss {FIRST_WITH_RABITQ} or newer, the first with RaBitQ for inner products",
            found=f"Faiss {faiss.__version__}",
            do="pip install -U faiss-cpu, or choose another kind of index",
        )
    require_parts_that_divide(recipe.factory, dimension)
    with _faiss_errors_explained("a factory string for inner products", recipe.factory):
        index = faiss.index_factory(dimension, recipe.factory, faiss.METRIC_INNER_PRODUCT)
    others = [type(part).__name__ for part in _parts(index) if part.metric_type != faiss.METRIC_INNER_PRODUCT]
    if others:
        raise TasbError(
            where=f"{argument('kind', recipe.factory)}",
            expected="an index for inner products",
            found="an index for other distances, which Faiss makes of this string without a warning: "
            f"{', '.join(others)}",
            do="choose another kind of index",
        )
    for part in _parts(index):
        if hasattr(part, "do_polysemous_training"):
            # Minutes of annealing for a search by Hamming distance, which is off unless asked for.
            part.do_polysemous_training = False
    return index


@dataclass(frozen=True)
class FaissBuild:
    """A Faiss index that is built from a recipe, and searched.

    Args:
        recipe: the recipe of the index.
        sample: vectors to train on, drawn at random; by default 64 for each inverted list, and no less than 100,000.
        seed: the seed of the sample, and of the training with queries.
        queries: the queries that train a product quantiser; None leaves it as Faiss makes it.
    """

    recipe: FaissRecipe
    sample: int | None = None
    seed: int = 0
    queries: TrainingQueries | None = None

    @property
    def described(self) -> str:
        """In words, for a report."""
        trained = f"trained with {len(self.queries.vectors):,} queries" if self.queries else ""
        return ", ".join(filter(None, (self.recipe.factory, self.recipe.parameters, trained)))

    def write(self, source: VectorSource, folder: Path) -> Trained | None:
        """Write the files `index` and `docid` over all vectors, into an existing folder.

        The index is held in memory, the vectors are not. The same source, recipe, seed and threads give the same
        bytes. Graphs (HNSW) do so from Faiss 1.15.1 on, with any number of threads; before, with one.

        Raises:
            TasbError: a recipe that Faiss refuses, or the disk is full.
        """
        from tqdm.auto import tqdm

        narrow, wide = narrow_and_wide(self.recipe.factory, source.dimension) if self.queries else (None, None)
        index = make_index(replace(self.recipe, factory=wide) if wide else self.recipe, source.dimension)
        set_parameters(index, self.recipe.parameters)  # a name that Faiss does not know is better known now
        if any(hasattr(part, "hnsw") for part in _parts(index)):
            _note_unordered_threads()
        adding = self._train(index, source, narrow)
        with (
            whole_text_file(folder / DOCID) as docid_file,
            tqdm(total=source.count, desc="adding vectors", unit=" vectors") as progress,
        ):
            for docids, vectors in source.blocks():
                docid_file.writelines(f"{docid}\n" for docid in docids)
                adding.add(np.ascontiguousarray(vectors, np.float32))
                progress.update(len(docids))
        adding.finish()
        trained = train_for_ranking(index, source, self.queries, self.seed) if self.queries else None
        _write(index, folder / INDEX)
        return trained

    def _train(self, index: Any, source: VectorSource, narrow: str | None) -> Adding:
        """Train the index if it needs that, and choose how vectors are added, by how much their lengths differ.

        Args:
            index: the index of all vectors.
            source: the vectors, of which a sample is drawn.
            narrow: the factory string of the index that Faiss trains instead; None for the index itself.
        """
        graph, inverted = graph_of(index), lists_of(index)
        if graph is None and index.is_trained:
            return AsTheyAre(index)
        sample = sampled_rows(source, SAMPLE if index.is_trained else self.sample or _sample_size(index), self.seed)
        differ = spread_of_lengths(sample) >= LEAST_SPREAD
        if inverted is not None and (differ or narrow):
            keep_no_residuals(inverted)
        if narrow:
            trained = make_index(replace(self.recipe, factory=narrow), source.dimension)
            if (lists := lists_of(trained)) is not None:
                keep_no_residuals(lists)
            balance_rotation(trained, sample)
            _train(trained, sample, self.recipe)
            widen(trained, index)
        if not index.is_trained:
            _train(index, sample, self.recipe)
        if differ and graph is not None:
            LOG.info(
                "the vectors' lengths differ: links by direction are added to the graph, which takes twice as long"
            )
            return WithLinksByDirection(index, graph)
        if differ and inverted is not None:
            LOG.info("the vectors' lengths differ: lists with long vectors are searched first")
            return InListsByDirection(index, inverted, source)
        return AsTheyAre(index)

    def search(self, folder: Path, source: VectorSource, among: NDArray[np.int64]) -> Search:
        """Search what was written, read into memory."""
        index = open_folder(folder, mapped=False).index

        def search(query: NDArray[np.float32], depth: int) -> NDArray[np.int64]:
            _, found = index.search(query, depth)
            rows: NDArray[np.int64] = found[found != NOT_FOUND]
            return rows

        return search

    def advice(self, folder: Path) -> str:
        """Options of `tasb index` that would give better answers."""
        return faiss_advice(open_folder(folder).index)


def set_parameters(index: Any, parameters: str) -> None:
    """Set parameters of the search, `nprobe=64,k_factor_rf=4` say; Faiss keeps them in its file.

    Raises:
        TasbError: Faiss knows no such parameter of this index.
    """
    import faiss

    space: Any = faiss.ParameterSpace()
    with _faiss_errors_explained("parameters of this index, as faiss.ParameterSpace takes them", parameters):
        space.set_index_parameters(index, parameters)


def graphs_are_the_same_each_time() -> bool:
    """True if Faiss builds the same graph from the same vectors, with any number of threads."""
    import faiss

    return release(faiss.__version__) >= release(FIRST_WITH_ORDERED_GRAPHS) or faiss.omp_get_max_threads() == 1


def _note_unordered_threads() -> None:
    import faiss

    if not graphs_are_the_same_each_time():
        LOG.info(
            "Faiss %s with several threads builds another graph each time. Faiss %s or newer, or %s, builds the same "
            "each time",
            faiss.__version__,
            FIRST_WITH_ORDERED_GRAPHS,
            argument("threads", 1),
        )


def _sample_size(index: Any) -> int:
    import faiss

    inverted = faiss.try_extract_index_ivf(index)
    return max(LEAST_SAMPLE, VECTORS_PER_LIST * inverted.nlist if inverted else 0)


def _train(index: Any, sample: NDArray[np.float32], recipe: FaissRecipe) -> None:
    import faiss

    inverted: Any = faiss.try_extract_index_ivf(index)
    on_gpu = inverted and faiss.get_num_gpus() > 0
    if on_gpu:  # not run here: no GPU on the machine that wrote this
        centroids = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(inverted.d))
        inverted.clustering_index = centroids
    threads = faiss.omp_get_max_threads()
    if len(sample) < LEAST_FOR_THREADS:
        faiss.omp_set_num_threads(1)
    try:
        with _faiss_errors_explained(f"enough vectors to train {recipe.factory}", f"{len(sample):,}"):
            clusterings = _Clusterings(index)
            clusterings.warn_of_few(len(sample))
            seconds = clusterings.seconds(sample)
            LOG.info("training on %s vectors drawn at random, for about %s", f"{len(sample):,}", _duration(seconds))
            with _time_shown(seconds):
                index.train(sample)
    finally:
        faiss.omp_set_num_threads(threads)
    if on_gpu:
        inverted.clustering_index = None


class _Clusterings:
    """The parts of a training that take time: k-means for lists, for codes, and for a rotation (OPQ), which is most."""

    def __init__(self, index: Any) -> None:
        import faiss

        parts = list(_parts(index))
        chains: list[Any] = [part.chain for part in parts if isinstance(part, faiss.IndexPreTransform)]
        transforms = [faiss.downcast_VectorTransform(chain.at(at)) for chain in chains for at in range(chain.size())]
        rotations = [each for each in transforms if isinstance(each, faiss.OPQMatrix)]
        self.rotations = [each for each in rotations if not each.is_trained]
        self.lists = [part for part in parts if isinstance(part, faiss.IndexIVF)]
        self.codes = [part.pq for part in parts if hasattr(part, "pq")]

    def warn_of_few(self, vectors: int) -> None:
        """Warn once where Faiss would in a line for each k-means, and have Faiss say nothing."""
        for rotation in self.rotations:
            rotation.pq = _quantizer_of(rotation)
        codes = [*self.codes, *(rotation.pq for rotation in self.rotations)]
        wanted = max((each.cp.min_points_per_centroid * each.ksub for each in codes), default=0)
        several = [each for each in self.lists if each.nlist > 1]
        wanted = max([wanted, *(each.cp.min_points_per_centroid * each.nlist for each in several)])
        if vectors < wanted:
            LOG.warning(
                "Faiss advises %s vectors or more to train this kind of index, and there are only %s: recall may be "
                "lower; choose another %s",
                f"{wanted:,}",
                f"{vectors:,}",
                argument("kind"),
            )
        for each in (*codes, *self.lists):
            each.cp.min_points_per_centroid = 1

    def seconds(self, sample: NDArray[np.float32]) -> float:
        """About how long the training takes, by what a small part of each k-means takes here and now."""
        return sum(
            [
                *(self._of_rotation(each, sample) for each in self.rotations),
                *(self._of_lists(each, sample) for each in self.lists),
                *(self._of_codes(each, sample) for each in self.codes),
            ]
        )

    @staticmethod
    def _of_rotation(rotation: Any, sample: NDArray[np.float32]) -> float:
        import faiss

        once: Any = faiss.OPQMatrix(rotation.d_in, rotation.M, rotation.d_out)
        once.niter, once.niter_pq_0, once.pq = 1, rotation.niter_pq, _quantizer_of(rotation)
        once.pq.cp.min_points_per_centroid = 1
        return float(rotation.niter + rotation.niter_pq_0 / rotation.niter_pq) * _seconds(lambda: once.train(sample))

    @staticmethod
    def _of_lists(index: Any, sample: NDArray[np.float32]) -> float:
        import faiss

        centroids: Any = faiss.IndexFlatIP(sample.shape[1])
        centroids.add(sample[: index.nlist])
        some = sample[:PROBED]
        used = min(len(sample), index.nlist * index.cp.max_points_per_centroid)
        return float(index.cp.niter * used / len(some) * _seconds(lambda: centroids.search(some, 1)))

    @staticmethod
    def _of_codes(quantizer: Any, sample: NDArray[np.float32]) -> float:
        import faiss

        one: Any = faiss.ProductQuantizer(quantizer.dsub, 1, quantizer.nbits)
        one.cp.min_points_per_centroid = 1
        numbers = np.ascontiguousarray(sample[:, : quantizer.dsub])
        return float(quantizer.M * _seconds(lambda: one.train(numbers)))


def _quantizer_of(rotation: Any) -> Any:
    """The quantiser that a rotation trains beside itself. Faiss makes its own if it gets none, and hides it."""
    import faiss

    quantizer: Any = faiss.ProductQuantizer(rotation.d_out, rotation.M, 8)
    quantizer.this.disown()  # a few megabytes, for as long as the process: a rotation has only its address
    return quantizer


def _seconds(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{max(1, round(seconds))} s"


@contextlib.contextmanager
def _time_shown(expected: float) -> Iterator[None]:
    """Show how long the block has been at work: Faiss says nothing until it has finished."""
    from tqdm.auto import tqdm

    finished = threading.Event()
    form = "training: {elapsed} of about " + _duration(expected)

    def show() -> None:
        start, noted = time.monotonic(), 0.0
        while not finished.wait(1):
            passed = time.monotonic() - start
            if not bar.disable:
                bar.refresh()
            elif passed - noted >= SECONDS_BETWEEN_NOTES:
                noted = passed
                LOG.info("training: %.0f s of about %s", passed, _duration(expected))

    with tqdm(bar_format=form, leave=False, disable=hidden(None)) as bar:
        clock = threading.Thread(target=show, daemon=True)
        clock.start()
        try:
            yield
        finally:
            finished.set()
            clock.join()


def _write(index: Any, path: Path) -> None:
    import faiss

    with whole_file(path) as file:
        # Not by the file's name: Faiss ignores an error at closing, and with it a disk that is full by then.
        writer: Any = faiss.PyCallbackIOWriter(file.write, WRITTEN_AT_ONCE)  # type: ignore[attr-defined]
        faiss.write_index(index, writer)


def _parts(index: Any) -> Iterator[Any]:
    """The index and what it is made of, as far as that compares vectors."""
    import faiss

    index = faiss.downcast_index(index)
    yield index
    for name in ("base_index", "refine_index", "index", "storage", "quantizer"):
        part = getattr(index, name, None)
        if part is not None:
            yield from _parts(part)


@contextlib.contextmanager
def _faiss_errors_explained(expected: str, given: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise TasbError(
            where="Faiss",
            expected=expected,
            found=f"{given}; Faiss says: {faiss_message(error)}",
            do="see https://github.com/facebookresearch/faiss/wiki/The-index-factory",
        ) from error
