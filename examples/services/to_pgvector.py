"""Load vectors of `tasb encode` into PostgreSQL with pgvector, search there, write a TREC run: docs/services.md."""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import psycopg
from pgvector.psycopg import register_vector

import pyserini_tasb as tasb
from pyserini_tasb.encoding.vectors import VectorFolder
from pyserini_tasb.formats.collections import open_collection
from pyserini_tasb.formats.named import as_topics


def load(db: psycopg.Connection, vectors: Path, corpus: Path) -> None:
    """Make the table `passages`, block by block; the texts are for full-text search."""
    folder, texts = VectorFolder(vectors), iter(open_collection(corpus))
    db.execute(f"CREATE TABLE passages (docid text PRIMARY KEY, contents text, vector vector({folder.dimension}))")
    with db.cursor().copy("COPY passages FROM STDIN WITH (FORMAT BINARY)") as copy:
        copy.set_types(["text", "text", "vector"])
        for docids, block in folder.blocks(rows=1_000):
            for docid, vector, (same, text) in zip(docids, block, islice(texts, len(docids)), strict=True):
                if docid != same:
                    raise SystemExit(f"not the corpus of these vectors: {same} stands where they have {docid}")
                copy.write_row((docid, text, vector))
    db.commit()


def search(db: psycopg.Connection, topics: dict[str, str], encoder: str, hits: int, *, hnsw: bool) -> tasb.Run:
    """Search all vectors, or with `hnsw` the graph, which is made if it does not exist."""
    db.execute(f"SET enable_{'seqscan' if hnsw else 'indexscan'} = off")
    if hnsw:
        db.execute("CREATE INDEX IF NOT EXISTS passages_hnsw ON passages USING hnsw (vector vector_ip_ops)")
        db.execute(f"SET hnsw.ef_search = {min(max(hits, 100), 1_000)}; SET hnsw.iterative_scan = strict_order")
    nearest = "SELECT docid, -(vector <#> %(query)s) FROM passages ORDER BY vector <#> %(query)s LIMIT %(hits)s"
    queries = tasb.encode(texts=list(topics.values()), encoder=encoder, kind="query")
    rows = (db.execute(nearest, {"query": query, "hits": hits}).fetchall() for query in queries)
    return tasb.Run(dict(zip(topics, map(dict, rows), strict=True)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="postgresql://USER@HOST/DATABASE")
    parser.add_argument("--load", nargs=2, type=Path, metavar=("VECTORS", "CORPUS"), help="first load these")
    parser.add_argument("--topics", required=True)
    parser.add_argument("--encoder", required=True, help="the one that made the vectors")
    parser.add_argument("--hits", type=int, default=1_000)
    parser.add_argument("--hnsw", action="store_true", help="approximate search")
    parser.add_argument("--output", required=True)
    args = parser.parse_args()
    with psycopg.connect(args.url) as db:
        db.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(db)
        if args.load:
            load(db, *args.load)
        search(db, as_topics(args.topics), args.encoder, args.hits, hnsw=args.hnsw).write(args.output)
