"""Which files of a folder were verified, so that they need not be read again while they stay as they were."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pyserini_tasb.train.data.msmarco.contents import Contents, contents_of
from pyserini_tasb.whole_file import whole_text_file

if TYPE_CHECKING:
    from pathlib import Path

LEDGER = "verified.json"


class Ledger:
    """Name → size, md5, rows, time of the last change, and what vouched for the file; kept in `verified.json`.

    Args:
        folder: whose files these are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            entries = json.loads((folder / LEDGER).read_bytes())
        except (OSError, ValueError):  # as good as none: all is verified again
            entries = {}
        self._entries: dict[str, dict[str, Any]] = entries if isinstance(entries, dict) else {}

    def contents(self, name: str) -> Contents | None:
        """The contents of a file that was verified and is still the same; a changed time makes it be read again."""
        entry, path = self._entries.get(name), self._folder / name
        try:
            noted = Contents(entry["size"], entry["md5"], entry["rows"]) if entry else None
            stat = path.stat()
        except (OSError, KeyError, TypeError):
            return None
        if entry is None or noted is None or stat.st_size != noted.size:
            return None
        if stat.st_mtime_ns != entry.get("changed"):
            if contents_of(path) != noted:
                return None
            self.note(name, noted, entry.get("vouched", ""))
        return noted

    def knows(self, name: str) -> bool:
        """Whether a file of that name was verified once, whatever it is like now."""
        return name in self._entries

    def vouched(self, name: str) -> str:
        """What vouched for a file, in words."""
        return str(self._entries[name]["vouched"])

    def note(self, name: str, contents: Contents, vouched: str) -> None:
        """Note that the file of that name was verified.

        Args:
            name: relative to the folder; a link stands for the file that it leads to.
            contents: its size, md5 and rows.
            vouched: by what, in words, e.g. `md5`.
        """
        changed = (self._folder / name).stat().st_mtime_ns
        self._entries[name] = {**asdict(contents), "changed": changed, "vouched": vouched}
        with whole_text_file(self._folder / LEDGER) as file:
            json.dump(self._entries, file, indent=1)
