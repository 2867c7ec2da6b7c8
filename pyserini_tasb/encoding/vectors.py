"""A vector folder, read block by block; its manifest and its units, each complete or absent."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.artifacts import read_sidecar, sha256, whole_file, write_whole
from pyserini_tasb.encoding.index_manifest import EncoderIdentity, encoders_in
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.folders import VECTORS, another_folder
from pyserini_tasb.formats.arrays import mapped_array
from pyserini_tasb.parsing import explained, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.formats.text_store import TextStore

MANIFEST = "manifest.json"
ENCODERS = "encoders"  # a key of `about`: the encoders of the passages, which an index of the vectors lists
FORMAT, VERSION = "pyserini-tasb vector folder", 1
DTYPES = ("float32", "float16")
UNITS = "units"
MOST_UNITS = 1_000_000  # 16 billion passages of the usual size; a damaged manifest may say any number
FILES = (".npy", ".docids")
ENCODE_AGAIN = "the folder is damaged: encode the corpus again"
DO = "remove the unit's three files and encode the corpus again with the same command: it makes only what is missing"


class VectorFolder:
    """The vectors of a corpus, in its order.

    Attributes:
        path: the folder.
        dimension: numbers of a vector.
        count: the number of vectors.
        dtype: the type in which they are stored, float32 or float16.
        about: what decided them: `card` and `corpus` (digests), `encoder`, `max_length`, `precision`.
        kind: the kind of the texts: `passage` or `query`.
        digest: a digest of everything that decides the vectors.
        encoders: the encoders that made them; empty in folders of earlier versions.

    Args:
        path: what `tasb encode` wrote. Sizes are checked; a unit's checksums are compared before it is first read.

    Raises:
        TasbError: the folder is no vector folder, unfinished, damaged, or has units of several models.
    """

    def __init__(self, path: Path) -> None:
        manifest = read_vector_manifest(path)
        self.path = path
        self.dimension, self.count = manifest.dimension, manifest.records
        self.dtype = np.dtype(manifest.dtype)
        self.about: dict[str, Any] = manifest.about
        self.kind, self.digest = manifest.kind, manifest.digest
        self._unit_size = manifest.unit_size
        self.encoders = self._read_encoders()
        self._verified: set[int] = set()
        self._mapped: dict[int, NDArray[Any]] = {}
        self._verifying = threading.Lock()  # several threads may read the same folder
        self._units = [VectorUnit(path, number, self.digest) for number in range(manifest.units)]
        missing = [f"{unit.number:06}" for unit in self._units if not unit.finished]
        if missing:
            raise TasbError(
                where=str(path),
                expected=f"{manifest.units} finished units",
                found=f"{len(missing)} not finished: {', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}",
                do="repeat the `tasb encode` command: it continues where it stopped",
            )
        for unit in self._units:
            unit.require_whole(manifest.rows(unit.number))

    def blocks(self, rows: int = 65_536) -> Iterator[tuple[list[str], NDArray[Any]]]:
        """Docids and vectors [docids, dimension], in corpus order; the vectors are as stored, over the files.

        Args:
            rows: the most vectors in a block.

        Raises:
            TasbError: a unit differs from its checksums; none of its vectors were yielded.
        """
        for unit in self._units:
            self._verify(unit)
            # Opened anew each time: what a mapping has read stays in memory for as long as the mapping lives.
            docids, vectors = unit.docids(), unit.vectors()
            for start in range(0, len(docids), rows):
                yield docids[start : start + rows], vectors[start : start + rows]

    def files(self) -> Iterator[tuple[Path, NDArray[Any]]]:
        """Each unit's file of docids, and its vectors [docids, dimension] over their file; checksums do not count."""
        for unit in self._units:
            yield unit.path(".docids"), unit.vectors()

    def at(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The vectors [rows, dimension] of these rows, counted over all units, in the order given; as stored.

        Raises:
            TasbError: a unit differs from its checksums.
        """
        units, within = np.divmod(rows, self._unit_size)
        vectors = np.empty((len(rows), self.dimension), self.dtype)
        for number in np.unique(units).tolist():
            if number not in self._mapped:
                self._verify(self._units[number])
                self._mapped[number] = self._units[number].vectors()
            here = units == number
            vectors[here] = self._mapped[number][within[here]]
        return vectors

    def require_encoder(self, digest: str, encoder: str, name: str) -> None:
        """Refuse vectors of another encoder.

        Args:
            digest: the wanted encoder's (`model_digest`).
            encoder: what to call it.
            name: how the user named the folder: an argument, or a key of a configuration in backquotes.

        Raises:
            TasbError: they are of another one, or its card, tokenizer or weights were changed.
        """
        if self.about.get("card") != digest:
            raise TasbError(
                where=str(self.path),
                expected=f"vectors of the encoder {encoder}, with its present card, tokenizer and weights",
                found=f"vectors of `{self.about.get('encoder')}`, whose card, tokenizer or weights are different",
                do=f"encode the texts again, or name another folder as {name}",
            )

    def verify(self) -> None:
        """Compare all units that were not read yet with their checksums.

        Raises:
            TasbError: naming the first that is different.
        """
        for unit in self._units:
            self._verify(unit)

    def _verify(self, unit: VectorUnit) -> None:
        with self._verifying:
            if unit.number not in self._verified:
                unit.verify()
                self._verified.add(unit.number)

    def _read_encoders(self) -> tuple[EncoderIdentity, ...]:
        expected = f"`{ENCODERS}` as `tasb encode` writes them"
        with explained(self.path / MANIFEST, expected=expected, do=ENCODE_AGAIN):
            return encoders_in(self.about.get(ENCODERS, ()))


IDS_SHOWN = 5


class StoredVectors:
    """The vectors of a text store's texts, found by id in a vector folder, which may have more.

    Attributes:
        folder: the vectors.

    Args:
        folder: the vectors.
        texts: the store.
        kind: the kind of texts that they should be of: `passage` or `query`.
        name: how the user named the folder: an argument, or a key of a configuration in backquotes.

    Raises:
        TasbError: vectors of the other kind, texts without a vector, or a unit that differs from its checksums.
    """

    def __init__(self, folder: VectorFolder, texts: TextStore, kind: str, name: str) -> None:
        self.folder = folder
        if folder.kind != kind:
            raise TasbError(
                where=str(folder.path),
                expected=f"vectors encoded with {argument('kind', kind)}, for {name}",
                found=f"{argument('kind', folder.kind)}",
                do="encode the texts again: a card may have another prefix and length limit for them",
            )
        self._rows = np.full(len(texts), -1, np.int64)
        start = 0
        for ids, _ in folder.blocks():
            numbers = texts.indices(ids)
            here = np.flatnonzero(numbers >= 0)
            self._rows[numbers[here]] = start + here
            start += len(ids)
        missing = np.flatnonzero(self._rows < 0)
        if len(missing):
            more = ", …" if len(missing) > IDS_SHOWN else ""
            raise TasbError(
                where=str(folder.path),
                expected=f"a vector for each of the {len(texts):,} texts of {texts.folder}",
                found=f"none for {len(missing):,} of them: {', '.join(texts.ids(missing[:IDS_SHOWN]))}{more}",
                do=f"encode the corpus that has these texts (it may be a text store), or leave out {name}",
            )

    def at(self, numbers: NDArray[np.integer]) -> NDArray[np.float32]:
        """Vectors [numbers, dimension] of texts, by their numbers in the store."""
        return self.folder.at(self._rows[numbers]).astype(np.float32, copy=False)


@dataclass(frozen=True)
class VectorManifest:
    """The manifest of a vector folder: all that decides its vectors.

    Args:
        dimension: numbers of a vector.
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
    def kind(self) -> str:
        """`query` or `passage`; earlier versions encoded passages only, and did not say so."""
        return str(self.about.get("kind", "passage"))

    @property
    def units(self) -> int:
        """The number of units that the corpus is cut into."""
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
        raise _no_vector_folder(folder, f"no {MANIFEST} in it")
    content = read_json(path, do=ENCODE_AGAIN)
    if content.pop("format", None) != FORMAT:
        raise _no_vector_folder(folder, f"a {MANIFEST} of something else")
    version = content.pop("version", None)
    if version != VERSION:
        raise TasbError(
            where=str(folder),
            expected=f"a vector folder of version {VERSION}",
            found=f"version {version}",
            do="install the pyserini-tasb that wrote it, or encode the corpus again",
        )
    with explained(path, expected="what `tasb encode` writes into it", do=ENCODE_AGAIN):
        manifest = VectorManifest(**content)
        sizes = manifest.dimension, manifest.records, manifest.unit_size
        if not isinstance(manifest.about, dict):
            raise TypeError("`about` is no object")
        if manifest.dtype not in DTYPES or not all(isinstance(size, int) and size >= 1 for size in sizes):
            raise ValueError("values that cannot be")
        if manifest.units > MOST_UNITS:
            raise ValueError(f"{manifest.units:,} units")
    return manifest


def _no_vector_folder(folder: Path, unknown: str) -> TasbError:
    otherwise = "check the path; `tasb encode` makes such folders"
    found, do = another_folder(folder, VECTORS, otherwise, unknown=unknown)
    return TasbError(where=str(folder), expected=VECTORS, found=found, do=do)


@dataclass(frozen=True)
class VectorUnit:
    """The files of one unit: `NNNNNN.npy`, `NNNNNN.docids`, and `NNNNNN.json`, which is there once it is finished.

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
        """True if it is complete. It may still be damaged."""
        return self.path(".json").is_file()

    def write(self, docids: Sequence[str], vectors: NDArray[np.floating]) -> None:
        """Write it; it is finished once all of it is on disk.

        Args:
            docids: the docids, in corpus order.
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
            info[suffix] = {"bytes": self.path(suffix).stat().st_size, "sha256": sha256(self.path(suffix))}
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
                expected=f"a unit of {rows} passages, by the model and from the corpus that manifest.json names",
                found=f"another unit, of {info['rows']} passages" if described and "rows" in info else "no such file",
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
            wanted, found = info[suffix]["sha256"], sha256(self.path(suffix))
            if found != wanted:
                path = str(self.path(suffix))
                raise TasbError(where=path, expected=f"sha256 {wanted}", found=f"sha256 {found}", do=DO)

    def docids(self) -> list[str]:
        """The docids, in corpus order."""
        return self.path(".docids").read_text(encoding="utf-8").split("\n")[:-1]

    def vectors(self) -> NDArray[Any]:
        """The vectors [docids, dimension], over the file: nothing is read yet."""
        return mapped_array(self.path(".npy"))
