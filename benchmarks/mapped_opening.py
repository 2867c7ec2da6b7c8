"""Seconds and memory until stock Pyserini has a flat index of MS MARCO's size open, mapped by PYSERINI_TASB_MMAP=1.

    python benchmarks/mapped_opening.py                       # 8,841,823 vectors of 768 dimensions: 27 GB
    python benchmarks/mapped_opening.py --quick               # a million
    python benchmarks/mapped_opening.py --vectors 1000000 --read

The vectors are a hole in the file, which needs a file system with sparse files and no space; opening looks at none of
them. `--read` opens it without mapping as well, where there is memory for all of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import Options, Results

from pyserini_tasb.encoding.vector_formats import flat_header
from pyserini_tasb.environment.java import ensure_java
from pyserini_tasb.plugin.searchers import SWITCH

# Seconds on the machine of `measuring.PROBES`: until Pyserini is imported, to write and find a docid, to read a GB.
STARTING, DOCID, READING = 8, 5e-7, 2
# In a process of its own: what has been imported, and what is resident, is then the same for both.
OPEN = """
import json, sys, time
import psutil
from pyserini.search.faiss import FaissSearcher
process = psutil.Process()
before, start = process.memory_info().rss, time.perf_counter()
searcher = FaissSearcher(sys.argv[1], None)
seconds = time.perf_counter() - start
assert searcher.num_docs
print(json.dumps({"open s": seconds, "MiB": (process.memory_info().rss - before) / 2**20}))
"""


def main() -> int:
    """Write the folder, and open it."""
    parser = Options(__file__, __doc__, quick={"vectors": 1_000_000})
    parser.add_argument("--vectors", type=int, default=8_841_823, help="default: %(default)s")
    parser.add_argument("--dimension", type=int, default=768, help="default: %(default)s")
    parser.add_argument("--read", action="store_true", help="open it without mapping, too")
    arguments = parser.parse_args()
    results = Results(arguments, {"open s": ".3f", "MiB": ",.0f"})
    gigabytes = 4e-9 * arguments.vectors * arguments.dimension
    work = STARTING + arguments.vectors * DOCID + arguments.read * (STARTING + READING * gigabytes)
    results.expect(f"a hollow index of {gigabytes:.1f} GB to write and to open", python=work)
    if results.has("psutil", "all"):
        ensure_java(needs_path_java=True)
        with tempfile.TemporaryDirectory() as folder:
            write_hollow_index(Path(folder), arguments.vectors, arguments.dimension)
            for switch in ("1", "0") if arguments.read else ("1",):
                environment = os.environ | {SWITCH: switch}
                command = [sys.executable, "-c", OPEN, folder]
                done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
                found = json.loads(done.stdout.splitlines()[-1])
                results.rows[f"{SWITCH}={switch}, {arguments.vectors:,} vectors, {gigabytes:.1f} GB"] = found
    return results.finish()


def write_hollow_index(folder: Path, vectors: int, dimension: int) -> None:
    """A flat Faiss folder whose vectors are zeros that take no space."""
    header = flat_header(dimension, vectors)
    if header is None:
        sys.exit("this Faiss writes flat indexes in another way than those that we know")
    with (folder / "index").open("wb") as file:
        file.write(header)
        file.truncate(len(header) + 4 * vectors * dimension)
    with (folder / "docid").open("w") as file:
        file.writelines(f"{row}\n" for row in range(vectors))


if __name__ == "__main__":
    sys.exit(main())
