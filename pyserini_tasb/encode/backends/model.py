"""What a back end loads: a model and its tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


class TextTokenizer(Protocol):
    """Texts to token ids, from any number of threads."""

    @property
    def longest(self) -> int:
        """The most tokens that the tokenizer allows a text; 10**30 where it says none."""

    @property
    def pad_id(self) -> int:
        """The id of padding."""

    @property
    def hugging_face(self) -> Any:
        """The same as a tokenizer of transformers."""

    @property
    def vocabulary(self) -> dict[str, int]:
        """Every token and its id."""

    def token_ids(self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int) -> list[list[int]]:
        """Ids of each text, special tokens included, at most `max_length` of them.

        Args:
            texts: first segments.
            pairs: second segments, one for each text.
            max_length: tokens kept, of both segments together.
        """


class Model(Protocol):
    """A model in one precision on one device. Calls from several threads do not disturb each other."""

    @property
    def dimension(self) -> int:
        """The length of a vector."""

    @property
    def longest(self) -> int | None:
        """The most tokens a text may have; None if there is no limit."""

    @property
    def tokens_per_batch(self) -> int:
        """How many tokens to give it at once, padding included: enough to keep the hardware busy, and no more."""

    def tokenizer(self, given: str | None) -> TextTokenizer:
        """The model's tokenizer, or the one in the folder (or of the hub id) `given`.

        Raises:
            TasbError: it knows no words, or more than the model.
        """

    def vectors(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors [texts, dimension] of token ids and mask [texts, tokens], padded on the right."""
