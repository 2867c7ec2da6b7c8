"""The needs of a condition that this machine lacks: their sizes, and the commands that get them."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.environment.java import find_java, install_advice
from pyserini_tasb.errors import TasbError
from pyserini_tasb.folders import at_home
from pyserini_tasb.formats.named import run_file
from pyserini_tasb.models.checkpoints import find_checkpoint, may_be_hub_id
from pyserini_tasb.recipes.lookup import encoder_card
from pyserini_tasb.regression.verdicts import as_printed
from pyserini_tasb.tables import text_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pyserini_tasb.recipes.types import NeededModel, Prebuilt
    from pyserini_tasb.regression.condition import Condition, ConditionStage, RunOptions

GB = 1e9
MAPPED = "PYSERINI_TASB_MMAP"
FOLDERS = {"faiss": "indexes", "lucene": "indexes", "queries": "queries"}  # in Pyserini's cache


@dataclass(frozen=True)
class Need:
    """Something that is not here.

    Args:
        what: its name.
        bytes: the size of a download; None where nothing is to be downloaded.
        do: what to type, or to change.
    """

    what: str
    bytes: int | None
    do: str

    def __str__(self) -> str:
        size = f", {readable_size(self.bytes)} to download" if self.bytes else ""
        return f"{self.what}{size}: {self.do}"


def readable_size(size: int) -> str:
    """Bytes for a reader."""
    return f"{size / GB:.1f} GB" if size >= GB / 10 else f"{size / 1e6:.1f} MB"


def missing_needs(condition: Condition, options: RunOptions, folder: Path) -> list[Need]:
    """All that is missing for what is to be run.

    Args:
        condition: what is to be run.
        options: true if Pyserini and the hub may download missing files that fit on the disk.
        folder: the folder of the outputs.
    """
    stages = options.chosen_stages(condition)
    named = {argument for stage in stages for argument in stage.step.arguments}
    archives = [archive for archive in condition.prebuilt if archive.name in named and not unpacked(archive).is_dir()]
    found = list(_run_needs(condition, stages, folder)) if options.evaluates else []
    if stages:
        found += _machine_needs(condition)
    if options.download:
        return [*found, *(_disk_needs(condition) if archives else ())]
    models = condition.models if any(stage.kind != "fuse" for stage in stages) else ()
    downloads = [*(_archive_need(archive, condition.command) for archive in archives), *map(_model_need, models)]
    return [*filter(None, downloads), *found]


def _archive_need(archive: Prebuilt, command: str) -> Need:
    kind = "encoded queries" if archive.kind == "queries" else f"{archive.kind.capitalize()} index"
    return Need(f"{kind} {archive.name}", archive.bytes, f"{command} --download (md5 {archive.md5})")


def _model_need(model: NeededModel) -> Need | None:
    card = encoder_card(model.encoder)
    try:
        # Of a checkpoint without a card of ours, stock Pyserini takes what there is.
        find_checkpoint(card.model, allow_bin=True, download=False)
    except TasbError as error:
        advice = f"hf download {card.model}" if may_be_hub_id(card.model) else error.do
        return Need(f"weights of {card.model}", model.bytes, advice)
    return None


def _machine_needs(condition: Condition) -> Iterator[Need]:
    resources = condition.regression.resources
    if resources.java and find_java() is None:
        yield Need("Java 21 or newer", None, install_advice())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB
    mapped = os.environ.get(MAPPED) == "1" and any(archive.kind == "faiss" for archive in condition.prebuilt)
    if memory < resources.memory_gb and not mapped:
        faiss = any(archive.kind == "faiss" for archive in condition.prebuilt)
        advice = f", or {MAPPED}=1, which maps the index instead of reading it" if faiss else ""
        what = f"{resources.memory_gb:g} GB of memory (here: {memory:.0f})"
        yield Need(what, None, f"a machine with more memory{advice}")
    if resources.gpu and not _has_gpu():
        yield Need("a GPU", None, "a machine with a GPU, and a build of torch for it (docs/gpu.md)")


def _run_needs(condition: Condition, stages: tuple[ConditionStage, ...], folder: Path) -> Iterator[Need]:
    run = condition.regression.run
    if (folder / run).is_file() or any(run in stage.step.outputs for stage in stages):
        return
    if any(run in stage.step.outputs for stage in condition.stages):
        yield Need(f"the run {run}", None, f"{condition.command}, without --stage")
        return
    try:
        run_file(run)
    except TasbError as error:
        yield Need(f"the run {run}", None, error.do)


def _disk_needs(condition: Condition) -> Iterator[Need]:
    place = cache_folder()
    while not place.exists():
        place = place.parent
    free, wanted = shutil.disk_usage(place).free / GB, condition.regression.resources.disk_gb
    if free < wanted:
        what = f"{wanted:g} GB of disk at {place} (free: {free:.0f})"
        yield Need(what, None, "free some disk space, or set PYSERINI_CACHE to a folder on another disk")


def _has_gpu() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def cache_folder() -> Path:
    """Pyserini's cache."""
    return at_home(os.environ.get("PYSERINI_CACHE") or "~/.cache/pyserini")


def unpacked(archive: Prebuilt) -> Path:
    """The folder that Pyserini unpacks an archive to."""
    return cache_folder() / FOLDERS[archive.kind] / f"{archive.archive.removesuffix('.tar.gz')}.{archive.md5}"


def listing(conditions: Sequence[Condition]) -> str:
    """A line each: name, where its values come from, description."""
    first, *others = (
        (condition.name, ", ".join(_sources(condition)), condition.regression.description) for condition in conditions
    )
    return text_table(first, others)


def plan(condition: Condition, options: RunOptions, folder: Path) -> str:
    """Its commands, sizes, what is missing, and the values that it has to reach."""
    return "\n".join([f"{condition.name}: {condition.regression.description}", *_lines(condition, options, folder)])


def _lines(condition: Condition, options: RunOptions, folder: Path) -> Iterator[str]:
    about = condition.regression
    for archive in condition.prebuilt:
        here = "here" if unpacked(archive).is_dir() else "not here"
        records = f"{archive.records:,} records, " if archive.records else ""
        yield f"  {archive.kind} {archive.name}: {readable_size(archive.bytes)}, {records}{here}"
    resources = about.resources
    others = [name for name, wanted in (("a GPU", resources.gpu), ("Java", resources.java)) if wanted]
    yield f"  resources: {', '.join([f'{resources.disk_gb:g} GB disk', f'{resources.memory_gb:g} GB memory', *others])}"
    for stage in options.chosen_stages(condition):
        yield f"  {stage.kind}: {stage.step.command}"
        if not options.allow_commands:
            yield from (f"  REFUSED without --allow-commands: {fault}" for fault in stage.refused)
    if options.evaluates:
        yield f"  evaluate: {shlex.join(condition.evaluation)}"
        if about.expected == "measure":
            yield "  expected: nothing published for these checkpoints and parameters; the first run is recorded"
        else:
            for block in about.expected:
                values = ", ".join(f"{measure} {as_printed(value, measure)}" for measure, value in block.values.items())
                within = f" ± {block.tolerance:g}" if block.tolerance else ""
                yield f"  expected: {values}{within} ({block.source.kind}: {block.source.reference})"
    for need in missing_needs(condition, options, folder):
        yield f"  MISSING: {need}"


def _sources(condition: Condition) -> list[str]:
    expected = condition.regression.expected
    return ["measure"] if expected == "measure" else list(dict.fromkeys(block.source.kind for block in expected))
