"""The parts of an index that training changes: the matrix before a product quantiser, its centroids, and the codes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.errors import TasbError, argument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pyserini_tasb.indexes.vector_source import VectorSource

    Floats = NDArray[np.float32]
    Rows = NDArray[np.int64]


BITS = 8  # a code is a byte
# How much more an error along the passage counts, and how often each part's code is chosen.
ALONG, SWEEPS = 3.0, 1
ROUNDS = 5
CHOSEN_AT_ONCE = 1 << 13
# Vectors to fit on: 0.8 GB of memory with 768 dimensions, and as many as Faiss's own k-means takes for 256 centroids.
FITTED_ON = 1 << 16
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
    variances, axes = np.linalg.eigh(np.cov(_thinned(sample), rowvar=False, dtype=np.float64))
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


def fit_centroids(index: Any, sample: Floats) -> None:
    """Move centroids to where errors along the passages' directions are small, as `Codes.choose` counts them.

    Codes and centroids are chosen in turns, each the best for the other (Guo et al., ICML 2020).

    Args:
        index: trained by Faiss, behind a rotation.
        sample: [vectors, dimension].
    """
    sample = _thinned(sample)
    codes = Codes(index)
    matrix, centroids, chosen = codes.matrix, codes.centroids, codes.nearest(sample)
    for _ in range(ROUNDS):
        for at in range(0, len(sample), CHOSEN_AT_ONCE):
            some = slice(at, at + CHOSEN_AT_ONCE)
            chosen[some] = _chosen(sample[some], chosen[some], matrix, centroids)
        centroids = _fitted(sample, chosen, matrix, centroids)
    codes.set(matrix, centroids)


def _thinned(sample: Floats) -> Floats:
    return sample[:: -(-len(sample) // FITTED_ON)]


class Codes:
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

    def nearest(self, vectors: Floats) -> NDArray[np.uint8]:
        """The codes that Faiss gives some vectors: [vectors, parts]."""
        codes: NDArray[np.uint8] = self._quantiser.compute_codes(np.ascontiguousarray(vectors @ self.matrix.T))
        return codes

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


def _fitted(passages: Floats, codes: NDArray[np.uint8], matrix: Floats, centroids: Floats) -> Floats:
    """The centroids that are best for some codes, one part's after the other, by the costs of `_chosen`.

    Args:
        passages: [passages, dimension].
        codes: [passages, parts].
        matrix: a rotation.
        centroids: [parts, centroids, numbers of a part]; one without a passage stays as it is.
    """
    centroids, width = centroids.copy(), centroids.shape[2]
    directions = passages / np.maximum(np.linalg.norm(passages, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    turned, along = passages @ matrix.T, directions @ matrix.T
    standing = np.concatenate([own[codes[:, part]] for part, own in enumerate(centroids)], axis=1)
    short = np.einsum("id,id->i", directions, passages) - np.einsum("id,id->i", along, standing)
    for part, own in enumerate(centroids):
        at = slice(part * width, (part + 1) * width)
        order = np.argsort(codes[:, part], kind="stable")
        short += np.einsum("iw,iw->i", along[:, at], standing[:, at])
        for code, members in zip(*_groups(codes[:, part], order), strict=True):
            here = along[members, at]
            left = len(members) * np.eye(width) + ALONG * here.T @ here
            right = turned[members, at].sum(axis=0) + ALONG * short[members] @ here
            own[code] = np.linalg.solve(left, right.astype(np.float64))
        short -= np.einsum("iw,iw->i", along[:, at], own[codes[:, part]])
    return centroids


def _groups(codes: NDArray[np.uint8], order: Rows) -> tuple[Rows, list[Rows]]:
    """Each code that occurs, and where."""
    present, starts = np.unique(codes[order], return_index=True)
    return present.astype(np.int64), np.split(order, starts[1:])
