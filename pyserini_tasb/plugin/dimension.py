"""Does an index hold vectors of the encoder's size?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from pyserini_tasb.encode import TasbQueryEncoder


def check_dimension(index: str, dimension: int, encoder: TasbQueryEncoder) -> None:
    """Raise `TasbError` where `index` holds vectors of another `dimension` than the encoder makes."""
    if dimension != encoder.dimension:
        raise TasbError(
            where=str(index),
            expected=f"vectors of {encoder.dimension} dimensions, as this query encoder makes them",
            found=f"an index of {dimension}-dimensional vectors",
            do="search with the encoder that the index was made with, or encode the corpus again with this one",
        )
