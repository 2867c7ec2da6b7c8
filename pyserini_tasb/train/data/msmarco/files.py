"""The files of MS MARCO passage training as data: where they are, how they are checked.

Sources of what is written here:

* addresses, md5 and sizes of Microsoft's files: "Dataset files: Size on disk and md5sum" in TREC-Deep-Learning-2020.md
  of github.com/microsoft/msmarco; ir_datasets' `downloads.json` has the same;
* address and md5 of the teacher scores: their record at Zenodo, 4068216;
* rows: Datasets.md of github.com/microsoft/msmarco, and ir_datasets' `metadata.json` where that has queries together;
  of the scores, the data card of sentence-transformers/msmarco, which holds the same rows.

No published checksum was found of collection.tsv and the two query files *unpacked*: when they are at hand without
their archives, only their rows are counted. `about` is for the check of free disk; a round number is an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MICROSOFT = "https://msmarco.z22.web.core.windows.net/msmarcoranking"
ZENODO = "https://zenodo.org/records/4068216/files"
# Azure answers `Range: bytes=N-` since version 2011-08-18 of its interface; a request without this header may get an
# older one ("Specifying the range header for Blob service operations", learn.microsoft.com).
AZURE_HEADERS = {"X-Ms-Version": "2019-12-12"}


@dataclass(frozen=True)
class Download:
    """One file as its publisher offers it.

    Args:
        name: its file name, on a mirror and on this disk.
        url: where the publisher has it.
        md5: of the whole file, 32 hexadecimal digits.
        about: bytes, to see beforehand whether the disk has room.
        headers: further HTTP headers that the publisher's server needs.
    """

    name: str
    url: str
    md5: str
    about: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DataFile:
    """One plain file that the recipe reads.

    Args:
        name: its file name.
        rows: how many lines it has.
        about: bytes, to see beforehand whether the disk has room.
        md5: of the plain file; None where none has been published.
        packed_in: names of the archives that hold it; it is downloaded in the first, or if there is none, as it is.
        aliases: other names under which people have it.
    """

    name: str
    rows: int
    about: int
    md5: str | None = None
    packed_in: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainingFiles:
    """All files of the recipe.

    Args:
        collection: pid TAB text.
        train_queries, dev_queries: qid TAB text.
        train_qrels, dev_qrels: TREC's four columns, separated by tabs.
        scores: teacher's score of the positive, of the negative, qid, pid of the positive, of the negative.
        downloads: what there is to download; some only stand here to be recognised on this disk.
    """

    collection: DataFile
    train_queries: DataFile
    train_qrels: DataFile
    dev_queries: DataFile
    dev_qrels: DataFile
    scores: DataFile
    downloads: tuple[Download, ...]

    @property
    def data_files(self) -> tuple[DataFile, ...]:
        """The plain files."""
        return (
            *(self.collection, self.train_queries, self.train_qrels),
            *(self.dev_queries, self.dev_qrels, self.scores),
        )

    def download_named(self, name: str) -> Download:
        """The download of that file name."""
        return next(download for download in self.downloads if download.name == name)


_SCORES = "bert_cat_ensemble_msmarcopassage_train_scores_ids.tsv"
_QRELS_TRAIN_MD5, _QRELS_DEV_MD5 = "733fb9fe12d93e497f7289409316eccf", "9157ccaeaa8227f91722ba5770787b16"
_SCORES_MD5 = "4d99696386f96a7f1631076bcc53ac3c"
_SCORES_BYTES = 1_900_000_000  # an estimate: 39,780,704 rows of some 45 characters


def _microsoft(name: str, md5: str, size: int) -> Download:
    return Download(name, f"{MICROSOFT}/{name}", md5, size, AZURE_HEADERS)


MSMARCO = TrainingFiles(
    collection=DataFile(
        "collection.tsv", 8_841_823, 3_100_000_000, packed_in=("collection.tar.gz", "collectionandqueries.tar.gz")
    ),
    train_queries=DataFile(
        "queries.train.tsv", 808_731, 34_000_000, packed_in=("queries.tar.gz", "collectionandqueries.tar.gz")
    ),
    train_qrels=DataFile("qrels.train.tsv", 532_761, 10_589_532, md5=_QRELS_TRAIN_MD5),
    dev_queries=DataFile(
        "queries.dev.tsv", 101_093, 5_000_000, packed_in=("queries.tar.gz", "collectionandqueries.tar.gz")
    ),
    dev_qrels=DataFile("qrels.dev.tsv", 59_273, 1_201_626, md5=_QRELS_DEV_MD5),
    # wget keeps the query part of the address in the name.
    scores=DataFile(_SCORES, 39_780_704, _SCORES_BYTES, md5=_SCORES_MD5, aliases=(f"{_SCORES}?download=1",)),
    downloads=(
        _microsoft("collection.tar.gz", "87dd01826da3e2ad45447ba5af577628", 1_035_010_048),
        _microsoft("queries.tar.gz", "c177b2795d5f2dcc524cf00fcd973be1", 18_882_551),
        _microsoft("collectionandqueries.tar.gz", "31644046b18952c1386cd4564ba2ae69", 1_057_717_952),
        _microsoft("qrels.train.tsv", _QRELS_TRAIN_MD5, 10_589_532),
        _microsoft("qrels.dev.tsv", _QRELS_DEV_MD5, 1_201_626),
        Download(_SCORES, f"{ZENODO}/{_SCORES}?download=1", _SCORES_MD5, _SCORES_BYTES),
    ),
)
