"""A folder that `tasb export` wrote: what its files are called, and what `export.json` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from pyserini_tasb.errors import TasbError
from pyserini_tasb.model.checkpoint import EXPORTED_WEIGHTS
from pyserini_tasb.recipes.types import Strict

if TYPE_CHECKING:
    from pathlib import Path

EXPORT = "export.json"
INPUTS = ("input_ids", "attention_mask")
OUTPUT = "vectors"


class Accuracy(Strict):
    """An exported model beside torch in fp32, on a sample of texts."""

    passages: int
    queries: int
    cosine_mean: float
    cosine_min: float
    overlap_at_10: float
    rbo: float


class ExportAbout(Strict):
    """What is known of an exported model.

    Args:
        source_digest: of the files that it was made of.
        source_weights: a digest of the tensors in them; earlier versions did not write it.
        attention_layers: those whose attention is of all tokens.
        attention_fused: so many of them compute it in one operator.
    """

    format: Literal[1] = 1
    precision: Literal["fp32", "int8"]
    pooling: Literal["cls", "mean"]
    normalise: bool
    dimension: int
    longest: int | None
    pad_id: int
    vocabulary: int
    source_digest: str
    source_weights: str | None = None
    attention_layers: int
    attention_fused: int
    accuracy: Accuracy
    versions: dict[str, str]


def is_exported(folder: Path) -> bool:
    """Whether `tasb export` wrote this folder."""
    return (folder / EXPORT).is_file() and (folder / EXPORTED_WEIGHTS).is_file()


def read_about(folder: Path) -> ExportAbout:
    """What `export.json` says.

    Raises:
        TasbError: it is not there, or not of this version of the format.
    """
    path = folder / EXPORT
    try:
        return ExportAbout.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        found = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror or str(error)
        raise TasbError(
            where=str(path),
            expected="what this version of `tasb export` writes beside model.onnx",
            found=found,
            do="export the model again",
        ) from error
