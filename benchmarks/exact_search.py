"""Exact search of a flat index by Faiss, and by torch in each number format: milliseconds, and hits that are missed.

    python benchmarks/exact_search.py --vectors DIR --queries DIR     # of `tasb encode`, and `--kind query`
    python benchmarks/exact_search.py --vectors DIR --queries DIR --device cuda:0
    python benchmarks/exact_search.py --quick                         # random vectors: recall of real ones is another

A search is that of `tasb search`: ranked docids, equal scores in a fixed order. The ways take turns; a row has the
median of all rounds, the least and the most. Each round of one query takes another query. Recall is the share of
Faiss's hits that are found, and the difference is the greatest one from Faiss's scores.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from index_kinds import random_vectors
from measuring import Options, Results, by_turns, seconds_of, spread

from pyserini_tasb.encoding.vector_formats import write_faiss_flat
from pyserini_tasb.encoding.vectors import VectorFolder
from pyserini_tasb.indexes.build import use_threads
from pyserini_tasb.indexes.opening import DenseSearch
from pyserini_tasb.indexes.search import search_folder
from pyserini_tasb.indexes.vector_source import open_vectors, sampled_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pyserini_tasb.indexes.faiss_folder import OpenFolder
    from pyserini_tasb.indexes.search import Hits

FAISS = "Faiss"
PRECISIONS = ("fp32", "bf16", "fp16")
DIMENSION = 768
BATCH, HITS = 256, 1_000
LEAST_RECALL = 0.999  # in half precision; in fp32, only hits with nearly the same scores change places
COLUMNS = {"1 query, ms": ".1f", f"{BATCH} queries, ms": ".0f", f"recall@{HITS}": ".5f", "difference": ".1e"}
# Seconds on the machine of `measuring.PROBES` of a vector's number, in all rounds of a way.
NUMBER = 1e-7


def main() -> int:
    """Search with each way in turn; print a table, write JSON."""
    parser = Options(__file__, __doc__, quick={"rows": 20_000, "rounds": 3})
    parser.add_argument("--vectors", type=Path, metavar="DIR", help="instead of random ones")
    parser.add_argument("--queries", type=Path, metavar="DIR", help="instead of vectors of the collection")
    parser.add_argument("--rows", type=int, default=100_000, help="random vectors (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--device", default="cpu", help="torch's (default: %(default)s)")
    options = parser.parse_args()
    results = Results(options, COLUMNS)
    threads = use_threads(None)
    with tempfile.TemporaryDirectory() as temporary:
        flat = flat_folder(options.vectors, options.rows, Path(temporary, "flat"))
        vectors = open_vectors(flat)
        work = (1 + len(PRECISIONS)) * options.rounds * vectors.count * vectors.dimension * NUMBER
        results.expect(f"{1 + len(PRECISIONS)} ways to search {vectors.count:,} vectors", matrices=work)
        drawn = sampled_rows(VectorFolder(options.queries) if options.queries else vectors, BATCH, seed=0)
        queries = np.resize(drawn, (BATCH, vectors.dimension))  # again and again, if there are fewer
        ways = {FAISS: DenseSearch("faiss")} | {
            f"torch, {precision}": DenseSearch("torch", options.device, precision, threads=threads)
            for precision in PRECISIONS
        }
        opened = {name: how.open(flat) for name, how in ways.items()}
        found = {name: search_folder(folder, queries, HITS) for name, folder in opened.items()}
        for name in ways:
            results.rows[name] = {} if name == FAISS else compared(found[name], found[FAISS])
            if name != FAISS:
                column = f"recall@{HITS}"
                results.floor(f"{column}, {name}", results.rows[name][column], least=LEAST_RECALL)
        for column, size in zip(COLUMNS, (1, BATCH), strict=False):
            calls = {name: timed(folder, queries, size) for name, folder in opened.items()}
            for name, seconds in by_turns(calls, options.rounds).items():
                results.rows[name][column] = spread([1_000 * each for each in seconds])
    results.note(f"{vectors.count:,} vectors of {vectors.dimension} dimensions, {threads} threads, {options.device}")
    return results.finish()


def flat_folder(vectors: Path | None, rows: int, output: Path) -> Path:
    """A flat Faiss folder of a vector folder, or of random vectors."""
    if vectors is None:
        return random_vectors(output, rows, DIMENSION)
    output.mkdir()
    write_faiss_flat(VectorFolder(vectors), output)
    return output


def timed(folder: OpenFolder, queries: NDArray[np.float32], size: int) -> Callable[[], float]:
    """A function that searches for the next `size` queries, and returns the seconds that this took."""
    batches = itertools.cycle(np.split(queries, len(queries) // size))
    return lambda: seconds_of(lambda: search_folder(folder, next(batches), HITS))


def compared(found: list[Hits], wanted: list[Hits]) -> dict[str, float]:
    """The share of hits that are found, and the greatest difference of scores at the same rank."""
    shares = [len(np.intersect1d(hits.rows, best.rows)) / len(best) for hits, best in zip(found, wanted, strict=True)]
    differences = [np.abs(hits.scores - best.scores).max() for hits, best in zip(found, wanted, strict=True)]
    return {f"recall@{HITS}": float(np.mean(shares)), "difference": float(max(differences))}


if __name__ == "__main__":
    sys.exit(main())
