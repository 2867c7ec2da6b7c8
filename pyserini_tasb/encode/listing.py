"""`tasb encoders`: the named encoders, where each comes from, and whether its weights are on this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.model.checkpoint import find_checkpoint
from pyserini_tasb.recipes import EncoderCard, encoder_cards, own_folder, recipe_files

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """Print every encoder card; 0."""
    own, files = own_folder("encoders"), recipe_files("encoders")
    rows: list[dict[str, object]] = [
        {
            "encoder": f"tasb:{name}",
            "weights": _weights(card),
            "card": "shipped" if files[name].parent == own else str(files[name]),
            "model": card.model,
            "aliases": list(card.aliases),
            "description": card.description,
        }
        for name, card in encoder_cards().items()
    ]
    print(json.dumps(rows, indent=2) if arguments.json else _table(rows))
    return 0


def _weights(card: EncoderCard) -> str:
    """The folder the weights are in, or the empty string."""
    try:
        return str(find_checkpoint(card.model, allow_bin=card.allow_bin, download=False))
    except TasbError:
        return ""


def _table(rows: list[dict[str, object]]) -> str:
    cells = [("ENCODER", "WEIGHTS", "CARD", "MODEL")]
    cells += [
        (f"{r['encoder']}", "here" if r["weights"] else "not here", f"{r['card']}", f"{r['model']}") for r in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    head, *lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )
    return "\n".join([head, *(f"{line}\n    {row['description']}" for line, row in zip(lines, rows, strict=True))])
