"""Fonts for text in any script: matplotlib's own first, then whatever is installed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OWN_FAMILY = "DejaVu Sans"
NOT_DRAWABLE = "\N{WHITE SQUARE}"
# It has a glyph for everything, which shows the block's name, not the character.
PLACEHOLDERS = "Last Resort"


@dataclass(frozen=True)
class Typeface:
    """Font families to try in turn, and the characters that none of them has."""

    families: tuple[str, ...]
    missing: frozenset[str]

    def drawable(self, text: str) -> str:
        """The text with a square for each character that cannot be drawn."""
        return "".join(NOT_DRAWABLE if character in self.missing else character for character in text)


def typeface_for(texts: Iterable[str]) -> Typeface:
    """As few families as are found to draw all characters of `texts`."""
    from matplotlib import font_manager

    characters = set().union(*texts)
    unprintable = {character for character in characters if not character.isprintable()}
    missing = characters - unprintable - _characters(font_manager.findfont(OWN_FAMILY))
    families = [OWN_FAMILY]
    for font in sorted(font_manager.fontManager.ttflist, key=lambda font: (font.name, font.fname)):
        if not missing:
            break
        if font.style == "normal" and PLACEHOLDERS not in font.name and font.name not in families:
            drawn = missing & _characters(font.fname)
            if drawn:
                families.append(font.name)
                missing -= drawn
    return Typeface(tuple(families), frozenset(missing | unprintable))


def _characters(font_file: str) -> set[str]:
    from matplotlib.ft2font import FT2Font

    try:
        charmap: Mapping[int, int] = FT2Font(font_file).get_charmap()
    except (OSError, RuntimeError):  # a damaged font
        return set()
    return {chr(code) for code in charmap}
