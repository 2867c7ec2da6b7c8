"""A folder that `tasb export` wrote, and its graph in ONNX Runtime; torch is not imported."""

from __future__ import annotations

import functools
import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from pyserini_tasb.artifacts import sha256
from pyserini_tasb.environment.processor import WeightBits, threads
from pyserini_tasb.errors import TasbError
from pyserini_tasb.folders import at_home
from pyserini_tasb.models.checkpoints import EXPORTED, EXPORTED_WEIGHTS
from pyserini_tasb.models.tokenizers import TOKENIZER, FileTokenizer, HuggingFaceTokenizer, require_pooled_token
from pyserini_tasb.parsing import explained, read_json
from pyserini_tasb.recipes.types import Pooling, Strict

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pyserini_tasb.models.tokenizers import TextTokenizer


INPUTS = ("input_ids", "attention_mask")
OUTPUT = "vectors"
# Enough to keep the hardware busy, small enough that texts of one batch are of one length.
TOKENS_PER_BATCH = {"cpu": 2_048, "cuda": 65_536}


class OnnxModel:
    """A `Model` of ONNX Runtime.

    Args:
        folder: a folder that `tasb export` wrote.
        device: `cpu`, `cuda:0`, …

    Raises:
        TasbError: damaged files, or a GPU that this ONNX Runtime cannot use.
    """

    def __init__(self, folder: Path, device: str) -> None:
        require_whole(folder)
        self._folder, self._about = folder, read_about(folder)
        self._graph = OnnxGraph(folder / EXPORTED_WEIGHTS, device)
        self.dimension, self.longest = self._about.dimension, self._about.longest
        self.tokens_per_batch = self._graph.tokens_per_batch
        self.vectors = self._graph.vectors

    def tokenizer(self, given: str | None) -> TextTokenizer:
        """The model's tokenizer, as `Model` says."""
        folder = at_home(given) if given else self._folder
        tokenizer: FileTokenizer | HuggingFaceTokenizer
        if (folder / TOKENIZER).is_file():
            tokenizer = FileTokenizer(folder, self._about.pad_id)
            self._require_room(tokenizer.words, folder)
        else:
            tokenizer = HuggingFaceTokenizer(str(folder))
            self._require_room(len(tokenizer.hugging_face), folder)
        require_pooled_token(tokenizer, self._about.pooling, str(folder))
        return tokenizer

    def _require_room(self, words: int, where: Path) -> None:
        if words > self._about.vocabulary:
            raise TasbError(
                where=str(where),
                expected=f"a tokenizer of at most {self._about.vocabulary} tokens, as many as the model has embeddings",
                found=f"one of {words}",
                do="check that tokenizer and weights come from the same model",
            )


class OnnxGraph:
    """Vectors by ONNX Runtime. Calls from several threads do not disturb each other.

    Args:
        path: the graph's file, which is optimised already.
        device: `cpu`, `cuda:0`, …
        by_turns: another graph computes next. Its threads do not wait busily for more work, for which they would keep
            their cores.

    Raises:
        TasbError: no graph, a damaged one, or a GPU that this ONNX Runtime cannot use.
    """

    def __init__(self, path: Path, device: str, *, by_turns: bool = False) -> None:
        import onnxruntime

        providers = _providers(device)
        self.tokens_per_batch = TOKENS_PER_BATCH[device.partition(":")[0]]
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads, options.inter_op_num_threads = threads(), 1
        options.log_severity_level = 3  # errors
        if by_turns:
            options.add_session_config_entry("session.force_spinning_stop", "1")
        advice = "remove the folder and export the model again"
        with explained(path, expected="a model that ONNX Runtime can read", do=advice):
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)

    def vectors(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors [texts, dimension] of token ids and mask [texts, tokens], padded on the right."""
        vectors: NDArray[np.float32] = self._session.run([OUTPUT], dict(zip(INPUTS, (ids, mask), strict=True)))[0]
        return vectors


def has_gpu() -> bool:
    """True if this ONNX Runtime is built for CUDA."""
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _providers(device: str) -> list[Any]:
    kind, _, number = device.partition(":")
    if kind == "cpu":
        return ["CPUExecutionProvider"]
    if kind != "cuda" or not has_gpu():
        raise TasbError(
            expected=f"an ONNX Runtime that computes on `{device}`",
            found="an ONNX Runtime without CUDA",
            do="use the device `cpu` or the back end `torch`, or see docs/gpu.md",
        )
    # Not run here: no GPU on the machine that wrote this.
    return [("CUDAExecutionProvider", {"device_id": int(number or 0)}), "CPUExecutionProvider"]


class Accuracy(Strict):
    """An exported model beside torch in fp32, on a sample of texts."""

    passages: int
    queries: int
    cosine_mean: float
    cosine_min: float
    overlap_at_10: float
    rbo: float


Candidate = Literal["fp32", "int8 of 8 bits", "int8 of 7 bits"]
"""A graph of a model: in fp32, or with int8 weights of so many bits."""


class Timing(Strict):
    """Milliseconds that candidates took for the same batch, measured side by side on one processor.

    Args:
        passages: the time for a few passages.
        queries: the time for one query.
        threads: the processor that computed.
    """

    passages: dict[Candidate, float]
    queries: dict[Candidate, float]
    threads: int


class ExportAbout(Strict):
    """The contents of `export.json`: all that is known of an exported model.

    Args:
        source_digest: a digest of the files that it was made from.
        source_weights: a digest of the tensors in them; earlier versions did not write it.
        attention_layers: layers whose attention is of all tokens.
        attention_fused: so many of them compute it in one operator.
        weight_bits: bits of int8 weights; 8 can be too many for CPUs whose products saturate.
        processor: the processor of the export, where its accuracy was measured; earlier versions did not write it.
        timing: the times of its candidates there; None in fp32, and where the user chose the bits.
        files: graph, tokenizer and configuration → bytes and SHA-256; none where an earlier version exported.
        own_digest: a digest of all other keys.
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
    processor: str = ""
    timing: Timing | None = None
    accuracy: Accuracy
    versions: dict[str, str]
    files: dict[str, tuple[int, str]] = Field(default_factory=dict)
    own_digest: str = ""


def read_about(folder: Path) -> ExportAbout:
    """The contents of `export.json`.

    Raises:
        TasbError: it is not there, or not of this version of the format.
    """
    path = folder / EXPORTED
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


def write_about(about: ExportAbout, folder: Path) -> None:
    """Write `export.json`, with a digest of itself."""
    known = about.model_dump(mode="json", exclude={"own_digest"})
    text = json.dumps(known | {"own_digest": _own_digest(known)}, indent=2)
    (folder / EXPORTED).write_text(text + "\n", encoding="utf-8")


def sizes_and_digests(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file of a folder with its bytes and SHA-256, for `ExportAbout`."""
    return {
        path.name: (path.stat().st_size, _cached_sha256(path)) for path in sorted(folder.iterdir()) if path.is_file()
    }


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


def damage(folder: Path) -> str:
    """The damage to the files that `export.json` lists, or to itself; empty if there is none.

    Each file is read once a process while its size and time of change stay: 0.3 s for the 265 MB of DistilBERT.
    """
    try:
        about = read_about(folder)
        if about.own_digest and about.own_digest != _own_digest(read_json(folder / EXPORTED)):
            return f"{EXPORTED} has other values"
        files = about.files
        sizes = {name: (folder / name).stat().st_size for name in files}
        wrong = [
            f"{name} has {sizes[name]:,} bytes, not {size:,}"
            for name, (size, _) in files.items()
            if sizes[name] != size
        ]
        wrong = wrong or [
            f"{name} has other bytes" for name, (_, digest) in files.items() if _cached_sha256(folder / name) != digest
        ]
    except TasbError as error:
        return f"{EXPORTED}: {error.found}"
    except OSError as error:
        return str(error)
    return "; ".join(wrong)


def _own_digest(about: dict[str, Any]) -> str:
    # Over the keys that the file has: a later version's `ExportAbout` may have more.
    rest = {key: value for key, value in about.items() if key != "own_digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _cached_sha256(path: Path) -> str:
    state = path.stat()
    return _digest(path, (state.st_size, state.st_mtime_ns))


@functools.lru_cache
def _digest(path: Path, _state: tuple[int, int]) -> str:
    return sha256(path)
