"""Curves of depths as a table, and as CSV."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyserini_tasb.evaluate.layout import Layout
    from pyserini_tasb.pipelines.rerank_depths.depth_curve import DepthCurve

NOT_REACHED = "-"


def as_table(curves: Sequence[DepthCurve], depths: Sequence[int], layout: Layout) -> str:
    """A line for each first stage and re-ranker, a column for each depth; 0 is the first stage itself.

    Args:
        curves: of one measure.
        depths: the columns.
        layout: text or Markdown.
    """
    shown = [depth for depth in depths if any(depth in curve.values for curve in curves)]
    head = ["first stage", "re-ranker", "0", *(f"{depth:,}" for depth in shown)]
    lines = [
        [
            curve.first_stage,
            curve.reranker,
            f"{curve.before:.4f}",
            *(f"{curve.values[depth]:.4f}" if depth in curve.values else NOT_REACHED for depth in shown),
        ]
        for curve in curves
    ]
    return layout.table(head, lines)


def as_csv(curves: Sequence[DepthCurve], measure: str) -> str:
    """A line for each point, with all digits; arguments as of `as_table`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["first_stage", "reranker", "depth", measure])
    for curve in curves:
        for depth, value in {0: curve.before, **curve.values}.items():
            writer.writerow([curve.first_stage, curve.reranker, depth, value])
    return text.getvalue()
