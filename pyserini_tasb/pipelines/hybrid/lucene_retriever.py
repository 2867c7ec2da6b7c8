"""Retrieval from a Lucene index, through one of Pyserini's own searchers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError
from pyserini_tasb.index.weakness import short_lists_warning

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyserini_tasb.evaluate import Run, Topics

# Pyserini writes scores with so many digits behind the point.
DECIMALS = 6


class LuceneRetriever:
    """Any of Pyserini's searchers that have `batch_search`: BM25, impact, flat and HNSW vectors.

    Args:
        name: for messages.
        searcher: `LuceneSearcher`, `LuceneImpactSearcher`, `LuceneFlatDenseSearcher` or `LuceneHnswDenseSearcher`.
        reader: Lucene's, of the same index.
        advice: what to do where lists are short; empty where that is normal, as for BM25.
    """

    def __init__(self, name: str, searcher: Any, reader: Any, advice: str = "") -> None:
        self.name = name
        self._searcher, self._reader, self._advice = searcher, reader, advice
        self._lengths: list[int] = []
        self._asked = 0

    def search(self, topics: Topics, hits: int, threads: int) -> Run:
        """As `Retriever`.

        Raises:
            TasbError: Anserini cannot answer a query, or the index has a docid twice.
        """
        import jnius

        try:
            found = self._searcher.batch_search(list(topics.values()), list(topics), hits, threads)
            without = [qid for qid in topics if qid not in found]
            if without:  # some searchers only log what fails in their threads
                raise self._unanswered(topics, f"none for {', '.join(without[:3])}{', …' if len(without) > 3 else ''}")
            self._asked = hits
            self._lengths += [len(found[qid]) for qid in topics]
            return {qid: self._scores(qid, found[qid]) for qid in topics}
        except jnius.JavaException as error:
            raise self._unanswered(topics, str(error).partition("\n")[0]) from error
        finally:
            jnius.detach()  # a thread that ends attached to the JVM leaves it something to keep

    @property
    def warning(self) -> str:
        """See `Retriever`."""
        if not self._advice:
            return ""
        return short_lists_warning(self._lengths, self._asked, range(self._reader.numDocs()), self._advice)

    def _unanswered(self, topics: Topics, found: str) -> TasbError:
        return TasbError(
            where=self.name,
            expected=f"an answer to each of {len(topics)} queries, from {next(iter(topics))} on",
            found=found,
            do="search for them with `python -m pyserini.search.lucene --threads 1 --batch-size 1` to see which fails",
        )

    def _scores(self, qid: str, hits: Any) -> dict[str, float]:
        # round() gives the very number that is read where the score was printed.
        scores = {hit.docid.strip(): round(hit.score, DECIMALS) for hit in hits}
        if len(scores) < len(hits):
            raise TasbError(
                where=self.name,
                expected="each docid once",
                found=f"{len(hits)} hits for query {qid}, but only {len(scores)} docids",
                do="index the collection again without repeated documents",
            )
        return scores

    def has_any(self, docids: Iterable[str]) -> bool:
        """As `Retriever`."""
        from pyserini.pyclass import autoclass

        term = autoclass("org.apache.lucene.index.Term")
        return any(self._reader.docFreq(term("id", docid)) for docid in docids)
