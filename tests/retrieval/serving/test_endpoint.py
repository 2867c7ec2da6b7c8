"""The endpoint by itself: what it refuses, and the faults of a configuration."""

from __future__ import annotations

import asyncio
import json
import socket
from types import SimpleNamespace
from urllib.parse import parse_qsl, unquote

import pytest

from pyserini_tasb import TasbError, serve
from pyserini_tasb.folders import FAISS, LUCENE
from pyserini_tasb.fusion.methods import Fusion
from pyserini_tasb.indexes.shards import LuceneShards, VectorShards
from pyserini_tasb.recipes.lookup import fusion_recipe
from pyserini_tasb.retrieval.endpoint import Endpoint, Limits, ServedIndex, formatted
from pyserini_tasb.retrieval.on_ray import RayShards
from tests.indexes.lucene_folders import documents_of, write_lucene_folder
from tests.retrieval.serving.pyserini_server import MODEL, RECORDING, REQUESTS, rounded, write_indexes

PLAIN = SimpleNamespace(take_over=lambda _: None)


def request(path, method="GET", headers=None, **query):
    return SimpleNamespace(scope={"path": path}, method=method, headers=headers or {}, query_params=query)


def answer(endpoint, *arguments, **names):
    found = asyncio.run(endpoint(request(*arguments, **names)))
    return found.status_code, json.loads(found.body), found.headers


def endpoint(limits=None, keys=()):
    return Endpoint({"texts": ServedIndex("tf")}, limits or Limits(), keys, PLAIN, {})


def at_once(value):
    """A future that is done, as Ray's references are awaited."""
    future = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future


class ShardsHere:
    """Shards in this process, in two groups."""

    def __init__(self, kind, *groups):
        self.kind, self._groups = kind, groups
        self.actors = [
            SimpleNamespace(
                documents=SimpleNamespace(remote=lambda docids, group=group: at_once(group.documents(docids)))
            )
            for group in groups
        ]

    def ask(self, queries, depth, bm25=None):
        return [at_once(group.search(queries, depth, bm25)) for group in self._groups]

    merge = RayShards.merge


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """The indexes of the recorded requests, each in three shards, and both fused."""
    folder = write_indexes(tmp_path_factory.mktemp("endpoint"), parts=3).parent
    lucene, faiss = (sorted(path for path in (folder / name).glob("shard-[0-9]")) for name in ("bm25", "flat"))
    texts = ShardsHere(LUCENE, LuceneShards(lucene, [0, 2]), LuceneShards(lucene, [1]))
    vectors = ShardsHere(FAISS, VectorShards(faiss[:1], 32), VectorShards(faiss[1:], 32))
    recipe = fusion_recipe("tasb+bm25")
    fused = {"inputs": (("dense", None), ("texts", None)), "fusion": Fusion.from_recipe(recipe), "depth": recipe.depth}
    indexes = {
        "texts": ServedIndex("tf", texts),
        "dense": ServedIndex("faiss", vectors, f"tasb:{MODEL}", "texts"),
        "bare": ServedIndex("faiss", vectors, f"tasb:{MODEL}"),
        "both": ServedIndex("hybrid", base="texts", **fused),
    }
    return Endpoint(indexes, Limits(), (), PLAIN, {"device": "cpu"})


@pytest.mark.parametrize("request_", REQUESTS)
def test_the_answers_of_pyserini(request_, complete):
    status, content = json.loads(RECORDING.read_text())["answers"][request_]
    method, _, target = request_.partition(" ")
    path, _, query = target.partition("?")
    found = answer(complete, unquote(path), method, **dict(parse_qsl(query, keep_blank_values=True)))
    assert found[:2] == (status, rounded(content))
    if "/texts/" in request_:  # BM25 gives the very numbers
        assert found[1] == content


def test_a_fused_index(complete):
    status, found, _ = answer(complete, "/v1/both/search", query="algebraic language", hits="20")
    assert (status, len(found["candidates"])) == (200, 20)
    scores = [each["score"] for each in found["candidates"]]
    assert scores == sorted(scores, reverse=True)
    assert all(each["doc"] for each in found["candidates"])
    _, dense, _ = answer(complete, "/v1/dense/search", query="algebraic language", hits="20")
    assert [each["docid"] for each in dense["candidates"]] != [each["docid"] for each in found["candidates"]]
    assert answer(complete, "/v1/both/doc/none")[:2] == (404, {"error": "Document not found: none"})


def test_a_key_is_needed():
    guarded = endpoint(keys=("secret", "other"))
    for headers in ({}, {"x-api-key": "secre"}, {"authorization": "Bearer none"}, {"authorization": "Basic secret"}):
        assert answer(guarded, "/v1/x/search", headers=headers)[0] == 401
    for headers in ({"x-api-key": " other "}, {"authorization": "bearer secret"}):
        assert answer(guarded, "/v1/x/search", headers=headers)[0] == 400  # no query
    assert answer(guarded, "/")[0] == 200


def slow(waited):
    async def ranking(*_):
        waited.append(1)
        await asyncio.sleep(0.2)
        return {}

    return ranking


def test_what_waits_is_bounded(monkeypatch):
    waited = []
    small = endpoint(Limits(at_once=2, waiting=3))
    monkeypatch.setattr(small, "_ranking", slow(waited))

    async def many():
        return await asyncio.gather(*(small(request("/v1/texts/search", query=str(each))) for each in range(20)))

    statuses = [each.status_code for each in asyncio.run(many())]
    assert statuses.count(200) == 5
    assert statuses.count(503) == 15
    assert len(waited) == 5
    assert answer(small, "/v1/texts/search", query="again")[0] == 200


def test_no_request_waits_for_ever(monkeypatch):
    hasty = endpoint(Limits(seconds=0.05))
    monkeypatch.setattr(hasty, "_ranking", slow([]))
    status, content, headers = answer(hasty, "/v1/texts/search", query="x")
    assert (status, headers["retry-after"]) == (503, "1")
    assert "No answer within" in content["error"]


def test_an_unexpected_fault_is_answered(monkeypatch):
    async def fault(*_):
        raise ZeroDivisionError

    broken = endpoint()
    monkeypatch.setattr(broken, "_ranking", fault)
    assert answer(broken, "/v1/texts/search", query="x")[:2] == (500, {"error": "Internal server error"})


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, None),
        ("plain {", "plain {"),
        ('{"id": "1", "contents": "text"}', "text"),
        ('{"id": "1", "title": "t", "contents": "text", "n": 3, "more": [1]}',
         {"title": "t", "contents": "text", "n": "3", "more": [1]}),
        ('{"id": "1"}', {}),
        ("[1, 2]", [1, 2]),
    ],
)  # fmt: skip
def test_documents(raw, expected):
    assert formatted(raw, parse=True) == expected
    assert formatted(raw, parse=False) == raw


def test_long_text_is_cut():
    raw = json.dumps({"title": "long", "contents": "long", "Body": "long", "text": ["long"]})
    expected = {"title": "long", "contents": "lo", "Body": "lo", "text": ["long"]}
    assert formatted(raw, parse=True, longest=2) == expected
    assert formatted("plain", parse=True, longest=2) == "pl"


FAULTS = {
    "indexes: {}": "indexes",
    "indexes: {a: {index_type: tf}}": "a: it needs a `path`",
    "indexes: {a: {path: texts, index_type: faiss}}": "needs an `encoder`",
    "indexes: {a: {path: texts, index_type: impact}}": "impact",
    "indexes: {a: {path: texts, base_index: b}}": "`base_index` is the name",
    "indexes: {a: {path: texts, recipe: tasb+bm25}}": "belong to a hybrid index",
    "indexes: {a: texts, b: {index_type: hybrid}}": "needs a `recipe`",
    "indexes: {a: texts, b: {index_type: hybrid, recipe: tasb+bm25, inputs: [c, a]}}": r"not \['c'\]",
    "indexes: {a: texts, b: {index_type: hybrid, recipe: tasb+bm25, inputs: [a, a]}}": "but `inputs` are tf, tf",
    "indexes: {a: texts, b: {index_type: hybrid, recipe: none, inputs: [a, a]}}": "fusion recipe",
    "indexs: {a: texts}": "indexs",
    "indexes: {a: texts}\napi_keys: 3": "api_keys",
}


@pytest.mark.parametrize("content", FAULTS)
def test_faulty_configurations(content, tmp_path):
    (tmp_path / "server.yaml").write_text(content)
    with pytest.raises(TasbError, match=FAULTS[content]):
        serve(tmp_path / "server.yaml")


def test_a_taken_port(tmp_path):
    write_lucene_folder(tmp_path / "texts", documents_of()[:3])
    (tmp_path / "server.yaml").write_text("indexes: {a: texts}")
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(TasbError, match="a free port"):
        serve(tmp_path / "server.yaml", port=taken.getsockname()[1])
