"""Building a validation set from topics, qrels, a baseline run and a collection."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate import evaluate_run, without_own_documents, write_run
from pyserini_tasb.texts.manifest import write_manifest
from pyserini_tasb.texts.new_folder import new_folder, refuse_occupied
from pyserini_tasb.texts.text_store import TextStore, copy_text_store, fill_text_store
from pyserini_tasb.train.validation.candidates import Candidates, candidates_of, usable_queries
from pyserini_tasb.train.validation.sampling import equal_width_strata, stratified_sample, uniform_sample
from pyserini_tasb.train.validation.validation_set import (
    BASELINE,
    CANDIDATES,
    KIND,
    OFFSETS,
    PASSAGES,
    QRELS,
    QUERIES,
    VERSION,
    ValidationSet,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.evaluate import Qrels, Run, Topics

BASELINE_MEASURES = ("nDCG@10", "RR@10", "R@100")
MISSING_SHOWN = 20


@dataclass(frozen=True)
class ValidationOptions:
    """How a validation set is made of its sources.

    Args:
        size: the most queries; None takes all.
        sampling: `uniform`, or `stratified` over the values of a measure of the baseline run.
        stratify_by: that measure, by its ir-measures name.
        strata: of equal width; each gives up to `size` // `strata` queries.
        depth: how many of the baseline run's best are candidates.
        min_relevance: the lowest grade of a relevant passage; all of them are candidates.
        remove_query: the document whose docid is the query's id is no candidate, retrieved or judged.
        seed: of the sample.

    Raises:
        TasbError: a number that is too small.
    """

    size: int | None = 3_200
    sampling: Literal["uniform", "stratified"] = "uniform"
    stratify_by: str = "RR@10"
    strata: int = 5
    depth: int = 100
    min_relevance: int = 1
    remove_query: bool = False
    seed: int = 208_973_249

    def __post_init__(self) -> None:
        lowest = {"size": 1, "strata": 1, "depth": 1, "min_relevance": 1, "seed": 0}
        wrong = [
            f"{name} {value}"
            for name, least in lowest.items()
            if (value := getattr(self, name)) is not None and value < least
        ]
        if wrong:
            raise TasbError(expected="1 or more (a seed may be 0)", found=", ".join(wrong), do="give larger numbers")


def build_validation_set(
    folder: Path,
    *,
    topics: Topics,
    qrels: Qrels,
    run: Run,
    passages: TextStore | Iterable[tuple[str, str]],
    options: ValidationOptions | None = None,
    sources: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> ValidationSet:
    """Write a validation set; `folder` is there only once it is complete. Same input, same seed: same bytes.

    Judged queries that cannot be evaluated (no text, no relevant passage, no results in the run) are left out and
    counted in the description.

    Args:
        folder: absent or empty, unless `overwrite`.
        topics: qid → text; those that are not judged do not matter.
        qrels: qid → docid → grade.
        run: the baseline, qid → docid → score.
        passages: (docid, text), read once; or a text store.
        options: see `ValidationOptions`.
        sources: what the data came from, for the description.
        overwrite: replace a validation set in `folder`.

    Raises:
        TasbError: topics, qrels and run have no query in common, candidates have no text, or `folder` is in the way.
    """
    chosen = options or ValidationOptions()
    refuse_occupied(folder, overwrite=overwrite)
    if chosen.remove_query:
        run, qrels = without_own_documents(run), without_own_documents(qrels)
    usable = usable_queries(topics, qrels, run, chosen.min_relevance)
    positions, strata = _sampled(usable.qids, qrels, run, chosen)
    candidates = {
        qid: candidates_of(run[qid], qrels[qid], chosen.depth, chosen.min_relevance)
        for qid in (usable.qids[position] for position in positions.tolist())
    }
    baseline = {qid: of_query.retrieved for qid, of_query in candidates.items()}
    judged = {qid: of_query.grades for qid, of_query in candidates.items()}
    with new_folder(folder, overwrite=overwrite) as beside:
        fill_text_store(_made(beside / QUERIES), ((qid, topics[qid]) for qid in candidates), "topics")
        stored = _write_passages(_made(beside / PASSAGES), candidates.values(), passages)
        indices = stored.indices([docid for of_query in candidates.values() for docid in of_query.docids])
        sizes = [len(of_query.docids) for of_query in candidates.values()]
        np.save(beside / CANDIDATES, indices.astype(np.uint32))
        np.save(beside / OFFSETS, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))
        write_run(beside / BASELINE, baseline, "baseline")
        _write_qrels(beside / QRELS, judged)
        description = {
            "sources": dict(sources or {}),
            "options": asdict(chosen),
            "queries": len(candidates),
            "queries_usable": len(usable.qids),
            "queries_left_out": usable.left_out,
            "strata": strata,
            "passages": len(stored),
            "candidates": len(indices),
            "candidates_added": sum(len(of_query.added) for of_query in candidates.values()),
            "baseline": evaluate_run(baseline, judged, BASELINE_MEASURES).overall,
        }
        write_manifest(beside, KIND, VERSION, {"description": description})
    return ValidationSet(folder)


def _sampled(
    qids: Sequence[str], qrels: Qrels, run: Run, options: ValidationOptions
) -> tuple[NDArray[np.int64], list[dict[str, int]]]:
    """Positions in `qids`, and how many queries each stratum has and gives."""
    size = len(qids) if options.size is None else options.size
    if options.sampling == "uniform":
        return uniform_sample(len(qids), size, options.seed), []
    evaluation = evaluate_run({qid: run[qid] for qid in qids}, {qid: qrels[qid] for qid in qids}, [options.stratify_by])
    (values,) = evaluation.per_query.values()
    strata_of = equal_width_strata(values, options.strata)
    positions = stratified_sample(strata_of, options.strata, size, options.seed)
    counts = (np.bincount(of, minlength=options.strata).tolist() for of in (strata_of, strata_of[positions]))
    return positions, [{"queries": queries, "sampled": sampled} for queries, sampled in zip(*counts, strict=True)]


def _write_passages(
    folder: Path, candidates: Iterable[Candidates], passages: TextStore | Iterable[tuple[str, str]]
) -> TextStore:
    """The candidates' texts, each once, in the order of the collection."""
    needed = dict.fromkeys(docid for of_query in candidates for docid in of_query.docids)
    if isinstance(passages, TextStore):
        indices = passages.indices(list(needed))
        _require_found([docid for docid, index in zip(needed, indices.tolist(), strict=True) if index < 0], len(needed))
        return copy_text_store(folder, passages, np.sort(indices))
    stored = fill_text_store(folder, _only(needed, passages), "collection")
    if len(stored) < len(needed):
        here = set(stored.ids(np.arange(len(stored))))
        _require_found([docid for docid in needed if docid not in here], len(needed))
    return stored


def _only(needed: Mapping[str, None], passages: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    return ((docid, text) for docid, text in passages if docid in needed)


def _require_found(missing: Sequence[str], needed: int) -> None:
    if missing:
        shown = ", ".join(missing[:MISSING_SHOWN]) + (", …" if len(missing) > MISSING_SHOWN else "")
        raise TasbError(
            expected="a text in the collection for every candidate",
            found=f"none for {len(missing)} of {needed} passages: {shown}",
            do="give the collection that run and qrels belong to",
        )


def _write_qrels(path: Path, qrels: Qrels) -> None:
    lines = (f"{qid} 0 {docid} {grade}\n" for qid, judged in qrels.items() for docid, grade in judged.items())
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
