"""`tasb score`: a model's scores of training pairs, or the mean of several models' scores."""

from __future__ import annotations

import contextlib
import shutil
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.artifacts import lock_file
from pyserini_tasb.data.ensemble import write_ensemble
from pyserini_tasb.data.pair_sources import IdPairs
from pyserini_tasb.data.pair_store import Agreement
from pyserini_tasb.errors import TasbError, os_errors_explained
from pyserini_tasb.formats.collections import open_collection, store_collection

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from pyserini_tasb.formats.text_store import TextStore


NEEDED_BY_MODEL = ("pairs", "corpus", "topics")
OF_MODEL = (*NEEDED_BY_MODEL, "query_max_length", "max_length", "precision", "device", "allow_bin")
FAULTY_ROWS = "mend or remove these lines"


def run(arguments: argparse.Namespace) -> int:
    """Write `arguments.output`, or go on writing it where the same command was stopped; print what was done.

    Raises:
        TasbError: options that do not go together, a name or path that leads nowhere, a faulty file, an output that
            is there already or that another process is writing, or scores begun with something else.
    """
    _require_fitting_options(arguments)
    output = Path(arguments.output)
    with _kept_apart(output):
        _require_free(output, arguments)
        print(_ensemble(output, arguments) if arguments.ensemble else _score(output, arguments))
    return 0


def _ensemble(output: Path, arguments: argparse.Namespace) -> str:
    def check(file: Path, agreement: Agreement) -> None:
        agreement.require(where=str(file), allowed=arguments.allow_reversed)

    report = write_ensemble([Path(file) for file in arguments.ensemble], output, check=check)
    files = len(arguments.ensemble)
    summary = f"{output}: {report.pairs:,} pairs, {report.scores:,} distinct scores, means of {files} files"
    if report.unused:
        summary += f"\n  {report.unused:,} scores are left out: {arguments.ensemble[0]} has no pair with them"
    for name, agreement in zip((*arguments.ensemble, "the mean"), report.agreements, strict=True):
        summary += _agreement(f"\n  {name}", agreement)
    return summary


def _score(output: Path, arguments: argparse.Namespace) -> str:
    from pyserini_tasb.data import scored_pairs
    from pyserini_tasb.data.scored_pairs import PairTable, ScorePart, options_origin
    from pyserini_tasb.models.checkpoints import model_digest
    from pyserini_tasb.reranking.scorers import ScoringOptions, load_scorer

    options = ScoringOptions(
        device=arguments.device,
        precision=arguments.precision,
        query_max_length=arguments.query_max_length,
        max_length=arguments.max_length,
    )
    # What can be wrong is found out before a large collection is read.
    pairs = IdPairs([Path(path) for path in arguments.pairs], skip_bad=False, advice=FAULTY_ROWS)
    digest = model_digest(arguments.model, allow_bin=arguments.allow_bin)
    origin = {"model": {"name": f"`{arguments.model}`", "digest": digest}}
    scorer = load_scorer(arguments.model, options, allow_bin=arguments.allow_bin)
    with _stored(output, arguments) as (queries, passages):
        table = PairTable(pairs, queries, passages)
        origin |= {
            "corpus": {"name": arguments.corpus, "digest": passages.fingerprint},
            "topics": {"name": arguments.topics, "digest": queries.fingerprint},
            "pairs": {"name": " ".join(arguments.pairs), "digest": table.digest()},
            "options": options_origin(options, scored_pairs.PAIRS_PER_WINDOW),
        }
        part = ScorePart(output, origin, overwrite=arguments.overwrite)
        before, start = part.count, time.monotonic()
        scored_pairs.score_windows(scorer, queries, passages, table, part)
        seconds = time.monotonic() - start
        margins = table.write(
            output,
            part.scores(),
            check=partial(
                Agreement.require,
                where=" ".join(arguments.pairs),
                allowed=arguments.allow_reversed,
                do="put the columns in order, or use a model that was trained for relevance (the scores are kept in "
                f"{output.name}.part: the same command goes on from there)",
            ),
        )
        part.remove()
    earlier = f" ({before:,} of them from an earlier run)" if before else ""
    return (
        f"{output}: {len(table.rows):,} pairs, {len(table.distinct):,} distinct scores{earlier}; scored in "
        f"{seconds:.1f} s: {(len(table.distinct) - before) / seconds:,.1f} pairs/s; "
        f"margins: mean {margins.mean:.4g}, deviation {margins.deviation:.4g}"
        + _agreement(f"\n  {arguments.model}", margins.agreement)
    )


def _agreement(teacher: str, agreement: Agreement) -> str:
    warning = f"\n  warning: {agreement.warning}" if agreement.warning else ""
    return f"{teacher} {agreement}{warning}"


def _require_fitting_options(arguments: argparse.Namespace) -> None:
    if arguments.ensemble:
        expected = "--ensemble with --output, and with --overwrite at most"
        given = {name: getattr(arguments, name) for name in OF_MODEL}
        found = [_option(name) for name, value in given.items() if value is not None and value is not False]
    else:
        expected = "--model with --pairs, --corpus, --topics"
        found = [f"no {_option(name)}" for name in NEEDED_BY_MODEL if getattr(arguments, name) is None]
    if found:
        raise TasbError(expected=expected, found=", ".join(found), do="add or remove these options")


@contextlib.contextmanager
def _kept_apart(output: Path) -> Iterator[None]:
    """Keep every other process off this output."""
    with ExitStack() as held:
        with os_errors_explained(output, expected="a file in a folder to write to", do="choose another --output"):
            output.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(lock_file(output.with_name(f"{output.name}.lock")))
        yield


def _require_free(output: Path, arguments: argparse.Namespace) -> None:
    if not output.exists():
        return
    files = [*(arguments.ensemble or arguments.pairs), arguments.corpus, arguments.topics]
    if any(Path(name).exists() and Path(name).samefile(output) for name in files if name):
        found, do = "one of the input files", "choose another --output"
    elif output.is_dir():
        found, do = "a folder", "choose another --output"
    elif not arguments.overwrite:
        found, do = "a file", "choose another --output, or add --overwrite to replace it"
    else:
        return
    raise TasbError(where=str(output), expected="nothing there yet", found=found, do=do)


@contextlib.contextmanager
def _stored(output: Path, arguments: argparse.Namespace) -> Iterator[tuple[TextStore, TextStore]]:
    """Queries and passages as text stores; unless they are some, beside the output for the time of the run."""
    from pyserini_tasb.data.pair_building import store_queries

    # Always by the same name, so that what a killed run left does not stay.
    folder = output.with_name(f"{output.name}.texts.part")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with os_errors_explained(folder, expected="room for the texts", do="make room, or choose another --output"):
            for name in ("queries", "passages"):
                (folder / name).mkdir(parents=True)
            queries = store_queries(folder / "queries", arguments.topics)
            collection = open_collection(Path(arguments.corpus).expanduser())
            passages = store_collection(folder / "passages", collection, arguments.corpus)
        yield queries, passages
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
