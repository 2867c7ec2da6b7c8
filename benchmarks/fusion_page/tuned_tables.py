"""Tuned weights, as Markdown."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from topic_set import MEASURES
from tuned import SHUFFLES

from pyserini_tasb.evaluation.significance import paired_tests
from pyserini_tasb.tables import markdown_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from topic_set import PerQuery, TopicSet
    from tuned import Row

    from pyserini_tasb.evaluation.significance import PairedTest


def tuned_table(topics: TopicSet, rows: Sequence[Row]) -> str:
    table = _against_tasb(topics.tasb, rows, [_alphas(row.alphas) for row in rows])
    return f"{topics.title}, {len(topics.qrels)} queries:\n\n{table}"


def pooled_table(sets: Sequence[TopicSet], found: Sequence[Sequence[Row]]) -> str:
    """What was held out, of both sets together."""
    base = _pooled([topics.tasb for topics in sets])
    both = [pair for pair in zip(*found, strict=True) if pair[0].held_out]
    rows = [replace(pair[0], per_query=_pooled([row.per_query for row in pair])) for pair in both]
    alphas = [" / ".join(dict.fromkeys(_alphas(row.alphas) for row in pair)) for pair in both]
    count = sum(len(topics.qrels) for topics in sets)
    return f"What was held out, on both sets, {count} queries:\n\n{_against_tasb(base, rows, alphas)}"


def _against_tasb(base: PerQuery, rows: Sequence[Row], alphas: Sequence[str]) -> str:
    held_out = {number: row.per_query for number, row in enumerate(rows) if row.held_out}
    tests = {
        measure: paired_tests({number: (each[measure], base[measure]) for number, each in held_out.items()})
        for measure in MEASURES
    }
    head = ["fusion", "alpha from", "alpha"]
    head += [text for measure in MEASURES for text in (measure, "minus TAS-B", "p", "p (Holm)")]
    alone = [text for measure in MEASURES for text in (f"{base[measure].mean():.4f}", "", "", "")]
    lines = [["only TAS-B", "", "", *alone]]
    for number, row in enumerate(rows):
        line = [row.fusion, row.source, alphas[number]]
        for measure in MEASURES:
            value, alone = row.per_query[measure].mean(), base[measure].mean()
            line += [f"{value:.4f}", f"{value - alone:+.4f}", *_p(tests[measure].get(number))]
        lines.append(line)
    return markdown_table(head, lines)


def _pooled(values: Sequence[PerQuery]) -> PerQuery:
    return {measure: np.concatenate([each[measure] for each in values]) for measure in MEASURES}


def shuffles_line(sets: Sequence[TopicSet], found: Sequence[NDArray[np.float64]]) -> str:
    parts = [
        f"{topics.title} {values.mean():.4f} ({values.min():.4f} to {values.max():.4f})"
        for topics, values in zip(sets, found, strict=True)
    ]
    return f"`linear` by 5 folds, mean and range over {SHUFFLES} shuffles of the queries: {', '.join(parts)}."


def _p(test: PairedTest | None) -> list[str]:
    """Before and after Holm's correction; of what was not held out, none."""
    if test is None:
        return ["", ""]
    return [f"{test.p:.2g}", f"**{test.p_holm:.2g}**" if test.significant else f"{test.p_holm:.2g}"]


def _alphas(alphas: Sequence[float]) -> str:
    low, high = min(alphas), max(alphas)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
