"""This package's CACM, laid out for Pyserini; as a command: `python -m pyserini_tasb.formats.cacm_collection DIR`."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


DATA = Path(__file__).parent / "cacm"
# Each document ends with its citations, as three numbers a line: no text, and nothing to search for.
_CITATION = re.compile(r"^\d+\t\d+\t\d+$", re.MULTILINE)
NO_ABSTRACT = "CACM "  # where the abstract would be, there is the issue
_TAG = re.compile(r"</?(?:html|pre)>")


def lay_out(folder: Path) -> None:
    """Write what the demo reads into `folder`.

    `archive/cacm.tar.gz`, `topics.cacm.txt` and `qrels.cacm.txt` are Anserini's files as they are.
    `documents/cacm.jsonl` has the same documents for Pyserini's encoders, `qrels.repaired.txt` the same judgments with
    padded docids. `titled/cacm.jsonl` has those with an abstract, title and text apart: to train on.
    """
    # Folders of their own: Anserini indexes every file that it finds in a folder, Pyserini encodes every one.
    for name in ("archive", "documents", "titled"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    places = {"cacm.tar.gz": "archive", "topics.cacm.txt": ".", "qrels.cacm.txt": ".", "train.yaml": "."}
    for name, place in places.items():
        shutil.copyfile(DATA / name, folder / place / name)
    with (
        (folder / "documents" / "cacm.jsonl").open("w", encoding="utf-8") as documents,
        (folder / "titled" / "cacm.jsonl").open("w", encoding="utf-8") as titled,
    ):
        for docid, title, text in read_documents(DATA / "cacm.tar.gz"):
            documents.write(json.dumps({"id": docid, "contents": f"{title} {text}".strip()}) + "\n")
            if not text.startswith(NO_ABSTRACT):
                titled.write(json.dumps({"id": docid, "title": title, "text": text}) + "\n")
    qrels = (DATA / "qrels.cacm.txt").read_text(encoding="utf-8")
    (folder / "qrels.repaired.txt").write_text(repair_qrels(qrels), encoding="utf-8")


def read_documents(archive: Path) -> Iterator[tuple[str, str, str]]:
    """Docid, title and the rest (abstract, authors, keywords) of each, without tags, citations and line ends."""
    with tarfile.open(archive) as files:
        for member in files:
            content = files.extractfile(member)
            if content is not None:
                text = _CITATION.sub("", _TAG.sub("", content.read().decode("ascii")))
                title, _, rest = text.strip().partition("\n\n")
                yield Path(member.name).stem, " ".join(title.split()), " ".join(rest.split())


def repair_qrels(qrels: str) -> str:
    """Pad the 55 docids that never match: `CACM-46` is `CACM-0046` in the archive."""
    return re.sub(r"\bCACM-(\d+)", lambda docid: f"CACM-{int(docid[1]):04d}", qrels)


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
