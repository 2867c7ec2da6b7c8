"""A published file, downloaded and verified before anybody may read it."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.train.data.msmarco.contents import Contents, contents_of, difference
from pyserini_tasb.train.data.msmarco.transfer import Patience, transfer

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.train.data.msmarco.files import Download


@dataclass(frozen=True)
class Internet:
    """How files are downloaded.

    Args:
        mirror: address of a folder with all files, instead of their publishers' servers.
        patience: with these servers.

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
                where="--base-url",
                expected="an address that begins with http:// or https://",
                found=repr(self.mirror),
                do="for a folder on this machine, use --source",
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
        address = self.address(download)
        part = target.with_name(target.name + ".part")
        transfer(address, part, download.headers, self.patience)
        contents = contents_of(part)
        wrong = difference(contents, md5=download.md5)
        if wrong:
            aside = set_aside(part, target.name)
            raise TasbError(
                where=address,
                expected=wrong[0],
                found=f"{wrong[1]} (kept as {aside})",
                do="run the same command again: it begins anew; if that finds the same, the server has another file "
                "than the one published: see --base-url and --source",
            )
        part.replace(target)
        return contents


def set_aside(path: Path, name: str) -> Path:
    """Rename what turned out wrong, so that nobody takes it for `name`; return its new place."""
    aside = path.with_name(f"{name}.rejected")
    path.replace(aside)
    return aside
