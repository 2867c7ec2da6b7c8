"""Tables as aligned text, for a terminal, or as Markdown."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


# Unicode has no raised q that fonts know.
LETTERS = "abcdefghijklmnoprstuvwxyz"
_RAISED = str.maketrans(LETTERS, "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ")


@dataclass(frozen=True)
class Layout:
    """How tables look.

    Attributes:
        table: a head and lines of as many cells to text.
        raised: letters of `LETTERS` to superscripts.
        mark: stands beside what is significant.
        heading: a title to a line of its own.
    """

    table: Callable[[Sequence[str], Iterable[Sequence[str]]], str]
    raised: Callable[[str], str]
    mark: str
    heading: Callable[[str], str]


def text_layout() -> Layout:
    """Columns aligned by spaces; with † and superscripts where stdout can print them, with * and ^abc elsewhere."""
    unicode = _prints(f"†{_raised_letters(LETTERS)}")
    return Layout(
        table=text_table,
        raised=_raised_letters if unicode else _letters_after_a_caret,
        mark="†" if unicode else "*",
        heading="{}:".format,
    )


def markdown_layout() -> Layout:
    """GitHub's tables."""
    return Layout(
        table=markdown_table,
        raised=lambda letters: letters and f"<sup>{letters}</sup>",
        mark="<sup>†</sup>" if _prints("†") else r"<sup>\*</sup>",
        heading="**{}**".format,
    )


def text_table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Lines of cells, two spaces between the columns."""
    rows = [head, *lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown_table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Lines of cells as a table in Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows)


def _raised_letters(letters: str) -> str:
    return letters.translate(_RAISED)


def _letters_after_a_caret(letters: str) -> str:
    return letters and f"^{letters}"


def _prints(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
