"""A ColBERT teacher's token vectors on disk, in fp16: a text that training meets again is read, not computed again.

The vectors of all passages seldom fit on a disk: those of MS MARCO's 8.8 million, of 80 tokens and 128 numbers each,
take 180 GB. So they are kept as batches come, until the bytes that the user allows are used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import zlib
from typing import TYPE_CHECKING

import numpy as np
import torch

from pyserini_tasb.errors import os_errors_explained
from pyserini_tasb.models.checkpoints import model_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.training.teachers import TeacherRequest


LOG = logging.getLogger(__name__)

VECTORS, ENTRIES = "vectors.fp16", "entries"
# Where a text's vectors begin, how many there are (0: not kept), and the checksum of their bytes: a machine that stops
# may have written an entry and not its vectors.
ENTRY = np.dtype([("start", "<u8"), ("tokens", "<u4"), ("checksum", "<u4")])


def kept_token_vectors(request: TeacherRequest, dimension: int) -> TokenVectors | None:
    """This process's cache, if `teacher.token_cache_gb` asks for one; one of another model, texts or caps is removed.

    Raises:
        TasbError: the disk refuses.
    """
    if request.cache_gb is None:
        return None
    store, caps, processes = request.store, request.caps, request.processes
    decides = [
        model_digest(request.model, allow_bin=request.allow_bin),
        request.card.precision,
        [caps.query_max_length, caps.passage_max_length, caps.query_prefix, caps.passage_prefix],
        [store.queries.fingerprint, store.passages.fingerprint],
    ]
    digest = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:12]
    own = f"tokens-{processes.rank}-of-{processes.world}"
    folder = request.cache / f"{own}-{digest}"
    with os_errors_explained(folder, expected="a folder for the teacher's token vectors", do="choose another `output`"):
        for other in request.cache.glob(f"{own}-*"):
            if other != folder:
                shutil.rmtree(other)
        most_bytes = int(1e9 * request.cache_gb / processes.world)
        return TokenVectors(folder, len(store.queries) + len(store.passages), dimension, most_bytes)


class TokenVectors:
    """Vectors [tokens, dimension] of texts that have numbers. One process writes a folder at a time.

    Args:
        folder: the folder of the vectors, made if it does not exist; vectors that an earlier process kept are used.
        texts: the number of texts.
        dimension: the dimension of a token's vector.
        most_bytes: the most bytes of vectors to keep. Vectors beyond that are computed each time.

    Raises:
        OSError: the disk refuses.
    """

    def __init__(self, folder: Path, texts: int, dimension: int, most_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._dimension, self._most_bytes = folder, dimension, most_bytes
        entries = folder / ENTRIES
        if not entries.exists() or entries.stat().st_size != texts * ENTRY.itemsize:
            with entries.open("wb") as file:
                file.truncate(texts * ENTRY.itemsize)  # zeros that take no space yet
        self._entries = np.memmap(entries, ENTRY, "r+", shape=(texts,))
        (folder / VECTORS).touch()
        self._file = (folder / VECTORS).open("r+b", buffering=0)
        kept = self._entries[self._entries["tokens"] > 0]
        self._end = int((kept["start"] + kept["tokens"] * np.uint64(self._size(1))).max(initial=0))
        self._full = False

    def __len__(self) -> int:
        """How many texts are kept."""
        return int(np.count_nonzero(self._entries["tokens"]))

    @property
    def bytes(self) -> int:
        """The size of all vectors that are kept."""
        return self._end

    def of(
        self, numbers: NDArray[np.integer], compute: Callable[[NDArray[np.intp]], Sequence[torch.Tensor]]
    ) -> list[torch.Tensor]:
        """The vectors of some texts, in fp32 on the CPU, as fp16 rounds them: whether read or computed.

        Args:
            numbers: the texts'.
            compute: gives the vectors of those at these positions of `numbers`, which are not kept.
        """
        found = [self._read(int(number)) for number in numbers]
        missing = np.flatnonzero([vectors is None for vectors in found])
        if len(missing):
            for position, vectors in zip(missing.tolist(), compute(missing), strict=True):
                rounded = vectors.to("cpu", torch.float16)
                self._keep(int(numbers[position]), rounded.contiguous().numpy())
                found[position] = rounded
        return [vectors.float() for vectors in found if vectors is not None]

    def _size(self, tokens: int) -> int:
        return tokens * self._dimension * np.dtype(np.float16).itemsize

    def _read(self, number: int) -> torch.Tensor | None:
        start, tokens, checksum = self._entries[number].tolist()
        if not tokens:
            return None
        content = bytearray(os.pread(self._file.fileno(), self._size(tokens), start))
        if zlib.crc32(content) != checksum:
            return None
        return torch.frombuffer(content, dtype=torch.float16).view(tokens, self._dimension)

    def _keep(self, number: int, vectors: NDArray[np.float16]) -> None:
        if self._full or not np.isfinite(vectors).all():
            return
        content = vectors.tobytes()
        if self._end + len(content) > self._most_bytes:
            self._stop("as many bytes as `teacher.token_cache_gb` allows")
            return
        try:
            os.pwrite(self._file.fileno(), content, self._end)
        except OSError as error:
            self._stop(f"the disk refuses more ({error.strerror})")
            return
        self._entries[number] = (self._end, len(vectors), zlib.crc32(content))
        self._end += len(content)

    def _stop(self, reason: str) -> None:
        self._full = True
        LOG.info(
            "%s has the token vectors of %s of %s texts, %.1f GB: %s; the teacher computes others in each batch",
            *(self._folder, f"{len(self):,}", f"{len(self._entries):,}", self._end / 1e9, reason),
        )
