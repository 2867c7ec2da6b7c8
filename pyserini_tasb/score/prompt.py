"""What a sequence-to-sequence model is asked: texts between fixed words, cut so that the words stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Prompt:
    """`Query: … Document: … Relevant:` and the like, as token ids.

    Words and texts are tokenised apart, which gives the tokens of the whole: no token of T5's vocabulary spans a space.

    Args:
        tokenizer: of Hugging Face.
        words: what stands before each text, and after the last.
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
                do="raise --max-length",
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
    """How much of each text is kept where only `room` tokens are: of all that are cut, the same, to one token.

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
