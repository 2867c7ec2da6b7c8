"""Texts to token ids, and token ids to batches.

Tokenizers are those of transformers, or only `tokenizer.json`, which needs neither transformers nor torch.
"""

from __future__ import annotations

import array
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pyserini_tasb.errors import TasbError, argument, shown
from pyserini_tasb.parsing import explained, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from pyserini_tasb.recipes.types import Pooling


TOKENIZER = "tokenizer.json"
A_TOKENIZER = "the model's tokenizer: tokenizer.json, or vocab.txt with tokenizer_config.json"
NO_LIMIT = 10**30  # as transformers says it
LEAST_LIMIT = 3  # a token between [CLS] and [SEP]


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


class HuggingFaceTokenizer:
    """A tokenizer of transformers.

    Args:
        name: a folder or a hub id.
    """

    def __init__(self, name: str) -> None:
        from transformers import AutoTokenizer

        with explained(name, expected=A_TOKENIZER):
            self.hugging_face: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            self.longest = _limit(self.hugging_face.model_max_length)
            self.pad_id = int(self.hugging_face.pad_token_id or 0)
        self._lock = Lock()  # a fast tokenizer refuses a second thread while it sets its truncation

    @property
    def vocabulary(self) -> dict[str, int]:
        """Every token and its id."""
        return dict(self.hugging_face.get_vocab())

    def token_ids(self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int) -> list[list[int]]:
        """Ids of each text, as `TextTokenizer` says."""
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
        folder: the folder with that file.
        pad_id: the id of padding.

    Raises:
        TasbError: the file is not there or damaged.
    """

    def __init__(self, folder: Path, pad_id: int) -> None:
        from tokenizers import Tokenizer

        self._folder = folder
        with explained(folder / TOKENIZER, expected="a tokenizer", do="export the model again"):
            self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
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
        """The number of tokens that it knows."""
        return int(self._tokenizer.get_vocab_size())

    @property
    def vocabulary(self) -> dict[str, int]:
        """Every token and its id."""
        return dict(self._tokenizer.get_vocab())

    def token_ids(self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int) -> list[list[int]]:
        """Ids of each text, as `TextTokenizer` says."""
        inputs: list[Any] = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        with self._lock:
            self._tokenizer.enable_truncation(max_length)
            return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(inputs)]


def _stated_limit(config: Path) -> int:
    if not config.exists():
        return NO_LIMIT
    with explained(config, expected="a number as `model_max_length`"):
        stated = read_json(config).get("model_max_length")
        return NO_LIMIT if stated is None else _limit(stated)


def _limit(stated: Any) -> int:
    """The most tokens of a text, as a tokenizer's configuration states it.

    Raises:
        ValueError: it is no number, or leaves no room for a text.
    """
    if not isinstance(stated, int | float) or not stated >= LEAST_LIMIT:
        raise ValueError(f"`model_max_length` is {shown(stated)}")
    return int(min(stated, NO_LIMIT))


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer, also where config.json does not say which kind it is.

    Raises:
        TasbError: the folder has none, or a broken one.
    """
    from transformers import AutoTokenizer

    from pyserini_tasb.models.headed_checkpoint import transformer_config

    config = transformer_config(folder)
    advice = "copy the tokenizer's files of the transformer that this model was trained from"
    with explained(folder, expected=A_TOKENIZER, do=advice):
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), config=config, trust_remote_code=False, local_files_only=True
        )
        _limit(tokenizer.model_max_length)
        return tokenizer


def longest_text(tokenizer: Any, transformer: Any) -> int:
    """The most tokens that a text may have; 10**30 if there is no limit, as tokenizers say it."""
    longest = int(tokenizer.model_max_length)
    positions = getattr(transformer.config, "max_position_embeddings", None)
    return min(longest, int(positions)) if positions else longest


def require_vocabulary(tokenizer: Any, transformer: Any, where: str) -> None:
    """Check that a tokenizer has words, and no more than the transformer knows.

    Args:
        tokenizer: a tokenizer of transformers.
        transformer: a model of transformers.
        where: which model or tokenizer it is about, for the message.

    Raises:
        TasbError: it has none, or more.
    """
    vocabulary = tokenizer.get_vocab()
    # Of a folder without a vocabulary, transformers 5 makes a tokenizer that knows only its special tokens.
    if vocabulary.keys() <= set(tokenizer.all_special_tokens):
        raise TasbError(
            where=where,
            expected="a tokenizer's vocabulary: tokenizer.json or vocab.txt",
            found="none, so every word would be unknown",
            do="copy the tokenizer's files of the transformer that this model was trained from",
        )
    tokens, rows = max(vocabulary.values()) + 1, len(transformer.get_input_embeddings().weight)
    if tokens > rows:
        raise TasbError(
            where=where,
            expected=f"a tokenizer of at most {rows} tokens, as many as the model has embeddings",
            found=f"one of {tokens}",
            do="check that tokenizer and weights come from the same model",
        )


def require_cls_token(token_ids: Callable[[list[str]], Sequence[Sequence[int]]], where: str) -> None:
    """Check that a tokenizer puts a token of its own before every text, as BERT's puts [CLS].

    Args:
        token_ids: gives those of each text, special tokens included.
        where: which model or tokenizer it is about, for the message.

    Raises:
        TasbError: it puts none there, so the first token is a word.
    """
    empty, text = token_ids(["", "what ranks"])
    if not empty or len(text) == 1 or empty[0] != text[0]:
        raise TasbError(
            where=where,
            expected="a tokenizer that puts [CLS] (or a token like it) before every text, because that token's vector "
            "is used",
            found="a tokenizer that does not: the vector would be that of a text's first word",
            do="copy the tokenizer's files from the transformer that this model was trained from; a bi-encoder that was"
            " trained to use its last token needs a card with `pooling: last`",
        )


def require_pooled_token(tokenizer: TextTokenizer, pooling: Pooling, where: str) -> None:
    """Check that there is a [CLS] to pool, with CLS pooling.

    Raises:
        TasbError: the tokenizer puts none before a text.
    """
    if pooling == "cls":
        require_cls_token(lambda texts: tokenizer.token_ids(texts, None, 512), where)


@dataclass(frozen=True)
class PrefixedTokenizer:
    """A model's tokenizer with a prefix and a length cap, light enough to be sent to other processes.

    Args:
        tokenizer: set up to truncate, and not to pad.
        prefix: put before every text.
    """

    # The Rust tokenizer itself: processes that only tokenise need not import transformers and torch, which takes
    # seconds and 250 MB each.
    tokenizer: Tokenizer
    prefix: str

    def gives_the_ids_of(self, other: PrefixedTokenizer) -> bool:
        """True if it is the same tokenizer with the same prefix and length cap."""
        return self.prefix == other.prefix and self.tokenizer.to_str() == other.tokenizer.to_str()

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, special tokens included."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch_fast([self.prefix + text for text in texts])]


def open_prefixed_tokenizer(folder: Path, *, prefix: str, max_length: int) -> PrefixedTokenizer:
    """The tokenizer of a Hugging Face model folder; the ids are those that its `AutoTokenizer` gives.

    Args:
        folder: the folder with the tokenizer's files.
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
            expected=f"a length limit above the {special} special tokens that {folder} adds to a text",
            found=str(max_length),
            do="raise it: `query_max_length` or `passage_max_length` of the model to train, "
            f"{argument('max_length')} to encode",
        )
    tokenizer = Tokenizer.from_str(whole.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(max_length, whole.model_max_length), direction=whole.truncation_side)
    return PrefixedTokenizer(tokenizer, prefix)


def likely_prefixed_tokenizer(folder: Path, *, prefix: str, max_length: int) -> PrefixedTokenizer | None:
    """The tokenizer that `open_prefixed_tokenizer` will probably give, without transformers, whose import takes long.

    transformers may change what `tokenizer.json` says by other files. So compare the two.

    Args:
        folder: the folder with the tokenizer's files.
        prefix: put before every text.
        max_length: tokens kept of each text, special tokens included.

    Returns:
        None where there is no `tokenizer.json`, or it cannot be read.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        tokenizer.no_padding()
        tokenizer.enable_truncation(min(max_length, _stated_limit(folder / "tokenizer_config.json")))
    except Exception:  # noqa: BLE001 - the library raises this class itself; who loads the model tells what is wrong
        return None
    return PrefixedTokenizer(tokenizer, prefix)


def batches_by_length(lengths: Sequence[int] | NDArray[np.int64], tokens_per_batch: int) -> Iterator[NDArray[np.intp]]:
    """Cut texts into batches, longest first, each of at most `tokens_per_batch` tokens with its padding.

    Longest first, so that a batch that does not fit in memory fails at the start.

    Args:
        lengths: tokens of each text.
        tokens_per_batch: the budget, padding included; a single text may exceed it.

    Yields:
        Positions into `lengths`; together they are a permutation of all positions.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.intp), kind="stable")
    start = 0
    while start < len(order):
        size = max(1, tokens_per_batch // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size


def joined(token_ids: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    """The token ids of several texts, one text after the other."""
    tokens = array.array("i")  # which takes Python's integers several times as fast as NumPy does
    for ids in token_ids:
        tokens.fromlist(list(ids))
    return np.array(tokens, dtype=np.int32)


def padded_arrays(
    token_ids: NDArray[np.int32], lengths: NDArray[np.int64], pad_id: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and mask [texts, longest], padded on the right: the CLS vector is read at position 0.

    Args:
        token_ids: the token ids of all texts, one text after the other.
        lengths: [texts] in tokens.
        pad_id: the id of padding.
    """
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = token_ids
    return ids, mask.astype(np.int64)


def padded(token_ids: Sequence[Sequence[int]], pad_id: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask [texts, longest] as tensors on `device`; see `padded_arrays`."""
    import torch

    ids, mask = padded_arrays(joined(token_ids), np.array([len(ids) for ids in token_ids], dtype=np.int64), pad_id)
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
