"""Whether early stopping looks at queries that are trained on, which would flatter every evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyserini_tasb.texts import TextStore

QUERIES_SHOWN = 3


def overlap_warning(validation: TextStore, training: TextStore) -> str | None:
    """A warning, if queries of both have the same text but for case and white space; their ids do not count."""
    held_out = {_key(text) for _, text in validation}
    shared = {key: id_ for id_, text in training if (key := _key(text)) in held_out}
    if not shared:
        return None
    shown = ", ".join(list(shared.values())[:QUERIES_SHOWN]) + (", …" if len(shared) > QUERIES_SHOWN else "")
    return (
        f"{len(shared):,} of {len(validation):,} validation queries are also trained on ({shown}): evaluations "
        "will be too good, and early stopping late. `tasb data validation` with the topics of another split avoids it."
    )


def _key(text: str) -> str:
    return " ".join(text.casefold().split())
