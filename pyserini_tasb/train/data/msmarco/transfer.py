"""One file over HTTP into one on this disk, going on where it stopped, never splicing two versions."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import json
import re
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pyserini_tasb import __version__
from pyserini_tasb.errors import TasbError
from pyserini_tasb.train.data.msmarco.disk import in_words, require_room, to_disk, write_all, write_fault
from pyserini_tasb.whole_file import whole_text_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from email.message import Message
    from pathlib import Path

BLOCK = 1 << 20
# What a server says when a later try may succeed.
PASSING = {408, 425, 429, 500, 502, 503, 504}
RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to try again without a single new byte. Times in seconds."""

    tries: int = 7
    first_pause: float = 1.0
    longest_pause: float = 60.0
    silence: float = 60.0


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
                raise write_fault(part, error) from error
            size = _size(part)
            fruitless, furthest = (0, size) if size > furthest else (fruitless + 1, furthest)
            if fruitless >= patience.tries:
                raise _gave_up(url, part, error) from error
            pause = max(patience.first_pause * 2 ** max(fruitless - 1, 0), getattr(error, "pause", 0.0))
            pause = min(pause, patience.longest_pause)
            print(f"{url}: {_reason(error)}; trying again in {pause:.0f} s", file=sys.stderr)
            time.sleep(pause)
        else:
            _note_of(part).unlink(missing_ok=True)
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
            offset, begun = 0, _version_of(response, url)
            part.unlink(missing_ok=True)
            with whole_text_file(_note_of(part)) as note:
                json.dump(asdict(begun), note)
        _receive(response, part, offset, begun.length)


@contextlib.contextmanager
def _opened(request: urllib.request.Request, part: Path, silence: float) -> Iterator[http.client.HTTPResponse]:
    try:
        with urllib.request.urlopen(request, timeout=silence) as response:  # noqa: S310 - see `fetch`
            yield response
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)
            raise _PassingError("the file is shorter on the server than what is here") from error
        if error.code in PASSING:
            raise _PassingError(f"HTTP {error.code} {error.reason}", _retry_after(error.headers)) from error
        raise TasbError(
            where=request.full_url,
            expected="the file",
            found=f"HTTP {error.code} {error.reason}",
            do="check --base-url; or get the file some other way and name its folder with --source",
        ) from error


def _receive(response: http.client.HTTPResponse, part: Path, offset: int, length: int | None) -> None:
    from tqdm import tqdm

    if length is not None:
        require_room(part.parent, length - offset, f"the rest of {part.name.removesuffix('.part')}")
    name = part.name.removesuffix(".part")
    with (
        part.open("ab", buffering=0) as file,
        tqdm(total=length, initial=offset, desc=f"download {name}", unit="B", unit_scale=True) as bar,
    ):
        # read1: what came before a connection breaks is kept, which read(BLOCK) would drop.
        while block := response.read1(BLOCK):
            write_all(file, block, part)
            bar.update(len(block))
        to_disk(file, part)
    if length is not None and _size(part) < length:
        raise _PassingError("the connection ended early")


def _version_of(response: http.client.HTTPResponse, url: str) -> _Version:
    tag = response.headers.get("ETag")
    # A weak tag may stay when bytes change.
    strong = tag if tag and not tag.startswith("W/") else None
    length = response.headers.get("Content-Length")
    return _Version(
        url, strong or response.headers.get("Last-Modified"), int(length) if length and length.isdecimal() else None
    )


def _continues(response: http.client.HTTPResponse, begun: _Version, offset: int) -> bool:
    """Whether these bytes follow ours; checked here too, as there are servers that ignore If-Range."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if not match or int(match[1]) != offset:
        return False
    if begun.length is not None and match[2] not in ("*", str(begun.length)):
        return False
    validators = {response.headers.get("ETag"), response.headers.get("Last-Modified")} - {None}
    return not validators or begun.validator in validators


def _retry_after(headers: Message) -> float:
    value = headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    with contextlib.suppress(ValueError, TypeError):
        return email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    return 0.0


def _begun(url: str, part: Path) -> _Version | None:
    """Of which version `part` holds the beginning; None if that is not known, so that it begins anew."""
    try:
        begun = _Version(**json.loads(_note_of(part).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return begun if begun.url == url and part.exists() else None


def _note_of(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _gave_up(url: str, part: Path, error: Exception) -> TasbError:
    return TasbError(
        where=url,
        expected="a connection that lasts until the file is here",
        found=f"{_reason(error)}; {in_words(_size(part))} came",
        do="run the same command again later: it goes on from there; or see --source and --base-url",
    )


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error) or type(error).__name__
