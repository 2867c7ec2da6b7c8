"""A model's tokenizer, and whether the two belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer, also where config.json does not say which kind it is.

    Raises:
        TasbError: the folder has none, or a broken one.
    """
    from transformers import AutoTokenizer

    from pyserini_tasb.model.headed_checkpoint import transformer_config

    config = transformer_config(folder)
    try:
        return AutoTokenizer.from_pretrained(str(folder), config=config, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise TasbError(
            where=str(folder),
            expected="the model's tokenizer: tokenizer.json, or vocab.txt with tokenizer_config.json",
            found=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}",
            do="copy the tokenizer's files of the transformer that this model was trained from",
        ) from error


def require_vocabulary(tokenizer: Any, transformer: Any, where: str) -> None:
    """Check that a tokenizer has words, and no more than the transformer knows.

    Args:
        tokenizer: of Hugging Face.
        transformer: of Hugging Face.
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
            found="none: every word would be unknown",
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
            expected="a tokenizer that puts [CLS] (or a token like it) before every text, where that token's vector "
            "is used",
            found="one that does not: the vector would be that of a text's first word",
            do="copy the tokenizer's files from the transformer that this model was trained from; a bi-encoder that was"
            " trained to use its last token needs a card with `pooling: last`",
        )


def longest_text(tokenizer: Any, transformer: Any) -> int:
    """The most tokens that a text may have; 10**30 if there is no limit, as tokenizers say it."""
    longest = int(tokenizer.model_max_length)
    positions = getattr(transformer.config, "max_position_embeddings", None)
    return min(longest, int(positions)) if positions else longest
