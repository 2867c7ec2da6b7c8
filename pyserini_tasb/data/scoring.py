"""A model's scores of training pairs, or the mean of several models' scores."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pyserini_tasb.data.ensemble import write_ensemble
from pyserini_tasb.data.pair_sources import IdPairs, source_name
from pyserini_tasb.data.pair_store import Agreement
from pyserini_tasb.data.pairs import store_queries
from pyserini_tasb.errors import TasbError, argument, os_errors_explained
from pyserini_tasb.folders import at_home
from pyserini_tasb.formats.collections import open_collection, store_collection
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.outputs import is_standard_output
from pyserini_tasb.results import FileResult
from pyserini_tasb.resume import partial_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from pyserini_tasb.formats.named import AnyTopics
    from pyserini_tasb.formats.text_store import TextStore
    from pyserini_tasb.recipes.types import Backend
    from pyserini_tasb.reranking.scorers import ScoringOptions
    from pyserini_tasb.results import StrPath
    from pyserini_tasb.resume import PartialFile


NEEDED_BY_MODEL = ("pairs", "corpus", "topics")
FAULTY_ROWS = "fix or remove these lines"


@dataclass(frozen=True)
class Scores(FileResult):
    """A file of scored pairs. Wherever a path is taken, it stands for its path.

    Attributes:
        path: the file, for `pairs`.
        pairs: the number of pairs.
        scores: the number of different combinations of query and passage that were scored.
        agreements: teacher → the agreement of its scores with the labels. With several teachers, `the mean` comes last.
        summary: all of this as text.
    """

    pairs: int
    scores: int
    agreements: dict[str, Agreement]
    summary: str = field(repr=False)


def score(
    pairs: StrPath | Sequence[StrPath] | None = None,
    *,
    corpus: StrPath | None = None,
    fields: Sequence[str] = (),
    docid_field: str | None = None,
    topics: AnyTopics | None = None,
    model: str | None = None,
    scorer: str | None = None,
    ensemble: Sequence[StrPath] | None = None,
    output: StrPath,
    allow_reversed: bool = False,
    query_max_length: int | None = None,
    max_length: int | None = None,
    precision: Literal["fp32", "bf16"] | None = None,
    device: str | None = None,
    backend: Backend | None = None,
    allow_bin: bool = False,
    overwrite: bool = False,
) -> Scores:
    """Score training pairs with a teacher, or average the scores of several teachers (arXiv:2010.02666).

    The output has a line for each pair, `pos_score TAB neg_score TAB qid TAB pos_pid TAB neg_pid`. Repeat an
    interrupted call to continue it: a file beside the output keeps the scores so far.

    Args:
        pairs: files of pairs by ids, as `tasb.pairs` takes them. Scores in them are not used.
        corpus: TSV, JSONL, a Lucene index or a text store, with the passages' texts.
        fields: the fields of a passage that are its text, joined by spaces; by default `title` and `text`, or
            `contents`. See docs/encode.md.
        docid_field: the field of the docid; by default `id`, `_id` or `docid`.
        topics: the queries' texts.
        model: the teacher: an encoder's name, or the folder or hub id of a BERT_CAT, ColBERT, monoT5 or other
            cross-encoder. Its config.json tells the kind of model, unless `scorer` does.
        scorer: how the model scores a pair: a name of `tasb list pair-scorers`, or `module:name`.
        ensemble: files of scored pairs to average, instead of `model`. The output has the pairs of the first file.
        output: a new file; `-` is standard output, where an interrupted call cannot continue.
        allow_reversed: continue even if the teacher scores most negatives above their positives.
        query_max_length: the most tokens of a query; by default the model's.
        max_length: the most tokens of a passage, or of query and passage if the model reads them together; by default
            the model's.
        precision: the number format, `fp32` or `bf16`; by default the encoder card's, or fp32 for other models.
        device: `cpu`, `cuda:0`, …; by default a GPU, or else the CPU.
        backend: the back end of an encoder: `auto`, `torch` or `onnx`; by default $PYSERINI_TASB_BACKEND, else the
            card's.
        allow_bin: accept weights in `pytorch_model.bin`, a pickle file. Its code is not run.
        overwrite: replace a file at `output`, once the new one is complete.

    Raises:
        TasbError: the arguments contradict each other, a name or path does not exist, a file is faulty, the output
            exists, another process writes it, or the scores so far are of another call.
    """
    files = [] if pairs is None else [pairs] if isinstance(pairs, str | os.PathLike) else list(pairs)
    of_model = {
        "pairs": pairs,
        "corpus": corpus,
        "fields": fields or None,
        "docid_field": docid_field,
        "topics": topics,
        "scorer": scorer,
        "query_max_length": query_max_length,
        "max_length": max_length,
        "precision": precision,
        "device": device,
        "allow_bin": allow_bin or None,
    }
    _require_fitting(model, ensemble, of_model)
    path = Path(output)
    if ensemble:
        return _average([Path(file) for file in ensemble], path, allow_reversed=allow_reversed, overwrite=overwrite)
    with partial_file(path, overwrite=overwrite, inputs=[files, corpus, topics]) as part:
        assert model is not None  # noqa: S101 - as `_require_fitting` found
        from pyserini_tasb.reranking.scorers import ScoringOptions

        return _score(
            [Path(file) for file in files],
            path,
            part,
            model,
            ScoringOptions(
                device=device,
                precision=precision,
                query_max_length=query_max_length,
                max_length=max_length,
                backend=backend,
                scorer=scorer,
            ),
            corpus=corpus or "",
            fields=Fields.named(fields, docid_field),
            topics=topics,
            allow_reversed=allow_reversed,
            allow_bin=allow_bin,
            overwrite=overwrite,
        )


def _require_fitting(model: str | None, ensemble: Sequence[StrPath] | None, of_model: dict[str, Any]) -> None:
    if (model is None) == (ensemble is None):
        raise TasbError(
            expected=f"{argument('model')} or {argument('ensemble')}",
            found="neither" if model is None else "both",
            do="give one of them",
        )
    if ensemble:
        expected = (
            f"{argument('ensemble')} with {argument('output')}, and with no other option than {argument('overwrite')}"
        )
        found = [f"{argument(name)}" for name, value in of_model.items() if value is not None]
    else:
        needed = ", ".join(f"{argument(name)}" for name in NEEDED_BY_MODEL)
        expected = f"{argument('model')} with {needed}"
        found = [f"no {argument(name)}" for name in NEEDED_BY_MODEL if of_model[name] is None]
    if found:
        raise TasbError(expected=expected, found=", ".join(found), do="add or remove these options")


def _average(files: Sequence[Path], output: Path, *, allow_reversed: bool, overwrite: bool) -> Scores:
    def check(file: Path, agreement: Agreement) -> None:
        agreement.require(where=str(file), allowed=allow_reversed)

    report = write_ensemble(files, output, overwrite=overwrite, check=check)
    summary = f"{output}: {report.pairs:,} pairs, {report.scores:,} distinct scores, means of {len(files)} files"
    if report.unused:
        summary += f"\n  {report.unused:,} scores are left out: {files[0]} has no pair with them"
    agreements = dict(zip((*map(str, files), "the mean"), report.agreements, strict=True))
    return Scores(output, report.pairs, report.scores, agreements, summary + _lines(agreements))


def _score(
    files: Sequence[Path],
    output: Path,
    part: PartialFile,
    model: str,
    options: ScoringOptions,
    *,
    corpus: StrPath,
    fields: Fields,
    topics: AnyTopics,
    allow_reversed: bool,
    allow_bin: bool,
    overwrite: bool,
) -> Scores:
    from pyserini_tasb.data import scored_pairs
    from pyserini_tasb.reranking import scorers

    # What can be wrong is found out before a large collection is read.
    rows = IdPairs(files, skip_bad=False, advice=FAULTY_ROWS)
    named = " ".join(map(str, files))
    digest = scorers.ScorerRequest(model, allow_bin, options).digest
    origin = {"model": {"name": f"`{model}`", "digest": digest}}
    scorer = scorers.load_scorer(model, options, allow_bin=allow_bin)
    with _stored(part, corpus, fields, topics) as (queries, passages):
        table = scored_pairs.PairTable(rows, queries, passages)
        origin |= {
            "collection": {"name": os.fspath(corpus), "digest": passages.fingerprint},
            "queries": {"name": source_name(topics), "digest": queries.fingerprint},
            "pairs": {"name": named, "digest": table.digest()},
            "options": scored_pairs.options_origin(options, scored_pairs.PAIRS_PER_WINDOW),
        }
        before, start = scored_pairs.count_scores(part, origin, overwrite=overwrite), time.monotonic()
        scores = table.score(scorer, part, origin, before)
        seconds = time.monotonic() - start
        kept = f" (the scores are kept in {part.path.name}: the same command continues from there)"
        kept = "" if is_standard_output(output) else kept
        check = partial(
            Agreement.require,
            where=named,
            allowed=allow_reversed,
            do=f"correct the order of the columns, or use a model that was trained for relevance{kept}",
        )
        margins = table.write(part, scores, check=check)
    distinct = len(table.distinct)
    earlier = f" ({before:,} of them from an earlier run)" if before else ""
    agreements = {model: margins.agreement}
    summary = (
        f"{output}: {len(table.rows):,} pairs, {distinct:,} distinct scores{earlier}; scored in "
        f"{seconds:.1f} s: {(distinct - before) / seconds:,.1f} pairs/s; "
        f"margins: mean {margins.mean:.4g}, deviation {margins.deviation:.4g}"
    )
    return Scores(output, len(table.rows), distinct, agreements, summary + _lines(agreements))


@contextlib.contextmanager
def _stored(
    part: PartialFile, corpus: StrPath, fields: Fields, topics: AnyTopics
) -> Iterator[tuple[TextStore, TextStore]]:
    """Queries and passages as text stores; unless they are some, beside the output for the time of the run."""
    # Always by the same name, so that what a killed run left does not stay.
    folder = part.path.with_name(f"{part.whole.name}.texts.part")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        advice = f"free some disk space, or choose another {argument('output')}"
        with os_errors_explained(folder, expected="space for the texts", do=advice):
            for name in ("queries", "passages"):
                (folder / name).mkdir(parents=True)
            queries = store_queries(folder / "queries", topics)
            collection = open_collection(at_home(corpus), fields)
            passages = store_collection(folder / "passages", collection, os.fspath(corpus))
        yield queries, passages
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lines(agreements: dict[str, Agreement]) -> str:
    return "".join(
        f"\n  {teacher} {agreement}" + (f"\n  warning: {agreement.warning}" if agreement.warning else "")
        for teacher, agreement in agreements.items()
    )
