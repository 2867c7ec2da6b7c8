"""Exact search by inner product in torch, on any device, where Faiss is missing or the device is a GPU.

It needs torch and numpy only. Two passes find a query's hits: a matrix product, in blocks, finds somewhat more vectors
than asked for; these are then scored again one by one, with sums in fp64 that are rounded to fp32. So a score does
not depend on the other queries and vectors, and equal vectors have equal scores.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, pairwise, product
from typing import TYPE_CHECKING, Literal

import numpy as np

from pyserini_tasb.errors import TasbError, argument

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import torch
    from numpy.typing import NDArray


LOG = logging.getLogger(__name__)

SearchPrecision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
# A vector that the first pass left out may be so many times the largest difference of both passes' scores better than
# there. Rounded vectors differ by chance, each in its own way; the order of sums differs for many vectors alike.
NOISE_MARGIN = {"fp32": 10.0, "bf16": 2.0, "fp16": 2.0}
# In half precision, vectors that all lie within the noise would never be told apart: so many are looked at, and so
# many times `k`. A tie is looked at whole.
MOST_IN_HALF = 1_024, 16
# Vectors whose scores differ by less in the first pass, relative to the best score, may be equal: the place of a vector
# in its block decides the order of sums. A product in bf16 is rounded afterwards.
SAME = 2.0**-16
SAME_ROUNDED = 2.0**-7
# Of the scores of a block and the vectors that are converted for it; and of vectors that are scored again, which on
# CPUs should stay in a cache. Buffers are used again: new memory costs more than what is computed in it.
WORKSPACE_BYTES = {"cpu": 1 << 25, "gpu": 1 << 30}
AGAIN_BYTES = {"cpu": 1 << 23, "gpu": 1 << 28}
PART_BYTES = 1 << 31
QUERIES_AT_ONCE = 2_048
FOUND_AT_ONCE = 1 << 24


class TorchFlat:
    """Vectors that are compared with every query. `ntotal`, `d` and `search` are as those of a flat Faiss index.

    Args:
        blocks: the vectors, [n, dimension] each, fp32 or fp16: arrays, which may be memory-mapped, or tensors, also of
            bf16. A tensor on one of the devices, and on the CPU an array, is used where it lies. What has to be copied
            or converted is, while memory lasts; the rest is copied anew in each search.
        device: torch's name of the device, or several names; the vectors are divided among these.
        precision: the number format of the first pass. With `fp32`, no vector is missed. `bf16` and `fp16` round
            vectors and queries in the first pass, and may miss a hit at the end of a list; scores are as with `fp32`.
            Of equal vectors, whatever their number, the first rows are found.
        memory: the most bytes of copies on each device; by default 9 tenths of what is free on a GPU, and half of what
            is free on the CPU. The first search makes the copies.
        threads: the number of torch's threads in a search on the CPU; by default torch's own.

    Attributes:
        ntotal: the number of vectors.
        d: their dimension.

    Raises:
        TasbError: no vectors, of different dimensions, or of another type.
    """

    def __init__(
        self,
        blocks: Iterable[NDArray[np.floating] | torch.Tensor],
        *,
        device: str | Sequence[str] = "cpu",
        precision: SearchPrecision = "fp32",
        memory: int | None = None,
        threads: int | None = None,
    ) -> None:
        import torch

        tensors = [_tensor(block) for block in blocks]
        dimensions = {tensor.shape[1] for tensor in tensors}
        if len(dimensions) != 1:
            raise TasbError(
                expected="blocks of vectors of one dimension",
                found=f"{len(dimensions)} dimensions: {', '.join(map(str, sorted(dimensions)))}" if tensors else "none",
                do="give the vectors of one encoder",
            )
        (self.d,) = dimensions
        self.ntotal = sum(map(len, tensors))
        names = [device] if isinstance(device, str) else list(device)
        devices = [torch.empty(0, device=name).device for name in names]  # `cuda` becomes `cuda:0`
        self._dealt = dict(enumerate(zip(devices, _dealt(tensors, devices), strict=True)))
        self._precision, self._memory, self._threads = precision, memory, threads

    @functools.cached_property
    def _shards(self) -> list[_Shard]:
        # Taken out, so that vectors that were copied can be let go.
        dealt = [self._dealt.pop(number) for number in list(self._dealt)]
        return [_Shard(rows, device, self._precision, self._memory) for device, rows in dealt if rows]

    @functools.cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(len(self._shards))

    def search(
        self, queries: NDArray[np.floating] | torch.Tensor, k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Each query's `k` best vectors, by score, descending; of equal scores, the first row first.

        Args:
            queries: [queries, d].
            k: the number of vectors, at least 1.

        Returns:
            Scores [queries, k], and rows [queries, k], counted over all blocks. Where fewer vectors than `k` have a
            score, the rest is -inf and row -1, as in Faiss. A vector or query with NaN has no scores.

        Raises:
            TasbError: queries of another shape, or `k` below 1.
        """
        import torch

        if isinstance(queries, np.ndarray):
            queries = torch.from_numpy(np.array(queries, np.float32))
        asked = queries.detach().to(torch.float32)
        if asked.ndim != 2 or asked.shape[1] != self.d or k < 1:
            raise TasbError(
                expected=f"queries [queries, {self.d}], and k of 1 or more",
                found=f"{list(asked.shape)}, and k of {k}",
                do="encode the queries with the encoder that the vectors were made with",
            )
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads or before)
        try:
            return self._search(asked, k)
        finally:
            torch.set_num_threads(before)

    def _search(self, asked: torch.Tensor, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        import torch

        scores = np.full((len(asked), k), -np.inf, np.float32)
        rows = np.full((len(asked), k), -1, np.int64)
        remaining = np.arange(len(asked))
        least, times = MOST_IN_HALF
        most = self.ntotal if self._precision == "fp32" else min(self.ntotal, least + times * k)
        count = k + k // 8 + 16
        while len(remaining) and self.ntotal:
            count = min(count, self.ntotal)
            at_once = max(1, min(QUERIES_AT_ONCE, FOUND_AT_ONCE // count))
            unsure = []
            for first in range(0, len(remaining), at_once):
                some = remaining[first : first + at_once]
                vectors = asked[torch.from_numpy(some).to(asked.device)]
                found, places, is_sure, is_tie = self._best(vectors, k, count)
                scores[some, : found.shape[1]], rows[some, : found.shape[1]] = found, places
                unsure.append(some[~is_sure] if count < most else some[is_tie])
            remaining = np.concatenate(unsure) if count < self.ntotal else remaining[:0]
            count *= 2
        return scores, rows

    def _best(
        self, queries: torch.Tensor, k: int, count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """The `k` best of each shard's `count` best: scores and rows.

        And whether no other vector can be among them; and whether a tie goes on beyond a shard's `count` best.
        """
        import torch

        first, *others = self._shards
        others_answers = [self._pool.submit(shard.best, queries, k, count) for shard in others]
        answers = [first.best(queries, k, count), *(answer.result() for answer in others_answers)]
        scores, rows, bounds, tied = (
            torch.cat([part.to(first.device) for part in parts], dim=1) for parts in zip(*answers, strict=True)
        )
        scores, rows = _ranked(scores, rows, k) if others else (scores, rows)
        bound = bounds.amax(dim=1)
        last = scores[:, -1] if scores.shape[1] == k else torch.full_like(bound, -torch.inf)
        is_sure = (last > bound) | (bound == -torch.inf)
        tie = tied.amax(dim=1)
        is_tie = (last <= tie) & (tie > -torch.inf)
        return scores.cpu().numpy(), rows.cpu().numpy(), is_sure.cpu().numpy(), is_tie.cpu().numpy()


def _tensor(block: NDArray[np.floating] | torch.Tensor) -> torch.Tensor:
    """A block as a tensor over the same memory."""
    import torch

    if isinstance(block, np.ndarray):
        if block.dtype not in (np.float32, np.float16) or block.ndim != 2:
            raise _no_vectors(str(block.dtype), block.shape)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it may be a file that cannot be written: nobody does
            return torch.from_numpy(block)
    if block.dtype not in (torch.float32, torch.float16, torch.bfloat16) or block.ndim != 2:
        raise _no_vectors(str(block.dtype), tuple(block.shape))
    return block.detach()


def _no_vectors(dtype: str, shape: tuple[int, ...]) -> TasbError:
    return TasbError(
        expected="vectors [n, dimension] of float32 or float16, or tensors of bfloat16",
        found=f"{dtype} {list(shape)}",
        do="convert them",
    )


Rows = tuple[int, "torch.Tensor"]
"""Vectors, and after how many others they come."""


def _dealt(tensors: Sequence[torch.Tensor], devices: Sequence[torch.device]) -> list[list[Rows]]:
    """The vectors of each device: those in its memory, and an equal share of all others."""
    dealt: list[list[Rows]] = [[] for _ in devices]
    others: list[Rows] = []
    for start, tensor in zip(accumulate(map(len, tensors), initial=0), tensors, strict=False):
        lies_there = tensor.device.type != "cpu" and tensor.device in devices
        (dealt[devices.index(tensor.device)] if lies_there else others).append((start, tensor))
    share = -(-sum(len(tensor) for _, tensor in others) // len(devices))
    passed = 0
    for start, tensor in others:
        ends = (share * number - passed for number in range(1, len(devices)))
        cuts = [0, *(end for end in ends if 0 < end < len(tensor)), len(tensor)]
        for first, last in pairwise(cuts):
            if first < last:
                dealt[(passed + first) // share].append((start + first, tensor[first:last]))
        passed += len(tensor)
    return [sorted(rows, key=lambda each: each[0]) for rows in dealt]


class _Shard:
    """The vectors of one device."""

    def __init__(
        self, blocks: Sequence[Rows], device: torch.device, precision: SearchPrecision, memory: int | None
    ) -> None:
        self.device = device
        self._margin = NOISE_MARGIN[precision]
        kind = "cpu" if device.type == "cpu" else "gpu"
        self._workspace, self._again = WORKSPACE_BYTES[kind], AGAIN_BYTES[kind]
        self._stored, self._dtype, self._product, self._same = _multiplication(device, precision)
        # The vectors of the first pass, which may be rounded; and those that are scored again, which are not.
        self._first: list[Rows] = []
        self._given: list[Rows] = []
        left = memory_for_copies(device) if memory is None else memory
        copied, all_bytes = 0, 0
        self._first += [rows for rows in blocks if _is_ready(rows[1], device, self._stored)]
        self._given += self._first
        for part in _parts([rows for rows in blocks if not _is_ready(rows[1], device, self._stored)]):
            start, like = part[0]
            count = sum(len(tensor) for _, tensor in part)
            dtype = like.dtype if like.dtype.itemsize <= self._stored.itemsize else self._stored
            size = count * like.shape[1] * dtype.itemsize
            all_bytes += size
            if size > left:
                copied += size
                self._first += part
                self._given += part
                continue
            left -= size
            held = like.new_empty((count, like.shape[1]), dtype=dtype, device=device)
            for at, tensor in part:
                held[at - start : at - start + len(tensor)] = tensor
            self._first.append((start, held))
            self._given += [(start, held)] if dtype == like.dtype else part
        self._given.sort(key=lambda rows: rows[0])
        if copied:
            LOG.info(
                "%s: %.2f GB of %.2f GB of vectors do not fit into its free memory, and are copied again for each "
                "batch of queries, so that larger batches take less time (%s)",
                *(device, copied / 1e9, all_bytes / 1e9, argument("batch_size")),
            )

    def best(
        self, queries: torch.Tensor, k: int, count: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scores and rows of the `k` best of `count` candidates, a limit [queries, 1] of all other scores, and a tie.

        The tie is the best score [queries, 1] that several candidates have which are the last in the first pass, so
        that other vectors may have it, too; -inf if there is none, or in fp32.
        """
        import torch

        queries = queries.to(self.device)
        first, rows = self._candidates(queries, count)
        rows[first == -torch.inf] = -1
        scores = self._scored_again(queries, rows)
        rows[scores == -torch.inf] = -1
        noise = (scores - first).abs().nan_to_num(0, 0, 0).amax(dim=1, keepdim=True)
        if first.shape[1] < count:  # all vectors
            return *_ranked(scores, rows, k), noise - torch.inf, noise - torch.inf
        bound = first[:, -1:] + self._margin * noise
        if self._stored == torch.float32:  # the bound says more
            return *_ranked(scores, rows, k), bound, noise - torch.inf
        is_last = first <= first[:, -1:] + self._same * first.abs().amax(dim=1, keepdim=True)
        ends = scores.masked_fill(~is_last, -torch.inf).sort(dim=1, descending=True).values
        is_twice = (ends == ends.roll(-1, 1)).index_fill_(1, torch.tensor([count - 1], device=ends.device), value=False)
        tie = ends.masked_fill(~is_twice, -torch.inf).amax(dim=1, keepdim=True)
        return *_ranked(scores, rows, k), bound, tie

    def _candidates(self, queries: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of the first pass, descending, and rows, of the `count` best vectors of each query, or of all."""
        import torch

        asked = queries.to(self._stored).to(self._dtype)
        best = queries.new_empty((len(queries), 0))
        rows = torch.empty((len(queries), 0), dtype=torch.int64, device=self.device)
        buffer = queries.new_empty(0)
        for start, vectors in self._pieces(len(queries)):
            size = len(queries) * len(vectors)
            buffer = buffer if len(buffer) >= size else queries.new_empty(size)
            scores = self._product(asked, vectors, buffer[:size].view(len(queries), -1))
            if best.shape[1] < count:
                scores.nan_to_num_(-torch.inf, torch.inf, -torch.inf)
                more, places = scores.topk(min(count, len(vectors)))
            else:
                more, places = _above(scores, best[:, -1:])
                if not more.shape[1]:
                    continue
            best, chosen = torch.cat([best, more], dim=1).topk(min(count, best.shape[1] + more.shape[1]))
            rows = torch.cat([rows, places + start], dim=1).gather(1, chosen)
        return best, rows

    def _pieces(self, queries: int) -> Iterator[Rows]:
        """The vectors as they are multiplied, each time so many that their scores fit into the workspace.

        What is yielded is overwritten by the next.
        """
        for start, tensor in self._first:
            ready = (tensor.device, tensor.dtype) == (self.device, self._dtype)
            size = max(1, self._workspace // (4 * (queries if ready else queries + tensor.shape[1])))
            size = min(size, len(tensor))
            buffer = None if ready else tensor.new_empty((size, tensor.shape[1]), dtype=self._dtype, device=self.device)
            for at in range(0, len(tensor), size):
                piece = tensor[at : at + size]
                yield start + at, piece if buffer is None else buffer[: len(piece)].copy_(piece)

    def _scored_again(self, queries: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Inner products [queries, rows] of each query with its rows: sums in fp64, rounded; -inf for row -1."""
        import torch

        device = torch.device("cpu") if self.device.type == "mps" else self.device  # which has no fp64
        asked = queries[:, :, None].to(device, torch.float64)
        ordered, order = rows.sort(dim=1)
        starts = torch.tensor([start for start, _ in self._given], device=rows.device)
        ends = torch.full((len(rows), 1), rows.shape[1], device=rows.device)
        cuts = torch.cat([torch.searchsorted(ordered, starts.repeat(len(rows), 1)), ends], dim=1).tolist()
        # A tie can make the lists longer than the vectors of one query that fit.
        fitting = self._again // max(1, 8 * queries.shape[1])
        width = max(1, min(rows.shape[1], fitting))
        size = max(1, min(len(rows), fitting // width))
        shape = size, width, queries.shape[1]
        dtypes = {tensor.dtype for _, tensor in self._given}
        found = torch.zeros(shape, dtype=dtypes.pop() if len(dtypes) == 1 else torch.float32, device=device)
        exact = torch.empty(shape, dtype=torch.float64, device=device)
        scores = torch.empty(rows.shape, device=self.device)
        for at, begin in product(range(0, len(rows), size), range(0, rows.shape[1], width)):
            some, end = slice(at, min(at + size, len(rows))), min(begin + width, rows.shape[1])
            for of_query, row, parts in zip(found, ordered[some], cuts[some], strict=False):
                for (start, tensor), (first, last) in zip(self._given, pairwise(parts), strict=True):
                    first, last = max(first, begin), min(last, end)  # noqa: PLW2901 - of these columns
                    if first < last:
                        _take(tensor, row[first:last] - start, of_query[first - begin : last - begin])
            block = slice(0, some.stop - at), slice(0, end - begin)
            products = torch.bmm(exact[block].copy_(found[block]), asked[some])
            scores[some, begin:end] = products[:, :, 0].to(self.device, torch.float32)
        scores.masked_fill_(ordered < 0, -torch.inf).nan_to_num_(-torch.inf, torch.inf, -torch.inf)
        return torch.empty_like(scores).scatter_(1, order, scores)


def _take(tensor: torch.Tensor, rows: torch.Tensor, out: torch.Tensor) -> None:
    """Copy rows of a tensor into another one."""
    import torch

    if (tensor.device, tensor.dtype) == (out.device, out.dtype):
        torch.index_select(tensor, 0, rows.to(out.device), out=out)
    else:
        out.copy_(tensor[rows.to(tensor.device)])


def _is_ready(tensor: torch.Tensor, device: torch.device, stored: torch.dtype) -> bool:
    """True if vectors are used where they lie: they are on the device, and not to be rounded."""
    return tensor.device == device and tensor.dtype.itemsize <= stored.itemsize


def _parts(blocks: Sequence[Rows]) -> Iterator[list[Rows]]:
    """The blocks in groups that are copied together: of one kind, without a gap, of at most `PART_BYTES`."""
    part: list[Rows] = []
    count = 0
    for start, whole in blocks:
        most = max(1, PART_BYTES // (whole.shape[1] * whole.dtype.itemsize))
        for at in range(0, len(whole), most):
            tensor = whole[at : at + most]
            if part and (
                start + at != part[0][0] + count
                or count + len(tensor) > most
                or (tensor.device, tensor.dtype) != (part[0][1].device, part[0][1].dtype)
            ):
                yield part
                part, count = [], 0
            part.append((start + at, tensor))
            count += len(tensor)
    if part:
        yield part


Product = Callable[["torch.Tensor", "torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""Queries, vectors and a buffer → scores [queries, vectors] in fp32, which may be in the buffer."""


def _multiplication(
    device: torch.device, precision: SearchPrecision
) -> tuple[torch.dtype, torch.dtype, Product, float]:
    """How vectors are multiplied: the type to which they are rounded, the type of the product, and its function.

    And the relative difference of scores of equal vectors.
    """
    import torch

    def whole(queries: torch.Tensor, vectors: torch.Tensor, buffer: torch.Tensor) -> torch.Tensor:
        return torch.mm(queries, vectors.T, out=buffer)

    def wide(queries: torch.Tensor, vectors: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return torch.mm(queries, vectors.T, out_dtype=torch.float32)

    def rounded(queries: torch.Tensor, vectors: torch.Tensor, buffer: torch.Tensor) -> torch.Tensor:
        return buffer.copy_(queries @ vectors.T)

    dtype: torch.dtype = getattr(torch, DTYPES[precision])
    if precision == "fp32":
        return dtype, dtype, whole, SAME
    try:
        wide(*torch.ones((3, 8, 8), dtype=dtype, device=device))
    except (TypeError, RuntimeError):  # torch before 2.8, or a device that rounds the result
        # A score may be too large for fp16, and few CPUs multiply it.
        if precision == "bf16":
            return dtype, dtype, rounded, SAME_ROUNDED
        return dtype, torch.float32, whole, SAME
    return dtype, dtype, wide, SAME


def memory_for_copies(device: torch.device) -> int:
    """Bytes of vectors that are copied to a device at most: 9 tenths of what is free on a GPU, half on the CPU."""
    import torch

    if device.type == "cuda":
        # torch keeps what it has freed, which counts as taken.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(0.9 * (torch.cuda.mem_get_info(device)[0] + kept)) - 3 * WORKSPACE_BYTES["gpu"]
    if device.type == "cpu":
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 if sys.platform == "linux" else 0
    return sys.maxsize


def _above(scores: torch.Tensor, least: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The scores of each query above its own limit, and their places, in no order, padded with -inf.

    A partial sort of all scores would take longer: after the first blocks, few are above.

    Args:
        scores: [queries, n].
        least: [queries, 1].
    """
    import torch

    above = scores > least
    counts = above.sum(dim=1)
    queries, found = above.nonzero(as_tuple=True)
    column = torch.arange(len(queries), device=scores.device) - (counts.cumsum(0) - counts)[queries]
    shape = len(scores), int(counts.max()) if len(scores) else 0
    more = scores.new_full(shape, -torch.inf)
    places = torch.zeros(shape, dtype=torch.int64, device=scores.device)
    more[queries, column] = scores[queries, found]
    places[queries, column] = found
    return more, places


def _ranked(scores: torch.Tensor, rows: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `k` best of each query by score, descending, and then row, ascending."""
    rows, order = rows.sort(dim=1)
    scores, places = scores.gather(1, order).sort(dim=1, descending=True, stable=True)
    return scores[:, :k], rows.gather(1, places)[:, :k]
