"""Seconds and memory until stock Pyserini has a flat index of MS MARCO's size open, mapped by PYSERINI_TASB_MMAP=1.

    python benchmarks/mapped_opening.py                       # 8,841,823 vectors of 768 dimensions: 27 GB
    python benchmarks/mapped_opening.py --vectors 1000000 --read

The vectors are a hole in the file, which needs a file system with sparse files and no space; opening looks at none of
them. `--read` opens it without mapping as well, where there is memory for all of it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pyserini_tasb.encoding.vector_formats import flat_header
from pyserini_tasb.environment.java import ensure_java
from pyserini_tasb.plugin.searchers import SWITCH

# In a process of its own: what has been imported, and what is resident, is then the same for both.
OPEN = """
import sys, time
import psutil
from pyserini.search.faiss import FaissSearcher
process = psutil.Process()
before, start = process.memory_info().rss, time.perf_counter()
searcher = FaissSearcher(sys.argv[1], None)
seconds = time.perf_counter() - start
print(f"{searcher.num_docs:,} vectors open in {seconds:.3f} s, {(process.memory_info().rss - before) / 2**20:,.0f} MiB")
"""


def main() -> None:
    """Write the folder, and open it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=8_841_823, help="default: %(default)s")
    parser.add_argument("--dimension", type=int, default=768, help="default: %(default)s")
    parser.add_argument("--read", action="store_true", help="open it without mapping, too")
    arguments = parser.parse_args()
    ensure_java(needs_path_java=True)
    with tempfile.TemporaryDirectory() as folder:
        write_hollow_index(Path(folder), arguments.vectors, arguments.dimension)
        size = (Path(folder) / "index").stat().st_size
        for switch in ("1", "0") if arguments.read else ("1",):
            print(f"{SWITCH}={switch}, {size / 1e9:.1f} GB: ", end="", flush=True)
            subprocess.run([sys.executable, "-c", OPEN, folder], check=True, env=os.environ | {SWITCH: switch})


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
    main()
