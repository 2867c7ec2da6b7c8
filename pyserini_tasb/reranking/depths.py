"""`tasb rerank-depths`: a measure at each depth of re-ranking (RQ4 of the TAS-B paper, arXiv:2104.06967)."""

from __future__ import annotations

import csv
import functools
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_tasb.artifacts import write_whole
from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluation.measures import evaluate_run, parse_measures
from pyserini_tasb.formats.lines import open_lines, split_columns
from pyserini_tasb.formats.named import bundled_files, load_qrels, load_run, run_file
from pyserini_tasb.formats.run_table import ranked_docids
from pyserini_tasb.plots import COLOURS
from pyserini_tasb.tables import markdown_layout, text_layout

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.figure import Figure

    from pyserini_tasb.formats.qrels import QrelsDict
    from pyserini_tasb.formats.run_table import RunDict
    from pyserini_tasb.tables import Layout

    Ranking = Mapping[str, float]


def run(arguments: argparse.Namespace) -> int:
    """Write `arguments.output`, and beside it the same as .csv; print the table.

    Raises:
        TasbError: options that cannot be, a name or path that leads nowhere, a faulty file, or a run that is no
            re-ranking of its first stage.
    """
    picture = Path(arguments.output)
    _require_sense(arguments)
    (measure,) = map(str, parse_measures([arguments.measure]))
    depths = sorted(set(arguments.depths))
    qrels = load_qrels(arguments.qrels)
    load = functools.partial(load_run, remove_query=arguments.remove_query)
    curves = [curve for runs in arguments.first_stage for curve in _curves(runs, load, qrels, measure, depths)]
    write_whole(picture.with_suffix(".csv"), as_csv(curves, measure))
    write_whole(picture, draw(curves, measure, arguments.qrels))
    layout = markdown_layout() if arguments.markdown else text_layout()
    print(f"{as_table(curves, depths, layout)}\n\n{measure}, {len(qrels)} queries of {arguments.qrels}")
    return 0


def _require_sense(arguments: argparse.Namespace) -> None:
    mistakes = [f"a depth of {depth}" for depth in arguments.depths if depth < 1]
    mistakes += [f"--first-stage {runs[0]} without a re-ranked run" for runs in arguments.first_stage if len(runs) < 2]
    if Path(arguments.output).suffix != ".png":
        mistakes.append(f"--output {arguments.output}")
    if mistakes:
        raise TasbError(
            expected="depths of 1 or more, --first-stage with the runs that were made of it, --output as a PNG",
            found="; ".join(mistakes),
            do="see `tasb rerank-depths --help`",
        )


def _curves(
    runs: Sequence[str], load: Callable[[str], RunDict], qrels: QrelsDict, measure: str, depths: Sequence[int]
) -> list[DepthCurve]:
    first, *reranked = (NamedRun(_name(name), run) for name, run in ((name, load(name)) for name in runs))
    names = [run.name for run in reranked]
    if len(set(names)) < len(names):
        raise TasbError(
            expected="re-ranked runs with different tags, by which they are told apart",
            found=", ".join(f"{tag} ({name})" for tag, name in zip(names, runs[1:], strict=True)),
            do="re-rank with --tag",
        )
    return [depth_curve(first, run, qrels, measure, depths) for run in reranked]


def _name(run: str) -> str:
    """A bundled run's name; else what the run calls itself, in the last column of its first line."""
    if run in bundled_files("run"):
        return run
    with open_lines(run_file(run)) as lines:
        return split_columns(next(lines))[-1]


# --------
# A measure against the depth of re-ranking (RQ4 of the TAS-B paper, arXiv:2104.06967).


@dataclass(frozen=True)
class NamedRun:
    """A run, and what tables call it."""

    name: str
    run: RunDict


@dataclass(frozen=True)
class DepthCurve:
    """What a re-ranker makes of a first stage.

    Attributes:
        first_stage: its name.
        reranker: its name.
        before: the first stage's own value.
        values: depth → value, the smallest depth first.
    """

    first_stage: str
    reranker: str
    before: float
    values: Mapping[int, float]


def depth_curve(
    first: NamedRun, reranked: NamedRun, qrels: QrelsDict, measure: str, depths: Sequence[int]
) -> DepthCurve:
    """Evaluate a re-ranking at each depth that it reaches.

    A model's score of a passage is the same whatever the depth: those of the deepest re-ranking are those of all. Of
    duoT5 that is not so, whose scores depend on all the passages compared.

    Args:
        first: what was re-ranked.
        reranked: what came of it.
        qrels: qid → docid → grade.
        measure: ir-measures' name of one.
        depths: to evaluate at, the smallest first. Those below the last passage that has a score are left out.

    Raises:
        TasbError: the one is no re-ranking of the other down to the smallest depth, or they share no query with the
            qrels.
    """

    def value(run: RunDict, name: str) -> float:
        return evaluate_run(run, qrels, [measure], name=name).overall[measure]

    reach = _reach(first.run, reranked.run)
    if reach < depths[0]:
        raise TasbError(
            where=reranked.name,
            expected=f"a re-ranking of {first.name}, at least of the top {depths[0]} of every query",
            found=f"scores of the top {reach}",
            do="name after --first-stage the run that was re-ranked, or a smaller depth first; if it was re-ranked "
            "with --remove-query, add it",
        )
    return DepthCurve(
        first.name,
        reranked.name,
        value(first.run, first.name),
        {depth: value(at_depth(first.run, reranked.run, depth), reranked.name) for depth in depths if depth <= reach},
    )


def at_depth(first: RunDict, reranked: RunDict, depth: int) -> RunDict:
    """The run that re-ranking to this depth would have made; what lies below follows in its order.

    Args:
        first: qid → docid → score.
        reranked: qid → docid → score, of these docids down to `depth` at least.
        depth: passages of each query that are re-ranked.
    """
    run = {}
    for qid, ranking in first.items():
        docids = ranked_docids(ranking)
        top = ranked_docids({docid: reranked[qid][docid] for docid in docids[:depth]})
        run[qid] = {docid: -float(rank) for rank, docid in enumerate([*top, *docids[depth:]])}
    return run


def _reach(first: RunDict, reranked: RunDict) -> int:
    """Down to which depth every query's passages have a new score."""
    reached = min((_query_reach(ranking, reranked.get(qid, {})) for qid, ranking in first.items()), default=0)
    return int(min(reached, max(map(len, first.values()), default=0)))


def _query_reach(ranking: Ranking, scored: Ranking) -> float:
    without = (depth for depth, docid in enumerate(ranked_docids(ranking)) if docid not in scored)
    return next(without, math.inf)  # all of a short ranking is as deep as it gets


# --------
# Curves of depths as a table, and as CSV.

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


# --------
# Curves of depths as a picture: a panel for each first stage, a line for each re-ranker.

# Beside the colours, for prints in grey.
MARKERS = ("o", "s", "^", "D", "v", "P")
BEFORE = "#777777"


def draw(curves: Sequence[DepthCurve], measure: str, qrels: str) -> bytes:
    """A PNG of `figure_of`."""
    drawn = io.BytesIO()
    figure_of(curves, measure, qrels).savefig(drawn, format="png", metadata={"Software": None})
    return drawn.getvalue()


def figure_of(curves: Sequence[DepthCurve], measure: str, qrels: str) -> Figure:
    """Depths on a logarithmic axis, the same scale of values for all first stages.

    Args:
        curves: of one measure.
        measure: its name.
        qrels: what they are called.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stages = list(dict.fromkeys(curve.first_stage for curve in curves))
    rerankers = list(dict.fromkeys(curve.reranker for curve in curves))
    # Without pyplot, which would look for a display.
    figure = Figure(figsize=(1.4 + 3.8 * len(stages), 4.4), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(1, len(stages), sharey=True, squeeze=False)[0]
    for panel, stage in zip(panels, stages, strict=True):
        of_stage = [curve for curve in curves if curve.first_stage == stage]
        for curve in of_stage:
            number = rerankers.index(curve.reranker)
            style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
            panel.plot(*zip(*curve.values.items(), strict=True), label=curve.reranker, linewidth=1.8, **style)
        panel.axhline(of_stage[0].before, color=BEFORE, linewidth=1.2, linestyle="--", label="first stage alone")
        _finish(panel, stage, sorted({depth for curve in of_stage for depth in curve.values}))
    panels[0].set_ylabel(measure)
    figure.suptitle(f"Depth of re-ranking, {qrels}", fontsize=11)
    lines = {line.get_label(): line for panel in panels for line in panel.get_lines()}
    figure.legend(lines.values(), lines.keys(), frameon=False, fontsize=9, loc="outside lower center", ncols=5)
    return figure


def _finish(panel: Any, title: str, depths: Sequence[int]) -> None:
    panel.set_title(title, fontsize=10)
    panel.set_xscale("log")
    panel.set_xticks(depths, [f"{depth:,}" for depth in depths])
    panel.minorticks_off()
    panel.set_xlabel("passages re-ranked")
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:.2f}".removeprefix("0"))
    panel.grid(visible=True, color="#e4e4e4", linewidth=0.7)
    panel.spines[["top", "right"]].set_visible(False)
