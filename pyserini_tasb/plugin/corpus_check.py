"""Refuse docids that would corrupt an index or a run, before hours of encoding."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from pyserini_tasb.errors import TasbError

SHOWN = 10


def check_docids(corpus: str, docids: list[str], docid_field: str | None = None) -> None:
    """Raise `TasbError` when a docid is empty, holds white space, or occurs twice.

    Pyserini strips docids when it reads them back and TREC runs split on white space, so such ids do not survive.

    Args:
        corpus: the JSONL file or folder that was read.
        docids: its docids, in Pyserini's reading order.
        docid_field: the JSON key they came from; by default the first of Pyserini's `id`, `_id`, `docid`.
    """
    counts = Counter(docids)
    bad = {docid for docid, count in counts.items() if count > 1 or not docid or docid.split() != [docid]}
    if not bad:
        return
    places = _places(Path(corpus), bad, [docid_field] if docid_field else ["id", "_id", "docid"])
    shown = "".join(f"\n    {place}" for place in places[:SHOWN])
    more = f"\n    … and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
    raise TasbError(
        where=corpus,
        expected="docids that are unique, not empty and without white space",
        found=f"{len(bad)} that are not:{shown}{more}",
        do="rename or remove these documents; nothing was encoded or written",
    )


def _places(corpus: Path, bad: set[str], keys: list[str]) -> list[str]:
    found = []
    for file in sorted(corpus.iterdir()) if corpus.is_dir() else [corpus]:
        with file.open() as lines:
            for number, line in enumerate(lines, start=1):
                document = json.loads(line)
                docid = str(next(document[key] for key in keys if key in document))
                if docid in bad:
                    found.append(f"{file}:{number}: {docid!r}")
    return found
