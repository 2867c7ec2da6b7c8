"""How long queries took, in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def summary(sizes: Sequence[int], seconds: Sequence[float]) -> str:
    """Queries, passages, milliseconds for each query and passages for each second.

    Args:
        sizes: passages of each query.
        seconds: of the last queries; those before them were finished by an earlier try.
    """
    parts = [f"{len(sizes):,} queries, {sum(sizes):,} passages"]
    earlier = len(sizes) - len(seconds)
    if earlier:
        parts.append(f"{earlier:,} of the queries finished by an earlier try")
    if len(seconds):
        times = np.array(seconds) * 1_000
        rate = sum(sizes[earlier:]) / sum(seconds)
        parts.append(
            f"{times.mean():.1f} ms a query on average, median {np.median(times):.1f}, "
            f"95th percentile {np.percentile(times, 95):.1f}"
        )
        parts.append(f"{rate:,.0f} passages a second")
    return "; ".join(parts)
