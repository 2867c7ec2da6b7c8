"""A folder of vectors opened for search: by Faiss or by torch, as was asked, or whichever fits."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from pyserini_tasb.encoding.index_manifest import index_encoders
from pyserini_tasb.encoding.vectors import VectorFolder
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.folders import FAISS, VECTORS, kind_of_folder
from pyserini_tasb.indexes.faiss_folder import (
    INDEX,
    DocidFile,
    JoinedDocids,
    OpenFolder,
    is_faiss_folder,
    open_docids,
    open_folder,
)
from pyserini_tasb.indexes.flat_file import flat_vectors, is_flat
from pyserini_tasb.indexes.torch_search import SearchPrecision, TorchFlat, memory_for_copies
from pyserini_tasb.indexes.vector_source import require_passages
from pyserini_tasb.registry import require_choice

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pyserini_tasb.encoding.index_manifest import EncoderIdentity


SearchWith = Literal["auto", "faiss", "torch"]


@dataclass(frozen=True)
class DenseSearch:
    """The way to search folders of vectors: by what, where, and in which number format.

    Args:
        search_with: `faiss`; `torch`, which searches flat Faiss indexes and vector folders; or `auto`. That is torch
            for vector folders and in half precision, and for flat indexes if Faiss is missing or they fit on the GPU;
            otherwise Faiss.
        device: where torch searches. `cuda` is all GPUs, each with a part of the vectors.
        precision: torch's number format, see `TorchFlat`.
        mapped: leave the vectors in the files, to be read as the search comes to them; otherwise read them at first.
        threads: torch's threads on the CPU; by default its own number.

    Raises:
        TasbError: Faiss was asked for half precision, or something else than these two was asked for.
    """

    search_with: SearchWith = "auto"
    device: str = "cpu"
    precision: SearchPrecision = "fp32"
    mapped: bool = True
    threads: int | None = None

    def __post_init__(self) -> None:
        require_choice("search_with", self.search_with, get_args(SearchWith))
        require_choice("search_precision", self.precision, get_args(SearchPrecision))
        if self.search_with == "faiss" and self.precision != "fp32":
            raise TasbError(
                expected=f"{argument('search_precision', self.precision)} with {argument('search_with', 'torch')}",
                found=f"{argument('search_with', 'faiss')}",
                do="leave out one of the two; `tasb index` makes indexes of fewer bits for Faiss "
                f"({argument('kind', 'fp16')})",
            )

    @property
    def needs_torch(self) -> bool:
        """True if torch was asked for."""
        return self.search_with == "torch" or self.precision != "fp32"

    def chosen(self, path: Path) -> Literal["faiss", "torch"]:
        """`faiss` or `torch`, whichever is to search a folder.

        Raises:
            TasbError: Faiss was asked to search a vector folder.
        """
        vectors = is_vector_folder(path)
        if self.search_with == "faiss":
            if vectors:
                raise TasbError(
                    where=str(path),
                    expected=f"{FAISS}, for {argument('search_with', 'faiss')}",
                    found=f"{VECTORS}, which torch searches",
                    do=f"leave out {argument('search_with')}, or make an index of it: "
                    f"`tasb index --vectors {path} --output INDEX`",
                )
            return "faiss"
        if vectors or self.needs_torch:
            return "torch"
        if not is_flat(path / INDEX):
            return "faiss"
        if not has_faiss():
            return "torch"
        return "faiss" if self.device.startswith("cpu") or not self._fits(path / INDEX) else "torch"

    def _fits(self, index: Path) -> bool:
        """True if the devices have memory for equal parts of a flat index; otherwise each batch copies some of it."""
        import torch

        devices = [torch.device(name) for name in _devices(self.device)]
        if any(device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count() for device in devices):
            return True  # the encoder says that there is no such device
        share = index.stat().st_size / max(1, len(devices))
        return all(memory_for_copies(device) >= share for device in devices)

    def open(self, path: Path) -> OpenFolder:
        """The open folder. Its vectors come to a GPU with the first search.

        Raises:
            TasbError: a folder of another kind, a damaged one, or an index that the chosen one cannot search.
        """
        if self.chosen(path) == "faiss":
            return open_folder(path, mapped=self.mapped)
        docids = docids_of(path)  # first: it looks whether the folder is whole
        if is_vector_folder(path):
            blocks = [vectors for _, vectors in VectorFolder(path).files()]
        else:
            blocks = [flat_vectors(path / INDEX)]
        if not self.mapped:
            blocks = [np.array(block) for block in blocks]
        index = TorchFlat(blocks, device=_devices(self.device), precision=self.precision, threads=self.threads)
        return OpenFolder(path, index, docids)


def is_vector_folder(path: Path) -> bool:
    """True if `tasb encode` made it, and it is no index."""
    return not is_faiss_folder(path) and kind_of_folder(path) == VECTORS


@functools.cache
def has_faiss() -> bool:
    """True if Faiss can be imported."""
    try:
        import faiss  # noqa: F401
    except ImportError:
        return False
    return True


def _devices(device: str) -> Sequence[str]:
    import torch

    return [f"cuda:{number}" for number in range(torch.cuda.device_count())] if device == "cuda" else [device]


def docids_of(path: Path) -> Sequence[str]:
    """The docids of a Faiss folder or of a vector folder of passages; the sizes of its files are checked.

    Raises:
        TasbError: another folder, an unfinished one, or files of another size than we wrote.
    """
    if not is_vector_folder(path):
        return open_docids(path)
    folder = VectorFolder(path)
    require_passages(folder)
    return JoinedDocids([DocidFile(docids) for docids, _ in folder.files()])


def encoders_of(path: Path) -> tuple[EncoderIdentity, ...]:
    """The encoders whose queries may search a Faiss folder or a vector folder; empty if it lists none.

    Raises:
        TasbError: a damaged folder.
    """
    return VectorFolder(path).encoders if is_vector_folder(path) else index_encoders(path)
