"""Positives for queries that have none: for each query, the teacher's best passage.

    python benchmarks/ablation/pseudo_positives.py --topics QUERIES.tsv --query-vectors DIR --vectors DIR \\
        --passages DOCUMENTS.jsonl --most 16000 --judged-queries QUERIES.tsv --judged QRELS.txt --output FOLDER

Only PASSAGES can be positives: the part of the pool that no test judges or ranks. Kept are the queries whose best
passage has the highest scores. Queries that are also test queries, as texts, are left out. FOLDER gets queries.tsv and
qrels.txt, and queries.all.tsv and qrels.all.txt, which begin with the judged queries.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pyserini_tasb.encoding.vectors import VectorFolder
from pyserini_tasb.formats.collections import open_collection
from pyserini_tasb.formats.named import load_topics

TESTS = ("dl19-passage", "dl20-passage")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("topics", "query-vectors", "vectors", "passages", "judged-queries", "judged", "output"):
        parser.add_argument(f"--{option}", required=True, type=Path)
    parser.add_argument("--most", required=True, type=int, help="the most queries")
    arguments = parser.parse_args()
    allowed = {docid for docid, _ in open_collection(arguments.passages)}
    docids, vectors = of_folder(arguments.vectors, allowed)
    texts = {qid: " ".join(text.split()) for qid, text in load_topics(str(arguments.topics)).items()}
    tested = {" ".join(text.lower().split()) for name in TESTS for text in load_topics(name).values()}
    untested = {qid for qid, text in texts.items() if text.lower() not in tested}
    qids, queries = of_folder(arguments.query_vectors, untested)
    best, scores = best_of(queries, vectors)
    kept = np.sort(np.argsort(-scores, kind="stable")[: arguments.most])
    arguments.output.mkdir(parents=True)
    topics = "".join(f"{qids[row]}\t{texts[qids[row]]}\n" for row in kept)
    qrels = "".join(f"{qids[row]} 0 {docids[best[row]]} 1\n" for row in kept)
    for name, text, others in (("queries", topics, arguments.judged_queries), ("qrels", qrels, arguments.judged)):
        ending = others.suffix
        (arguments.output / f"{name}{ending}").write_text(text, encoding="utf-8")
        both = others.read_text(encoding="utf-8") + text
        (arguments.output / f"{name}.all{ending}").write_text(both, encoding="utf-8")
    print(f"{len(texts)} queries, {len(texts) - len(untested)} of them test queries and left out")
    print(f"{len(docids)} passages that no test judges or ranks")
    print(f"{len(kept)} queries kept, scores from {scores[kept].min():.3f}; {len(set(best[kept]))} passages")


def of_folder(folder: Path, wanted: set[str]) -> tuple[list[str], np.ndarray]:
    """The ids of a vector folder that are wanted, and their vectors [n, d]."""
    ids: list[str] = []
    blocks = []
    for found, block in VectorFolder(folder).blocks():
        rows = [row for row, name in enumerate(found) if name in wanted]
        ids += [found[row] for row in rows]
        blocks.append(np.asarray(block, np.float32)[rows])
    return ids, np.concatenate(blocks)


def best_of(queries: np.ndarray, passages: np.ndarray, at_once: int = 1_024) -> tuple[np.ndarray, np.ndarray]:
    """The row of each query's best passage, and its score; of equal ones the first."""
    rows, scores = [], []
    for start in range(0, len(queries), at_once):
        products = queries[start : start + at_once] @ passages.T
        rows.append(products.argmax(axis=1))
        scores.append(products.max(axis=1))
    return np.concatenate(rows), np.concatenate(scores)


if __name__ == "__main__":
    main()
