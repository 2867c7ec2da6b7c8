"""Query vectors: encoded, and kept in a file so that a second run need not encode again."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.artifacts import read_sidecar, sha256, write_whole
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.models.checkpoints import model_digest
from pyserini_tasb.parsing import explained
from pyserini_tasb.resume import partial_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.recipes.types import Backend


LOG = logging.getLogger(__name__)

TRAINING_QUERY_TOKENS = 30  # Section 4.1
QUERIES_AT_ONCE = 2_048


class QueryVectors:
    """Vectors of queries by one encoder, queries cut as in training (30 tokens).

    Args:
        texts: the queries.
        encoder: what `--encoder` takes.
        device: `cpu`, `cuda:0`, …
        backend: `torch`, `onnx` or `auto`.

    Raises:
        TasbError: no such encoder, or its weights are not here.
    """

    def __init__(
        self, texts: Sequence[str], encoder: str, device: str = "cpu", *, backend: Backend | None = None
    ) -> None:
        self._texts, self._encoder, self._device, self._backend = texts, encoder, device, backend
        self._fingerprint = _fingerprint(texts, encoder)

    def encode(self) -> NDArray[np.float32]:
        """Vectors [queries, dimension], with progress on stderr."""
        encode, dimension = self._model()
        vectors = np.empty((len(self._texts), dimension), dtype=np.float32)
        for rows in self._chunks(0):
            vectors[rows] = encode(self._texts[rows])
        return vectors

    def read_or_encode(self, path: Path) -> NDArray[np.float32]:
        """Vectors [queries, dimension] of a `.npy` file, which is made if it is not there.

        `PATH.json` beside it says what they are vectors of; where it is missing, that is logged. An interrupted run
        leaves `PATH.part`, and the next goes on from it.

        Args:
            path: the file.

        Raises:
            TasbError: the file's vectors are of other queries or of another encoder; or it cannot be written.
        """
        if path.exists():
            return self._read(path)
        self._encode_to(path)
        return self._read(path)

    def _read(self, path: Path) -> NDArray[np.float32]:
        found = read_sidecar(path.with_name(f"{path.name}.json"))
        if not found:
            LOG.info("%s is used without a check, because no %s.json beside it describes the vectors", path, path.name)
        elif found.get("fingerprint") != self._fingerprint:
            raise TasbError(
                where=str(path),
                expected=f"vectors of these {len(self._texts)} queries by `{self._encoder}`",
                found=f"vectors of {found.get('queries')} queries by `{found.get('encoder')}`, texts or weights differ",
                do=f"name another file with {argument('vectors')}, or remove this one",
            )
        elif "sha256" in found and sha256(path) != found["sha256"]:
            raise TasbError(
                where=str(path),
                expected=f"sha256 {found['sha256']}, as {path.name}.json says",
                found="other bytes: the file was changed or damaged",
                do="remove it to encode again",
            )
        with explained(path, expected="vectors in a .npy file", do="remove it to encode again"):
            vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        if vectors.ndim != 2 or len(vectors) != len(self._texts) or vectors.dtype.kind != "f":
            raise TasbError(
                where=str(path),
                expected=f"floating-point numbers [{len(self._texts)}, dimension]",
                found=f"{vectors.dtype} {list(vectors.shape)}",
                do=f"name another file with {argument('vectors')}, or remove this one to encode again",
            )
        return np.asarray(vectors, dtype=np.float32)

    def _encode_to(self, path: Path) -> None:
        with partial_file(path, "a file to which the vectors can be written", name="vectors") as part:
            done = part.about
            if done.get("fingerprint") != self._fingerprint or done["bytes"] > part.size:
                done = {"fingerprint": self._fingerprint, "rows": 0, "bytes": 0}
            encode, dimension = self._model()
            part.begin(done, done["bytes"])
            # Written, not memory-mapped: on a full disk a mapped page kills the process, a write says what is wrong.
            if not done["bytes"]:
                part.append(_header(len(self._texts), dimension))
            for rows in self._chunks(done["rows"]):
                part.append(encode(self._texts[rows]).astype("<f4", copy=False).tobytes())
                part.note({**done, "rows": rows.stop, "bytes": part.size})
            about = {
                "fingerprint": self._fingerprint,
                "encoder": self._encoder,
                "queries": len(self._texts),
                "sha256": sha256(part.path),
            }
            write_whole(path.with_name(f"{path.name}.json"), json.dumps(about))
            part.finish()

    def _model(self) -> tuple[Callable[[Sequence[str]], NDArray[np.float32]], int]:
        from pyserini_tasb.encoding.encoders import TasbQueryEncoder

        encoder = TasbQueryEncoder(self._encoder, device=self._device, backend=self._backend)
        return lambda texts: encoder.encode_batch(texts, max_length=TRAINING_QUERY_TOKENS), encoder.dimension

    def _chunks(self, start: int) -> Iterator[slice]:
        from tqdm.auto import tqdm

        with tqdm(total=len(self._texts), initial=start, desc="encoding", unit=" queries") as bar:
            for first in range(start, len(self._texts), QUERIES_AT_ONCE):
                rows = slice(first, min(first + QUERIES_AT_ONCE, len(self._texts)))
                yield rows
                bar.update(rows.stop - rows.start)


def _fingerprint(texts: Sequence[str], encoder: str) -> str:
    """A digest of all that the vectors depend on, except versions and hardware."""
    digest = hashlib.sha256(f"{model_digest(encoder)} {TRAINING_QUERY_TOKENS}".encode())
    for text in texts:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()


def _header(rows: int, dimension: int) -> bytes:
    """The first bytes of a `.npy` file, before its numbers."""
    header = io.BytesIO()
    about = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)}
    np.lib.format.write_array_header_1_0(header, about)
    return header.getvalue()
