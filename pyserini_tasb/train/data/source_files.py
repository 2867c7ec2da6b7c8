"""What a store was built from, for its manifest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pyserini_tasb.texts.manifest import checksum


def describe_source(role: str, name: str) -> dict[str, Any]:
    """Size and checksum of a source.

    Args:
        role: what it was used as, e.g. `collection`.
        name: the path of a file or folder; what is neither, a name that Pyserini knows, has no size.

    Returns:
        The role, the name, and for files `bytes` and `sha256`; a folder's is that of its files' checksums and names.
    """
    path = Path(name).expanduser()
    description: dict[str, Any] = {"role": role, "name": name}
    if path.is_file():
        description |= {"bytes": path.stat().st_size, "sha256": checksum(path)}
    elif path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        listing = "".join(f"{checksum(file)}  {file.relative_to(path).as_posix()}\n" for file in files)
        size = sum(file.stat().st_size for file in files)
        description |= {"bytes": size, "sha256": hashlib.sha256(listing.encode()).hexdigest()}
    return description
