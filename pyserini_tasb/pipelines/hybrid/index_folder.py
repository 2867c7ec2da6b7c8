"""Where an index is, and what it can be searched for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pyserini_tasb.environment.prebuilt_index import prebuilt_index
from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Iterator

TERM_FIELD, VECTOR_FIELD = "contents", "vector"  # Anserini's Constants
VECTOR_FORMAT = "PerFieldKnnVectorsFormat.format"  # Lucene's, of the attribute that names a field's format

Content = Literal["terms", "flat vectors", "HNSW vectors", "nothing to search"]


def index_folder(name: str) -> Path:
    """The folder itself, or that of an index by a name of Pyserini's, which is downloaded if it is not there.

    Raises:
        TasbError: no such folder, and no such name or no way to download it.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if os.sep in name or name.startswith(("~", ".")) or path.exists():
        raise _not_found(name, "a file" if path.exists() else "no such folder")
    try:
        return prebuilt_index(name)
    except LookupError as error:
        raise _not_found(name, f"no such folder, and {error}") from error


def content_of(reader: Any) -> Content:
    """What Anserini put into a Lucene index.

    Args:
        reader: Lucene's.
    """
    for fields in _fields(reader):
        vectors = fields.fieldInfo(VECTOR_FIELD)
        if vectors is not None and vectors.getVectorDimension():
            return "HNSW vectors" if "Hnsw" in (vectors.getAttribute(VECTOR_FORMAT) or "") else "flat vectors"
        terms = fields.fieldInfo(TERM_FIELD)
        if terms is not None and terms.getIndexOptions().toString() != "NONE":
            return "terms"
    return "nothing to search"


def _fields(reader: Any) -> Iterator[Any]:
    leaves = reader.leaves()
    for number in range(leaves.size()):
        yield leaves.get(number).reader().getFieldInfos()


def _not_found(name: str, found: str) -> TasbError:
    return TasbError(
        where=name,
        expected="the folder of a Faiss or Lucene index, or the name of one that Pyserini knows",
        found=found,
        do="check the path, or the recipe's `index`",
    )
