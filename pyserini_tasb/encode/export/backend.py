"""ONNX Runtime: fp32, and int8 where the CPU multiplies it. What is no exported model is exported the first time."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING

from pyserini_tasb.encode.backends.machine import cpu_has_int8, int8_weight_bits
from pyserini_tasb.encode.backends.onnx_folder import is_exported, read_about
from pyserini_tasb.encode.backends.onnx_graph import has_gpu
from pyserini_tasb.encode.backends.onnx_model import OnnxModel
from pyserini_tasb.encode.backends.registry import backend
from pyserini_tasb.encode.export.cache import cached_export, is_cached
from pyserini_tasb.encode.export.packages import missing_packages
from pyserini_tasb.encode.precision import ACCURACY
from pyserini_tasb.errors import TasbError
from pyserini_tasb.model.checkpoint import find_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.encode.export.folder import ExportPrecision
    from pyserini_tasb.encode.precision import Precision
    from pyserini_tasb.recipes import EncoderCard


@backend("onnx")
class OnnxRuntime:
    """See `Backend`."""

    def best_device(self) -> str:
        """A GPU if ONNX Runtime is built for one."""
        return "cuda:0" if has_gpu() else "cpu"

    def computes_in(self, card: EncoderCard, precision: Precision, device: str) -> Precision:
        """See `Backend`. A model that is exported already has one precision."""
        folder = find_checkpoint(card.model, allow_bin=card.allow_bin)
        if is_exported(folder):
            return _precision_of(folder, precision)
        # The int8 operators are the CPU's.
        return "int8" if precision == "int8" and device == "cpu" and cpu_has_int8() else "fp32"

    def lacks(self, card: EncoderCard, precision: Precision) -> str:
        """The packages for an export, where none is in the cache."""
        missing = missing_packages()
        return "" if not missing or is_cached(card, _of_graph(precision)) else " and ".join(missing)

    def load(self, card: EncoderCard, precision: Precision, device: str) -> OnnxModel:
        """See `Backend`. The first time, this exports the model."""
        folder = find_checkpoint(card.model, allow_bin=card.allow_bin)
        if not is_exported(folder):
            return OnnxModel(cached_export(card, _of_graph(precision)), device)
        _warn_of_saturation(folder)
        return OnnxModel(folder, device)


def _precision_of(folder: Path, asked: Precision) -> Precision:
    """What an exported model computes in.

    Raises:
        TasbError: less accurate than asked.
    """
    found = read_about(folder).precision
    if ACCURACY[found] < ACCURACY[asked]:
        raise TasbError(
            where=str(folder),
            expected=f"a model of precision {asked} or better",
            found=f"one that was exported in {found}",
            do="name the folder's encoder card (`--encoder tasb:FOLDER/NAME.yaml`), which asks for no more; "
            "or export the model again with --precision fp32",
        )
    return found


@functools.cache
def _warn_of_saturation(folder: Path) -> None:
    about = read_about(folder)
    if about.precision == "int8" and about.weight_bits > int8_weight_bits():
        print(
            f"pyserini-tasb: {folder} was exported on a CPU with VNNI instructions. This CPU has none: its int8 "
            "products saturate, and vectors can be far from exact. Export the model again here, or take fp32",
            file=sys.stderr,
        )


def _of_graph(precision: Precision) -> ExportPrecision:
    return "int8" if precision == "int8" else "fp32"
