"""ONNX Runtime as a back end: a model that is not exported yet is exported once, the first time."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import logging
import os
import secrets
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.artifacts import write_whole
from pyserini_tasb.encoding.export_accuracy import InaccurateError, require_accuracy
from pyserini_tasb.encoding.export_graph import missing_packages, require_packages
from pyserini_tasb.encoding.int8 import INT8, VARIABLE, asked_bits, is_faster, speeds
from pyserini_tasb.environment.checks import Finding, ok, problem
from pyserini_tasb.environment.processor import int8_products_saturate, processor
from pyserini_tasb.errors import TasbError, argument, os_errors_explained
from pyserini_tasb.models.backends import ACCURACY, BACKENDS
from pyserini_tasb.models.checkpoints import EXPORTED, find_checkpoint, folder_digest, is_exported, user_cache
from pyserini_tasb.models.onnx import Accuracy, OnnxModel, damage, has_gpu, read_about
from pyserini_tasb.models.poolings import POOLINGS
from pyserini_tasb.outputs import new_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyserini_tasb.encoding.export import ExportPrecision
    from pyserini_tasb.models.backends import Texts
    from pyserini_tasb.models.onnx import ExportAbout
    from pyserini_tasb.recipes.types import EncoderCard, Precision


LOG = logging.getLogger(__name__)
# A new version of how models are exported makes all be exported again.
VERSION = 3
ABANDONED_SECONDS = 3_600


@BACKENDS.register("onnx")
class OnnxRuntime:
    """ONNX Runtime: fp32, and int8 where it is faster on this CPU. Exports a model when it is first used."""

    def best_device(self) -> str:
        """A GPU if ONNX Runtime is built for one."""
        return "cuda:0" if has_gpu() else "cpu"

    def computes_in(self, card: EncoderCard, precision: Precision, device: str, texts: Texts) -> Precision:
        """Its fastest format, as `Backend` says. A model that is exported already has one precision.

        The first use of a model in int8 exports it, and measures if int8 is faster than fp32.
        """
        folder = find_checkpoint(card.model, allow_bin=card.allow_bin)
        if is_exported(folder):
            return _exported_precision(folder, precision)
        # The int8 operators are the CPU's.
        if precision != "int8" or device != "cpu":
            return "fp32"
        return "int8" if is_faster(read_about(cached_export(card, "int8")), texts) else "fp32"

    def lacks(self, card: EncoderCard, precision: Precision) -> str:
        """The packages for an export, where none is in the cache."""
        missing = missing_packages()
        return "" if not missing or is_cached(card, _graph_precision(precision)) else " and ".join(missing)

    def load(self, card: EncoderCard, precision: Precision, device: str) -> OnnxModel:
        """The card's model, as `Backend` says. The first time, this exports it."""
        folder = find_checkpoint(card.model, allow_bin=card.allow_bin)
        if not is_exported(folder):
            return OnnxModel(cached_export(card, _graph_precision(precision)), device)
        _warn_of_saturation(folder)
        return OnnxModel(folder, device)


def _exported_precision(folder: Path, asked: Precision) -> Precision:
    """The precision of an exported model.

    Raises:
        TasbError: less accurate than asked.
    """
    found = read_about(folder).precision
    if ACCURACY[found] < ACCURACY[asked]:
        raise TasbError(
            where=str(folder),
            expected=f"a model of precision {asked} or better",
            found=f"one that was exported in {found}",
            do=f"name the folder's encoder card (`{argument('encoder', 'tasb:FOLDER/NAME.yaml')}`), which asks for no "
            f"more; or export the model again with {argument('precision', 'fp32')}",
        )
    return found


@functools.cache
def _warn_of_saturation(folder: Path) -> None:
    about = read_about(folder)
    elsewhere = about.processor != processor()
    if about.precision == "int8" and about.weight_bits == 8 and elsewhere and int8_products_saturate():
        LOG.warning(
            "%s was exported on another CPU, with int8 weights of 8 bits. This CPU has no VNNI instructions: sums of "
            "such products saturate, and vectors can be far from exact. Export the model again here, or take fp32",
            folder,
        )


def _graph_precision(precision: Precision) -> ExportPrecision:
    return "int8" if precision == "int8" else "fp32"


def cached_export(card: EncoderCard, precision: ExportPrecision) -> Path:
    """The folder of the card's exported model; exports it first where there is no export, or a damaged one.

    Two processes that need it at once both export it; the first to be done puts its folder in place, and the other
    takes that one.

    Raises:
        TasbError: packages are missing, the model lost too much accuracy, or the disk refuses.
    """
    target = _place(card, precision)
    if _is_whole(target):
        return target
    if target.exists():
        LOG.warning("%s is damaged (%s)", target, damage(target) or "no graph")
    require_packages()
    # A model that was too inaccurate is not exported by each process again, only to be refused.
    inaccurate = target.with_name(f"inaccurate-{target.name}.json")
    with contextlib.suppress(OSError, ValueError):
        require_accuracy(Accuracy.model_validate_json(inaccurate.read_bytes()), precision, card.model)
    from pyserini_tasb.encoding.export import built_in_sample, export_model

    LOG.info("exporting %s to ONNX in %s, once, into %s", card.model, precision, target)
    advice = "check the folder and the disk, or set XDG_CACHE_HOME to another folder"
    with os_errors_explained(target.parent, expected="a folder to keep exported models in", do=advice):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target)
        own = target.with_name(f"{target.name}.{os.getpid()}.{threading.get_ident()}")
        with new_folder(own) as folder:
            try:
                export_model(card, folder, precision, built_in_sample())
            except InaccurateError as error:
                write_whole(inaccurate, error.accuracy.model_dump_json())
                raise
        _put_in_place(own, target)
    return target


def is_cached(card: EncoderCard, precision: ExportPrecision) -> bool:
    """True if the card's model has been exported before, and none of its files is damaged."""
    return _is_whole(_place(card, precision))


def cached_timings() -> Iterator[tuple[str, ExportAbout]]:
    """The name of each model in the cache whose export in int8 was measured, and what is known of it."""
    for path in sorted(cache_folder().glob(f"*/{EXPORTED}")):
        with contextlib.suppress(TasbError, StopIteration):  # damaged: its next use makes it again
            about = read_about(path.parent)
            if about.timing:
                yield next(path.parent.glob("*.yaml")).stem.removesuffix("-onnx-int8"), about


def check_int8() -> list[Finding]:
    """int8 beside fp32 as it was measured, on each processor that uses this cache of exported models."""
    here = processor()
    try:
        asked = asked_bits()
    except TasbError as error:
        return [problem("int8", f"{error.where}: expected {error.expected}, found {error.found}", f"unset {VARIABLE}")]
    timings = list(cached_timings())
    findings = [
        ok(
            "int8",
            f"{name} on {'this processor' if about.processor == here else about.processor}: {speeds(about.timing)}; "
            f"taken: {_taken(about, 'passages')} for passages, {_taken(about, 'queries')} for queries",
        )
        for name, about in timings
        if about.timing is not None
    ]
    if asked:
        findings.append(ok("int8", f"weights of {asked} bits, and no measurement: {VARIABLE}={asked}"))
    elif all(about.processor != here for _, about in timings):
        findings.append(ok("int8", f"not measured on {here}: the first use of a model in int8 does it"))
    return findings


def _taken(about: ExportAbout, texts: Texts) -> str:
    return INT8[about.weight_bits] if is_faster(about, texts) else "fp32"


def cache_folder() -> Path:
    """Where exported models are kept: under `$XDG_CACHE_HOME`, or `~/.cache`."""
    return user_cache() / "onnx"


def _place(card: EncoderCard, precision: ExportPrecision) -> Path:
    source = find_checkpoint(card.model, allow_bin=card.allow_bin)
    parts = [VERSION, folder_digest(source), card.pooling, card.normalise, precision]
    if not POOLINGS.is_own(card.pooling):
        parts.append(_code_digest(card.pooling))
    if precision == "int8":  # which weights are best, and how fast they are, is the processor's
        parts.append(asked_bits() or processor())
    return cache_folder() / hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _code_digest(pooling: str) -> str:
    """A digest of the package that a pooling from outside is of: its code is in the exported graph."""
    module = inspect.getmodule(POOLINGS[pooling])
    file = Path(module.__file__) if module is not None and module.__file__ else None
    if file is None:  # typed into a notebook: nothing tells whether it is another one now
        return secrets.token_hex()
    package = str(module.__name__).partition(".")[0] if module is not None else ""
    top = sys.modules.get(package)
    folders = [Path(folder) for folder in getattr(top, "__path__", ())]
    files = sorted(path for folder in folders for path in folder.rglob("*.py")) or [file]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _is_whole(folder: Path) -> bool:
    return is_exported(folder) and not damage(folder)


def _put_in_place(own: Path, target: Path) -> None:
    if target.is_dir() and not _is_whole(target):
        shutil.rmtree(target)
    try:
        own.rename(target)
    except OSError:
        if not _is_whole(target):
            raise
        shutil.rmtree(own)


def _remove_abandoned(target: Path) -> None:
    """Remove what killed exports of this model left."""
    for path in target.parent.glob(f"{target.name}.*"):
        if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
