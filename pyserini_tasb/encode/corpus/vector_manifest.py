"""`manifest.json` of a vector folder: what its vectors are of, and how they are stored."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError
from pyserini_tasb.whole_file import write_whole

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "manifest.json"
ENCODERS = "encoders"  # a key of `about`: the encoders of the passages, which an index of the vectors lists
FORMAT, VERSION = "pyserini-tasb vector folder", 1
DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class VectorManifest:
    """What a folder's vectors are.

    Args:
        dimension: of each vector.
        dtype: `float32` or `float16`.
        records: passages of the whole corpus.
        unit_size: passages of each unit but the last.
        about: all else that decides the vectors (model, options, corpus); values that JSON can hold.
    """

    dimension: int
    dtype: str
    records: int
    unit_size: int
    about: dict[str, Any]

    @property
    def units(self) -> int:
        """How many units the corpus is cut into."""
        return -(-self.records // self.unit_size)

    def rows(self, unit: int) -> int:
        """Passages of a unit, counted from 0."""
        return min(self.unit_size, self.records - unit * self.unit_size)

    @property
    def digest(self) -> str:
        """Changes when anything of it does; every unit says it, so that none is taken for another folder's."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write it into `folder`.

        Raises:
            TasbError: it cannot be written.
        """
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        write_whole(folder / MANIFEST, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_vector_manifest(folder: Path) -> VectorManifest:
    """The manifest of a vector folder.

    Raises:
        TasbError: not such a folder, of another version, or the manifest is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        found = "no such folder" if not folder.exists() else "a file" if folder.is_file() else f"no {MANIFEST} in it"
        raise _not_one(folder, found)
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TasbError(
            where=str(path), expected="JSON", found=str(error), do="the folder is damaged: encode the corpus again"
        ) from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise _not_one(folder, f"a {MANIFEST} of something else")
    version = content.pop("version", None)
    if version != VERSION:
        raise TasbError(
            where=str(folder),
            expected=f"a vector folder of version {VERSION}",
            found=f"version {version}",
            do="install the pyserini-tasb that wrote it, or encode the corpus again",
        )
    try:
        manifest = VectorManifest(**content)
    except TypeError as error:
        raise _not_one(folder, str(error)) from error
    if manifest.dtype not in DTYPES or min(manifest.dimension, manifest.records, manifest.unit_size) < 1:
        raise _not_one(folder, f"a {MANIFEST} with values that cannot be")
    return manifest


def _not_one(folder: Path, found: str) -> TasbError:
    return TasbError(
        where=str(folder),
        expected="a vector folder",
        found=found,
        do="check the path; `tasb encode` makes such folders",
    )
