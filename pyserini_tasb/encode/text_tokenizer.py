"""A model's tokenizer with a prefix and a length cap, light enough to be sent to other processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tokenizers import Tokenizer


@dataclass(frozen=True)
class TextTokenizer:
    """Turns texts into token ids.

    Args:
        tokenizer: set up to truncate, and not to pad.
        prefix: put before every text.
    """

    # The Rust tokenizer itself: processes that only tokenise need not import transformers and torch, which takes
    # seconds and 250 MB each.
    tokenizer: Tokenizer
    prefix: str

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, special tokens included."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch_fast([self.prefix + text for text in texts])]


def open_text_tokenizer(folder: Path, *, prefix: str, max_length: int) -> TextTokenizer:
    """The tokenizer of a Hugging Face model folder; the ids are those that its `AutoTokenizer` gives.

    Args:
        folder: with the tokenizer's files.
        prefix: put before every text.
        max_length: tokens kept of each text, special tokens included.

    Raises:
        TasbError: it has no fast tokenizer, or `max_length` leaves no room for text.
    """
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    whole = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    if not whole.is_fast:
        raise TasbError(
            where=str(folder),
            expected="a model with a fast tokenizer (tokenizer.json)",
            found=type(whole).__name__,
            do="convert it: AutoTokenizer.from_pretrained(FOLDER, use_fast=True).save_pretrained(FOLDER)",
        )
    special = whole.num_special_tokens_to_add()
    if max_length <= special:
        raise TasbError(
            expected=f"a length cap of more than the {special} special tokens that {folder} adds to a text",
            found=str(max_length),
            do="raise it: student.query_max_length or student.passage_max_length to train, --max-length to encode",
        )
    tokenizer = Tokenizer.from_str(whole.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(max_length, whole.model_max_length), direction=whole.truncation_side)
    return TextTokenizer(tokenizer, prefix)
