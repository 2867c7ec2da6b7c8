"""Tables for readers: aligned text for a terminal, Markdown, or HTML for a notebook."""

from __future__ import annotations

import html
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence


def text_table(head: Sequence[str], lines: Iterable[Sequence[str]], *, right: Collection[int] = ()) -> str:
    """Cells in columns, two spaces between them.

    Args:
        head: the first line.
        lines: the others, with as many cells.
        right: numbers of the columns, from 0, that are aligned on the right.
    """
    rows = [[_one_line(cell) for cell in row] for row in (head, *lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(_padded(row, widths, right)).rstrip() for row in rows)


def _one_line(cell: str) -> str:
    return cell if cell.isprintable() else printable(cell).replace("\n", "\\n").replace("\t", "\\t")


def _padded(row: Sequence[str], widths: Sequence[int], right: Collection[int]) -> Iterable[str]:
    for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell.rjust(width) if number in right else cell.ljust(width)


def markdown_table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Cells as a table in GitHub's Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(_one_line(cell).replace("|", r"\|") for cell in row) + " |" for row in rows)


def html_table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Cells as a table in HTML, escaped."""
    names = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in lines)
    return f"<table><tr>{names}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


# Unicode has no raised q that fonts know.
LETTERS = "abcdefghijklmnoprstuvwxyz"
_RAISED = str.maketrans(LETTERS, "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ")


@dataclass(frozen=True)
class Layout:
    """How a table looks, and what stands around and within it.

    Attributes:
        table: a head and lines of as many cells to text.
        raised: letters of `LETTERS` to superscripts.
        mark: stands beside what is significant.
        heading: a title to a line of its own.
        paragraph: a sentence to a paragraph.
    """

    table: Callable[[Sequence[str], Iterable[Sequence[str]]], str]
    raised: Callable[[str], str]
    mark: str
    heading: Callable[[str], str]
    paragraph: Callable[[str], str] = str


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


def html_layout() -> Layout:
    """Tables for a notebook."""
    return Layout(
        table=html_table,
        raised=_raised_letters,
        mark="†",
        heading=lambda title: f"<p><b>{html.escape(title)}</b></p>",
        paragraph=lambda sentence: f"<p>{html.escape(sentence)}</p>",
    )


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
