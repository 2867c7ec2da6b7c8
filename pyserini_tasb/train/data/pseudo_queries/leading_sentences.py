"""Where the words and sentences of a text end."""

from __future__ import annotations

import re

# Chinese characters and Japanese kana stand without spaces; each counts as a word.
CHARACTER = "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
_WORD = re.compile(rf"{CHARACTER}|(?:(?!{CHARACTER})\w)(?:(?!{CHARACTER})[^\s])*")
# Not the full stop after an initial, as in "J. Wegstein".
_SENTENCE_END = re.compile(r"(?<!\s\w)[.!?]+[\"')\]\u201d\u2019]*(?=\s|$)|[\u3002\uff01\uff1f]+|\n\s*\n")


def word_count(text: str) -> int:
    """How many words a text has."""
    return sum(1 for _ in _WORD.finditer(text))


def first_words(text: str, count: int) -> str:
    """A text up to the end of its `count`-th word."""
    for number, word in enumerate(_WORD.finditer(text), 1):
        if number == count:
            return text[: word.end()]
    return text


def leading_sentences(text: str, min_words: int) -> str:
    """As few sentences from the start as have `min_words` words together; the whole text if there is no such end."""
    for end in _SENTENCE_END.finditer(text):
        if word_count(text[: end.end()]) >= min_words:
            return text[: end.end()]
    return text
