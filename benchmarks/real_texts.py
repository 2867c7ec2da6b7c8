"""Real texts to measure with: those of `--corpus` and `--topics`, or CACM's, which are in the package.

CACM's titles are the queries, and its abstracts are cut into passages of three sentences: 9 and 75 tokens are usual in
MS MARCO, 12 and 70 here.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.formats.cacm_collection import DATA, NO_ABSTRACT, read_documents

if TYPE_CHECKING:
    import argparse

SENTENCES = 3
_BETWEEN_SENTENCES = re.compile(r"(?<=[.?!]) ")


def add_text_options(parser: argparse.ArgumentParser, *, corpus: bool = True, topics: bool = True) -> None:
    """Add `--corpus` and `--topics`, or one of them."""
    if corpus:
        parser.add_argument("--corpus", type=Path, help="pid TAB text; default: CACM's abstracts")
    if topics:
        parser.add_argument("--topics", type=Path, help="qid TAB text; default: CACM's titles")


def passages(corpus: Path | None, count: int) -> list[str]:
    """Passages in regular distances."""
    texts = list(_texts(corpus, _cacm_passages()))
    return texts[:: max(1, len(texts) // count)][:count]


def queries(topics: Path | None) -> list[str]:
    """All different queries."""
    return list(dict.fromkeys(_texts(topics, _cacm_titles())))


def as_files(corpus: Path | None, topics: Path | None, folder: Path) -> tuple[Path, Path]:
    """A corpus and topics for commands: those given, or files in `folder`."""
    for name, texts in (("corpus", _cacm_passages()), ("topics", _cacm_titles())):
        lines = (f"{number}\t{text}\n" for number, text in enumerate(texts))
        (folder / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")
    return corpus or folder / "corpus.tsv", topics or folder / "topics.tsv"


def _texts(path: Path | None, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    if path is None:
        return otherwise
    with path.open(encoding="utf-8") as file:
        return tuple(line.rstrip("\n").partition("\t")[2] for line in file)


@cache
def _cacm() -> tuple[tuple[str, str], ...]:
    return tuple((title, text) for _, title, text in read_documents(DATA / "cacm.tar.gz"))


def _cacm_titles() -> tuple[str, ...]:
    return tuple(dict.fromkeys(title for title, _ in _cacm()))


def _cacm_passages() -> tuple[str, ...]:
    found = []
    for _, text in _cacm():
        if not text.startswith(NO_ABSTRACT):
            sentences = _BETWEEN_SENTENCES.split(text.partition(NO_ABSTRACT)[0].strip())
            starts = range(0, len(sentences), SENTENCES)
            found += [" ".join(sentences[at : at + SENTENCES]) for at in starts]
    return tuple(found)
