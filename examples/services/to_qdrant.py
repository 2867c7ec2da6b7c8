"""Load vectors of `tasb encode` into Qdrant, search there, write a TREC run: docs/services.md."""

from __future__ import annotations

import argparse
from pathlib import Path

from qdrant_client import QdrantClient, models

import pyserini_tasb as tasb
from pyserini_tasb.encoding.vectors import VectorFolder
from pyserini_tasb.formats.named import as_topics


def load(client: QdrantClient, vectors: Path) -> None:
    """Make the collection `passages`, block by block. Qdrant's ids are numbers, so the docid is in the payload."""
    folder, first = VectorFolder(vectors), 0
    dense = models.VectorParams(size=folder.dimension, distance=models.Distance.DOT)
    words = models.SparseVectorParams(modifier=models.Modifier.IDF)
    client.create_collection("passages", vectors_config={"tasb": dense}, sparse_vectors_config={"bm25": words})
    for docids, block in folder.blocks(rows=10_000):
        ids, payload = range(first, first + len(docids)), [{"docid": docid} for docid in docids]
        client.upload_collection("passages", {"tasb": block}, payload, ids, batch_size=500, wait=True)
        first += len(docids)


def search(client: QdrantClient, topics: dict[str, str], encoder: str, hits: int, *, exact: bool) -> tasb.Run:
    """Search all vectors, or the graph, which the server makes by itself."""
    queries = tasb.encode(texts=list(topics.values()), encoder=encoder, kind="query")
    params = models.SearchParams(exact=exact, hnsw_ef=max(hits, 100))
    ranking = {}
    for qid, query in zip(topics, queries, strict=True):
        found = client.query_points(
            "passages", query=query, using="tasb", limit=hits, search_params=params, with_payload=["docid"], timeout=60
        )
        ranking[qid] = {point.payload["docid"]: point.score for point in found.points}
    return tasb.Run(ranking)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="http://HOST:6333, or :memory:, which imitates Qdrant in Python")
    parser.add_argument("--load", type=Path, metavar="VECTORS", help="first load these")
    parser.add_argument("--topics", required=True)
    parser.add_argument("--encoder", required=True, help="the one that made the vectors")
    parser.add_argument("--hits", type=int, default=1_000)
    parser.add_argument("--exact", action="store_true", help="compare every vector")
    parser.add_argument("--output", required=True)
    args = parser.parse_args()
    client = QdrantClient(args.url)
    if args.load:
        load(client, args.load)
    search(client, as_topics(args.topics), args.encoder, args.hits, exact=args.exact).write(args.output)
    client.close()
