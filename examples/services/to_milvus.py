"""Load vectors of `tasb encode` into Milvus, search there, write a TREC run: docs/services.md."""

from __future__ import annotations

import argparse
from pathlib import Path

from pymilvus import DataType, MilvusClient

import pyserini_tasb as tasb
from pyserini_tasb.encoding.vectors import VectorFolder
from pyserini_tasb.formats.named import as_topics


def load(client: MilvusClient, vectors: Path, *, hnsw: bool) -> None:
    """Make the collection `passages`, block by block, with an index that compares all vectors, or a graph."""
    folder = VectorFolder(vectors)
    schema = client.create_schema()
    schema.add_field("docid", DataType.VARCHAR, max_length=128, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=folder.dimension)
    indexes = client.prepare_index_params()
    kind, params = ("HNSW", {"M": 16, "efConstruction": 200}) if hnsw else ("FLAT", {})
    indexes.add_index("vector", index_type=kind, metric_type="IP", params=params)
    client.create_collection("passages", schema=schema, index_params=indexes)
    for docids, block in folder.blocks(rows=1_000):
        rows = [{"docid": docid, "vector": vector} for docid, vector in zip(docids, block.astype("f4"), strict=True)]
        client.insert("passages", rows)
    client.flush("passages")


def search(client: MilvusClient, topics: dict[str, str], encoder: str, hits: int) -> tasb.Run:
    """Search the index that the collection has."""
    queries = tasb.encode(texts=list(topics.values()), encoder=encoder, kind="query")
    params, ranking = {"metric_type": "IP", "params": {"ef": max(hits, 100)}}, {}
    for qid, query in zip(topics, queries, strict=True):
        (found,) = client.search("passages", [query], limit=hits, search_params=params, consistency_level="Strong")
        ranking[qid] = {hit.id: hit.distance for hit in found}
    return tasb.Run(ranking)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="http://HOST:19530, or a file ….db for Milvus Lite")
    parser.add_argument("--load", type=Path, metavar="VECTORS", help="first load these")
    parser.add_argument("--hnsw", action="store_true", help="load into a graph, for approximate search")
    parser.add_argument("--topics", required=True)
    parser.add_argument("--encoder", required=True, help="the one that made the vectors")
    parser.add_argument("--hits", type=int, default=1_000)
    parser.add_argument("--output", required=True)
    args = parser.parse_args()
    client = MilvusClient(args.url)
    if args.load:
        load(client, args.load, hnsw=args.hnsw)
    search(client, as_topics(args.topics), args.encoder, args.hits).write(args.output)
    client.close()
