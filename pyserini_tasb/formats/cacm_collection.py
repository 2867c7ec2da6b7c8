"""This package's CACM, laid out for Pyserini; as a command: `python -m pyserini_tasb.formats.cacm_collection DIR`."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.errors import argument, os_errors_explained
from pyserini_tasb.results import FileResult

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyserini_tasb.results import StrPath


DATA = Path(__file__).parent / "cacm"
TOPICS = "topics.cacm.txt"
# Each document ends with its citations, as three numbers a line: no text, and nothing to search for.
_CITATION = re.compile(r"^\d+\t\d+\t\d+$", re.MULTILINE)
NO_ABSTRACT = "CACM "  # where the abstract would be, there is the issue
_TAG = re.compile(r"</?(?:html|pre)>")


@dataclass(frozen=True)
class Cacm(FileResult):
    """CACM in a folder: a small collection for trying things.

    Attributes:
        path: the folder.
        documents: the 3,204 documents, each with `id` and `contents`.
        titled: the 1,588 documents that have an abstract, with title and text in two fields, for training.
        topics: the 64 queries, as `qid TAB text`. Stock Pyserini reads any path with "cacm" in it in Anserini's format,
            so give its commands `topics.cacm.txt` beside this file.
        qrels: the judgments of 52 queries, with padded docids.
        archive: a folder with Anserini's file of the documents, for its HtmlCollection.
    """

    documents: Path
    titled: Path
    topics: Path
    qrels: Path
    archive: Path


def cacm(output: StrPath = "cacm") -> Cacm:
    """Write CACM, a small collection that comes with this package, into a folder; replace files of an earlier call.

    `archive/cacm.tar.gz`, `topics.cacm.txt` and `qrels.cacm.txt` are Anserini's files, unchanged.
    `documents/cacm.jsonl` has the same documents for encoders, `topics.tsv` has the same queries, one on each line, and
    `qrels.repaired.txt` has the same judgments with padded docids. `titled/cacm.jsonl` has the documents with an
    abstract. The command `python -m pyserini_tasb.formats.cacm_collection FOLDER` does the same.

    Args:
        output: the folder.

    Raises:
        TasbError: the folder cannot be written to.

    Source: Anserini's repository; pyserini_tasb/formats/cacm/README.md has checksums and terms.
    """
    folder = Path(output)
    with os_errors_explained(
        folder, expected="a folder that can be written to", do=f"choose another {argument('output')}"
    ):
        return _written(folder)


def _written(folder: Path) -> Cacm:
    # Folders of their own: Anserini indexes every file that it finds in a folder, Pyserini encodes every one.
    for name in ("archive", "documents", "titled"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    places = {"cacm.tar.gz": "archive", TOPICS: ".", "qrels.cacm.txt": ".", "train.yaml": "."}
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
    topics = "".join(f"{qid}\t{text}\n" for qid, text in read_topics(DATA / TOPICS))
    (folder / "topics.tsv").write_text(topics, encoding="utf-8")
    qrels = (DATA / "qrels.cacm.txt").read_text(encoding="utf-8")
    (folder / "qrels.repaired.txt").write_text(repair_qrels(qrels), encoding="utf-8")
    return Cacm(
        folder,
        documents=folder / "documents",
        titled=folder / "titled",
        topics=folder / "topics.tsv",
        qrels=folder / "qrels.repaired.txt",
        archive=folder / "archive",
    )


def read_documents(archive: Path) -> Iterator[tuple[str, str, str]]:
    """Docid, title and the rest (abstract, authors, keywords) of each, without tags, citations and line ends."""
    with tarfile.open(archive) as files:
        for member in files:
            content = files.extractfile(member)
            if content is not None:
                text = _CITATION.sub("", _TAG.sub("", content.read().decode("ascii")))
                title, _, rest = text.strip().partition("\n\n")
                yield Path(member.name).stem, " ".join(title.split()), " ".join(rest.split())


def read_topics(path: Path) -> Iterator[tuple[str, str]]:
    """Qid and text of each topic, the text on one line."""
    for qid, text in re.findall(r"<DOCNO>(.*?)</DOCNO>(.*?)</DOC>", path.read_text(encoding="utf-8"), re.DOTALL):
        yield qid.strip(), " ".join(text.split())


def repair_qrels(qrels: str) -> str:
    """Pad the 55 docids that never match: `CACM-46` is `CACM-0046` in the archive."""
    return re.sub(r"\bCACM-(\d+)", lambda docid: f"CACM-{int(docid[1]):04d}", qrels)


if __name__ == "__main__":
    cacm(sys.argv[1])
