"""Retrieval quality of a product quantiser that Faiss made (OPQ), and of one trained with queries (jpq), beside flat.

    python benchmarks/trained_compression.py --vectors passages --queries queries --qrels qrels.dev.small.txt \\
        --more-qrels qrels.dl19.txt qrels.dl20.txt

`passages` and `queries` are folders of `tasb encode`. Of the queries with a relevant passage among the vectors, 2,400
are for the test and the others are trained with, their judgements unread. `recovered` is the share of what OPQ of the
same size loses against flat in RR@10; p is of a paired t-test against OPQ. Exits with 1 if less than half is recovered
or p is .05 or more; --quick has too few passages for that, and shows that all of it runs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pyserini_tasb as tasb
from pyserini_tasb.encoding.vectors import UNITS, VectorFolder, VectorManifest, VectorUnit
from pyserini_tasb.environment.processor import threads
from pyserini_tasb.formats.named import Qrels, as_qrels
from pyserini_tasb.indexes.faiss_folder import open_folder
from pyserini_tasb.indexes.search import search_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Vectors = tuple[list[str], NDArray[np.float32]]

LEAST, SIGNIFICANT = 0.5, 0.05
DEPTH = 100
TEST, QUICK_TEST, QUICK_TRAIN, QUICK_PASSAGES = 2_400, 500, 1_000, 4_000
FLAT = "flat"


def main() -> int:
    """Build, search and evaluate; the exit status says whether the floor is held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", required=True, type=Path, metavar="DIR", help="passages")
    parser.add_argument("--queries", required=True, type=Path, metavar="DIR", help="encoded with --kind query")
    parser.add_argument("--qrels", required=True, metavar="NAME|PATH", help="of queries to train and test with")
    parser.add_argument("--more-qrels", nargs="+", default=[], metavar="NAME|PATH", help="of other queries: nDCG@10")
    parser.add_argument("--bytes", nargs="+", type=int, help="of a vector (default: 48 and 64 for 768 dimensions)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="4,000 passages, 500 queries for the test, one size")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return compare(options, Path(folder))


def compare(options: argparse.Namespace, folder: Path) -> int:
    """Print a table for each size."""
    passages, queries = read(options.vectors), read(options.queries)
    qrels = among(as_qrels(options.qrels), passages, queries)
    order = np.random.default_rng(options.seed).permutation(sorted(qrels)).tolist()
    test, train = np.split(order, [min(QUICK_TEST if options.quick else TEST, len(order) // 2)])
    if options.quick:
        train = train[:QUICK_TRAIN]
        passages = some_of(passages, Qrels({qid: qrels[qid] for qid in test.tolist()}), options.seed)
    dimension = passages[1].shape[1]
    sizes = options.bytes or [dimension // 16, dimension // 12][: 1 if options.quick else 2]
    more = {Path(name).name: among(as_qrels(name), passages, queries) for name in options.more_qrels}
    write(folder / "passages", passages, VectorFolder(options.vectors).about)
    write(folder / "train", chosen(queries, train.tolist()), VectorFolder(options.queries).about)
    print(
        f"{len(passages[0]):,} passages of {dimension} dimensions; {len(train):,} queries to train with, {len(test):,} "
        f"to test with; {threads()} threads; some minutes for each size",
        flush=True,
    )
    searched = chosen(queries, [*test.tolist(), *(qid for each in more.values() for qid in each)])
    runs = {FLAT: run_of(folder, FLAT, searched, options.seed)}
    judged = Qrels({qid: qrels[qid] for qid in test.tolist()}, name="test")
    held = True
    for size in sizes:
        opq, jpq = f"OPQ{size},PQ{size}", f"jpq{size}"
        runs[opq] = run_of(folder, opq, searched, options.seed)
        runs[jpq] = run_of(folder, opq, searched, options.seed, folder / "train", name=jpq)
        results = tasb.evaluate(
            {name: runs[name][0] for name in (FLAT, opq, jpq)},
            qrels=judged,
            measures=["RR@10", "R@100"],
            baseline=opq,
            details=True,
        )
        print(f"\n{results}")
        flat, before, after = (float(results[name].overall["RR@10"]) for name in (FLAT, opq, jpq))
        p = results.tests["RR@10"][jpq, opq].p
        recovered = (after - before) / (flat - before)
        print(f"{jpq}: recovered {recovered:.2f} of what {opq} loses in RR@10, p = {p:.1g}")
        held = held and recovered >= LEAST and p < SIGNIFICANT and after > before
    print_more(runs, more)
    return 0 if held or options.quick else 1


def print_more(runs: dict[str, tuple[Any, float]], more: dict[str, Qrels]) -> None:
    """nDCG@10 by further qrels, and seconds to build."""
    print("\n" + "".ljust(16) + "".join(f"{name:>20}" for name in more) + f"{'build s':>10}")
    for name, (run, seconds) in runs.items():
        values = [tasb.evaluate({name: run}, qrels=each, measures="nDCG@10")[name].overall for each in more.values()]
        print(f"{name:16}" + "".join(f"{value['nDCG@10']:20.4f}" for value in values) + f"{seconds:10.1f}")


def run_of(
    folder: Path, kind: str, queries: Vectors, seed: int, train: Path | None = None, name: str = ""
) -> tuple[dict[str, dict[str, float]], float]:
    """The run of an index that is built for it, and the seconds that it took to build."""
    output = folder / (name or kind)
    index = tasb.index(folder / "passages", output=output, kind=kind, queries=train, seed=seed)
    opened = open_folder(output)
    hits = search_folder(opened, queries[1], DEPTH)
    ranked = zip(queries[0], hits, strict=True)
    return {
        qid: {opened.docids[row]: score for row, score in zip(each.rows.tolist(), each.scores.tolist(), strict=True)}
        for qid, each in ranked
    }, index.seconds


def read(path: Path) -> Vectors:
    """Ids and vectors of a folder."""
    blocks = list(VectorFolder(path).blocks())
    ids = [each for block, _ in blocks for each in block]
    return ids, np.concatenate([np.asarray(vectors, np.float32) for _, vectors in blocks])


def among(qrels: Qrels, passages: Vectors, queries: Vectors) -> Qrels:
    """Judgments of queries that have a vector, and a relevant passage that has one."""
    docids, qids = set(passages[0]), set(queries[0])
    return Qrels(
        {
            qid: judged
            for qid, judged in qrels.items()
            if qid in qids and any(grade > 0 and docid in docids for docid, grade in judged.items())
        },
        name=qrels.name,
    )


def some_of(passages: Vectors, qrels: Qrels, seed: int) -> Vectors:
    """All that are relevant, and others at random."""
    relevant = {docid for judged in qrels.values() for docid, grade in judged.items() if grade > 0}
    drawn = np.random.default_rng(seed).permutation(passages[0]).tolist()
    wanted = sorted(drawn, key=lambda docid: docid not in relevant)[:QUICK_PASSAGES]
    return chosen(passages, wanted)


def chosen(vectors: Vectors, ids: Sequence[str]) -> Vectors:
    """Those of some ids."""
    rows = {each: row for row, each in enumerate(vectors[0])}
    ids = list(dict.fromkeys(ids))
    return ids, vectors[1][[rows[each] for each in ids]]


def write(folder: Path, vectors: Vectors, about: dict[str, Any]) -> None:
    """A vector folder of one unit."""
    (folder / UNITS).mkdir(parents=True)
    ids, numbers = vectors
    manifest = VectorManifest(numbers.shape[1], numbers.dtype.name, len(ids), len(ids), about)
    manifest.write(folder)
    VectorUnit(folder, 0, manifest.digest).write(ids, numbers)


if __name__ == "__main__":
    sys.exit(main())
