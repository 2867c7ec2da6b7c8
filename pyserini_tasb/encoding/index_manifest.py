"""`tasb-index.json` in a folder of ours with a Faiss or Lucene index: its files, and the encoders that belong to it.

Stock Pyserini does not look at this file. Folders that stock Pyserini makes do not have it: nothing is checked there.
"""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pyserini_tasb.artifacts import DAMAGED, read_manifest, verify_files, write_manifest
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.parsing import explained

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


LOG = logging.getLogger(__name__)

INDEX_MANIFEST = "tasb-index.json"
KIND, VERSION = "index", 1
ALLOW_OTHER = "PYSERINI_TASB_ALLOW_OTHER_ENCODER"


@dataclass(frozen=True)
class EncoderIdentity:
    """The properties that two encoders share if their vectors are comparable.

    Name and place of the model do not count. Neither do properties that may differ between queries and passages:
    prefixes, length caps, precision and back end.

    Args:
        name: what `--encoder` was given, for people.
        weights: a digest of the tensors.
        tokenizer: a digest of the vocabulary, and of what becomes of a sample text.
        pooling: `cls`, `mean` or `last`.
        normalise: whether vectors have length one.
    """

    name: str
    weights: str
    tokenizer: str
    pooling: str
    normalise: bool

    def differences(self, others: Mapping[str, Any]) -> list[str]:
        """The differences from another encoder, in words.

        Args:
            others: what is known of the other encoder, by the names of this class's fields.
        """
        lengths = {True: "vectors of length one", False: "vectors of any length"}
        words = {
            "weights": "other weights",
            "tokenizer": "another tokenizer",
            "pooling": f"{others.get('pooling')} pooling, not {self.pooling}",
            "normalise": f"{lengths[bool(others.get('normalise'))]}, not {lengths[self.normalise]}",
        }
        return [said for key, said in words.items() if key in others and others[key] != getattr(self, key)]


class HasIdentity(Protocol):
    """A query encoder."""

    @property
    def name(self) -> str:
        """The name that `--encoder` was given."""

    @property
    def identity(self) -> EncoderIdentity | None:
        """None where it cannot be known."""


def write_index_manifest(folder: Path, encoders: Sequence[EncoderIdentity]) -> None:
    """Describe the finished files of an index's folder, and the encoders whose queries may search it.

    Args:
        folder: a folder with only the index's files.
        encoders: the encoders; empty if they are unknown.
    """
    write_manifest(folder, KIND, VERSION, {"encoders": [asdict(each) for each in encoders]}, name=INDEX_MANIFEST)


def index_encoders(folder: Path) -> tuple[EncoderIdentity, ...]:
    """The encoders that an index lists, empty if it lists none. The sizes of its files are checked.

    Raises:
        TasbError: a file is missing or has another size, or the manifest is damaged.
    """
    if not (folder / INDEX_MANIFEST).is_file():
        return ()
    with _advised(folder):
        return encoders_in(read_manifest(folder, KIND, VERSION, name=INDEX_MANIFEST)["encoders"])


def verify_index(folder: Path) -> None:
    """Compare the files of an index with their checksums, if it has a manifest. This reads all files.

    Raises:
        TasbError: naming the first file that is different.
    """
    if (folder / INDEX_MANIFEST).is_file():
        with _advised(folder):
            verify_files(folder, name=INDEX_MANIFEST)


def encoders_in(content: Any) -> tuple[EncoderIdentity, ...]:
    """Encoders as JSON has them.

    Raises:
        TypeError: something else.
    """
    return tuple(EncoderIdentity(**each) for each in content)


def require_encoder(
    folder: Path,
    encoder: HasIdentity,
    *,
    allow_other: bool = False,
    known: Sequence[EncoderIdentity] | None = None,
) -> None:
    """Refuse to search an index with queries of an encoder that does not belong to it.

    Args:
        folder: the folder of the index. One that lists no encoders is searched with any.
        encoder: whose identity is asked for only where the index lists encoders.
        allow_other: search with any encoder, as PYSERINI_TASB_ALLOW_OTHER_ENCODER=1 says for all commands.
        known: the encoders that belong to it; by default those that the index lists.

    Raises:
        TasbError: the encoder does not belong to the index, or the index is damaged.
    """
    known = index_encoders(folder) if known is None else known
    identity = encoder.identity if known else None
    if identity is not None:
        require_among(known, asdict(identity), encoder.name, str(folder), allow_other=allow_other)


def require_among(
    known: Sequence[EncoderIdentity], found: Mapping[str, Any], name: str, where: str, *, allow_other: bool = False
) -> None:
    """Refuse an encoder that differs from all that are known.

    Args:
        known: encoders of an index, or of vectors.
        found: what is known of the encoder, by the names of the fields of `EncoderIdentity`.
        name: the name of the encoder, for people.
        where: the index, for messages.
        allow_other: take any encoder.

    Raises:
        TasbError: saying in what it differs from the nearest of them, unless the user has allowed other encoders.
    """
    differences = min((each.differences(found) for each in known), key=len, default=[])
    if not differences:
        return
    if allow_other or _others_allowed():
        LOG.warning("%s is searched with another encoder, as you allowed", where)
        return
    raise TasbError(
        where=where,
        expected=f"an encoder that belongs to these vectors: {', '.join(each.name for each in known)}",
        found=f"{name}, which has {' and '.join(differences)}: its scores would be meaningless",
        do="name that encoder; or, if this one was trained for these passages, list it when the index is made "
        f"(`tasb index --query-encoder`); `tasb search`, `hybrid` and `mine` take it anyway with "
        f"{argument('allow_other_encoder', True)}, all commands with {ALLOW_OTHER}=1",
    )


def _others_allowed() -> bool:
    value = os.environ.get(ALLOW_OTHER, "")
    if value not in ("", "0", "1"):
        raise TasbError(
            where=ALLOW_OTHER,
            expected="1 to search an index with any encoder of its dimension, 0 or nothing to refuse others",
            found=value,
            do=f"export {ALLOW_OTHER}=1",
        )
    return value == "1"


@contextlib.contextmanager
def _advised(folder: Path) -> Iterator[None]:
    advice = f"make the index again, or copy it again; if you changed it on purpose, remove {folder / INDEX_MANIFEST}"
    expected = "files with sizes and checksums, and the encoders of the index"
    try:
        with explained(folder / INDEX_MANIFEST, expected=expected, do=advice):
            yield
    except TasbError as error:
        do = advice if error.do == DAMAGED else error.do
        raise TasbError(expected=error.expected, found=error.found, do=do, where=error.where) from error
