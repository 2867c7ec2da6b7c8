"""`tasb list`: names of each kind, such as encoders. A kind's module is imported only when the kind is listed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError
from pyserini_tasb.registry import nearest_advice, registry_of
from pyserini_tasb.results import Result
from pyserini_tasb.tables import text_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pyserini_tasb.recipes.lookup import Kind
    from pyserini_tasb.recipes.types import Recipe


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
    """The names of an axis (a kind of names), each with a line about it; without an axis, all axes.

    Args:
        axis: a key of `AXES`.

    Raises:
        TasbError: no such axis, or one of its recipes has a fault.
    """
    if axis is None:
        rows = [{"axis": name, "description": each.description} for name, each in AXES.items()]
        return Listing(tuple(rows), _table(rows))
    if axis not in AXES:
        raise TasbError(
            expected=f"a kind of names: {', '.join(AXES)}", found=f"`{axis}`", do=nearest_advice(axis, AXES)
        )
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


def _registry(axis: str) -> Callable[[], Listing]:
    def listed() -> Listing:
        rows = tuple(
            {"name": each.name, "description": each.summary.rstrip("."), "origin": each.origin}
            for each in registry_of(axis).listed()
        )
        return Listing(rows, _table(rows))

    return listed


def _missing() -> Listing:
    from pyserini_tasb.fusion.methods import MISSING

    rows = tuple({"name": each.name, "description": each.summary.rstrip(".")} for each in MISSING.listed())
    return Listing(rows, _table(rows))


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [[str(cell) for cell in row.values()] for row in rows]
    return text_table([name.upper() for name in next(iter(rows), {"name": ""})], lines)


def _encoders() -> Listing:
    """The named encoders, where each comes from, and whether its weights are on this machine."""
    from pyserini_tasb.models.checkpoints import find_checkpoint
    from pyserini_tasb.recipes.lookup import own_folder, recipe_files, recipes
    from pyserini_tasb.recipes.types import EncoderCard

    def weights(model: str, *, allow_bin: bool) -> str:
        try:
            return str(find_checkpoint(model, allow_bin=allow_bin, download=False))
        except TasbError:
            return ""

    own, files, cards = own_folder("encoders"), recipe_files("encoders"), recipes("encoders")
    rows: list[dict[str, Any]] = [
        {
            "encoder": f"tasb:{name}",
            "weights": weights(card.model, allow_bin=card.allow_bin),
            "card": "shipped" if files[name].parent == own else str(files[name]),
            "model": card.model,
            "aliases": list(card.aliases),
            "description": card.description,
        }
        for name, card in cards.items()
        if isinstance(card, EncoderCard)
    ]
    table = text_table(
        ("ENCODER", "WEIGHTS", "CARD", "MODEL"),
        [(str(r["encoder"]), "here" if r["weights"] else "not here", str(r["card"]), str(r["model"])) for r in rows],
    )
    head, *lines = table.split("\n")
    described = [f"{line}\n    {row['description']}" for line, row in zip(lines, rows, strict=True)]
    rows += [
        {"encoder": f"tasb:{name}", "weights": "", "card": str(files[name]), "fault": str(fault)}
        for name, fault in cards.items()
        if isinstance(fault, TasbError)
    ]
    return Listing(tuple(rows), "\n".join([head, *described, *_broken("tasb:", cards, files)]))


def _recipes(kind: Kind) -> Callable[[], Listing]:
    def listed() -> Listing:
        from pyserini_tasb.recipes.lookup import recipe_files, recipes

        files, found = recipe_files(kind), recipes(kind)
        good = [
            {"name": name, "description": recipe.description}
            for name, recipe in found.items()
            if not isinstance(recipe, TasbError)
        ]
        bad = [
            {"name": name, "description": "", "file": str(files[name]), "fault": str(fault)}
            for name, fault in found.items()
            if isinstance(fault, TasbError)
        ]
        return Listing((*good, *bad), "\n".join([_table(good), *_broken("", found, files)]))

    return listed


def _broken(prefix: str, found: Mapping[str, Recipe | TasbError], files: Mapping[str, Path]) -> Iterator[str]:
    for name, fault in found.items():
        if isinstance(fault, TasbError):
            yield f"{prefix}{name} cannot be used: {fault.where or files[name]}\n    {fault.found}; {fault.do}"


AXES = {
    "encoders": Axis("models with a card, for `--encoder`, and whether their weights are on this machine", _encoders),
    "back-ends": Axis("back ends that compute vectors, for `--backend`", _registry("back-ends")),
    "poolings": Axis(
        "ways to make a text's vector from its tokens' vectors, for `pooling` in encoder cards", _registry("poolings")
    ),
    "pair-scorers": Axis(
        "ways in which a model scores a query with a passage, for `--scorer`", _registry("pair-scorers")
    ),
    "index-kinds": Axis("ways to index vectors, for `tasb index --kind`", _registry("index-kinds")),
    "corpus-readers": Axis("formats of corpora, for `--corpus READER:PATH`", _registry("corpus-readers")),
    "topic-readers": Axis("formats of topics, for `--topics READER:PATH`", _registry("topic-readers")),
    "fusion-recipes": Axis("fusion recipes, for `tasb hybrid --recipe` and `tasb fuse --recipe`", _recipes("fusion")),
    "fusion-methods": Axis("ways to fuse runs, for `--method`", _registry("fusion-methods")),
    "normalizations": Axis("ways to make scores comparable, for `--normalization`", _registry("normalizations")),
    "missing": Axis("scores for documents that a run lacks, for `--missing`", _missing),
    "pairwise-losses": Axis("losses on pairs, for `loss.pairwise` of training", _registry("pairwise-losses")),
    "in-batch-losses": Axis("losses on a whole batch, for `loss.in_batch` of training", _registry("in-batch-losses")),
    "in-batch-teachers": Axis(
        "in-batch teachers, which score a whole batch, for `teacher.kind` of training", _registry("in-batch-teachers")
    ),
    "samplings": Axis("ways to compose batches, for `sampling.strategy` of training", _registry("samplings")),
    "binnings": Axis("ways to divide pairs by margin, for `sampling.binning` of training", _registry("binnings")),
    "schedules": Axis("schedules of the learning rate, for `schedule.name` of training", _registry("schedules")),
    "regressions": Axis("experiments with published scores, for `tasb regress`", _recipes("regressions")),
}
