"""MS MARCO passage training data with the published teacher scores."""

from __future__ import annotations

import json
import logging
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyserini_tasb.artifacts import locked_folder, whole_text_file, write_whole
from pyserini_tasb.data.downloads import Download, Internet, require_room
from pyserini_tasb.data.verified_folder import DataFile, TrainingFiles, VerifiedFolder, acquire
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.folders import at_home
from pyserini_tasb.formats.lines import LineFaults, open_lines, require_utf8
from pyserini_tasb.formats.named import load_topics
from pyserini_tasb.outputs import require_folder
from pyserini_tasb.results import FileResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pyserini_tasb.data.pair_store import PairStore
    from pyserini_tasb.results import StrPath


LOG = logging.getLogger(__name__)

FILES, PAIRS, DEV, EARLY_STOPPING, CLUSTERS = "files", "pairs", "dev-49k", "early-stopping", "clusters"
TOPICS, QRELS = "topics.tsv", "qrels.txt"
COMMANDS, CONFIGURATION = "next-steps.sh", "tas-b.yaml"
# While it is built, a store has all texts twice (as given, and those that pairs need), with tables of their ids, and
# the pairs unsorted and sorted.
TEXTS_AT_ONCE, BYTES_PER_PAIR = 2.4, 48
# DEV-7K and the TREC evaluation sets, as this package bundles them.
EVALUATION_SETS = ("msmarco-passage-dev-subset", "dl19-passage", "dl20-passage")
# The paper's clustering model (Section 4.2): BERT_DOT trained on pairs, random batches.
CLUSTERING_ENCODER = "margin-mse"
PAPER_CLUSTERS = 2_000


@dataclass(frozen=True)
class MsMarco(FileResult):
    """A folder from which the paper's training can start. Wherever a path is taken, it stands for its path.

    Attributes:
        path: the folder.
        pairs: the pair store.
        topics: the judged dev queries that are in no evaluation set, for early stopping.
        qrels: the judgments of `topics`.
        config: the paper's configuration, for `train`.
        commands: the commands to type next, one for each step.
    """

    pairs: Path
    topics: Path
    qrels: Path
    config: Path
    commands: tuple[str, ...]

    @property
    def summary(self) -> str:
        """The commands that come next."""
        head = f"\nNext, also in {self.path / COMMANDS} (edit {self.config} first):"
        return "\n".join([head, *(f"$ {command}" for command in self.commands)])


def msmarco(
    output: StrPath,
    *,
    source: StrPath | None = None,
    base_url: str | None = None,
    skip_download: bool = False,
) -> MsMarco:
    """Download MS MARCO's passage training data with the published teacher scores, and build the pair store.

    Repeat an interrupted call to continue it. Steps that an earlier call finished are skipped if their files are
    unchanged.

    Args:
        output: a folder: a new one, or that of an earlier call.
        source: a folder with files that you already have, plain or in their archives.
        base_url: the address of a mirror: a folder with all files.
        skip_download: download nothing.

    Raises:
        TasbError: the arguments contradict each other, a file is missing or is not the published one, the disk has too
            little space, or another process works in `output`.
    """
    if skip_download and base_url:
        raise TasbError(
            expected=f"{argument('base_url')} or {argument('skip_download')}",
            found="both",
            do="leave out one of the two: a mirror is for downloads",
        )
    folder = at_home(output)
    require_folder(folder)
    commands = prepare(
        MSMARCO,
        folder,
        source=at_home(source) if source else None,
        internet=None if skip_download else Internet(base_url),
    )
    return MsMarco(
        folder,
        pairs=folder / PAIRS,
        topics=folder / DEV / TOPICS,
        qrels=folder / DEV / QRELS,
        config=folder / CONFIGURATION,
        commands=tuple(commands),
    )


def prepare(
    files: TrainingFiles, output: Path, *, source: Path | None = None, internet: Internet | None = None
) -> list[str]:
    """Get and verify the files, set apart the queries for early stopping, build the pair store.

    Args:
        files: which files.
        output: new, or of an earlier call; gets `files/`, `dev-49k/`, `pairs/`, `next-steps.sh` and `tas-b.yaml`.
        source: a folder with copies of files, plain or in their archives.
        internet: how to download what is missing; None: not at all.

    Returns:
        The commands that come next.

    Raises:
        TasbError: a file is missing or not as published, the disk has no room, or another process works in `output`.
    """
    with locked_folder(output):
        here = VerifiedFolder(output / FILES)
        room = _room_to_build(files)
        acquire(files, here, source=source, internet=internet, reserve=0 if (output / PAIRS).exists() else room)
        for file in files.data_files:
            LOG.info("%s: %s rows; verified by %s", file.name, f"{file.rows:,}", here.vouched(file))
        count = write_held_out(here.path(files.dev_queries), here.path(files.dev_qrels), output / DEV)
        LOG.info("%s: %s judged dev queries that are in no evaluation set", output / DEV, f"{count:,}")
        _build_pairs(files, here, output / PAIRS, room)
        return write_next_steps(output)


def _build_pairs(files: TrainingFiles, here: VerifiedFolder, folder: Path, room: int) -> None:
    from pyserini_tasb.data.pair_sources import IdPairs, relevant_passages
    from pyserini_tasb.data.pair_store import open_pair_store
    from pyserini_tasb.data.pairs import build_from_ids, pairs_result

    recipe = _recipe(files, here)
    store = _built_before(folder, recipe)
    if store:
        LOG.info("%s", pairs_result(store, "built before, from the same files").summary)
        return
    require_room(folder.parent, room, "the pair store while it is built")
    build_from_ids(
        folder,
        IdPairs([here.path(files.scores)], skip_bad=False),
        corpus=here.path(files.collection),
        topics=here.path(files.train_queries),
        known=relevant_passages(here.path(files.train_qrels), 1),
        recipe=recipe,
        overwrite=True,
    )
    LOG.info("%s", pairs_result(open_pair_store(folder)).summary)


def _recipe(files: TrainingFiles, here: VerifiedFolder) -> dict[str, Any]:
    roles = {
        "scored_pairs": files.scores,
        "collection": files.collection,
        "queries": files.train_queries,
        "known_positives": files.train_qrels,
    }
    sources = [{"role": role, "name": file.name, "md5": here.md5(file)} for role, file in roles.items()]
    return {"sources": sources, "relevant_grade": 1}


def _built_before(folder: Path, recipe: dict[str, Any]) -> PairStore | None:
    """The store, if it is whole and made of these very files."""
    from pyserini_tasb.data.pair_store import open_pair_store

    try:
        store = open_pair_store(folder)
    except TasbError:
        return None
    return store if store.manifest.get("recipe") == recipe else None


def _room_to_build(files: TrainingFiles) -> int:
    texts = files.collection.about + files.train_queries.about
    return int(TEXTS_AT_ONCE * texts) + BYTES_PER_PAIR * files.scores.rows


def write_held_out(dev_queries: Path, dev_qrels: Path, folder: Path) -> int:
    """Write `topics.tsv` and `qrels.txt` of the dev queries that are judged and in no evaluation set.

    Args:
        dev_queries: qid TAB text.
        dev_qrels: TREC's four columns, separated by tabs.
        folder: is made.

    Returns:
        How many queries these are.

    Raises:
        TasbError: a faulty line, or no query is left; the disk refuses.
    """
    evaluated = {qid for name in EVALUATION_SETS for qid in load_topics(name)}
    folder.mkdir(parents=True, exist_ok=True)
    judged: set[str] = set()
    texts: set[str] = set()
    _copy_lines(dev_qrels, folder / QRELS, lambda qid: qid not in evaluated, judged)
    _copy_lines(dev_queries, folder / TOPICS, judged.__contains__, texts)
    if not texts:
        raise TasbError(
            where=str(dev_queries),
            expected="judged queries that are in none of the evaluation sets",
            found="none",
            do="check that dev queries and dev qrels belong together",
        )
    return len(texts)


def _copy_lines(source: Path, target: Path, keep: Callable[[str], bool], kept: set[str]) -> None:
    faults = LineFaults(source, expected="qid TAB …")
    records = 0
    with open_lines(source) as lines, whole_text_file(target) as copy:
        for number, line in enumerate(lines, 1):
            qid, tab, _ = line.partition("\t")
            try:
                require_utf8(line)
            except ValueError as error:
                faults.add(number, str(error))
                continue
            if not tab:
                faults.add(number, "no tab")
            elif keep(qid):
                copy.write(line)
                kept.add(qid)
            records += 1
        faults.finish(records=records)


_TEMPLATE = """\
# TAS-B's training as in its paper (arXiv:2104.06967, Section 4.2), which has results for batch sizes 32, 96 and 256.
name: my-tas-b
description: DistilBERT trained with TAS-Balanced batches and dual supervision on MS MARCO passages
output: {output}
student:
  model: distilbert/distilbert-base-uncased
  query_max_length: 30
  passage_max_length: 200
data:
  pairs: {pairs}
  clusters: {clusters}
  validation: {validation}
sampling: {{strategy: tas-balanced, clusters_per_batch: 1, bins: 10}}
loss: {{pairwise: margin-mse, in_batch: margin-mse, alpha: 0.75}}
# The paper's own teacher. Its weights are in pytorch_model.bin, which PyTorch's weights-only reader loads.
teacher: {{in_batch: sebastian-hofstaetter/colbert-distilbert-margin_mse-T2-msmarco, allow_bin: true}}
optimiser: {{name: adam, learning_rate: 7e-6}}
schedule: {{name: constant}}
validation: {{every: 4000, patience: 30, measure: nDCG@10}}
batch_size: 32
"""


def write_next_steps(folder: Path) -> list[str]:
    """Write the commands, and the paper's configuration if none exists; return the commands.

    Args:
        folder: the recipe's output; paths in the commands begin with it as it is given here.

    Raises:
        TasbError: the disk refuses.
    """
    commands = [shlex.join(command) for command in _commands(folder)]
    write_whole(folder / COMMANDS, "\n".join(["set -e", *commands, ""]))
    if not (folder / CONFIGURATION).exists():  # it may have been edited
        write_whole(folder / CONFIGURATION, _configuration(folder))
    return commands


def _commands(folder: Path) -> list[list[str]]:
    dev, run = folder / DEV, folder / DEV / "run.bm25.txt"
    searched = ["--topics", str(dev / TOPICS), "--output", str(run)]
    return [
        [
            *("python", "-m", "pyserini.search.lucene", "--bm25", "--index", "msmarco-v1-passage", *searched),
            *("--hits", "100", "--threads", "16", "--batch-size", "128"),
        ],
        [
            *("tasb", "validation-set", "--topics", str(dev / TOPICS), "--qrels", str(dev / QRELS)),
            # Not the pair store's passages: these are only the ones that training needs.
            *("--run", str(run), "--corpus", str(folder / FILES / MSMARCO.collection.name)),
            *("--output", str(folder / EARLY_STOPPING)),
        ],
        [
            *("tasb", "cluster", "--topics", str(folder / PAIRS), "--encoder", CLUSTERING_ENCODER),
            *("--clusters", str(PAPER_CLUSTERS), "--output", str(folder / CLUSTERS)),
        ],
        ["tasb", "train", str(folder / CONFIGURATION)],
    ]


def _configuration(folder: Path) -> str:
    paths = {
        "output": folder / "tas-b",
        "pairs": folder / PAIRS,
        "clusters": folder / CLUSTERS / "clusters.tsv",
        "validation": folder / EARLY_STOPPING,
    }
    # A JSON string is a YAML string, whatever is in the path.
    return _TEMPLATE.format(**{key: json.dumps(str(path), ensure_ascii=False) for key, path in paths.items()})


# The files of MS MARCO passage training as data: where they are, how they are checked.
#
# Sources of what is written here:
#
# * addresses, md5 and sizes of Microsoft's files: "Dataset files: Size on disk and md5sum" in
#   TREC-Deep-Learning-2020.md of github.com/microsoft/msmarco; ir_datasets' `downloads.json` has the same;
# * address and md5 of the teacher scores: their record at Zenodo, 4068216;
# * rows: Datasets.md of github.com/microsoft/msmarco, and ir_datasets' `metadata.json` where that has queries
#   together; of the scores, the data card of sentence-transformers/msmarco, which holds the same rows.
#
# No published checksum was found of collection.tsv and the two query files *unpacked*: when they are at hand without
# their archives, only their rows are counted. `about` is for the check of free disk; a round number is an estimate.

MICROSOFT = "https://msmarco.z22.web.core.windows.net/msmarcoranking"
ZENODO = "https://zenodo.org/records/4068216/files"
# Azure answers `Range: bytes=N-` since version 2011-08-18 of its interface; a request without this header may get an
# older one ("Specifying the range header for Blob service operations", learn.microsoft.com).
AZURE_HEADERS = {"X-Ms-Version": "2019-12-12"}

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
