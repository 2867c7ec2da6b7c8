"""BM25 over Lucene indexes that hold parts of one collection: the same scores as in one index of all of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.formats.records import LuceneCollection
from pyserini_tasb.indexes.rankings import NO_RANKING, Ranking, best_of_each

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


TIES_APART = 1e-4  # Anserini's ScoreTiesAdjusterReranker, as all that follows here
STEP = 1e-6
# Hits that Lucene counts before it skips documents that cannot be among the best; IndexSearcher's.
COUNTED = 1_000
NO_MORE_DOCUMENTS = 2**31 - 1


@dataclass(frozen=True)
class Bm25:
    """The parameters of BM25, by default Anserini's.

    Args:
        k1: how soon more occurrences of a term stop to count.
        b: how much a document's length counts, from 0 to 1.

    Raises:
        TasbError: out of range.
    """

    k1: float = 0.9
    b: float = 0.4

    def __post_init__(self) -> None:
        if not (0 <= self.k1 < math.inf and 0 <= self.b <= 1):
            raise TasbError(
                expected=f"{argument('k1')} of at least 0, and {argument('b')} from 0 to 1",
                found=f"{self.k1} and {self.b}",
                do="Anserini's own are 0.9 and 0.4",
            )


class Bm25Shards:
    """Lucene indexes of terms, of which some are searched, with the statistics of all.

    How rare a term is and how long documents are on average is counted over all shards. So a document has the score
    that it has in one index of all of them, on whichever machine its shard is searched.

    Only the thread that makes the object may use it: pyjnius is not safe in several.

    Args:
        paths: all shards.
        own: the numbers of those to search; by default all.
        bm25: the parameters.

    Raises:
        TasbError: not a Lucene index, one that has no terms, or a damaged one.
    """

    def __init__(self, paths: Sequence[Path], own: Iterable[int] | None = None, *, bm25: Bm25 = Bm25()) -> None:
        readers = [_opened(path) for path in paths]
        from pyserini.pyclass import autoclass

        multi = autoclass("org.apache.lucene.index.MultiReader")(readers, True)
        # Of its two constructors, pyjnius finds only the one that takes a context.
        self._searcher = autoclass("org.apache.lucene.search.IndexSearcher")(multi.getContext())
        self._bm25 = self._usual = bm25
        self._searcher.setSimilarity(_similarity(bm25))
        self._stored = multi.storedFields()
        self._documents = multi.numDocs()
        self._generator = autoclass("io.anserini.search.query.BagOfWordsQueryGenerator")()
        self._analyzer = autoclass("io.anserini.index.IndexCollection").DEFAULT_ANALYZER
        leaves, start = multi.leaves(), 0
        self._own: list[Any] = []
        searched = set(range(len(paths)) if own is None else own)
        for shard, reader in enumerate(readers):
            end = start + reader.leaves().size()
            if shard in searched:
                self._own += [leaves.get(leaf) for leaf in range(start, end)]
            start = end
        fields, kind = autoclass("org.apache.lucene.search.SortField"), "org.apache.lucene.search.SortField$Type"
        by_docid = fields("id", autoclass(kind).STRING_VAL)
        self._order = autoclass("org.apache.lucene.search.Sort")(fields.FIELD_SCORE, by_docid)
        self._collectors = autoclass("org.apache.lucene.search.TopFieldCollector")

    def __len__(self) -> int:
        """The number of documents in all shards."""
        return int(self._documents)

    def search(self, text: str, hits: int, bm25: Bm25 | None = None) -> Ranking:
        """The best documents of the searched shards, by BM25's score, descending, and then docid, ascending.

        Args:
            text: the query, of which Anserini's English analyzer makes terms.
            hits: how many.
            bm25: other parameters, for this query.

        Raises:
            TasbError: Lucene cannot answer it.
        """
        import jnius

        bm25 = bm25 or self._usual
        if bm25 != self._bm25:
            self._searcher.setSimilarity(_similarity(bm25))
            self._bm25 = bm25
        try:
            count = hits
            while True:
                count = min(count, len(self))
                scores, docids = self._best(text, count)
                kept = best_of_each(scores, docids, hits, descending_docids=False)
                if len(kept) == hits or len(docids) < count or count == len(self):
                    return Ranking(scores[kept], [docids[place] for place in kept])
                count *= 2  # a docid is there several times
        except jnius.JavaException as error:
            raise TasbError(
                expected="a query that Lucene can answer",
                found=f"{str(error).partition(chr(10))[0]}, for `{text[:100]}`",
                do="search with `python -m pyserini.search.lucene` to see the whole error",
            ) from error

    def documents(self, docids: Iterable[str]) -> dict[str, str | None]:
        """Docid → what is stored of the document (`raw`), of those that the searched shards have."""
        from pyserini.pyclass import autoclass

        term = autoclass("org.apache.lucene.index.Term")
        found: dict[str, str | None] = {}
        for docid in docids:
            for leaf in self._own:
                postings = leaf.reader().postings(term("id", docid))
                if postings is not None:
                    found[docid] = self._stored.document(leaf.docBase + postings.nextDoc()).get("raw")
                    break
        return found

    def _best(self, text: str, count: int) -> tuple[NDArray[np.float32], list[str]]:
        """The search of Anserini's `SimpleSearcher`, over some leaves of an index only."""
        if not count:
            return NO_RANKING.scores, []
        query = self._searcher.rewrite(self._generator.buildQuery("contents", self._analyzer, text))
        collector = self._collector(count)
        weight = self._searcher.createWeight(query, collector.scoreMode(), 1.0)
        collector.setWeight(weight)
        for leaf in self._own:
            of_leaf = collector.getLeafCollector(leaf)
            scorer = weight.bulkScorer(leaf)
            if scorer is not None:
                scorer.score(of_leaf, leaf.reader().getLiveDocs(), 0, NO_MORE_DOCUMENTS)
        found = collector.topDocs().scoreDocs
        self._collectors.populateScores(found, self._searcher, query)
        scores = np.array([hit.score for hit in found], np.float32)
        return scores, [self._stored.document(hit.doc).get("id") for hit in found]

    def _collector(self, count: int) -> Any:
        from pyserini.pyclass import autoclass

        if hasattr(self._collectors, "create"):  # Lucene 9
            return self._collectors.create(self._order, count, COUNTED)
        manager = autoclass("org.apache.lucene.search.TopFieldCollectorManager")
        return manager(self._order, count, COUNTED).newCollector()


def _similarity(bm25: Bm25) -> Any:
    from pyserini.pyclass import autoclass

    return autoclass("org.apache.lucene.search.similarities.BM25Similarity")(bm25.k1, bm25.b)


def _opened(path: Path) -> Any:
    reader = LuceneCollection(path).open()
    content = lucene_content(reader)
    if content != "terms":
        raise TasbError(
            where=str(path),
            expected="a Lucene index of terms",
            found=WITHOUT_VECTORS.get(content, f"one of {content}"),
            do="search vectors in Lucene with `python -m pyserini.search.lucene --dense`, or with `tasb hybrid`",
        )
    return reader


def adjusted(ranking: Ranking) -> Ranking:
    """The ranking with the scores that Anserini writes: four digits behind the point, and ties a millionth apart.

    Args:
        ranking: whole, with merged shards: where a tie begins depends on all that is before it.
    """
    scores = np.empty(len(ranking), np.float32)
    ties = 0
    for rank, score in enumerate(ranking.scores.tolist()):
        # Java's Math.round
        scores[rank] = np.float32(math.floor(score * 1e4 + 0.5) / 1e4)
        if rank == 0 or scores[rank - 1] - scores[rank] > np.float32(TIES_APART):
            ties = 0
        else:
            ties += 1
            scores[rank] -= np.float32(STEP) * np.float32(ties)
    return Ranking(scores, ranking.docids)


TERM_FIELD, VECTOR_FIELD = "contents", "vector"  # Anserini's Constants
VECTOR_FORMAT = "PerFieldKnnVectorsFormat.format"  # Lucene's, of the attribute that names a field's format

Content = Literal["terms", "flat vectors", "HNSW vectors", "nothing to search"]
WITHOUT_VECTORS: dict[Content, str] = {
    "terms": "a Lucene index of terms",
    "nothing to search": "an empty Lucene index",
}


def lucene_content(reader: Any) -> Content:
    """The kind of data that Anserini put into a Lucene index.

    Args:
        reader: Lucene's.
    """
    for fields in _fields(reader):
        vectors = fields.fieldInfo(VECTOR_FIELD)
        if vectors is not None and vectors.getVectorDimension():
            return "HNSW vectors" if "Hnsw" in (vectors.getAttribute(VECTOR_FORMAT) or "") else "flat vectors"
        terms = fields.fieldInfo(TERM_FIELD)
        if terms is not None and terms.getIndexOptions().toString() != "NONE":
            return "terms"
    return "nothing to search"


def _fields(reader: Any) -> Iterator[Any]:
    leaves = reader.leaves()
    for number in range(leaves.size()):
        yield leaves.get(number).reader().getFieldInfos()
