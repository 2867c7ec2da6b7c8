"""Opening a Faiss folder as Pyserini knows it: the files `index` and `docid`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError
from pyserini_tasb.index.docid_file import DocidFile
from pyserini_tasb.index_manifest import index_encoders

if TYPE_CHECKING:
    from pathlib import Path

INDEX, DOCID = "index", "docid"
# Below, a file is read: nothing is won by mapping it, and Faiss 1.15 crashes on a mapped one that ends in its header.
LEAST_MAPPED = 1 << 20
_CPP_PLACE = re.compile(r"^Error in .*? at \S+:\d+: (Error: )?")


@dataclass(frozen=True)
class FaissFolder:
    """An open index.

    Args:
        path: the folder.
        index: Faiss's own object.
        docids: of row i, the docid.
    """

    path: Path
    index: Any
    docids: DocidFile


def open_folder(path: Path, *, mapped: bool = True) -> FaissFolder:
    """Open a Faiss folder and check that its two files belong together.

    Args:
        path: the folder.
        mapped: leave the vectors of a large index in the file, to be read as the search comes to them; otherwise
            read all of it.

    Raises:
        TasbError: not such a folder, a damaged file, or as many docids as vectors there are not.
    """
    docids = open_docids(path)
    index = read_index(path / INDEX, mapped=mapped)
    if index.ntotal != len(docids):
        raise TasbError(
            where=str(path / DOCID),
            expected=f"{index.ntotal} docids, one for each vector in {INDEX}",
            found=str(len(docids)),
            do="one of the two files is of another index or was cut off: make the index again",
        )
    return FaissFolder(path, index, docids)


def open_docids(path: Path) -> DocidFile:
    """The docids of a Faiss folder.

    Raises:
        TasbError: it is not a Faiss folder, or one of its files has another size than we wrote, or cannot be read.
    """
    _require_files(path)
    index_encoders(path)  # checks the sizes
    return DocidFile(path / DOCID)


def read_index(file: Path, *, mapped: bool) -> Any:
    """Faiss's object for an index file.

    Raises:
        TasbError: Faiss cannot read it, or knows no mapping yet.
    """
    import faiss

    try:
        # Of all kinds of index, this flag leaves the large arrays in the file (1.15: flat, quantised, HNSW, IVF).
        flags = faiss.IO_FLAG_MMAP_IFC if mapped else 0
        return faiss.read_index(str(file), flags if file.stat().st_size >= LEAST_MAPPED else 0)
    except AttributeError as error:
        raise TasbError(
            expected="Faiss 1.11 or newer, which maps index files",
            found=f"Faiss {faiss.__version__}",
            do="pip install -U faiss-cpu, or open the index without mapping",
        ) from error
    except (RuntimeError, MemoryError) as error:
        raise TasbError(
            where=str(file),
            expected="a whole Faiss index",
            found=f"Faiss says: {faiss_message(error)}",
            do="the file was cut off or is something else: copy or make it again",
        ) from error


def is_faiss_folder(path: Path) -> bool:
    """Whether it is one as Pyserini writes them."""
    return (path / INDEX).is_file() and (path / DOCID).is_file()


def is_lucene_folder(path: Path) -> bool:
    """Whether it is a Lucene index, of whatever, instead."""
    return any(path.glob("segments_*"))


def faiss_message(error: BaseException) -> str:
    """What Faiss says, without the C++ function and line before it."""
    return _CPP_PLACE.sub("", str(error)).strip() or type(error).__name__


def _require_files(path: Path) -> None:
    if is_faiss_folder(path):
        return
    is_lucene = is_lucene_folder(path)
    here = sorted(file.name for file in path.iterdir())[:5] if path.is_dir() else []
    raise TasbError(
        where=str(path),
        expected=f"a Faiss folder with the files `{INDEX}` and `{DOCID}`",
        found="a Lucene index" if is_lucene else _listing(path, here),
        do="search it with `python -m pyserini.search.lucene --dense`" if is_lucene else "check the path",
    )


def _listing(path: Path, here: list[str]) -> str:
    if not path.exists():
        return "no such folder"
    return f"a folder with {', '.join(here)}" if here else "an empty folder" if path.is_dir() else "a file"
