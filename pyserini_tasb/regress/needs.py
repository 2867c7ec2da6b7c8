"""What a condition needs and this machine lacks: how big it is, and the command that gets it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.environment.java import find_java, install_advice
from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate.resolver import run_file
from pyserini_tasb.model.checkpoint import find_checkpoint
from pyserini_tasb.recipes import encoder_card
from pyserini_tasb.regress.pyserini_cache import cache_folder, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyserini_tasb.recipes import Prebuilt
    from pyserini_tasb.recipes.regression_types import NeededModel
    from pyserini_tasb.regress.condition import Condition, ConditionStage
    from pyserini_tasb.regress.options import RunOptions

GB = 1e9
MAPPED = "PYSERINI_TASB_MMAP"


@dataclass(frozen=True)
class Need:
    """Something that is not here.

    Args:
        what: its name.
        bytes: of a download; None where nothing is to be downloaded.
        do: what to type, or to change.
    """

    what: str
    bytes: int | None
    do: str

    def __str__(self) -> str:
        size = f", {size_of(self.bytes)} to download" if self.bytes else ""
        return f"{self.what}{size}: {self.do}"


def size_of(size: int) -> str:
    """Bytes for a reader."""
    return f"{size / GB:.1f} GB" if size >= GB / 10 else f"{size / 1e6:.1f} MB"


def needs_of(condition: Condition, options: RunOptions, folder: Path) -> list[Need]:
    """All that is missing for what is to be run.

    Args:
        condition: what is to be run.
        options: with `download`, what Pyserini and the hub have is not missing if the disk has room for it.
        folder: of the outputs.
    """
    stages = options.stages_of(condition)
    named = {argument for stage in stages for argument in stage.step.arguments}
    archives = [archive for archive in condition.prebuilt if archive.name in named and not unpacked(archive).is_dir()]
    found = list(_of_run(condition, stages, folder)) if options.evaluates else []
    if stages:
        found += _of_machine(condition)
    if options.download:
        return [*found, *(_of_disk(condition) if archives else ())]
    models = condition.models if any(stage.kind != "fuse" for stage in stages) else ()
    downloads = [*(_of_archive(archive, condition.command) for archive in archives), *map(_of_model, models)]
    return [*filter(None, downloads), *found]


def _of_archive(archive: Prebuilt, command: str) -> Need:
    kind = "encoded queries" if archive.kind == "queries" else f"{archive.kind.capitalize()} index"
    return Need(f"{kind} {archive.name}", archive.bytes, f"{command} --download (md5 {archive.md5})")


def _of_model(model: NeededModel) -> Need | None:
    card = encoder_card(model.encoder)
    try:
        # Of a checkpoint without a card of ours, stock Pyserini takes what there is.
        find_checkpoint(card.model, allow_bin=True, download=False)
    except TasbError as error:
        on_hub = not card.model.startswith("pkg:")
        return Need(f"weights of {card.model}", model.bytes, f"hf download {card.model}" if on_hub else error.do)
    return None


def _of_machine(condition: Condition) -> Iterator[Need]:
    resources = condition.regression.resources
    if resources.java and find_java() is None:
        yield Need("Java 21 or newer", None, install_advice())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB
    mapped = os.environ.get(MAPPED) == "1" and any(archive.kind == "faiss" for archive in condition.prebuilt)
    if memory < resources.memory_gb and not mapped:
        faiss = any(archive.kind == "faiss" for archive in condition.prebuilt)
        advice = f", or {MAPPED}=1, which maps the index instead of reading it" if faiss else ""
        what = f"{resources.memory_gb:g} GB of memory (here: {memory:.0f})"
        yield Need(what, None, f"a machine that has it{advice}")
    if resources.gpu and not _has_gpu():
        yield Need("a GPU", None, "a machine that has one, with a build of torch for it (docs/gpu.md)")


def _of_run(condition: Condition, stages: tuple[ConditionStage, ...], folder: Path) -> Iterator[Need]:
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


def _of_disk(condition: Condition) -> Iterator[Need]:
    place = cache_folder()
    while not place.exists():
        place = place.parent
    free, wanted = shutil.disk_usage(place).free / GB, condition.regression.resources.disk_gb
    if free < wanted:
        what = f"{wanted:g} GB of disk at {place} (free: {free:.0f})"
        yield Need(what, None, "make room, or set PYSERINI_CACHE to a folder on another disk")


def _has_gpu() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
