"""`tasb list`: what has a name, axis by axis. Each axis is imported only when it is asked for."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError
from pyserini_tasb.registry import Registry
from pyserini_tasb.results import Result
from pyserini_tasb.tables import text_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


@dataclass(frozen=True)
class Listing(Result):
    """Names and what they mean.

    Attributes:
        rows: a dict for each name, all with the same keys.
        summary: the same as text.
    """

    rows: tuple[dict[str, Any], ...]
    summary: str


def listing(axis: str | None = None) -> Listing:
    """The names of an axis, each with a line about it; without one, the axes.

    Args:
        axis: a key of `AXES`.

    Raises:
        TasbError: no such axis, or a recipe of it with a fault.
    """
    if axis is None:
        rows = [{"axis": name, "description": each.description} for name, each in AXES.items()]
        return Listing(tuple(rows), _table(rows))
    if axis not in AXES:
        raise TasbError(expected=f"an axis: {', '.join(AXES)}", found=f"`{axis}`", do="choose one of them")
    return AXES[axis].list()


@dataclass(frozen=True)
class Axis:
    """Names of one kind.

    Args:
        description: what a name stands for, and where it is given.
        list: lists them.
    """

    description: str
    list: Callable[[], Listing]


def _registry(*places: str) -> Callable[[], Listing]:
    """The entries of registries, each `module:name`; of one that takes entries from outside, also their origins."""

    def rows() -> Iterable[dict[str, Any]]:
        for place in places:
            module, _, name = place.partition(":")
            entries = getattr(importlib.import_module(f"pyserini_tasb.{module}"), name)
            if isinstance(entries, Registry) and entries.axis:
                for each in entries.listed():
                    yield {"name": each.name, "description": each.summary.rstrip("."), "origin": each.origin}
            else:
                for key in entries:
                    yield {"name": key, "description": "" if isinstance(entries, tuple) else _about(entries[key])}

    def listed() -> Listing:
        found = tuple(rows())
        return Listing(found, _table(found))

    return listed


def _about(entry: object) -> str:
    """The first line of a docstring: an entry's own, or those of the functions that it is made of."""
    if callable(entry) or not dataclasses.is_dataclass(entry):
        # An instance has the docstring of its class.
        return (inspect.getdoc(entry) or "").partition("\n")[0].rstrip(".")
    values = {field.name: getattr(entry, field.name) for field in dataclasses.fields(entry)}
    functions = [_about(value) for value in values.values() if callable(value)]
    plain = [name if value is True else value for name, value in values.items() if value is True or _is_text(value)]
    return "; ".join(filter(None, functions)) or ", ".join(plain)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [[str(cell) for cell in row.values()] for row in rows]
    return text_table([name.upper() for name in next(iter(rows), {"name": ""})], lines)


def _encoders() -> Listing:
    """The named encoders, where each comes from, and whether its weights are on this machine."""
    from pyserini_tasb.models.checkpoints import find_checkpoint
    from pyserini_tasb.recipes.lookup import encoder_cards, own_folder, recipe_files

    def weights(model: str, *, allow_bin: bool) -> str:
        try:
            return str(find_checkpoint(model, allow_bin=allow_bin, download=False))
        except TasbError:
            return ""

    own, files = own_folder("encoders"), recipe_files("encoders")
    rows = [
        {
            "encoder": f"tasb:{name}",
            "weights": weights(card.model, allow_bin=card.allow_bin),
            "card": "shipped" if files[name].parent == own else str(files[name]),
            "model": card.model,
            "aliases": list(card.aliases),
            "description": card.description,
        }
        for name, card in encoder_cards().items()
    ]
    table = text_table(
        ("ENCODER", "WEIGHTS", "CARD", "MODEL"),
        [(str(r["encoder"]), "here" if r["weights"] else "not here", str(r["card"]), str(r["model"])) for r in rows],
    )
    head, *lines = table.split("\n")
    described = [f"{line}\n    {row['description']}" for line, row in zip(lines, rows, strict=True)]
    return Listing(tuple(rows), "\n".join([head, *described]))


def _fusion_recipes() -> Listing:
    from pyserini_tasb.recipes.lookup import fusion_recipe, recipe_files

    rows = [{"name": name, "description": fusion_recipe(name).description} for name in recipe_files("fusion")]
    return Listing(tuple(rows), _table(rows))


def _regressions() -> Listing:
    from pyserini_tasb.recipes.lookup import recipe_files, regression

    rows = [{"name": name, "description": regression(name).description} for name in recipe_files("regressions")]
    return Listing(tuple(rows), _table(rows))


AXES = {
    "encoders": Axis("models with a card, for `--encoder`; are their weights here?", _encoders),
    "back-ends": Axis("what computes vectors, for `--backend`", _registry("encoding.onnx_runtime:BACKENDS")),
    "index-kinds": Axis(
        "ways to index vectors, for `tasb index --kind`",
        _registry("indexes.build:KINDS", "indexes.build:LUCENE_KINDS"),
    ),
    "fusion-recipes": Axis("what `tasb hybrid --recipe` and `tasb fuse --recipe` take", _fusion_recipes),
    "fusion-methods": Axis("ways to fuse runs, for `--method`", _registry("fusion.methods:METHODS")),
    "normalizations": Axis(
        "ways to make scores comparable, for `--normalization`", _registry("fusion.methods:NORMALISATIONS")
    ),
    "missing": Axis("scores of documents that a run lacks, for `--missing`", _registry("fusion.methods:MISSING")),
    "pairwise-losses": Axis("losses on pairs, for `loss.pairwise` of training", _registry("training.losses:PAIRWISE")),
    "in-batch-losses": Axis(
        "losses on a whole batch, for `loss.in_batch` of training", _registry("training.losses:IN_BATCH")
    ),
    "samplings": Axis(
        "ways to compose batches, for `sampling.strategy` of training", _registry("training.sampling:STRATEGIES")
    ),
    "binnings": Axis(
        "ways to divide margins, for `sampling.binning` of training", _registry("training.sampling:BINNINGS")
    ),
    "schedules": Axis(
        "courses of the learning rate, for `schedule.name` of training", _registry("training.optimisation:SCHEDULES")
    ),
    "regressions": Axis("conditions with known numbers, for `tasb regress`", _regressions),
}
