"""The identity of an encoder in digests: files never hold numbers of two models."""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
from typing import TYPE_CHECKING, Any

from pyserini_tasb.artifacts import read_sidecar, write_whole
from pyserini_tasb.encoding.index_manifest import EncoderIdentity
from pyserini_tasb.encoding.onnx_runtime import cache_folder
from pyserini_tasb.errors import TasbError
from pyserini_tasb.models.checkpoints import PICKLED_WEIGHTS, SAFE_WEIGHTS, find_checkpoint
from pyserini_tasb.models.onnx import is_exported, read_about

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyserini_tasb.models.backends import TextTokenizer
    from pyserini_tasb.recipes.types import EncoderCard


# Letter case, accents, marks, numbers, other scripts, a long word: what tokenizers treat in different ways.
SAMPLE = (
    "Dense RETRIEVAL isn't naïve: 1,024-dimensional  vectors (cf. Straße, 検索, поиск) — antidisestablishmentarianism\n"
)
SAMPLE_TOKENS = 256
DIGESTS, MODELS_KEPT = "weights.json", 100
UNUSED = "pooler."  # a head that checkpoints may or may not have; no pooling of ours uses it
EMBEDDINGS = "embeddings."


def encoder_identity(name: str, card: EncoderCard, tokenizer: TextTokenizer) -> EncoderIdentity | None:
    """The identity of an encoder; None for an exported model that does not say which weights it was made from.

    Args:
        name: what `--encoder` was given.
        card: of the encoder.
        tokenizer: of the encoder.

    Raises:
        TasbError: no such model, or weights that cannot be read.
    """
    folder = find_checkpoint(card.model, allow_bin=card.allow_bin)
    digest = tokenizer_digest(tokenizer)
    if not is_exported(folder):
        return EncoderIdentity(name, weights_digest(folder), digest, card.pooling, card.normalise)
    about = read_about(folder)
    if about.source_weights is None:  # exported by an earlier version
        return None
    return EncoderIdentity(name, about.source_weights, digest, about.pooling, about.normalise)


def tokenizer_digest(tokenizer: TextTokenizer) -> str:
    """A digest of a tokenizer's vocabulary, and of the tokens that a sample text becomes.

    Its files do not count: they differ between versions of the library that writes them.
    """
    behaviour = [sorted(tokenizer.vocabulary.items()), tokenizer.token_ids([SAMPLE], None, SAMPLE_TOKENS)]
    return hashlib.sha256(json.dumps(behaviour).encode()).hexdigest()


def weights_digest(folder: Path) -> str:
    """A digest of a model's tensors: names, shapes and bytes, whatever the format of the files and their order there.

    The user's cache keeps it, by path, size and times of the files: 270 MB take a third of a second.

    Args:
        folder: a model with weights of torch.

    Raises:
        TasbError: weights that cannot be read.
    """
    files = _weight_files(folder)
    key = str(folder.absolute())
    # Archives and `cp -p` set the time of modification, which two versions may share; nobody sets that of the change.
    stats = [(file.name, file.stat()) for file in files]
    state = [[name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for name, stat in stats]
    kept = cache_folder().with_name(DIGESTS)
    known = read_sidecar(kept)
    if known.get(key, {}).get("state") == state:
        return str(known[key]["digest"])
    digest = _tensors_digest(files)
    with contextlib.suppress(TasbError, OSError):  # a cache that cannot be written to only costs time
        kept.parent.mkdir(parents=True, exist_ok=True)
        others = [(path, value) for path, value in read_sidecar(kept).items() if path != key]
        write_whole(kept, json.dumps(dict([*others[-MODELS_KEPT:], (key, {"state": state, "digest": digest})])) + "\n")
    return digest


def _weight_files(folder: Path) -> list[Path]:
    for whole, parts in (SAFE_WEIGHTS, PICKLED_WEIGHTS):
        if (folder / whole).is_file():
            return [folder / whole]
        if (folder / parts).is_file():
            names = read_sidecar(folder / parts).get("weight_map", {}).values()
            return [folder / name for name in sorted(set(names))]
    raise TasbError(
        where=str(folder), expected="weights of torch", found="none", do="check that the model's files are all here"
    )


def _tensors_digest(files: list[Path]) -> str:
    digests: dict[str, str] = {}
    for file in files:
        tensors = _safe_tensors(file) if file.suffix == ".safetensors" else _pickled_tensors(file)
        for name, shape, content in tensors:
            digests[name] = hashlib.sha256(repr(shape).encode() + b"\0" + hashlib.sha256(content).digest()).hexdigest()
    # A model that was saved with a head has its transformer below a name (`bert.embeddings.…`).
    start = min((name.partition(EMBEDDINGS)[0] for name in digests if EMBEDDINGS in name), key=len, default="")
    used = {name[len(start) :]: digest for name, digest in digests.items() if name.startswith(start)}
    kept = {name: digest for name, digest in used.items() if not name.startswith(UNUSED)}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _safe_tensors(file: Path) -> Iterator[tuple[str, list[int], Any]]:
    """Name, shape and bytes of each tensor but the numbers of positions, which some versions save as well."""
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            length = int.from_bytes(content[:8], "little")
            header = json.loads(content[8 : 8 + length])
            for name, about in header.items():
                if name != "__metadata__" and not name.endswith("position_ids"):
                    first, last = (8 + length + offset for offset in about["data_offsets"])
                    with memoryview(content) as whole, whole[first:last] as part:
                        yield name, about["shape"], part
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TasbError(
            where=str(file),
            expected="weights in safetensors",
            found=str(error),
            do="check that the file is whole; `git lfs pull` replaces a pointer by the file",
        ) from error


def _pickled_tensors(file: Path) -> Iterator[tuple[str, list[int], Any]]:
    import torch

    from pyserini_tasb.models.pretrained import load_errors_explained

    with load_errors_explained(file.parent):
        weights = torch.load(file, map_location="cpu", weights_only=True)
    for name, tensor in weights.items():
        if not name.endswith("position_ids"):
            yield name, list(tensor.shape), tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
