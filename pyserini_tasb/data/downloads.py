"""Downloads of published files over HTTP. An interrupted download continues, and no file is used before it is verified.

Own code, because pooch 1.9 begins a broken download anew, which here are gigabytes, and huggingface_hub 1.x goes on
without asking whether the file is still the same.
"""

from __future__ import annotations

import contextlib
import email.utils
import errno
import hashlib
import http.client
import json
import logging
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from pyserini_tasb import __version__
from pyserini_tasb.artifacts import write_whole
from pyserini_tasb.errors import TasbError, argument, os_errors_explained
from pyserini_tasb.parsing import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from email.message import Message
    from io import FileIO
    from pathlib import Path
    from typing import BinaryIO


LOG = logging.getLogger(__name__)
BLOCK = 1 << 20
# What a server says when a later try may succeed.
PASSING = {408, 425, 429, 500, 502, 503, 504}
RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True)
class Download:
    """One file as its publisher offers it.

    Args:
        name: its file name, on a mirror and on this disk.
        url: where the publisher has it.
        md5: the MD5 checksum of the whole file, 32 hexadecimal digits.
        about: bytes, to see beforehand whether the disk has room.
        headers: further HTTP headers that the publisher's server needs.
    """

    name: str
    url: str
    md5: str
    about: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to try again without a single new byte. Times in seconds."""

    tries: int = 7
    first_pause: float = 1.0
    longest_pause: float = 60.0
    silence: float = 60.0


@dataclass(frozen=True)
class Internet:
    """How files are downloaded.

    Args:
        mirror: address of a folder with all files, instead of their publishers' servers.
        patience: the servers to download from.

    Raises:
        TasbError: the mirror is not an http or https address.
    """

    mirror: str | None = None
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        if self.mirror is None:
            return
        parts = urllib.parse.urlsplit(self.mirror)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise TasbError(
                where=f"{argument('base_url')}",
                expected="an address that begins with http:// or https://",
                found=repr(self.mirror),
                do=f"for a folder on this machine, use {argument('source')}",
            )

    def address(self, download: Download) -> str:
        """Where a file is taken from."""
        return f"{self.mirror.rstrip('/')}/{download.name}" if self.mirror else download.url

    def fetch(self, download: Download, target: Path) -> Contents:
        """Download a file into `target`, going on where an earlier try stopped.

        Args:
            download: what; its md5 decides whether it is right.
            target: does not exist before; exists afterwards only if the checksum is right.

        Returns:
            What is in the file.

        Raises:
            TasbError: it cannot be had, or its checksum is wrong; then it is kept aside as `….rejected`.
        """
        address, part = self.address(download), target.with_name(target.name + ".part")
        transfer(address, part, download.headers, self.patience)
        contents = check_contents(part)
        wrong = difference(contents, md5=download.md5)
        if wrong:
            aside = set_aside(part, target.name)
            raise TasbError(
                where=address,
                expected=wrong[0],
                found=f"{wrong[1]} (kept as {aside})",
                do="repeat the command, which downloads the file again. If the result is the same, the server's file "
                f"is not the published one: use {argument('base_url')} or {argument('source')}",
            )
        part.replace(target)
        return contents


@dataclass(frozen=True)
class _Version:
    """Which version of a file the bytes on this disk begin; `validator` is its ETag or, without one, its date."""

    url: str
    validator: str | None
    length: int | None


class _PassingError(Exception):
    """A later try may succeed, not before `pause` seconds."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        self.pause = pause
        super().__init__(reason)


def transfer(url: str, part: Path, headers: Mapping[str, str], patience: Patience) -> None:
    """Get the whole file behind `url` into `part`; go on with what `part` holds of the same version.

    A version is told by its ETag or date of change: from a server that sends neither, or that serves no ranges, the
    file begins anew each time. `part` keeps what came when it fails or is interrupted.

    Raises:
        TasbError: the server refuses, or too many tries in a row brought nothing; the disk is full.
    """
    fruitless, furthest = 0, _size(part)
    while True:
        try:
            _request(url, part, headers, patience)
        except (_PassingError, OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.filename:  # this disk's, not the network's
                raise _write_fault(part, error) from error
            size = _size(part)
            fruitless, furthest = (0, size) if size > furthest else (fruitless + 1, furthest)
            reason = str(getattr(error, "reason", None) or error) or type(error).__name__
            if fruitless >= patience.tries:
                raise TasbError(
                    where=url,
                    expected="a connection that lasts until the download is complete",
                    found=f"{reason}, after {in_words(size)}",
                    do=f"repeat the command later: it continues from there. Or use {argument('source')} or "
                    f"{argument('base_url')}",
                ) from error
            pause = max(patience.first_pause * 2 ** max(fruitless - 1, 0), getattr(error, "pause", 0.0))
            pause = min(pause, patience.longest_pause)
            LOG.warning("%s: %s; trying again in %.0f s", url, reason, pause)
            time.sleep(pause)
        else:
            _note_beside(part).unlink(missing_ok=True)
            return


def _request(url: str, part: Path, headers: Mapping[str, str], patience: Patience) -> None:
    begun = _begun(url, part)
    offset = _size(part) if begun else 0
    if begun and begun.length == offset:
        return  # it was whole, and the process ended before it could say so
    asked = {"User-Agent": f"pyserini-tasb/{__version__}", "Accept-Encoding": "identity", **headers}
    if begun and begun.validator and offset:
        asked |= {"Range": f"bytes={offset}-", "If-Range": begun.validator}
    with _opened(urllib.request.Request(url, headers=asked), part, patience.silence) as response:  # noqa: S310 - checked
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            if begun is None or not _continues(response, begun, offset):
                part.unlink(missing_ok=True)
                raise _PassingError("the file has changed on the server")
        else:
            offset, begun = 0, _version(response, url)
            part.unlink(missing_ok=True)
            write_whole(_note_beside(part), json.dumps(asdict(begun)))
        _receive(response, part, offset, begun.length)


def _begun(url: str, part: Path) -> _Version | None:
    """The version of which `part` holds the beginning; None if that is not known, so that it begins anew."""
    try:
        begun = _Version(**read_json(_note_beside(part)))
    except (TasbError, TypeError):
        return None
    return begun if begun.url == url and part.exists() else None


@contextlib.contextmanager
def _opened(request: urllib.request.Request, part: Path, silence: float) -> Iterator[http.client.HTTPResponse]:
    try:
        with urllib.request.urlopen(request, timeout=silence) as response:  # noqa: S310 - see `Internet`
            yield response
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)
            raise _PassingError("the file on the server is shorter than the part on this machine") from error
        if error.code in PASSING:
            raise _PassingError(f"HTTP {error.code} {error.reason}", _retry_after(error.headers)) from error
        raise TasbError(
            where=request.full_url,
            expected="the file",
            found=f"HTTP {error.code} {error.reason}",
            do=f"check {argument('base_url')}; or get the file some other way and name its folder with "
            f"{argument('source')}",
        ) from error


def _retry_after(headers: Message) -> float:
    value = headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    with contextlib.suppress(ValueError, TypeError):
        return email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    return 0.0


def _continues(response: http.client.HTTPResponse, begun: _Version, offset: int) -> bool:
    """True if these bytes follow ours; checked here too, as there are servers that ignore If-Range."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if not match or int(match[1]) != offset:
        return False
    if begun.length is not None and match[2] not in ("*", str(begun.length)):
        return False
    validators = {response.headers.get("ETag"), response.headers.get("Last-Modified")} - {None}
    return not validators or begun.validator in validators


def _version(response: http.client.HTTPResponse, url: str) -> _Version:
    tag, length = response.headers.get("ETag"), response.headers.get("Content-Length")
    # A weak tag may stay when bytes change.
    strong = tag if tag and not tag.startswith("W/") else None
    validator = strong or response.headers.get("Last-Modified")
    return _Version(url, validator, int(length) if length and length.isdecimal() else None)


def _receive(response: http.client.HTTPResponse, part: Path, offset: int, length: int | None) -> None:
    from tqdm.auto import tqdm

    name = part.name.removesuffix(".part")
    if length is not None:
        require_room(part.parent, length - offset, f"the rest of {name}")
    with (
        part.open("ab", buffering=0) as file,
        tqdm(total=length, initial=offset, desc=f"downloading {name}", unit="B", unit_scale=True) as bar,
    ):
        # read1: what came before a connection breaks is kept, which read(BLOCK) would drop.
        while block := response.read1(BLOCK):
            _write_block(file, block, part)
            bar.update(len(block))
        _to_disk(file, part)
    if length is not None and _size(part) < length:
        raise _PassingError("the connection ended early")


def _note_beside(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@dataclass(frozen=True)
class Contents:
    """Size in bytes, md5 as 32 hexadecimal digits, and number of lines (a last line needs no line end)."""

    size: int
    md5: str
    rows: int


def check_contents(path: Path) -> Contents:
    """Read a whole file; the progress is shown.

    Raises:
        TasbError: it cannot be read.
    """
    advice = "check its permissions and its disk"
    with os_errors_explained(path, expected="a file that can be read", do=advice), path.open("rb") as file:
        return read_contents(file, f"checking {path.name.removesuffix('.part')}", os.fstat(file.fileno()).st_size)


def read_contents(source: BinaryIO, what: str, size: int, *, into: Path | None = None) -> Contents:
    """Read an open file to its end, and copy it to the disk if asked to.

    Args:
        source: the file.
        what: is shown beside the progress.
        size: bytes to come.
        into: the file to write.

    Raises:
        TasbError: the disk is full, or writing fails otherwise.
    """
    from tqdm.auto import tqdm

    md5, line_ends, last = hashlib.md5(usedforsecurity=False), 0, b"\n"
    done = 0
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(into.open("wb", buffering=0)) if into else None
        bar = stack.enter_context(tqdm(total=size, desc=what, unit="B", unit_scale=True))
        while block := source.read(BLOCK):
            if target and into:
                _write_block(target, block, into)
            md5.update(block)
            done += len(block)
            line_ends += block.count(b"\n")
            last = block[-1:]
            bar.update(len(block))
        if target and into:
            _to_disk(target, into)
    return Contents(done, md5.hexdigest(), line_ends + (last != b"\n"))


def difference(found: Contents, *, md5: str | None = None, rows: int | None = None) -> tuple[str, str] | None:
    """The difference in words: what was expected, and what was found. None if the contents are right.

    Args:
        found: the file's contents.
        md5: as published; None if it is not.
        rows: likewise.
    """
    if md5 is not None and found.md5 != md5:
        return f"md5 {md5}", f"md5 {found.md5}, {found.size:,} bytes"
    if rows is not None and found.rows != rows:
        return f"{rows:,} rows", f"{found.rows:,} rows, {found.size:,} bytes"
    return None


def set_aside(path: Path, name: str) -> Path:
    """Rename a wrong file, so that it is not used as `name`; return its new path."""
    aside = path.with_name(f"{name}.rejected")
    path.replace(aside)
    return aside


def require_room(folder: Path, needed: int, purpose: str) -> None:
    """Refuse to begin what the disk has no room for.

    Args:
        folder: a folder on the disk.
        needed: bytes.
        purpose: what for, in words.

    Raises:
        TasbError: fewer bytes are free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise TasbError(
            where=str(folder),
            expected=f"{in_words(needed)} free for {purpose}",
            found=f"{in_words(free)} free",
            do=f"free some, or choose a folder on another disk with {argument('output')}; finished downloads are kept",
        )


def in_words(size: float) -> str:
    """Bytes for a reader: `1.06 GB`."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.2f} GB"


def _write_block(file: FileIO, block: bytes, path: Path) -> None:
    rest = memoryview(block)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise _write_fault(path, error) from error


def _to_disk(file: FileIO, path: Path) -> None:
    try:
        os.fsync(file.fileno())
    except OSError as error:
        raise _write_fault(path, error) from error


def _write_fault(path: Path, error: OSError) -> TasbError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return TasbError(
        where=str(path),
        expected="space on the disk" if full else "a file that can be written",
        found=error.strerror or str(error),
        do=f"{'free some' if full else 'check the folder'}, and repeat the command: it continues from here",
    )
