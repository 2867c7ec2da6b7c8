"""`push_model`: upload a model to the Hugging Face hub, with a model card that says what is known of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import yaml

from pyserini_tasb import __version__
from pyserini_tasb.errors import TasbError, argument, os_errors_explained, shown
from pyserini_tasb.folders import at_home, is_folder
from pyserini_tasb.models.checkpoints import PACKAGE_PREFIX, find_checkpoint, is_exported, may_be_hub_id
from pyserini_tasb.models.sentence_transformers_folder import (
    FLAGS,
    SENTENCE_TRANSFORMERS_FILES,
    contradiction,
    write_sentence_transformers_files,
)
from pyserini_tasb.parsing import read_json, read_yaml
from pyserini_tasb.recipes.lookup import ENCODER_PREFIX, encoder_card, recipe_files
from pyserini_tasb.results import Result
from pyserini_tasb.tables import text_table
from pyserini_tasb.training.model_card import MODEL_CARD, PROVENANCE, encoder_model_card, read_provenance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

    from pyserini_tasb.recipes.types import EncoderCard
    from pyserini_tasb.results import StrPath


def push_model(
    encoder: StrPath,
    *,
    repo: str,
    public: bool = False,
    licence: str | None = None,
    model_card: StrPath | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
) -> PushedModel:
    """Upload an encoder's model to the Hugging Face hub, with a model card and the files that other programs need.

    Only weights (safetensors), tokenizer and configuration are uploaded: no checkpoints, no states of optimisers, no
    training data, no names of folders on this machine. A new repository is private, unless `public` is true.

    Args:
        encoder: `tasb:NAME`, a model's folder (such as the result of `train`), or the path of a card.
        repo: the repository, `ORGANISATION/NAME`, where the organisation may be a user. It is made if it does not
            exist.
        public: let everybody read a new repository.
        licence: the model's licence as the hub calls it, such as `apache-2.0`. Without it, the card says that the
            licence is unknown.
        model_card: a file to upload as the model card. By default, the card is made from what the training wrote.
        overwrite: also upload to a repository that has a model already. One commit replaces the model there.
        dry_run: upload nothing, and do not connect to the hub.

    Returns:
        the files with their sizes, the model card, and the repository.

    Raises:
        TasbError: the model cannot be used, its files name folders of this machine, no token for the hub exists, the
            hub refuses the upload, or the network does not work.
    """
    _require_repo(repo)
    card = _card_of(os.fspath(encoder), repo)
    folder = _folder_of(card)
    files = _files(card, folder, repo, licence, None if model_card is None else Path(model_card))
    planned = PushedModel(
        repo=repo,
        url=None,
        private=not public,
        files={
            path: len(content) if isinstance(content, bytes) else content.stat().st_size
            for path, content in files.items()
        },
        left_out=tuple(sorted(_all_files(folder) - files.keys())),
        model_card=_text(files[MODEL_CARD]),
        encoder=f"{ENCODER_PREFIX}{repo}",
    )
    if dry_run:
        return planned
    return _uploaded(planned, files, overwrite=overwrite)


@dataclass(frozen=True, kw_only=True)
class PushedModel(Result):
    """A model at the Hugging Face hub, or the plan of an upload.

    Attributes:
        repo: the repository.
        url: the address of the repository's page; None after a dry run.
        private: true if only users with access can read it.
        files: each file's path in the repository → its size in bytes.
        left_out: files of the model's folder that are not uploaded.
        model_card: the text of `README.md`.
        encoder: the name of the model for `--encoder` and every `encoder=`. The model card says whether the model also
            needs an encoder card.
    """

    repo: str
    url: str | None
    private: bool
    files: Mapping[str, int]
    left_out: tuple[str, ...]
    model_card: str = field(repr=False)
    encoder: str

    @property
    def summary(self) -> str:
        """Where the model is; after a dry run, the model card and the files."""
        size = f"{len(self.files)} files, {sum(self.files.values()) / 1e6:,.1f} MB"
        kind = "private" if self.private else "public"
        if self.url:
            return f"{self.url} ({kind}): {size}\n  use it: --encoder {self.encoder}; the model card says more"
        table = text_table(
            ("file", "bytes"), [(path, f"{count:,}") for path, count in sorted(self.files.items())], right={1}
        )
        left_out = f"\n\nleft out: {', '.join(self.left_out)}" if self.left_out else ""
        return (
            f"{self.model_card}\n{'-' * 80}\n{table}{left_out}\n\n"
            f"{size} for {self.repo} ({kind}). This was a dry run: nothing was uploaded."
        )


# As the hub has them: no two hyphens or dots in a row, and neither of them at an end.
_NAME = r"(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"


def _require_repo(repo: str) -> None:
    organisation, slash, name = repo.partition("/")
    if not (slash and re.fullmatch(_NAME, organisation) and re.fullmatch(_NAME, name)):
        raise TasbError(
            where=f"{argument('repo', repo)}",
            expected="the name of a repository, ORGANISATION/NAME, where the organisation may be a user",
            found=shown(repo),
            do="write your name at the hub, a slash, and the model's name, of letters, digits and any of . _ -",
        )


def _card_of(encoder: str, repo: str) -> EncoderCard:
    """The card of an encoder. A folder has the one that `tasb train` wrote there, or is read as TAS-B."""
    named = encoder.removeprefix(ENCODER_PREFIX)
    if named.lower() in recipe_files("encoders") or not is_folder(Path(named)):
        return encoder_card(encoder)
    folder = at_home(named)
    own = [path for path in sorted(folder.glob("[!.]*.yaml")) if read_yaml(path)[0].get("model") == "."]
    if len(own) == 1:
        return encoder_card(str(own[0]))
    name = re.sub(r"[^a-z0-9._+-]+", "-", repo.partition("/")[2].lower()).lstrip("._+-")
    return encoder_card(str(folder)).model_copy(update={"name": name, "description": ""})


def _folder_of(card: EncoderCard) -> Path:
    if not card.model.startswith(PACKAGE_PREFIX) and not is_folder(Path(card.model)) and may_be_hub_id(card.model):
        raise TasbError(
            expected="a model in a folder of this machine",
            found=f"`{card.model}`, a model of the hub",
            do="name the folder of your own model, or a card that names it",
        )
    folder = find_checkpoint(card.model)
    if is_exported(folder):
        raise TasbError(
            where=str(folder),
            expected="a model of torch, which sentence-transformers and transformers can read, too",
            found="one that is exported to ONNX",
            do="upload the model that it was made of; `tasb export` makes it again anywhere",
        )
    if difference := contradiction(card, folder):
        raise TasbError(
            where=str(folder),
            expected="a card that says how the model's vectors are made",
            found=difference,
            do="write a card that sets these keys (encoders/README.md), and give its path",
        )
    return folder


# What goes up. Everything else in a folder stays here.
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
CONFIGURATION = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
VOCABULARY = (
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "*.bpe.model",
    "spiece.model",
)
TERMS = ("LICENSE*", "LICENCE*", "NOTICE*")
# Keys in which transformers notes where it has read a file.
OF_THIS_MACHINE = ("_name_or_path", "name_or_path", "vocab_file", "tokenizer_file", "special_tokens_map_file")


def _files(
    card: EncoderCard, folder: Path, repo: str, licence: str | None, model_card: Path | None
) -> dict[str, bytes | Path]:
    """Each file's path in the repository, and what it holds; the model is loaded once, so that what goes up works.

    Raises:
        TasbError: the model cannot be used, or a file names a folder of this machine.
    """
    from pyserini_tasb.models.backends import Torch

    model = Torch().load(card, "fp32", "cpu")
    longest = min(model.tokenizer(None).longest, model.longest or card.passage_max_length)
    names = _all_files(folder)
    files: dict[str, bytes | Path] = {
        name: folder / name for name in sorted(names) if _matches(name, (*WEIGHTS, *VOCABULARY, *TERMS))
    }
    files |= {name: _without_places(folder / name) for name in sorted(names) if _matches(name, CONFIGURATION)}
    if card.pooling in FLAGS:
        with tempfile.TemporaryDirectory() as beside:
            write_sentence_transformers_files(Path(beside), card, dimension=model.dimension, longest=longest)
            files |= {name: (Path(beside) / name).read_bytes() for name in _all_files(Path(beside))}
    provenance = read_provenance(folder)
    if provenance:
        files[PROVENANCE] = folder / PROVENANCE
        if provenance.curves in names:
            files[str(provenance.curves)] = folder / str(provenance.curves)
    files[f"{card.name}.yaml"] = _card_for_others(card)
    made = partial(encoder_model_card, card, provenance, dimension=card.dimension or model.dimension, repo=repo)
    files[MODEL_CARD] = made(licence=licence).encode() if model_card is None else _own_model_card(model_card, licence)
    _require_no_places(files, folder)
    return files


def _all_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return "/" not in name and any(fnmatch(name, pattern) for pattern in patterns)


def _without_places(path: Path) -> bytes:
    values = {key: value for key, value in read_json(path).items() if key not in OF_THIS_MACHINE}
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def _card_for_others(card: EncoderCard) -> bytes:
    values = card.model_dump(mode="json", exclude_defaults=True) | {"model": "."}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110).encode()


def _own_model_card(path: Path, licence: str | None) -> bytes:
    if licence is not None:
        raise TasbError(
            expected=f"{argument('licence')} or {argument('model_card')}",
            found="both",
            do="name the licence in the file, as the hub reads it: `license:` between the two lines `---`",
        )
    with os_errors_explained(path, expected="a model card in Markdown", do="check the path"):
        return path.read_bytes()


def _require_no_places(files: Mapping[str, bytes | Path], folder: Path) -> None:
    """Refuse files that say where things are on this machine. Vocabularies are not looked at: tokens may be paths."""
    inside, found = [f"{folder.resolve()}", f"{Path.home()}{os.sep}"], []
    for name, content in files.items():
        if name.endswith((".json", ".yaml", ".md")) and not _matches(name, (*WEIGHTS, *VOCABULARY)):
            text = _text(content)
            places = [place for place in inside if place in text]
            if name.endswith(".json"):
                places += [value for value in _strings(json.loads(text)) if _is_place(value)]
            found += [f"{name}: {shown(place)}" for place in dict.fromkeys(places)]
    if found:
        raise TasbError(
            where=str(folder),
            expected="files that name no folder of this machine",
            found="; ".join(found),
            do="remove these from the files, or from the card's description",
        )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def _is_place(value: str) -> bool:
    """True for the path of a file; `/` and one name may be anything."""
    absolute = PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute() or value.startswith("~/")
    return absolute and len(PurePosixPath(value.replace("\\", "/")).parts) > 2


def _text(content: bytes | Path) -> str:
    return (content if isinstance(content, bytes) else content.read_bytes()).decode("utf-8", "replace")


# The hub.


def _uploaded(planned: PushedModel, files: Mapping[str, bytes | Path], *, overwrite: bool) -> PushedModel:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

    token, api = get_token(), HfApi()
    if token is None:
        raise TasbError(
            expected=f"a token of {api.endpoint} that may write",
            found="none",
            do=f"make one at {api.endpoint}/settings/tokens, then type `hf auth login`, or set HF_TOKEN",
        )
    api.token = token
    with _hub_explained(api.endpoint, planned.repo):
        _require_token_that_writes(api)
        before = _existing(api, planned.repo)
        if before:
            _require_may_replace(before, planned, overwrite=overwrite)
        else:
            api.create_repo(planned.repo, private=planned.private)
        stale = [each.rfilename for each in (before.siblings if before else None) or ()]
        operations: list[Any] = [CommitOperationAdd(path, content) for path, content in files.items()]
        operations += [CommitOperationDelete(path) for path in stale if path not in files and _is_of_a_model(path)]
        api.create_commit(planned.repo, operations, commit_message=f"Upload the model with pyserini-tasb {__version__}")
    private = bool(before.private) if before else planned.private
    return replace(planned, url=f"{api.endpoint}/{planned.repo}", private=private)


def _existing(api: HfApi, repo: str) -> ModelInfo | None:
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return api.model_info(repo)
    except RepositoryNotFoundError:
        return None


def _require_token_that_writes(api: HfApi) -> None:
    about = api.whoami()
    if about.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise TasbError(
            expected=f"a token of {api.endpoint} that may write",
            found=f"a token of `{about.get('name')}` that may only read",
            do=f"make one with the role `write` at {api.endpoint}/settings/tokens, then type `hf auth login`, or set "
            "HF_TOKEN",
        )


def _require_may_replace(before: ModelInfo, planned: PushedModel, *, overwrite: bool) -> None:
    there = [each.rfilename for each in before.siblings or () if _is_of_a_model(each.rfilename)]
    if there and not overwrite:
        raise TasbError(
            where=f"{argument('repo', planned.repo)}",
            expected="a repository without a model, or none",
            found=f"one with {len(there)} files of a model, such as `{there[0]}`",
            do=f"choose another {argument('repo')}, or add {argument('overwrite', True)} to replace the model there",
        )
    if planned.private and not before.private:
        raise TasbError(
            where=f"{argument('repo', planned.repo)}",
            expected=f"a private repository, without {argument('public')}",
            found="one that everybody can read",
            do=f"add {argument('public', True)}, or make the repository private in its settings",
        )


def _is_of_a_model(path: str) -> bool:
    """True for a file that belongs to a model, and is replaced with it."""
    own = path in SENTENCE_TRANSFORMERS_FILES or path == PROVENANCE
    weights = fnmatch(path, "*.safetensors*") or fnmatch(path, "pytorch_model*.bin*")
    return own or weights or _matches(path, (*CONFIGURATION, *VOCABULARY))


@contextlib.contextmanager
def _hub_explained(endpoint: str, repo: str) -> Iterator[None]:
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HfHubHTTPError as error:  # before OSError, which it is as well
        status = error.response.status_code if error.response is not None else None
        expected, do = REFUSALS.get(
            status, ("the hub's consent", "try again later; what was there before is still there")
        )
        said = str(getattr(error, "server_message", None) or str(error)).strip().partition("\n")[0]
        raise TasbError(
            where=f"{endpoint}/{repo}",
            expected=expected.format(organisation=repo.partition("/")[0]),
            found=f"{said or 'a refusal'} (HTTP {status})",
            do=do.format(endpoint=endpoint, organisation=repo.partition("/")[0]),
        ) from error
    except ValueError as error:  # what huggingface_hub makes of the hub's verdict on README.md
        raise TasbError(
            where=f"{endpoint}/{repo}",
            expected="a model card that the hub can read",
            found=str(error).strip().partition("\n")[2] or str(error),
            do=f"check {argument('licence')}, or the lines between `---` at the top of {argument('model_card')}",
        ) from error
    except Exception as error:
        # The library that huggingface_hub speaks HTTP with is another one in each of its versions.
        of_network = isinstance(error, OSError) or type(error).__module__.startswith(("httpx", "requests"))
        if not of_network or getattr(error, "filename", None):  # the latter is a file of this machine
            raise
        raise TasbError(
            where=endpoint,
            expected="the hub, over the network",
            found=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}",
            do="check the network, HF_ENDPOINT and HF_HUB_OFFLINE, and try again. What was there before is still "
            "there; "
            f"{argument('dry_run', True)} needs no network",
        ) from error


_LOG_IN = (
    "make a new one with the role `write` at {endpoint}/settings/tokens, then type `hf auth login`, or set HF_TOKEN"
)
REFUSALS: dict[int | None, tuple[str, str]] = {
    401: ("a token that the hub knows", _LOG_IN),
    403: (
        "a token that may write to `{organisation}`",
        "check the name before the slash and your role there, or " + _LOG_IN,
    ),
    409: ("a repository to which no other upload is writing", "try again in a minute"),
}
