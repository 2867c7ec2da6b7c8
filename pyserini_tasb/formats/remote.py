"""Files that lie somewhere else, such as `s3://bucket/corpus.jsonl`: read by fsspec, with the methods of a `Path`.

fsspec comes with torch. Each kind of storage has a package of its own, such as s3fs, which reads the account and the
address of the storage from its own files and variables of the environment.
"""

from __future__ import annotations

import contextlib
import fnmatch
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Iterator

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# What tells that a file was written anew, by the storage: the first that it has.
_VERSIONS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "created")


def is_url(text: str) -> bool:
    """True for text with a protocol, such as `s3://bucket/file`."""
    return _URL.match(text) is not None


def path_of(text: str) -> Path:
    """The file or folder that a path or a URL names.

    Raises:
        TasbError: no package is installed that reads such a URL.
    """
    if not is_url(text):
        return Path(text)
    path = RemotePath(text)
    path.forget()
    return cast("Path", path)


@dataclass(frozen=True)
class RemoteStatus:
    """A file's size and version.

    Args:
        st_size: bytes; -1 if the storage does not say.
        st_mtime_ns: changes when the file does: a time or a digest, as the storage tells it.
    """

    st_size: int
    st_mtime_ns: str


class RemotePath:
    """A file or a folder behind a URL, with those methods of `Path` that reading a collection takes.

    Args:
        url: its URL.

    Raises:
        TasbError: no package is installed that reads it.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs
        from fsspec.registry import known_implementations

        protocol = url.partition("://")[0]
        try:
            self._files, self._inner = url_to_fs(url)
        except (ImportError, ValueError) as error:
            known = known_implementations.get(protocol, {})
            package = known.get("class", "").partition(".")[0]
            raise TasbError(
                where=url,
                expected=f"a package that reads `{protocol}://`",
                found=str(error),
                do=f"pip install {package}" if package not in {"", "fsspec"} else "check the URL, or copy the file",
            ) from error
        self._url = url.rstrip("/")

    def forget(self) -> None:
        """Look anew at what is there: fsspec remembers what it has listed."""
        self._files.invalidate_cache()

    def __str__(self) -> str:
        return self._url

    def __fspath__(self) -> str:
        return self._url

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and other._url == self._url

    def __hash__(self) -> int:
        return hash(self._url)

    def __lt__(self, other: RemotePath) -> bool:
        return self._url < other._url

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self._url}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return self._url.rpartition("/")[2]

    @property
    def parent(self) -> RemotePath:
        """The folder."""
        return RemotePath(self._url.rpartition("/")[0])

    @property
    def parts(self) -> tuple[str, ...]:
        """The names between slashes."""
        return tuple(self._url.split("/"))

    def absolute(self) -> RemotePath:
        """Itself."""
        return self

    def relative_to(self, folder: RemotePath) -> Path:
        """The rest of the URL, below a folder."""
        return Path(self._url.removeprefix(f"{folder}/"))

    def is_file(self) -> bool:
        """True for a file."""
        with _as_os_errors(self._url):
            return bool(self._files.isfile(self._inner))

    def is_dir(self) -> bool:
        """True if files lie below."""
        with _as_os_errors(self._url):
            return bool(self._files.isdir(self._inner))

    def stat(self) -> RemoteStatus:
        """Size and version."""
        with _as_os_errors(self._url):
            info = self._files.info(self._inner)
        version = next((info[key] for key in _VERSIONS if info.get(key) is not None), "")
        size = info.get("size")
        return RemoteStatus(-1 if size is None else int(size), str(version))

    def rglob(self, pattern: str) -> Iterator[RemotePath]:
        """All files below whose names match."""
        with _as_os_errors(self._url):
            found = self._files.find(self._inner)
        for inner in found:
            rest = inner.removeprefix(self._inner.rstrip("/")).lstrip("/")
            if fnmatch.fnmatchcase(rest.rpartition("/")[2], pattern):
                yield self / rest

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """The files in the folder itself whose names match."""
        return (path for path in self.rglob(pattern) if path.parent == self)

    def open(self, _mode: str = "rb") -> io.BufferedReader:
        """The file, for reading bytes; read ahead in blocks of megabytes."""
        with _as_os_errors(self._url):
            return io.BufferedReader(_Bytes(self._url, self._files.open(self._inner, "rb")), 1 << 20)


class _Bytes(io.RawIOBase):
    """A file of fsspec, with errors of the operating system's kind: each storage raises its own."""

    def __init__(self, url: str, file: Any) -> None:
        self._url, self._file = url, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return getattr(self._file, "size", None) is not None  # a server that knows no ranges only streams

    def readinto(self, buffer: Any) -> int:
        with _as_os_errors(self._url):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _as_os_errors(self._url):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        self._file.close()
        super().close()


@contextlib.contextmanager
def _as_os_errors(url: str) -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{url}: {type(error).__name__}: {error}") from error
