"""A collection with queries that a model predicts here: part by part, each written whole, so that it can go on."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from tqdm import tqdm

from pyserini_tasb.artifacts import locked_folder, read_sidecar, whole_text_file, write_whole
from pyserini_tasb.encoding.plan import UnitDigest, kept_plan, plan_corpus
from pyserini_tasb.errors import TasbError, os_errors_explained
from pyserini_tasb.formats.collections import Corpus
from pyserini_tasb.models.checkpoints import find_checkpoint, folder_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pyserini_tasb.encoding.plan import CorpusPlan
    from pyserini_tasb.expansion.query_generator import QueryGenerator
    from pyserini_tasb.formats.collections import Mark
    from pyserini_tasb.workers import StopRequest


@dataclass(frozen=True)
class Sampling:
    """Top-k sampling, as docTTTTTquery's authors did it by default.

    Args:
        samples: queries of each passage.
        top_k: most likely tokens, among which the next one is drawn.
        seed: the same seed draws the same queries, on the same machine.
    """

    samples: int = 40
    top_k: int = 10
    seed: int = 0


# --------
# A collection with queries that a model predicts here: part by part, each written whole, so that it can go on.

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
            from pyserini_tasb.expansion.query_generator import (
                QueryGenerator,  # imports torch
                found_device,
            )

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


# --------
# Expanded passages as files that `pyserini.index.lucene` reads.


def shard_path(folder: Path, number: int) -> Path:
    """The file of a folder's shard, counted from 0."""
    return folder / f"{number:06}.jsonl"


def write_shard(path: Path, passages: Iterable[tuple[str, str, str]]) -> int:
    """Write a file of passages, which is there once all of it is on disk; the number of passages.

    Args:
        path: the file.
        passages: docid, text, and the predicted queries joined by spaces.

    Raises:
        TasbError: it cannot be written.
    """
    count = 0
    with whole_text_file(path) as out:
        for docid, text, queries in passages:
            contents = f"{text} {queries}".strip()
            out.write(json.dumps({"id": docid, "contents": contents}, ensure_ascii=False) + "\n")
            count += 1
    return count


def require_new(folder: Path) -> None:
    """Refuse a folder that is there: Anserini would index what else lies in it.

    Raises:
        TasbError: it is.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise TasbError(
            where=str(folder),
            expected="a new or empty folder",
            found="something is there already",
            do="choose another --output, or move this one away",
        )


# --------
# Where parts of an expansion gather until there are all of them: beside the folder that they become.

# Anserini would take a JSON file in the folder of passages for one of them.
PASSAGES, ABOUT, PLAN = "passages", "about.json", "corpus.json"
_ADVICE = "check the folder, its permissions and the space on the disk"


class WorkFolder:
    """A folder of one expansion, which one process is at work in.

    Attributes:
        passages: folder of the finished parts.
        plan: file of the collection's plan.

    Args:
        folder: itself; it is there.
        output: what it becomes.
    """

    def __init__(self, folder: Path, output: Path) -> None:
        self._folder, self._output = folder, output
        self.passages, self.plan = folder / PASSAGES, folder / PLAN
        with os_errors_explained(folder, expected="a folder that can be written to", do=_ADVICE):
            self.passages.mkdir(exist_ok=True)
            for path in (*folder.glob("*.part"), *self.passages.glob("*.part")):
                path.unlink()  # of a process that was killed while it wrote

    def require_about(self, about: Mapping[str, object]) -> None:
        """Say what the parts are of; refuse to go on with parts of something else.

        Args:
            about: all that decides what is written; values that JSON can hold.

        Raises:
            TasbError: naming what differs; nothing was changed.
        """
        path = self._folder / ABOUT
        known = read_sidecar(path)
        if not self.has_parts:
            write_whole(path, json.dumps(about, indent=1) + "\n")
            return
        differences = [name for name, value in about.items() if known.get(name) != value]
        if differences:
            raise TasbError(
                where=str(self._folder),
                expected="a new --output, or the command that was interrupted",
                found=f"passages with another {', '.join(differences)}",
                do="give the same command again, remove this folder, or choose another --output",
            )

    @property
    def has_parts(self) -> bool:
        """Whether there is something to go on from."""
        return self.passages.is_dir() and any(self.passages.iterdir())

    def missing(self, parts: int) -> list[int]:
        """Numbers of those that are not finished, of so many."""
        return [number for number in range(parts) if not shard_path(self.passages, number).is_file()]

    def publish(self) -> None:
        """Make of the parts, all of them finished, the output.

        Raises:
            TasbError: something has come there meanwhile, or the disk refuses.
        """
        require_new(self._output)
        with os_errors_explained(self._output, expected="a folder that can be written to", do=_ADVICE):
            self.passages.replace(self._output)


@contextlib.contextmanager
def work_folder(output: Path) -> Iterator[WorkFolder]:
    """The work folder of an output, as an earlier try left it or new; without a finished part it is gone afterwards.

    Raises:
        TasbError: it cannot be made, or another process is at work in it.
    """
    output = output.absolute()
    folder = output.with_name(f"{output.name}.work")
    with locked_folder(folder):
        work = WorkFolder(folder, output)
        try:
            yield work
        finally:
            if not work.has_parts:
                shutil.rmtree(folder, ignore_errors=True)
