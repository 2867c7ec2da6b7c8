"""One unit of a vector folder: `NNNNNN.npy`, `NNNNNN.docids`, and `NNNNNN.json`, which is there once it is finished."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.errors import TasbError
from pyserini_tasb.sidecar import read_sidecar
from pyserini_tasb.whole_file import whole_file, write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

UNITS = "units"
FILES = (".npy", ".docids")
DO = "remove the unit's three files and encode the corpus again with the same command: it makes only what is missing"


@dataclass(frozen=True)
class VectorUnit:
    """The files of one unit.

    Args:
        folder: the vector folder.
        number: counted from 0.
        of: the digest of the folder's manifest.
    """

    folder: Path
    number: int
    of: str

    def path(self, suffix: str) -> Path:
        """The file `.npy`, `.docids` or `.json` of the unit."""
        return self.folder / UNITS / f"{self.number:06}{suffix}"

    @property
    def finished(self) -> bool:
        """Whether it is there. It may still be damaged."""
        return self.path(".json").is_file()

    def write(self, docids: Sequence[str], vectors: NDArray[np.floating]) -> None:
        """Write it; it is finished once all of it is on disk.

        Args:
            docids: in corpus order.
            vectors: [docids, dimension], in the type in which they are stored.

        Raises:
            TasbError: the disk refuses.
        """
        with whole_file(self.path(".npy")) as file:
            # Not np.save, whose error on a full disk does not say that the disk is full.
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(vectors))
            file.write(np.ascontiguousarray(vectors).data)
        write_whole(self.path(".docids"), "".join(f"{docid}\n" for docid in docids))
        info: dict[str, Any] = {"of": self.of, "rows": len(docids)}
        for suffix in FILES:
            info[suffix] = {"bytes": self.path(suffix).stat().st_size, "sha256": _sha256(self.path(suffix))}
        write_whole(self.path(".json"), json.dumps(info) + "\n")

    def require_whole(self, rows: int) -> None:
        """Look at the sizes of a finished unit's files, and at what it says it is of.

        Raises:
            TasbError: it is damaged, or of other vectors than the folder's.
        """
        info = read_sidecar(self.path(".json"))
        files = [info.get(suffix) for suffix in FILES]
        described = all(isinstance(file, dict) and {"bytes", "sha256"} <= file.keys() for file in files)
        if info.get("of") != self.of or info.get("rows") != rows or not described:
            raise TasbError(
                where=str(self.path(".json")),
                expected=f"a unit of {rows} passages, by the model and of the corpus that manifest.json tells",
                found=f"one of {info['rows']} passages, of something else"
                if described and "rows" in info
                else "no such thing",
                do=DO,
            )
        for suffix in FILES:
            path = self.path(suffix)
            size = path.stat().st_size if path.is_file() else None
            if size != info[suffix]["bytes"]:
                found = "no such file" if size is None else f"{size} bytes"
                raise TasbError(where=str(path), expected=f"{info[suffix]['bytes']} bytes", found=found, do=DO)

    def verify(self) -> None:
        """Compare the files with their checksums; reads all of them.

        Raises:
            TasbError: one is different.
        """
        info = read_sidecar(self.path(".json"))
        for suffix in FILES:
            wanted, found = info[suffix]["sha256"], _sha256(self.path(suffix))
            if found != wanted:
                path = str(self.path(suffix))
                raise TasbError(where=path, expected=f"sha256 {wanted}", found=f"sha256 {found}", do=DO)

    def docids(self) -> list[str]:
        """In corpus order."""
        return self.path(".docids").read_text(encoding="utf-8").split("\n")[:-1]

    def vectors(self) -> NDArray[Any]:
        """[docids, dimension], over the file: nothing is read yet."""
        return np.asarray(np.load(self.path(".npy"), mmap_mode="r", allow_pickle=False))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
