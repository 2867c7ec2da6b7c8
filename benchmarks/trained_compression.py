"""Retrieval quality of a product quantiser that Faiss made (OPQ), and of one trained with queries (jpq), beside flat.

    python benchmarks/trained_compression.py --vectors passages --queries queries --qrels qrels.dev.small.txt \\
        --more-qrels qrels.dl19.txt qrels.dl20.txt

`passages` and `queries` are folders of `tasb encode`. Of the queries with a relevant passage among the vectors, 2,400
are for the test and the others are trained with, their judgements unread. `recovered` is the share of what OPQ of the
same size loses against flat in RR@10; p is of a paired t-test against OPQ. Exits with 1 if less than half is recovered
or p is above .05; --quick has too few passages for that, and shows that all of it runs.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from index_kinds import read, run_of_folder
from measuring import Options, Results

import pyserini_tasb as tasb
from pyserini_tasb.encoding.vectors import UNITS, VectorFolder, VectorManifest, VectorUnit
from pyserini_tasb.formats.named import Qrels, as_qrels
from pyserini_tasb.indexes.build import REPORT

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Vectors = tuple[list[str], NDArray[np.float32]]

LEAST, SIGNIFICANT = 0.5, 0.05
TEST, ALL = 2_400, 10**9
FLAT = "flat"
COLUMNS = {"RR@10": ".4f", "R@100": ".4f", "recovered": ".2f", "p": ".1g", "build s": ".1f"}
# Seconds on the machine of `measuring.PROBES`, of a number in the passages' vectors: Faiss's OPQ and ours, of one size.
NUMBER = 3e-5


def main() -> int:
    """Build, search and evaluate; the exit status says whether the floors are held."""
    parser = Options(__file__, __doc__, quick={"passages": 4_000, "train": 1_000, "test": 500, "sizes": 1})
    parser.add_argument("--vectors", required=True, type=Path, metavar="DIR", help="passages")
    parser.add_argument("--queries", required=True, type=Path, metavar="DIR", help="encoded with --kind query")
    parser.add_argument("--qrels", required=True, metavar="NAME|PATH", help="of queries to train and test with")
    parser.add_argument("--more-qrels", nargs="+", default=[], metavar="NAME|PATH", help="of other queries: nDCG@10")
    parser.add_argument("--bytes", nargs="+", type=int, help="of a vector (default: 48 and 64 for 768 dimensions)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--passages", type=int, default=ALL, help="relevant ones before others (default: all)")
    parser.add_argument("--train", type=int, default=ALL, help="queries (default: all others)")
    parser.add_argument("--test", type=int, default=TEST, help="queries (default: %(default)s)")
    parser.add_argument("--sizes", type=int, default=2, help="how many of --bytes (default: %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="for indexes, which are not built again if they exist")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return compare(options, options.keep or Path(folder))


def compare(options: argparse.Namespace, folder: Path) -> int:
    """Compare codes of each size, and flat search."""
    passages, queries = read(options.vectors), read(options.queries)
    qrels = among(as_qrels(options.qrels), passages, queries)
    order = np.random.default_rng(options.seed).permutation(sorted(qrels)).tolist()
    test, train = np.split(order, [min(options.test, len(order) // 2)])
    test, train = test.tolist(), train[: options.train].tolist()
    judged = Qrels({qid: qrels[qid] for qid in test}, name="test")
    passages = some_of(passages, judged, options.passages, options.seed)
    dimension = passages[1].shape[1]
    sizes = (options.bytes or [dimension // 16, dimension // 12])[: options.sizes]
    more = {Path(name).name: among(as_qrels(name), passages, queries) for name in options.more_qrels}
    results = Results(options, {**COLUMNS, **{f"nDCG@10 {name}": ".4f" for name in more}})
    results.expect(
        f"{len(passages[0]):,} passages of {dimension} dimensions, {len(train):,} queries to train with",
        matrices=len(sizes) * passages[1].size * NUMBER,
    )
    if not (folder / "passages").exists():
        write(folder / "passages", passages, VectorFolder(options.vectors).about)
        write(folder / "train", chosen(queries, train), VectorFolder(options.queries).about)
    searched = chosen(queries, [*test, *(qid for each in more.values() for qid in each)])

    def search(kind: str, name: str, with_queries: Path | None = None) -> dict[str, dict[str, float]]:
        run, seconds = run_of(folder, kind, searched, options.seed, with_queries, name)
        further = {
            f"nDCG@10 {of}": float(tasb.evaluate({name: run}, qrels=each, measures="nDCG@10")[name].overall["nDCG@10"])
            for of, each in more.items()
        }
        results.rows[name] = {**further, "build s": seconds}
        return run

    flat = search(FLAT, FLAT)
    for size in sizes:
        opq, jpq = f"OPQ{size},PQ{size}", f"jpq, {size} bytes"
        runs = {FLAT: flat, opq: search(opq, opq), jpq: search(opq, jpq, folder / "train")}
        found = tasb.evaluate(runs, qrels=judged, measures=["RR@10", "R@100"], baseline=opq, details=True)
        for name in runs:
            results.rows[name] |= {measure: float(value) for measure, value in found[name].overall.items()}
        exact, before, after = (float(found[name].overall["RR@10"]) for name in runs)
        recovered, p = (after - before) / (exact - before), found.tests["RR@10"][jpq, opq].p
        results.rows[jpq] |= {"recovered": recovered, "p": float(p)}
        if not options.quick:
            results.floor(f"{jpq}: share of OPQ's loss won back", recovered, least=LEAST)
            results.floor(f"{jpq}: p", p, most=SIGNIFICANT)
    results.note(f"{len(test):,} queries for the test, {len(train):,} others to train with")
    return results.finish()


def run_of(
    folder: Path, kind: str, queries: Vectors, seed: int, train: Path | None, name: str
) -> tuple[dict[str, dict[str, float]], float]:
    """The run of an index that is built for it, and the seconds that it took to build."""
    output = folder / name
    if not output.exists():
        tasb.index(folder / "passages", output=output, kind=kind, queries=train, seed=seed)
    seconds = json.loads((output / REPORT).read_text())["seconds"]
    return run_of_folder(output, queries), seconds


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


def some_of(passages: Vectors, qrels: Qrels, count: int, seed: int) -> Vectors:
    """So many: all that are relevant, and others at random."""
    if count >= len(passages[0]):
        return passages
    relevant = {docid for judged in qrels.values() for docid, grade in judged.items() if grade > 0}
    drawn = np.random.default_rng(seed).permutation(passages[0]).tolist()
    return chosen(passages, sorted(drawn, key=lambda docid: docid not in relevant)[:count])


def chosen(vectors: Vectors, ids: Sequence[str]) -> Vectors:
    """The vectors of some ids."""
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
