"""How many clusters."""

from __future__ import annotations

from pyserini_tasb.errors import TasbError

PAPER_CLUSTERS = 2000  # for its 400K queries (Section 4.2)
BATCHES_PER_CLUSTER = 3


def number_of_clusters(queries: int, batch_size: int, wanted: int | None = None) -> int:
    """How many to make: those wanted, or so many that one holds 3 batches of queries, at most the paper's 2,000.

    Args:
        queries: usable ones.
        batch_size: queries in a batch.
        wanted: what the user asked for.

    Raises:
        TasbError: fewer queries than a batch takes.
    """
    if batch_size < 1 or queries < batch_size:
        raise TasbError(
            expected=f"at least as many usable queries as a batch takes ({batch_size}, and that at least 1)",
            found=f"{queries}",
            do="add queries, or choose a smaller --batch-size (and train with it)",
        )
    return wanted if wanted is not None else max(1, min(PAPER_CLUSTERS, queries // (BATCHES_PER_CLUSTER * batch_size)))


def small_clusters_warning(queries: int, clusters: int, batch_size: int) -> str | None:
    """What to tell the user when a cluster has, on average, fewer queries than a batch takes."""
    if queries >= clusters * batch_size:
        return None
    return (
        f"{clusters} clusters have {queries / clusters:.1f} queries on average, fewer than a batch of {batch_size}: "
        f"batches will mix topics; {number_of_clusters(queries, batch_size)} clusters (the default) would not"
    )
