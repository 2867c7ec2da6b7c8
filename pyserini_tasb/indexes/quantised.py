"""The parts of an index that training changes: the matrix before a product quantiser, its centroids, and the codes.

Faiss cuts a rotated vector into parts, and a code names a centroid of each. Nothing in its search asks for a rotation:
a query is multiplied with a matrix, and its score is the sum of what each part of the result scores with its centroid.
So a part may have more numbers than its share of the vector, and what it stands for may overlap with other parts, as in
additive quantisation (Babenko and Lempitsky, CVPR 2014). Codes stay as small, and approximate vectors better.
"""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.errors import TasbError, argument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pyserini_tasb.indexes.vector_source import VectorSource

    Floats = NDArray[np.float32]
    Rows = NDArray[np.int64]


LOG = logging.getLogger(__name__)

BITS = 8  # a code is a byte
# How much more an error along the passage counts.
ALONG = 3.0
# Numbers of a part, times its share of the vector; and how often directions, centroids and codes are fitted in turns.
WIDER, ROUNDS = 4, 5
CHOSEN_AT_ONCE = 1 << 13
# Vectors to fit to: 0.8 GB of memory with 768 dimensions, and as many as Faiss's own k-means takes for 256 centroids.
FITTED_ON = 1 << 16
TIMED_SHARE = 4  # one in so many of them is fitted to first, to say how long all will take
_ROTATION = re.compile(r"OPQ(?P<parts>\d+)(_(?P<numbers>\d+))?,")
# Without a transform to another dimension before it.
_QUANTISER = re.compile(r"(OPQ\d+,)?(IVF\w+,)?PQ(?P<parts>\d+)(x\d+\w*)?(,.*)?")


def require_parts_that_divide(factory: str, dimension: int) -> None:
    """Refuse a product quantiser whose parts would not be equally wide.

    Args:
        factory: Faiss's string.
        dimension: the dimension of the vectors.

    Raises:
        TasbError: naming numbers of parts that divide the dimension.
    """
    found = _QUANTISER.fullmatch(factory)
    parts = int(found["parts"]) if found else 1
    if parts and dimension % parts == 0:
        return
    divisors = [each for each in range(1, dimension + 1) if dimension % each == 0]
    near = [*[each for each in divisors if each < parts][-1:], *[each for each in divisors if each > parts][:1]]
    raise TasbError(
        where=f"{argument('kind', factory)}",
        expected=f"parts of equal size, of vectors of {dimension} dimensions",
        found=f"{parts} parts",
        do=f"choose a number that divides {dimension}, such as {', '.join(map(str, near))}",
    )


def require_trainable(index: Any, kind: str) -> None:
    """Refuse to train an index for ranking that has no product quantiser behind a rotation.

    Args:
        index: untrained.
        kind: the requested kind.

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
        index: an index with a rotation.
        sample: [vectors, dimension].
    """
    import faiss

    rotation, codes = _quantised(index)
    parts, width = codes.pq.M, codes.pq.dsub
    some = sample[:: -(-len(sample) // FITTED_ON)]  # from all over the corpus, in whose order they are
    variances, axes = np.linalg.eigh(np.cov(some, rowvar=False, dtype=np.float64))
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


def narrow_and_wide(factory: str, dimension: int) -> tuple[str, str]:
    """The factory strings of an index that Faiss trains, and of the wider one that takes over what it learned.

    Args:
        factory: Faiss's string of an index that can be trained for ranking; `OPQ48_1536,PQ48` says how wide.
        dimension: the dimension of the vectors.
    """

    def of_at_most(most: float) -> str:
        def rotation(found: re.Match[str]) -> str:
            return f"OPQ{found['parts']}_{min(int(found['numbers'] or WIDER * dimension), most)},"

        return _ROTATION.sub(rotation, factory, count=1)

    return of_at_most(dimension), of_at_most(np.inf)


def widen(narrow: Any, wide: Any) -> None:
    """Let a wide index stand for the same vectors as a narrow one: each of its parts has further numbers, all zero.

    Args:
        narrow: trained by Faiss, behind a rotation.
        wide: untrained; is trained now, but for what refines it.
    """
    import faiss

    (rotation, codes), (wide_rotation, wide_codes) = _quantised(narrow), _quantised(wide)
    parts, width, wide_width = codes.pq.M, codes.pq.dsub, wide_codes.pq.dsub

    def padded(numbers: Floats) -> Floats:  # [..., parts * width] → [..., parts * wide_width]
        shape = (*numbers.shape[:-1], parts, width)
        further = [(0, 0)] * (len(shape) - 1) + [(0, wide_width - width)]
        return np.pad(numbers.reshape(shape), further).reshape(*shape[:-2], parts * wide_width)

    matrix = faiss.vector_to_array(rotation.A).reshape(parts * width, -1)
    faiss.copy_array_to_vector(np.ascontiguousarray(padded(matrix.T).T).ravel(), wide_rotation.A)
    centroids = faiss.vector_to_array(codes.pq.centroids).reshape(-1, width)
    padded_centroids = np.pad(centroids, [(0, 0), (0, wide_width - width)])
    faiss.copy_array_to_vector(padded_centroids.ravel(), wide_codes.pq.centroids)
    if isinstance(codes, faiss.IndexIVF):
        centres = faiss.downcast_index(codes.quantizer).reconstruct_n(0, codes.nlist)
        wide_codes.quantizer.add(padded(centres))
    wide_rotation.is_trained = wide_codes.is_trained = True
    wide_rotation.is_orthonormal = False
    base = faiss.downcast_index(wide)
    if isinstance(base, faiss.IndexRefine):
        base = faiss.downcast_index(base.base_index)
    else:
        wide.is_trained = True
    base.is_trained = True


class Codes:
    """The trained parts of an index: a rotation, centroids, and the codes of each row.

    Args:
        index: a product quantiser behind a rotation, over all vectors.
    """

    def __init__(self, index: Any) -> None:
        import faiss

        self._rotation, coded = _quantised(index)
        self._quantiser, width = coded.pq, coded.code_size
        self._lists: Any = None
        if isinstance(coded, faiss.IndexIVF):
            self._lists = coded.invlists
            self._table: Any = faiss.downcast_index(coded.quantizer)
            self._centres: Floats = self._table.reconstruct_n(0, coded.nlist) @ self.matrix
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
        """Take another matrix and other centroids; queries still look into the lists of the same centres."""
        import faiss

        faiss.copy_array_to_vector(np.ascontiguousarray(matrix).ravel(), self._rotation.A)
        self._rotation.is_orthonormal = False
        if self._lists:
            self._table.reset()
            self._table.add(np.ascontiguousarray(self._centres @ np.linalg.pinv(matrix), np.float32))
        for quantiser in (self._quantiser, self._flat.pq):
            faiss.copy_array_to_vector(np.ascontiguousarray(centroids).ravel(), quantiser.centroids)

    def nearest(self, vectors: Floats) -> NDArray[np.uint8]:
        """The codes that Faiss gives some vectors: [vectors, parts]."""
        codes: NDArray[np.uint8] = self._quantiser.compute_codes(np.ascontiguousarray(vectors @ self.matrix.T))
        return codes

    def fit(self, sample: Floats) -> None:
        """Give each part the directions and centroids that are best for what all other parts leave of the vectors.

        Codes, directions and centroids are chosen in turns, each the best for the others, with the errors as `choose`
        counts them. The codes of all rows are to be chosen anew afterwards.

        Args:
            sample: [vectors, dimension].
        """
        from tqdm.auto import tqdm

        matrix, centroids, chosen = self.matrix, self.centroids, self.nearest(sample)
        began, some = time.monotonic(), -(-len(sample) // TIMED_SHARE)
        _refined(sample[:some], chosen[:some], matrix, centroids, fit=True)
        seconds = ROUNDS * TIMED_SHARE * (time.monotonic() - began)
        LOG.info("fitting codes to %s vectors, for about %.0f s", f"{len(sample):,}", seconds)
        for _ in tqdm(range(ROUNDS), desc="fitting codes", unit=" rounds"):
            chosen, matrix, centroids = _refined(sample, chosen, matrix, centroids, fit=True)
        self.set(matrix, centroids)

    def choose(self, source: VectorSource, sweeps: int = 1) -> None:
        """Choose the codes of all rows anew, for the centroids and the matrix as they are now.

        Faiss takes the nearest centroids. Here an error counts more where it changes the scores of queries near the
        passage, which is along its own direction (Guo et al., Accelerating Large-Scale Inference with Anisotropic
        Vector Quantization, ICML 2020): the sum of |e|^2 and ALONG times the square of e along the passage is least,
        with e the passage minus what stands for it. One part's code is chosen after the other, given all others.

        Args:
            source: all vectors.
            sweeps: how often each part's code is chosen.
        """
        matrix, centroids = self.matrix, self.centroids
        start = 0
        for _, vectors in source.blocks(CHOSEN_AT_ONCE):
            rows = self.rows[start : start + len(vectors)]
            for _ in range(sweeps):
                rows[:], _, _ = _refined(np.asarray(vectors, np.float32), rows, matrix, centroids)
            start += len(vectors)
        for ids, codes in self._in_lists():
            codes[:] = self.rows[ids]

    def search(self, queries: Floats, depth: int) -> Rows:
        """The rows that rank first by codes, in all lists: [queries, at most depth]."""
        found: Rows = self._flat.search(queries @ self.matrix.T, min(depth, len(self.rows)))[1]
        return found


def _refined(
    passages: Floats, codes: NDArray[np.uint8], matrix: Floats, centroids: Floats, *, fit: bool = False
) -> tuple[NDArray[np.uint8], Floats, Floats]:
    """Choose each part's codes for what all other parts leave of the passages, one part after the other.

    Args:
        passages: [passages, dimension].
        codes: [passages, parts], to begin with.
        matrix: [dimension of codes, dimension of queries].
        centroids: [parts, centroids, numbers of a part].
        fit: find better directions and centroids for each part, too.

    Returns:
        Codes, matrix and centroids.
    """
    now = codes.astype(np.int64)
    parts, _, width = centroids.shape
    blocks, centroids = matrix.reshape(parts, width, -1).copy(), centroids.copy()
    directions = passages / np.maximum(np.linalg.norm(passages, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    left = passages.copy()
    for part in range(parts):
        left -= centroids[part][now[:, part]] @ blocks[part]
    for part in range(parts):
        own, block = centroids[part], blocks[part]
        left += own[now[:, part]] @ block
        short = np.einsum("id,id->i", directions, left)
        costs = np.einsum("cw,wv,cv->c", own, block @ block.T, own) - 2 * (left @ block.T) @ own.T
        costs += ALONG * np.square(short[:, np.newaxis] - (directions @ block.T) @ own.T)
        now[:, part] = costs.argmin(axis=1)
        if fit:
            centroids[part], blocks[part] = own, block = _fitted(left, directions, now[:, part], own, block)
        left -= own[now[:, part]] @ block
    return now.astype(np.uint8), blocks.reshape(matrix.shape), centroids


def _fitted(left: Floats, directions: Floats, codes: Rows, own: Floats, block: Floats) -> tuple[Floats, Floats]:
    """The centroids and directions of one part that are best for its codes.

    Directions are those in which the means of the codes' passages differ most; centroids then have the least cost.

    Args:
        left: [passages, dimension]: the passages minus what all other parts make of them.
        directions: [passages, dimension]: the passages' own, of length 1.
        codes: [passages].
        own: [centroids, numbers of the part]; one without a passage keeps its place.
        block: [numbers of the part, dimension].
    """
    order = np.argsort(codes, kind="stable")
    present, starts = np.unique(codes[order], return_index=True)
    counts = np.diff(np.append(starts, len(codes)))
    sums = np.add.reduceat(left[order], starts, axis=0)
    weighted = np.zeros((len(own), left.shape[1]), np.float32)
    weighted[present] = sums / np.sqrt(counts)[:, np.newaxis]
    found = np.linalg.svd(weighted, full_matrices=False)[2][: len(block)]
    fitted = np.zeros_like(block)
    fitted[: len(found)] = found
    centroids = own @ (block @ fitted.T)
    along, short = directions @ fitted.T, np.einsum("id,id->i", directions, left)
    for code, total, members in zip(present, sums @ fitted.T, np.split(order, starts[1:]), strict=True):
        here = along[members]
        system = len(members) * np.eye(len(block)) + ALONG * here.T @ here
        centroids[code] = np.linalg.solve(system, total + ALONG * short[members] @ here)
    return centroids, fitted
