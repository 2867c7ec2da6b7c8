"""A Lucene index with Anserini's own indexer, in this process, fed through named pipes."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb.environment.java import prepare_java
from pyserini_tasb.errors import TasbError
from pyserini_tasb.indexes.quality import docids_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pyserini_tasb.indexes.quality import Search
    from pyserini_tasb.indexes.vector_source import VectorSource


ROWS_AT_ONCE = 4_096
INDEXERS = {
    "lucene-flat": "io.anserini.index.IndexFlatDenseVectors",
    "lucene-hnsw": "io.anserini.index.IndexHnswDenseVectors",
}
# A part of the JVM's heap, which is a quarter of the machine's memory; Anserini's 4 GB can be more than that.
BUFFER_MEGABYTES = 1_024
NOT_AMONG = -1
LUCENE_ADVICE = {
    "lucene-flat": "take another --kind of `tasb index`",
    "lucene-hnsw": "search with a larger `--ef-search` of pyserini.search.lucene, or make the index by "
    "`tasb index --kind lucene-flat`, which compares every vector",
}


@dataclass(frozen=True)
class LuceneBuild:
    """A Lucene index that `pyserini.search.lucene --dense` searches.

    Args:
        kind: a name of `INDEXERS`.
        threads: the number of Anserini's threads; with more than one, segments and graphs depend on which came first.
    """

    kind: str
    threads: int

    @property
    def described(self) -> str:
        """In words, for a report."""
        return INDEXERS[self.kind].rpartition(".")[2]

    def write(self, source: VectorSource, folder: Path) -> None:
        """Write an index of all vectors into an existing folder.

        Raises:
            TasbError: Java or Anserini failed; what it said stands above.
        """
        with tempfile.TemporaryDirectory(prefix="tasb-index-") as pipes_folder:
            pipes = VectorPipes(source, Path(pipes_folder), self.threads)
            indexer = _indexer(self.kind, pipes_folder, folder, self.threads)
            java = threading.Thread(target=_run_detached, args=(indexer,), daemon=True)
            java.start()
            pipes.feed(java)
        _require_all(folder, source.count)
        (folder / "write.lock").unlink(missing_ok=True)  # Lucene's, which no reader needs

    def search(self, folder: Path, source: VectorSource, among: NDArray[np.int64]) -> Search:
        """Search the index as with our encoders: HNSW with efSearch 100, or the number of hits where that is larger.

        Args:
            folder: the folder of the index.
            source: what it was made of.
            among: rows that matter; all others are found as -1.
        """
        from pyserini.search.lucene import LuceneFlatDenseSearcher, LuceneHnswDenseSearcher

        searchers: dict[str, Any] = {"lucene-flat": LuceneFlatDenseSearcher, "lucene-hnsw": LuceneHnswDenseSearcher}
        opened = searchers[self.kind](str(folder))
        searcher = opened.searcher
        row_of = docids_at(source, among)

        def search(query: NDArray[np.float32], depth: int) -> NDArray[np.int64]:
            if self.kind == "lucene-hnsw":
                widen_search(opened, depth)
            hits = searcher.search(query[0].tolist(), depth)
            return np.array([row_of.get(hit.docid, NOT_AMONG) for hit in hits], np.int64)

        return search

    def advice(self, folder: Path) -> str:
        """Advice on how to get better answers."""
        return LUCENE_ADVICE[self.kind]


def _indexer(kind: str, collection: str, folder: Path, threads: int) -> Any:
    prepare_java()
    from pyserini.pyclass import autoclass

    arguments = autoclass(f"{INDEXERS[kind]}$Args")()
    arguments.collectionClass = "JsonVectorCollection"
    arguments.generatorClass = "DenseVectorDocumentGenerator"
    arguments.input, arguments.index = collection, str(folder)
    arguments.threads = threads
    arguments.memoryBuffer = BUFFER_MEGABYTES
    arguments.quiet = True
    indexer = autoclass(INDEXERS[kind])(arguments)
    # Quiet is no logging at all, and Anserini only logs what goes wrong.
    level = autoclass("org.apache.logging.log4j.Level").ERROR
    autoclass("org.apache.logging.log4j.core.config.Configurator").setRootLevel(level)
    return indexer


def _run_detached(indexer: Any) -> None:
    import jnius

    try:
        indexer.run()
    finally:
        jnius.detach()


def _require_all(folder: Path, count: int) -> None:
    from pyserini.pyclass import autoclass

    directory = autoclass("org.apache.lucene.store.FSDirectory").open(autoclass("java.io.File")(str(folder)).toPath())
    readers = autoclass("org.apache.lucene.index.DirectoryReader")
    found = 0
    if readers.indexExists(directory):
        reader = readers.open(directory)
        found = reader.numDocs()
        reader.close()
    if found != count:
        raise TasbError(
            where=str(folder),
            expected=f"{count} documents in the index",
            found=str(found),
            do="read Anserini's messages above; check the free disk space and the memory (JAVA_TOOL_OPTIONS=-Xmx…)",
        )


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
        from tqdm.auto import tqdm

        for thread in self._threads:
            thread.start()
        try:
            with tqdm(total=self._source.count, desc="adding vectors", unit=" vectors") as progress:
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


def widen_search(searcher: Any, depth: int) -> None:
    """Raise efSearch to the depth: HNSW returns at most efSearch hits, by default 100.

    Args:
        searcher: Pyserini's `LuceneHnswDenseSearcher`.
        depth: hits that will be asked for.
    """
    from jnius import cast

    arguments = cast("io/anserini/search/HnswDenseSearcher$Args", searcher.searcher.args)
    arguments.efSearch = max(arguments.efSearch, depth)
