"""A collection with queries that a model predicts here: part by part, each written whole, so that it can go on."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from tqdm import tqdm

from pyserini_tasb.encode.corpus.corpus import Corpus
from pyserini_tasb.encode.corpus.corpus_plan import UnitDigest, kept_plan, plan_corpus
from pyserini_tasb.encode.model_digest import folder_digest
from pyserini_tasb.errors import TasbError
from pyserini_tasb.expand.expanded_passages import shard_path, write_shard
from pyserini_tasb.expand.sampling import Sampling
from pyserini_tasb.expand.work_folder import work_folder
from pyserini_tasb.model.checkpoint import find_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pyserini_tasb.encode.corpus.corpus_plan import CorpusPlan
    from pyserini_tasb.expand.query_generator import QueryGenerator
    from pyserini_tasb.expand.work_folder import WorkFolder
    from pyserini_tasb.interruption import StopRequest
    from pyserini_tasb.texts.collections import Mark

SHARD_SIZE = 1_024


@dataclass(frozen=True)
class Expansion:
    """What is to be expanded, and with what.

    Args:
        collection: path of the passages.
        model: folder or hub id of a sequence-to-sequence model.
        sampling: of its queries.
        shard_size: passages of a part, which is a file of the output.
        device: `cpu`, `cuda:0`, …; None is a GPU if there is one.
        allow_bin: accept weights in `pytorch_model.bin`.
    """

    collection: str
    model: str
    sampling: Sampling = field(default_factory=Sampling)
    shard_size: int = SHARD_SIZE
    device: str | None = None
    allow_bin: bool = False


def expand_with_model(expansion: Expansion, output: Path, stop: StopRequest) -> int | None:
    """Write every passage with queries predicted for it; the number of passages.

    What is written does not depend on where it was interrupted: a part's queries are drawn from a seed of its own.

    Args:
        expansion: what to do.
        output: a new folder, which appears once it is complete.
        stop: asked to, it ends after a batch, and None is returned; finished parts are kept for the next try.

    Raises:
        TasbError: a faulty collection, no such model, parts of something else, or the disk refuses.
    """
    folder = find_checkpoint(expansion.model, allow_bin=expansion.allow_bin)
    with work_folder(output) as work:
        corpus = Corpus([expansion.collection])
        plan = kept_plan(work.plan, corpus, expansion.shard_size)
        if plan is None:
            plan = plan_corpus(corpus, expansion.shard_size, expansion.collection)
            plan.write(work.plan)
        about = {"collection": plan.fingerprint, "model": folder_digest(folder), "shard_size": expansion.shard_size}
        work.require_about(about | asdict(expansion.sampling))
        missing = work.missing(len(plan.marks))
        if missing:
            from pyserini_tasb.expand.query_generator import QueryGenerator, found_device  # imports torch

            device = expansion.device or found_device()
            generator = QueryGenerator(folder, expansion.sampling, device, allow_bin=expansion.allow_bin)
            _expand(_parts(corpus, plan, missing), plan, generator, work, stop)
        if stop.made and work.missing(len(plan.marks)):
            return None
        work.publish()
    return plan.records


def _expand(
    parts: Iterator[tuple[int, list[tuple[str, str]]]],
    plan: CorpusPlan,
    generator: QueryGenerator,
    work: WorkFolder,
    stop: StopRequest,
) -> None:
    done = plan.records - sum(_passages(plan, number) for number in work.missing(len(plan.marks)))
    with tqdm(total=plan.records, initial=done, desc="predicting queries", unit=" passages") as progress:
        for number, passages in parts:
            queries = [""] * len(passages)
            for position, of_passage in generator.sampled([text for _, text in passages], number):
                if stop.made:
                    return
                queries[position] = " ".join(" ".join(of_passage).split())
                progress.update()
            expanded = ((docid, text, of_text) for (docid, text), of_text in zip(passages, queries, strict=True))
            write_shard(shard_path(work.passages, number), expanded)


def _passages(plan: CorpusPlan, number: int) -> int:
    return min(plan.unit_size, plan.records - number * plan.unit_size)


def _parts(corpus: Corpus, plan: CorpusPlan, numbers: Sequence[int]) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """Docids and texts of each part.

    Raises:
        TasbError: they are no longer what they were when the plan was made.
    """
    passages: Iterator[tuple[Mark, str, str]] = iter(())
    before = None
    for number in numbers:
        if before is None or number != before + 1:
            passages = corpus.marked(plan.marks[number])
        before = number
        part = [(docid, text) for _, docid, text in itertools.islice(passages, plan.unit_size)]
        digest = UnitDigest()
        digest.add(part)
        if digest.hexdigest() != plan.digests[number]:
            raise TasbError(
                where=f"passages {number * plan.unit_size + 1:,} to {number * plan.unit_size + len(part):,}",
                expected="the collection as it was when the command began",
                found="other docids or texts",
                do="leave the collection as it is; expand a changed one to another --output",
            )
        yield number, part
