"""Single documents of a Lucene index, by docid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tqdm import tqdm

from pyserini_tasb.errors import TasbError
from pyserini_tasb.rerank.requirements import NAMED
from pyserini_tasb.texts.lucene_collection import LuceneCollection, text_of_document

if TYPE_CHECKING:
    from collections.abc import Iterable


class LuceneLookup(LuceneCollection):
    """A Lucene index that is asked for documents by docid; the arguments are those of `LuceneCollection`."""

    def texts(self, docids: Iterable[str]) -> tuple[dict[str, str], list[str]]:
        """The texts of those docids that are there, and which of them several documents have.

        Raises:
            TasbError: Pyserini cannot open the index, or it does not store a document's text.
        """
        reader = self.open()
        from pyserini.pyclass import autoclass

        term, utilities = autoclass("org.apache.lucene.index.Term"), autoclass("io.anserini.index.IndexReaderUtils")()
        texts, repeated, without = {}, [], []
        for docid in tqdm(docids, desc=str(self.folder), unit=" texts", mininterval=1.0):
            count = reader.docFreq(term("id", docid))
            if count > 1:
                repeated.append(docid)
            if count:
                try:
                    texts[docid] = text_of_document(utilities.document(reader, docid))
                except ValueError as error:
                    without.append(f"document {docid}: {error}")
        if without:
            more = [f"… and {len(without) - NAMED} more"] if len(without) > NAMED else []
            raise TasbError(
                where=str(self.folder),
                expected="a Lucene index that stores every document's text",
                found=f"{len(without)} of the run without:\n    " + "\n    ".join(without[:NAMED] + more),
                do="build it with --storeContents, or with --storeRaw from a JsonCollection",
            )
        return texts, repeated
