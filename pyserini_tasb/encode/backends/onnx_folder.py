"""A folder that `tasb export` wrote: what its files are called, and what `export.json` says."""

from __future__ import annotations

import functools
import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from pyserini_tasb.encode.backends.machine import WeightBits
from pyserini_tasb.errors import TasbError
from pyserini_tasb.model.checkpoint import EXPORTED_WEIGHTS
from pyserini_tasb.recipes.types import Pooling, Strict
from pyserini_tasb.texts.manifest import checksum

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
        source_digest: of the files that it was made from.
        source_weights: a digest of the tensors in them; earlier versions did not write it.
        attention_layers: those whose attention is of all tokens.
        attention_fused: so many of them compute it in one operator.
        weight_bits: of int8 weights; 8 are too many for CPUs whose products saturate.
        files: graph, tokenizer and configuration → bytes and SHA-256; none where an earlier version exported.
        own_digest: of all other keys of `export.json`.
    """

    format: Literal[1] = 1
    precision: Literal["fp32", "int8"]
    pooling: Pooling
    normalise: bool
    dimension: int
    longest: int | None
    pad_id: int
    vocabulary: int
    source_digest: str
    source_weights: str | None = None
    attention_layers: int
    attention_fused: int
    weight_bits: WeightBits = 8
    accuracy: Accuracy
    versions: dict[str, str]
    files: dict[str, tuple[int, str]] = Field(default_factory=dict)
    own_digest: str = ""


def write_about(about: ExportAbout, folder: Path) -> None:
    """Write `export.json`, with a digest of itself."""
    known = about.model_dump(mode="json", exclude={"own_digest"})
    text = json.dumps(known | {"own_digest": _digest_of_rest(known)}, indent=2)
    (folder / EXPORT).write_text(text + "\n", encoding="utf-8")


def sizes_and_digests(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file of a folder with its bytes and SHA-256, for `ExportAbout`."""
    return {path.name: (path.stat().st_size, _sha256(path)) for path in sorted(folder.iterdir()) if path.is_file()}


def damage(folder: Path) -> str:
    """The damage to the files that `export.json` lists, or to itself; empty if there is none.

    Each file is read once a process while its size and time of change stay: 0.3 s for the 265 MB of DistilBERT.
    """
    try:
        about = read_about(folder)
        if about.own_digest and about.own_digest != _digest_of_rest(json.loads((folder / EXPORT).read_bytes())):
            return f"{EXPORT} has other values"
        files = about.files
        sizes = {name: (folder / name).stat().st_size for name in files}
        wrong = [
            f"{name} has {sizes[name]:,} bytes, not {size:,}"
            for name, (size, _) in files.items()
            if sizes[name] != size
        ]
        wrong = wrong or [
            f"{name} has other bytes" for name, (_, digest) in files.items() if _sha256(folder / name) != digest
        ]
    except TasbError as error:
        return f"{EXPORT}: {error.found}"
    except OSError as error:
        return str(error)
    return "; ".join(wrong)


def require_whole(folder: Path) -> None:
    """Check that nothing is wrong with the files of an exported model.

    Raises:
        TasbError: something is.
    """
    found = damage(folder)
    if found:
        raise TasbError(
            where=str(folder),
            expected="the files that `tasb export` wrote",
            found=found,
            do="export the model again into a new folder, or copy the folder again",
        )


def is_exported(folder: Path) -> bool:
    """Whether `tasb export` wrote this folder."""
    return (folder / EXPORT).is_file() and (folder / EXPORTED_WEIGHTS).is_file()


def _digest_of_rest(about: dict[str, Any]) -> str:
    # Over the keys that the file has: a later version's `ExportAbout` may have more.
    rest = {key: value for key, value in about.items() if key != "own_digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    state = path.stat()
    return _digest(path, (state.st_size, state.st_mtime_ns))


@functools.lru_cache
def _digest(path: Path, _state: tuple[int, int]) -> str:
    return checksum(path)


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
