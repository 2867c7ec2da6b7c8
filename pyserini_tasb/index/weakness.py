"""Weak answers of an index: too few hits, or too many of the best ones missing; and what to do about it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyserini_tasb.index.quality import Quality

LEAST_RECALL = 0.9
MORE = 4  # the next try looks at so many times as much
OTHER_KIND = "take another --kind (flat and fp16 look at every vector)"


def quality_warning(quality: Quality, count: int, advice: str) -> str:
    """A warning about weak answers of a new index, with what to do; empty if they are not weak.

    Args:
        quality: as measured.
        count: vectors in the index.
        advice: what to do.
    """
    weak = [f"recall@{depth} is {share:.4f}" for depth, share in quality.recall.items() if share < LEAST_RECALL]
    short = [
        f"a search for {min(depth, count):,} hits finds {hits:,.0f} on average"
        for depth, hits in quality.hits.items()
        if hits < min(depth, count)
    ]
    return f"weak answers: {'; '.join([*weak, *short])}\n  do this:  {advice}" if weak or short else ""


def short_lists_warning(lengths: Sequence[int], asked: int, docids: Sequence[object], advice: str) -> str:
    """A warning about lists of hits that are shorter than asked, with what to do; empty if none is.

    Args:
        lengths: of each query's list.
        asked: hits that each query was to get.
        docids: of the index. Where it has fewer documents than were asked for, a list of all of them is whole.
        advice: what to do.
    """
    if min(lengths, default=asked) >= asked:
        return ""
    most = sum(1 for _ in itertools.islice(_distinct(docids), asked))
    short = sum(length < most for length in lengths)
    if not short:
        return ""
    mean = sum(lengths) / len(lengths)
    return (
        f"{short:,} of {len(lengths):,} queries have fewer than {most:,} hits ({mean:,.0f} on average): "
        f"the index looks into a part of itself only\n  do this:  {advice}"
    )


def faiss_advice(index: Any) -> str:
    """Options of `tasb index` that give better answers than this Faiss index."""
    import faiss

    advice = []
    inverted: Any = faiss.try_extract_index_ivf(index)
    if inverted is not None and inverted.nprobe < inverted.nlist:
        probes = min(inverted.nlist, MORE * inverted.nprobe)
        advice.append(f"--parameters nprobe={probes} (now {inverted.nprobe} of {inverted.nlist} lists are looked into)")
    stages = list(_stages(index))
    last = stages[-1]
    if hasattr(last, "hnsw"):
        advice.append(f"--parameters efSearch={MORE * last.hnsw.efSearch}")
    codes = getattr(last, "storage", None) or last
    refined = next((stage for stage in stages if hasattr(stage, "k_factor")), None)
    if refined is not None:
        advice.append(f"--parameters k_factor_rf={MORE * refined.k_factor:g}")
    elif getattr(faiss.downcast_index(codes), "code_size", 0) < 2 * index.d:  # fewer than 16 bits a number
        advice.append("--refine fp16, which ranks candidates by the vectors themselves")
    return f"make the index again with {'; with '.join(advice)}; or {OTHER_KIND}" if advice else OTHER_KIND


def _stages(index: Any) -> Iterator[Any]:
    """The index, and what stands behind a refinement or a change of the vectors."""
    import faiss

    while index is not None:
        index = faiss.downcast_index(index)
        yield index
        index = getattr(index, "base_index", None) or getattr(index, "index", None)


def _distinct(docids: Sequence[object]) -> Iterator[object]:
    seen: set[object] = set()
    for docid in docids:
        if docid not in seen:
            seen.add(docid)
            yield docid
