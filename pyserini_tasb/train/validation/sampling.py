"""Which of the judged queries are evaluated: a uniform sample, as the paper says, or strata, as its script does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def uniform_sample(queries: int, size: int, seed: int) -> NDArray[np.int64]:
    """`size` positions below `queries`, ascending, each set of them as likely as another; all, if there are fewer."""
    return _sample(np.arange(queries), size, np.random.default_rng(seed))


def stratified_sample(strata_of: NDArray[np.int64], strata: int, size: int, seed: int) -> NDArray[np.int64]:
    """Up to `size` // `strata` positions of each stratum, ascending.

    What one stratum lacks the others do not make up for: the released script asks for 4,000 queries in 5 strata and
    gets the paper's 3,200, as one of them is empty.

    Args:
        strata_of: [queries] the stratum of each.
        strata: how many there are.
        size: the most queries in all.
        seed: of the sample.

    Raises:
        TasbError: not one query for each stratum.
    """
    if size < strata:
        raise TasbError(
            expected="at least one query for each stratum",
            found=f"{size} queries in {strata} strata",
            do="ask for more queries, or for fewer strata",
        )
    generator = np.random.default_rng(seed)
    samples = [_sample(np.flatnonzero(strata_of == stratum), size // strata, generator) for stratum in range(strata)]
    return np.sort(np.concatenate(samples))


def equal_width_strata(values: NDArray[np.float64], strata: int) -> NDArray[np.int64]:
    """[queries] the stratum of each value: `strata` ranges of equal width from the lowest to the highest.

    A value on a border belongs to the range above; the last range is closed. All values equal: all are in stratum 0.
    """
    lowest, highest = values.min(), values.max()
    if lowest == highest:
        return np.zeros(len(values), np.int64)
    # (highest - lowest) * i / strata, in this order: 0.6 then is in the range that begins with 0.6.
    borders = lowest + (highest - lowest) * np.arange(1, strata) / strata
    return np.searchsorted(borders, values, side="right").astype(np.int64)


def _sample(positions: NDArray[np.int64], size: int, generator: np.random.Generator) -> NDArray[np.int64]:
    if len(positions) <= size:
        return positions
    return np.sort(generator.choice(positions, size, replace=False))
