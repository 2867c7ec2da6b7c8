"""`tasb rerank-depths`: a measure at each depth of re-ranking."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate import load_qrels, load_run, parse_measures
from pyserini_tasb.evaluate.layout import markdown_layout, text_layout
from pyserini_tasb.evaluate.line_files import columns_of, open_lines
from pyserini_tasb.evaluate.resolver import bundled_files, run_file
from pyserini_tasb.pipelines.rerank_depths.depth_curve import DepthCurve, NamedRun, depth_curve
from pyserini_tasb.pipelines.rerank_depths.picture import draw
from pyserini_tasb.pipelines.rerank_depths.report import as_csv, as_table
from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from pyserini_tasb.evaluate import Qrels, Run


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
    runs: Sequence[str], load: Callable[[str], Run], qrels: Qrels, measure: str, depths: Sequence[int]
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
        return columns_of(next(lines))[-1]
