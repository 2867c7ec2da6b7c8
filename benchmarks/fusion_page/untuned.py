"""Every method with every normalisation it takes, weights equal, other choices the defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topic_set import MEASURES

from pyserini_tasb.evaluation.significance import paired_tests
from pyserini_tasb.fusion.methods import METHODS, NORMALISATIONS, Fusion
from pyserini_tasb.tables import markdown_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from topic_set import PerQuery, TopicSet


# A dot product such as TAS-B's has no lowest score; without one, `theoretical-min` could not be shown.
MINIMUMS = (0.0, 0.0)


def untuned_tables(sets: Sequence[TopicSet]) -> list[str]:
    """A table for each measure, with all sets in a cell."""
    found = [_fused(topics) for topics in sets]
    parts = []
    for measure in MEASURES:
        cells = [_cells(topics, each, measure) for topics, each in zip(sets, found, strict=True)]
        lines = []
        for method in METHODS:
            keys = [(method, normalisation) for normalisation in NORMALISATIONS]
            lines.append([f"`{method}`", *(" / ".join(each[key] for each in cells if key in each) for key in keys)])
        titles = " / ".join(topics.title for topics in sets)
        parts.append(f"{measure}, {titles}:\n\n{markdown_table(['', *NORMALISATIONS], lines)}")
    parts.append(
        f"† differs from TAS-B, p < 0.05 (paired t-test, Holm-corrected for the {len(found[0])} fusions of one "
        "set and measure). `theoretical-min` takes 0 for the lowest score of both."
    )
    return parts


def _fused(topics: TopicSet) -> dict[tuple[str, str], PerQuery]:
    values = {}
    for method in METHODS:
        for normalisation in NORMALISATIONS if METHODS[method].uses_scores else ("none",):
            fusion = Fusion(method, normalization=normalisation, theoretical_minimums=MINIMUMS)
            values[method, normalisation] = topics.per_query(topics.fused(fusion))
    return values


def _cells(topics: TopicSet, found: dict[tuple[str, str], PerQuery], measure: str) -> dict[tuple[str, str], str]:
    tests = paired_tests({key: (values[measure], topics.tasb[measure]) for key, values in found.items()})
    return {
        key: f"{values[measure].mean():.4f}".removeprefix("0") + ("†" if tests[key].significant else "")
        for key, values in found.items()
    }
