"""Sequence-to-sequence models that answer a prompt with one of two words: monoT5, duoT5 and their like."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import torch

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.models.pretrained import load_pretrained

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor


ANSWERS = ("false", "true")
# Those of castorini answer with the words above; of unicamp-dl, these do not.
OTHER_ANSWERS = {
    "mt5-base-": ("no", "yes"),
    "ptt5-base-": ("não", "sim"),
    "mt5-3B-mmarco-en-pt": ("", "true"),  # "▁" alone
}
POINTWISE, PAIRWISE = "monot5", "duot5"


def load_seq2seq_reranker(
    folder: Path, negative: int, positive: int, precision: torch.dtype = torch.float32, *, allow_bin: bool = False
) -> Seq2SeqReranker:
    """Load a folder for inference; arguments as of `Seq2SeqReranker` and `load_pretrained`.

    Raises:
        TasbError: files that cannot be read, or parameters without weights.
    """
    from transformers import AutoModelForSeq2SeqLM

    transformer = load_pretrained(AutoModelForSeq2SeqLM, folder, precision, allow_bin=allow_bin)
    return Seq2SeqReranker(transformer, negative, positive).eval()


class Seq2SeqReranker(torch.nn.Module):
    """The log-odds of one first word of the answer against another (Nogueira et al., Findings of EMNLP 2020).

    Args:
        transformer: a Hugging Face T5 or mT5 with its head for words.
        negative: token id of the word for "not relevant".
        positive: token id of the word for "relevant".
    """

    def __init__(self, transformer: Any, negative: int, positive: int) -> None:
        super().__init__()
        self.transformer = transformer
        transformer.lm_head = _TwoWords(transformer.lm_head.weight.detach()[[negative, positive]])
        start = getattr(transformer.config, "decoder_start_token_id", None)
        self._start = int(transformer.config.pad_token_id if start is None else start)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Log-odds [prompts] in fp32, from token ids and mask [prompts, tokens].

        Args:
            input_ids: the token ids of prompts, the end-of-sequence token included.
            attention_mask: 0 where there is padding.
        """
        first = torch.full_like(input_ids[:, :1], self._start)
        logits: Tensor = self.transformer(
            input_ids=input_ids, attention_mask=attention_mask, decoder_input_ids=first, use_cache=False
        ).logits
        return logits[:, 0, 1] - logits[:, 0, 0]


class _TwoWords(torch.nn.Module):
    """The head's rows of two words, multiplied in fp32: two logits near each other differ by less than bf16 can say."""

    weight: Tensor

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", rows.float())

    def forward(self, states: Tensor) -> Tensor:
        return torch.nn.functional.linear(states.float(), self.weight)


class Prompt:
    """`Query: … Document: … Relevant:` and the like, as token ids.

    Words and texts are tokenised apart, which gives the tokens of the whole: no token of T5's vocabulary spans a space.

    Args:
        tokenizer: a tokenizer of transformers.
        words: the words before each text, and after the last.
        max_length: tokens of a whole prompt, its end included.
        where: which model it is about, for the message.

    Raises:
        TasbError: `max_length` leaves no token for a text.
    """

    def __init__(self, tokenizer: Any, words: Sequence[str], max_length: int, where: str) -> None:
        self._tokenizer, self._max_length = tokenizer, max_length
        self._words = self.tokenise(words)
        self._end = [int(tokenizer.eos_token_id)]
        texts = len(words) - 1
        fixed = sum(map(len, self._words)) + len(self._end)
        self._room = max_length - fixed
        if self._room < texts:
            raise TasbError(
                where=where,
                expected=f"at least {fixed + texts} tokens, of which `{' … '.join(words)}` takes {fixed}",
                found=str(max_length),
                do=f"raise {argument('max_length')}",
            )

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without special tokens; no more than could ever be kept."""
        if not texts:
            return []
        token_ids: list[list[int]] = self._tokenizer(
            list(texts), add_special_tokens=False, truncation=True, max_length=self._max_length
        )["input_ids"]
        return token_ids

    def around(self, *texts: Sequence[int]) -> list[int]:
        """The prompt of tokenised texts. What is too long loses tokens from the end of whichever text is longest."""
        kept = shares([len(text) for text in texts], self._room)
        prompt = list(self._words[0])
        for text, tokens, following in zip(texts, kept, self._words[1:], strict=True):
            prompt += text[:tokens]
            prompt += following
        return prompt + self._end


def shares(lengths: Sequence[int], room: int) -> list[int]:
    """Tokens kept of each text where only `room` tokens are: of all that are cut, the same, to one token.

    Args:
        lengths: tokens of each text.
        room: tokens for all.
    """
    kept = [0] * len(lengths)
    # The shortest first: what it does not need is for the others.
    order = sorted(range(len(lengths)), key=lambda number: (lengths[number], -number))
    for waiting, number in zip(range(len(order), 0, -1), order, strict=True):
        kept[number] = min(lengths[number], room // waiting)
        room -= kept[number]
    return kept


def answers_of(model: str) -> tuple[str, str]:
    """The words with which a model answers "not relevant" and "relevant".

    Args:
        model: a hub id, or a folder; what counts is the last part.
    """
    name = PurePath(model).name
    return next((words for start, words in OTHER_ANSWERS.items() if name.startswith(start)), ANSWERS)


def require_pointwise(model: str) -> None:
    """Check that a model is not known to compare two passages.

    Raises:
        TasbError: it is a duoT5.
    """
    if PurePath(model).name.lower().startswith(PAIRWISE):
        raise TasbError(
            where=model,
            expected="a model that reads a query and one passage",
            found="a duoT5, as its name says, which compares two passages",
            do="add `--pairwise sym-sum` to `tasb rerank`; no other command can use it",
        )


def require_pairwise(model: str) -> None:
    """Check that a model is not known to read single passages.

    Raises:
        TasbError: it is a monoT5.
    """
    if PurePath(model).name.lower().startswith(POINTWISE):
        raise TasbError(
            where=model,
            expected=f"a model that compares two passages, for {argument('pairwise')}",
            found="a monoT5, as its name says, which reads one",
            do=f"leave out {argument('pairwise')}, or name a duoT5",
        )
