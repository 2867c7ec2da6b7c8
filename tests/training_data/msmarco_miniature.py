"""MS MARCO in miniature: the real names and archive layouts, with the tiny collection's texts."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.data.downloads import Download
from pyserini_tasb.data.msmarco import MSMARCO
from pyserini_tasb.data.verified_folder import DataFile, TrainingFiles
from pyserini_tasb.formats.named import load_topics
from tests.conftest import TINY

if TYPE_CHECKING:
    from collections.abc import Sequence


PUBLISHED = (
    "collection.tar.gz", "queries.tar.gz", "collectionandqueries.tar.gz", "qrels.train.tsv", "qrels.dev.tsv",
    MSMARCO.scores.name,
)  # fmt: skip


@dataclass(frozen=True)
class Miniature:
    """The recipe's files, their bytes by name (plain and packed), and the dev queries that no evaluation set has."""

    files: TrainingFiles
    content: dict[str, bytes]
    held_out: list[str]

    def published(self) -> dict[str, bytes]:
        return {name: self.content[name] for name in PUBLISHED}


def make_miniature() -> Miniature:
    documents = [json.loads(line) for line in (TINY / "corpus.jsonl").open()]
    topics = [line.rstrip("\n").split("\t")[1] for line in (TINY / "topics.tsv").open()]
    evaluated = list(load_topics("msmarco-passage-dev-subset"))[:2] + list(load_topics("dl19-passage"))[:1]
    train = {str(100 + number): text for number, text in enumerate(topics[:6])}
    held_out = ["900001", "900002"]
    dev = {**dict(zip([*held_out, *evaluated], topics[5:], strict=True)), "900003": "judged by nobody"}
    passages = {str(pid): f"{document['title']} {document['text']}" for pid, document in enumerate(documents)}
    scores = [
        f"{10 - pid / 7:.6f}\t{-pid / 3:.6f}\t{qid}\t{row}\t{pid}"
        for row, qid in enumerate(train)
        for pid in range(20 + row, 40)
    ]
    plain = {
        "collection.tsv": [f"{pid}\t{text}" for pid, text in passages.items()],
        "queries.train.tsv": [f"{qid}\t{text}" for qid, text in train.items()],
        "queries.dev.tsv": [f"{qid}\t{text}" for qid, text in dev.items()],
        "qrels.train.tsv": [f"{qid}\t0\t{row}\t1" for row, qid in enumerate(train)] + ["100\t0\t50\t1"],
        "qrels.dev.tsv": [f"{qid}\t0\t{row}\t1" for row, qid in enumerate(dev) if qid != "900003"],
        MSMARCO.scores.name: scores,
        "queries.eval.tsv": ["1\tnot wanted"],
    }
    content = {name: ("\n".join(lines) + "\n").encode() for name, lines in plain.items()}
    queries = ["queries.train.tsv", "queries.dev.tsv", "queries.eval.tsv"]
    content["collection.tar.gz"] = packed(content, ["collection.tsv"])
    content["queries.tar.gz"] = packed(content, queries, prefix="./")
    content["collectionandqueries.tar.gz"] = packed(content, ["collection.tsv", *queries, "qrels.train.tsv"])
    return Miniature(_described(content, {name: len(lines) for name, lines in plain.items()}), content, held_out)


def packed(content: dict[str, bytes], names: list[str], prefix: str = "", folders: Sequence[str] = ()) -> bytes:
    """A .tar.gz of some files and empty folders; the same bytes every time."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in folders:
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            tar.addfile(entry)
        for name in names:
            entry = tarfile.TarInfo(prefix + name)
            entry.size = len(content[name])
            tar.addfile(entry, io.BytesIO(content[name]))
    return gzip.compress(archive.getvalue(), mtime=0)


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _described(content: dict[str, bytes], rows: dict[str, int]) -> TrainingFiles:
    """The real description with the miniature's checksums, rows and sizes."""

    def data_file(real: DataFile) -> DataFile:
        about = len(content[real.name])
        md5 = md5_of(content[real.name]) if real.md5 else None
        return DataFile(real.name, rows[real.name], about, md5, real.packed_in, real.aliases)

    def download(real: Download) -> Download:
        # Nobody listens there: a test that is to download something says where.
        return Download(real.name, f"http://127.0.0.1:9/{real.name}", md5_of(content[real.name]), 1, real.headers)

    names = ("collection", "train_queries", "train_qrels", "dev_queries", "dev_qrels", "scores")
    return TrainingFiles(
        **{name: data_file(getattr(MSMARCO, name)) for name in names},
        downloads=tuple(download(real) for real in MSMARCO.downloads),
    )
