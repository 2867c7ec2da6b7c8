"""Tokenizers: of transformers, and of `tokenizer.json` alone, which needs neither transformers nor torch."""

from __future__ import annotations

import json
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError
from pyserini_tasb.model.tokenizer import require_cls_token

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pyserini_tasb.encode.backends.model import TextTokenizer
    from pyserini_tasb.recipes.types import Pooling

TOKENIZER = "tokenizer.json"
NO_LIMIT = 10**30  # as transformers says it


class HuggingFaceTokenizer:
    """A tokenizer of transformers.

    Args:
        name: a folder or a hub id.
    """

    def __init__(self, name: str) -> None:
        from transformers import AutoTokenizer

        self.hugging_face: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        self.longest = int(self.hugging_face.model_max_length)
        self.pad_id = int(self.hugging_face.pad_token_id or 0)
        self._lock = Lock()  # a fast tokenizer refuses a second thread while it sets its truncation

    @property
    def vocabulary(self) -> dict[str, int]:
        """See `TextTokenizer`."""
        return dict(self.hugging_face.get_vocab())

    def token_ids(self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int) -> list[list[int]]:
        """As of `TextTokenizer`."""
        with self._lock:
            token_ids: list[list[int]] = self.hugging_face(
                list(texts),
                list(pairs) if pairs is not None else None,
                truncation=True,
                max_length=max_length,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
        return token_ids


class FileTokenizer:
    """The tokenizer of a folder's `tokenizer.json`.

    Args:
        folder: with that file.
        pad_id: the id of padding.

    Raises:
        TasbError: the file is not there or damaged.
    """

    def __init__(self, folder: Path, pad_id: int) -> None:
        from tokenizers import Tokenizer

        self._folder = folder
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # it raises nothing more specific
            raise TasbError(
                where=str(folder / TOKENIZER), expected="a tokenizer", found=str(error), do="export the model again"
            ) from error
        self._tokenizer.no_padding()
        self.pad_id = pad_id
        self.longest = _stated_limit(folder / "tokenizer_config.json")
        self._lock = Lock()  # the tokenizer keeps its truncation between calls

    @cached_property
    def hugging_face(self) -> Any:
        """The same as a tokenizer of transformers, which imports torch."""
        return HuggingFaceTokenizer(str(self._folder)).hugging_face

    @property
    def words(self) -> int:
        """How many tokens it knows."""
        return int(self._tokenizer.get_vocab_size())

    @property
    def vocabulary(self) -> dict[str, int]:
        """See `TextTokenizer`."""
        return dict(self._tokenizer.get_vocab())

    def token_ids(self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int) -> list[list[int]]:
        """As of `TextTokenizer`."""
        inputs: list[Any] = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        with self._lock:
            self._tokenizer.enable_truncation(max_length)
            return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(inputs)]


def _stated_limit(config: Path) -> int:
    try:
        return int(json.loads(config.read_text(encoding="utf-8")).get("model_max_length", NO_LIMIT))
    except FileNotFoundError:
        return NO_LIMIT


def require_pooled_token(tokenizer: TextTokenizer, pooling: Pooling, where: str) -> None:
    """Check that there is a [CLS] to pool, with CLS pooling.

    Raises:
        TasbError: the tokenizer puts none before a text.
    """
    if pooling == "cls":
        require_cls_token(lambda texts: tokenizer.token_ids(texts, None, 512), where)
