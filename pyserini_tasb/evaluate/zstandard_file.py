"""Zstandard files, read as a stream that notices when it is cut off."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAGIC = b"\x28\xb5\x2f\xfd"
CHUNK = 1 << 17


def open_zstandard(path: Path, compressed: io.BufferedReader) -> io.BufferedReader:
    """What is in a Zstandard file of one frame or several.

    Args:
        path: for messages.
        compressed: the file.

    Raises:
        TasbError: the package `zstandard` is not installed.
    """
    try:
        import zstandard
    except ImportError as error:
        raise TasbError(
            where=str(path),
            expected="the package `zstandard`, which reads this file",
            found="it is not installed",
            do="pip install zstandard, or decompress the file",
        ) from error
    return io.BufferedReader(
        _Frames(compressed, zstandard.ZstdDecompressor().decompressobj, zstandard.ZstdError), CHUNK
    )


class _Frames(io.RawIOBase):
    # The package's own stream ends without a word where a file is cut off.
    def __init__(self, compressed: io.BufferedReader, new_frame: Callable[[], Any], error: type[Exception]) -> None:
        self._compressed, self._new_frame, self._error = compressed, new_frame, error
        self._frame: Any = None
        self._left, self._ahead = memoryview(b""), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            chunk = self._ahead or self._compressed.read(CHUNK)
            self._ahead = b""
            if not chunk:
                if self._frame is not None:
                    raise EOFError("the file ends within its Zstandard data")
                return 0
            self._decompress(chunk)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def _decompress(self, chunk: bytes) -> None:
        if self._frame is None:
            self._frame = self._new_frame()
        try:
            self._left = memoryview(self._frame.decompress(chunk))
        except self._error as error:
            raise OSError(str(error)) from error
        if self._frame.eof:
            self._ahead, self._frame = self._frame.unused_data, None
