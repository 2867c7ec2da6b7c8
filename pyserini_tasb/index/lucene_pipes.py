"""Documents to Anserini through named pipes, which it takes for files.

No vector is written to the disk as JSON (16 KB of it for 768 numbers), and each of Anserini's threads has its own pipe.
Documents could be added from Python one by one as well, but from one thread only: pyjnius keeps the object that a
method is called on in the method, so that two threads add fields to each other's documents.
"""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.index.vector_source import VectorSource

ROWS_AT_ONCE = 4_096


class VectorPipes:
    """One pipe and one writing thread for each thread that reads: of n, pipe i gets every n-th document from i on.

    Args:
        source: the vectors.
        folder: an empty one, for the pipes.
        count: how many.
    """

    def __init__(self, source: VectorSource, folder: Path, count: int) -> None:
        self._source = source
        self._stop = threading.Event()
        self._written = [0] * count
        self._threads = []
        for number in range(count):
            pipe = folder / f"{number:03}.jsonl"
            os.mkfifo(pipe)
            # A daemon: a reader that never comes must not keep the process from ending.
            self._threads.append(threading.Thread(target=self._write, args=(pipe, number), daemon=True))

    def feed(self, reader: threading.Thread) -> None:
        """Write until the reader is done; after Ctrl-C, wait until it has put down what it has."""
        for thread in self._threads:
            thread.start()
        try:
            with tqdm(total=self._source.count, desc="adding", unit=" vectors") as progress:
                while reader.is_alive():
                    reader.join(timeout=0.2)
                    progress.update(sum(self._written) - progress.n)
        finally:
            self._stop.set()
            reader.join()

    def _write(self, pipe: Path, number: int) -> None:
        row, pipes = 0, len(self._written)
        try:
            with pipe.open("w", encoding="utf-8") as out:
                for docids, vectors in self._source.blocks(ROWS_AT_ONCE):
                    for at in range((number - row) % pipes, len(docids), pipes):
                        if self._stop.is_set():
                            return
                        document = {"id": docids[at], "contents": "", "vector": vectors[at].tolist()}
                        out.write(json.dumps(document) + "\n")
                        self._written[number] += 1
                    row += len(docids)
        except BrokenPipeError:  # the reader has failed and said why; the number of its documents will tell
            return
