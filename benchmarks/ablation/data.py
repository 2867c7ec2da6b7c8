"""Training data of the ablation: MS MARCO's dev queries with BM25 negatives in the format of their positives.

    python benchmarks/ablation/data.py pools MSMARCO FOLDER   # documents, queries and qrels, raw and titled apart
    python benchmarks/ablation/data.py check FOLDER PAIRS …   # can a teacher win by telling titled from raw?
    python benchmarks/ablation/data.py topics QUERIES OUTPUT  # training queries, each text once
    python benchmarks/ablation/data.py join FOLDER NAME       # FOLDER/raw/NAME and FOLDER/titled/NAME into FOLDER/NAME

MSMARCO has collection.tsv, collection.dev_titled.tsv, dev_positives.jsonl, qrels and runs/ (TREC-DL 2019 and 2020).
Some positives are raw MS MARCO passages, others have their document's title in front. Negatives of the other kind would
teach that titled means relevant: so there are two pools, and a query's negatives come from that of its positive. No
pool has a passage that TREC-DL judges or that is in a run which the ablation re-ranks.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyserini_tasb.formats.named import load_topics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FORMATS = ("raw", "titled")
TESTED = "tested.pids.txt"
TESTS = ("dl19-passage", "dl20-passage")
HELD_OUT = 14  # one query of so many is for validation
MOST_AUC = 0.55  # .5: titled says nothing about relevance


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    pools = verbs.add_parser("pools")
    pools.add_argument("msmarco", type=Path)
    pools.add_argument("folder", type=Path)
    pools.set_defaults(run=write_pools)
    check = verbs.add_parser("check")
    check.add_argument("folder", type=Path)
    check.add_argument("pairs", nargs="+", type=Path, help="files of pairs, with or without scores")
    check.set_defaults(run=check_formats)
    topics = verbs.add_parser("topics")
    topics.add_argument("queries", type=Path)
    topics.add_argument("output", type=Path)
    topics.set_defaults(run=write_topics)
    both = verbs.add_parser("join")
    both.add_argument("folder", type=Path)
    both.add_argument("name")
    both.set_defaults(run=join)
    arguments = parser.parse_args()
    return arguments.run(arguments)


def write_pools(arguments: argparse.Namespace) -> int:
    """Write FOLDER/{raw,titled}/{documents/documents.jsonl,queries.*.tsv,qrels.*.txt} and FOLDER/collection.tsv."""
    msmarco, folder = arguments.msmarco, arguments.folder
    tested = set(tested_passages(msmarco))
    pools = {
        "raw": {pid: text for pid, text in rows(msmarco / "collection.tsv") if pid not in tested},
        "titled": {pid: text for pid, text in rows(msmarco / "collection.dev_titled.tsv") if pid not in tested},
    }
    relevant: dict[str, list[str]] = {}
    for qid, _, pid, grade in words(msmarco / "qrels.dev.small.txt"):
        if int(grade) > 0:
            relevant.setdefault(qid, []).append(pid)
    format_of, texts = {}, {}
    with (msmarco / "dev_positives.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            format_of[row["qid"]] = "raw" if row["map"] == "raw-known" else "titled"
            texts[row["qid"]] = " ".join(row["query"].split())
    for name in FORMATS:
        pool = pools[name]
        qids = sorted((qid for qid in texts if format_of[qid] == name), key=int)
        in_pool = {qid: [pid for pid in relevant[qid] if pid in pool] for qid in qids}
        qrels = {qid: pids for qid, pids in in_pool.items() if pids}
        held_out = {qid for qid in qrels if zlib.crc32(qid.encode()) % HELD_OUT == 0}
        documents = folder / name / "documents" / "documents.jsonl"
        documents.parent.mkdir(parents=True)
        write(documents, (json.dumps({"id": pid, "contents": text}) for pid, text in pool.items()))
        for part, qids in (("train", [qid for qid in qrels if qid not in held_out]), ("held-out", sorted(held_out))):
            write(folder / name / f"queries.{part}.tsv", (f"{qid}\t{texts[qid]}" for qid in qids))
            write(folder / name / f"qrels.{part}.txt", (f"{qid} 0 {pid} 1" for qid in qids for pid in qrels[qid]))
        print(f"{name}: {len(pool)} passages, {len(qrels)} queries, {len(held_out)} of them held out")
    for name in ("queries.train.tsv", "queries.held-out.tsv", "qrels.train.txt", "qrels.held-out.txt"):
        join(argparse.Namespace(folder=folder, name=name))
    shutil.copy(msmarco / "collection.tsv", folder / "tested.tsv")
    write(folder / TESTED, sorted(tested, key=int))
    write(folder / "collection.tsv", (f"{pid}\t{text}" for pool in pools.values() for pid, text in pool.items()))
    return 0


def tested_passages(msmarco: Path) -> Iterator[str]:
    """Passages that the ablation is measured on: judged by TREC-DL, or in a run."""
    for year in ("dl19", "dl20"):
        yield from (row[2] for row in words(msmarco / f"qrels.{year}.txt"))
    for run in sorted((msmarco / "runs").iterdir()):
        yield from (row[2] for row in words(run))


def write_topics(arguments: argparse.Namespace) -> int:
    """Write `qid TAB text` of `qid TAB text TAB label`; a text comes once."""
    texts: dict[str, str] = {}
    for qid, rest in rows(arguments.queries):
        texts.setdefault(" ".join(rest.partition("\t")[0].split()), qid)
    write(arguments.output, (f"{qid}\t{text}" for text, qid in texts.items() if text))
    return 0


def join(arguments: argparse.Namespace) -> int:
    """Both pools' files of one name, one after the other."""
    texts = [(arguments.folder / pool / arguments.name).read_text(encoding="utf-8") for pool in FORMATS]
    (arguments.folder / arguments.name).write_text("".join(texts), encoding="utf-8")
    return 0


def check_formats(arguments: argparse.Namespace) -> int:
    """Print how well a detector of titles tells positives from negatives; 1 if better than by `MOST_AUC`.

    It also looks for passages and queries of the tests in the pairs, and returns 1 if there are any. The detector is
    logistic regression on character n-grams; a passage is judged by one that was not fitted on it.
    """
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    folder = arguments.folder
    pools = {name: dict(documents(folder / "data" / name)) for name in FORMATS}
    pids = [pid for pool in pools.values() for pid in pool]
    titled = np.array([pid in pools["titled"] for pid in pids])
    vectorizer = HashingVectorizer(analyzer="char", ngram_range=(1, 4), n_features=2**18, lowercase=False)
    features = vectorizer.transform(text[:200] for pool in pools.values() for text in pool.values())
    half = np.array([zlib.crc32(pid.encode()) % 2 for pid in pids])
    found = np.empty(len(pids))
    for part in (0, 1):
        model = LogisticRegression(max_iter=300, C=10).fit(features[half != part], titled[half != part])
        found[half == part] = model.decision_function(features[half == part])
    score = dict(zip(pids, found.tolist(), strict=True))
    positives, negatives, qids = [], [], set()
    for path in arguments.pairs:
        for *_, qid, positive, negative in words(path):
            qids.add(qid)
            positives.append(positive)
            negatives.append(negative)
    tested = set((folder / "data" / TESTED).read_text(encoding="utf-8").split())
    leaked = tested.intersection(positives + negatives), test_queries(folder, qids)
    print(
        f"tested passages in the pairs: {len(leaked[0])}; test queries among the {len(qids)} queries: {len(leaked[1])}"
    )
    if any(leaked):
        return 1
    labels = np.repeat([1, 0], len(positives))
    auc = float(roc_auc_score(labels, [score[pid] for pid in positives + negatives]))
    print(f"titled or raw, over {len(pids)} passages: AUC {roc_auc_score(titled, found):.3f}")
    print(f"positive or negative by that, over {len(positives)} pairs: AUC {auc:.3f} (at most {MOST_AUC} wanted)")
    return 0 if auc <= MOST_AUC else 1


def test_queries(folder: Path, qids: set[str]) -> set[str]:
    """The training queries whose text is a test query's, apart from case and white space."""
    tested = {plain(text) for name in TESTS for text in load_topics(name).values()}
    files = [folder / "data" / "queries.train.tsv", *folder.glob("pseudo/queries.tsv")]
    return {qid for path in files for qid, text in rows(path) if qid in qids and plain(text) in tested}


def plain(text: str) -> str:
    return " ".join(text.lower().split())


def rows(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            pid, _, text = line.rstrip("\n").partition("\t")
            yield pid, text


def words(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            yield line.split()


def documents(pool: Path) -> Iterator[tuple[str, str]]:
    with (pool / "documents" / "documents.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            yield row["id"], row["contents"]


def write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
