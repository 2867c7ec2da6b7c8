"""Depths of re-ranking: a measure at each of them (RQ4 of the TAS-B paper, arXiv:2104.06967)."""

from __future__ import annotations

import csv
import html
import io
import math
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.evaluation.measures import evaluate_run, parse_measures
from pyserini_tasb.formats.lines import LONGEST_LINE, open_lines, split_columns
from pyserini_tasb.formats.named import as_qrels, bundled_files, run_file
from pyserini_tasb.formats.run import as_run
from pyserini_tasb.formats.run_table import ranked_docids
from pyserini_tasb.outputs import new_files
from pyserini_tasb.plots import COLOURS, as_png
from pyserini_tasb.results import Result
from pyserini_tasb.tables import markdown_table, text_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from pyserini_tasb.formats.named import AnyQrels
    from pyserini_tasb.formats.qrels import QrelsDict
    from pyserini_tasb.formats.run import AnyRun
    from pyserini_tasb.formats.run_table import RunDict
    from pyserini_tasb.results import StrPath

    Ranking = Mapping[str, float]


NOT_REACHED = "-"


def rerank_depths(
    first_stage: Sequence[AnyRun] | Sequence[Sequence[AnyRun]],
    *,
    qrels: AnyQrels,
    measure: str = "nDCG@10",
    depths: Sequence[int] = (10, 20, 50, 100, 200, 500, 1_000),
    remove_query: bool = False,
    output: StrPath | None = None,
    overwrite: bool = False,
) -> DepthCurves:
    """Measure re-ranking at several depths.

    A model gives a passage the same score at every depth, so one re-ranking to the greatest depth is enough. duoT5 is
    the exception: its scores depend on all passages that are compared.

    Args:
        first_stage: a list of a run and its re-ranked runs from `rerank`, one for each model; or several such lists.
        qrels: the judgments: a name (`dl19-passage`), a file, or qid → docid → grade.
        measure: the measure, by ir-measures' name.
        depths: the numbers of passages of each query to re-rank. Depths that a run does not reach are left out.
        remove_query: drop each query's own document, whose docid is the query's id, from every run.
        output: a new file for the picture (`….png`). The same values go beside it as `.csv`. By default no file is
            written.
        overwrite: replace a picture at `output` and its table, once the new ones are complete.

    Returns:
        the curves.

    Raises:
        TasbError: the arguments contradict each other, a name or path does not exist, a file is faulty, or a run is not
            a re-ranking of its first stage.

    Example:
        rerank_depths(["dl19-passage.bm25", rerank("dl19-passage.bm25", …)], qrels="dl19-passage", depths=[10, 100])
    """
    stages = _stages(first_stage)
    _require_sense(stages, depths, output)
    (name,) = map(str, parse_measures([measure]))
    ascending = sorted(set(depths))
    picture = None if output is None else Path(output)
    paths = [] if picture is None else [picture, picture.with_suffix(".csv")]
    with new_files(paths, overwrite=overwrite, inputs=[qrels, *stages]) as files:
        judged = as_qrels(qrels)
        curves = [
            curve for runs in stages for curve in _curves(runs, judged, name, ascending, remove_query=remove_query)
        ]
        called = fspath(qrels) if isinstance(qrels, str | PathLike) else "the qrels"
        found = DepthCurves(tuple(curves), name, tuple(ascending), called, len(judged), picture)
        if files:
            files[0].write(as_png(drawn(curves, name, called)))
            files[1].write(found.to_csv())
    return found


@dataclass(frozen=True)
class DepthCurves(Result):
    """Curves of one measure against the depth of re-ranking.

    Attributes:
        curves: a curve for each first stage and re-ranker.
        measure: the measure's name.
        depths: the requested depths, the smallest first.
        qrels: the judgments' name.
        queries: the number of judged queries.
        picture: the file of the picture; None if none was written.
    """

    curves: tuple[DepthCurve, ...]
    measure: str
    depths: tuple[int, ...]
    qrels: str
    queries: int
    picture: Path | None = None

    @property
    def summary(self) -> str:
        """The table as text, and what was measured."""
        return f"{self.to_text()}\n\n{self.about}"

    @property
    def about(self) -> str:
        """The measure and the judgments, in a line."""
        return f"{self.measure}, {self.queries} queries of {self.qrels}"

    def to_text(self) -> str:
        """A line for each first stage and re-ranker, a column for each depth; 0 is the first stage itself."""
        return text_table(*self._cells())

    def to_markdown(self) -> str:
        """The same table in Markdown."""
        return markdown_table(*self._cells())

    def to_csv(self) -> str:
        """A line for each point, with all digits."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["first_stage", "reranker", "depth", self.measure])
        for curve in self.curves:
            for depth, value in {0: curve.before, **curve.values}.items():
                writer.writerow([curve.first_stage, curve.reranker, depth, value])
        return text.getvalue()

    def __repr__(self) -> str:
        return self.summary

    def _repr_html_(self) -> str:
        head, lines = self._cells()
        rows = [f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in line)}</tr>" for line in lines]
        top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
        return f"<table><caption>{html.escape(self.about)}</caption><tr>{top}</tr>{''.join(rows)}</table>"

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        shown = [depth for depth in self.depths if any(depth in curve.values for curve in self.curves)]
        head = ["first stage", "re-ranker", "0", *(f"{depth:,}" for depth in shown)]
        lines = [
            [
                curve.first_stage,
                curve.reranker,
                f"{curve.before:.4f}",
                *(f"{curve.values[depth]:.4f}" if depth in curve.values else NOT_REACHED for depth in shown),
            ]
            for curve in self.curves
        ]
        return head, lines


@dataclass(frozen=True)
class DepthCurve:
    """A re-ranker after a first stage, measured.

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


def _stages(given: Sequence[Any]) -> list[list[Any]]:
    """Lists of runs; one list of runs is the only stage."""
    if all(isinstance(runs, list | tuple) for runs in given):
        return [list(runs) for runs in given]
    return [list(given)]


def _require_sense(stages: Sequence[Sequence[Any]], depths: Sequence[int], output: StrPath | None) -> None:
    first_stage = argument("first_stage")
    mistakes = [f"a depth of {depth}" for depth in depths if depth < 1]
    mistakes += [f"{first_stage} {runs[0]} without a re-ranked run" for runs in stages if len(runs) < 2]
    if output is not None and Path(output).suffix != ".png":
        mistakes.append(f"{argument('output')} {output}")
    if mistakes:
        raise TasbError(
            expected=f"depths of 1 or more, {first_stage} with its re-ranked runs, {argument('output')} as a PNG",
            found="; ".join(mistakes),
            do="see `tasb rerank-depths --help`",
        )


def _curves(
    runs: Sequence[AnyRun], qrels: QrelsDict, measure: str, depths: Sequence[int], *, remove_query: bool
) -> list[DepthCurve]:
    first, *reranked = (_named(run, remove_query=remove_query) for run in runs)
    names = [run.name for run in reranked]
    if len(set(names)) < len(names):
        raise TasbError(
            expected="re-ranked runs with different tags, which identify them",
            found=", ".join(f"{tag} ({run})" for tag, run in zip(names, runs[1:], strict=True)),
            do=f"re-rank with {argument('tag')}",
        )
    return [depth_curve(first, run, qrels, measure, depths) for run in reranked]


@dataclass(frozen=True)
class NamedRun:
    """A run, and what tables call it."""

    name: str
    run: RunDict


def _named(given: AnyRun, *, remove_query: bool) -> NamedRun:
    """A run with its own name; the name of a TREC file is in the last column of its first line."""
    run = as_run(given, remove_query=remove_query)
    if isinstance(given, str | PathLike) and given not in bundled_files("run"):
        with open_lines(run_file(given if isinstance(given, str) else Path(given))) as lines:
            columns = split_columns(lines.readline(LONGEST_LINE))
        run.name = columns[-1] if len(columns) == 6 else run.name
    return NamedRun(run.name, run.to_dict())


def depth_curve(
    first: NamedRun, reranked: NamedRun, qrels: QrelsDict, measure: str, depths: Sequence[int]
) -> DepthCurve:
    """Evaluate a re-ranking at each depth that it reaches.

    Args:
        first: what was re-ranked.
        reranked: what came of it.
        qrels: qid → docid → grade.
        measure: ir-measures' name of one.
        depths: the depths to evaluate, the smallest first. Depths below the last passage with a score are left out.

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
            found=f"scores of only the top {reach}",
            do=f"give after {argument('first_stage')} the run that was re-ranked, or a smaller depth first; if it was "
            f"re-ranked with {argument('remove_query', True)}, add it",
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


# Beside the colours, for prints in grey.
MARKERS = ("o", "s", "^", "D", "v", "P")
BEFORE = "#777777"


def drawn(curves: Sequence[DepthCurve], measure: str, qrels: str) -> Figure:
    """A panel for each first stage, a line for each re-ranker.

    Depths are on a logarithmic axis; all panels have the same scale of values.

    Args:
        curves: the curves of one measure.
        measure: the measure's name.
        qrels: the judgments' name.
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
        panel.axhline(of_stage[0].before, color=BEFORE, linewidth=1.2, linestyle="--", label="only the first stage")
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
