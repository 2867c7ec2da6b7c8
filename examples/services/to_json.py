"""Write vectors of `tasb encode` as JSON for Elasticsearch and OpenSearch, or for Vespa: docs/services.md."""

from __future__ import annotations

import argparse
import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.encoding.vectors import VectorFolder
from pyserini_tasb.formats.collections import open_collection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# The action and the document of `POST /passages/_bulk`, or an operation of `vespa feed`.
FORMATS = {
    "bulk": '{{"index": {{"_id": {docid}}}}}\n{{"docid": {docid}, "contents": {text}, "vector": {vector}}}\n',
    "vespa": '{{"put": {document}, "fields": {{"docid": {docid}, "contents": {text}, "vector": {vector}}}}}\n',
}


def lines(vectors: Path, corpus: Path, form: str) -> Iterator[str]:
    """One passage after the other; only a block of vectors is in memory."""
    texts = iter(open_collection(corpus))
    for docids, block in VectorFolder(vectors).blocks(rows=1_000):
        for docid, vector, (same, text) in zip(docids, block, islice(texts, len(docids)), strict=True):
            if docid != same:
                raise SystemExit(f"not the corpus of these vectors: {same} stands where they have {docid}")
            numbers = f"[{', '.join(map(str, vector))}]"  # a float32's shortest digits, which read back equal
            names = {"docid": docid, "text": text, "document": f"id:passages:passage::{docid}"}
            quoted = {name: json.dumps(value) for name, value in names.items()}
            yield FORMATS[form].format(**quoted, vector=numbers)


def requests(passages: Iterable[str], most: float) -> Iterator[str]:
    """Passages joined, with at most so many characters together."""
    content = ""
    for passage in passages:
        if content and len(content) + len(passage) > most:
            yield content
            content = ""
        content += passage
    yield content


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--megabytes", type=float, default=10, help="the size of a file: a request's body")
    parser.add_argument("--output", type=Path, required=True, help="a new folder, for 000000.json, 000001.json, …")
    args = parser.parse_args()
    args.output.mkdir()
    for number, content in enumerate(requests(lines(args.vectors, args.corpus, args.format), args.megabytes * 1e6)):
        (args.output / f"{number:06}.json").write_text(content)
