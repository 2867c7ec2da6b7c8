"""The HTTP endpoint: the routes, fields and errors of the REST server of Pyserini 2, over shards in a Ray cluster."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import math
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pyserini_tasb.formats.run_table import RunTable, concatenated
from pyserini_tasb.fusion.fuse import fuse_tables
from pyserini_tasb.indexes.bm25 import Bm25, adjusted
from pyserini_tasb.retrieval.retrievers import DECIMALS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyserini_tasb.fusion.methods import Fusion
    from pyserini_tasb.ray_cluster.actors import Setting
    from pyserini_tasb.retrieval.on_ray import RayShards

LOG = logging.getLogger(__name__)

TF, DENSE, HYBRID = "tf", "faiss", "hybrid"
DEFAULT_HITS = 10
QID = "1"  # of the one query of a request
SEARCH = re.compile(r"/v1/(?P<index>.*)/search", re.DOTALL)
DOCUMENT = re.compile(r"/v1/(?P<index>.*)/doc/(?P<docid>[^/]+)", re.DOTALL)
ABOUT = {
    "name": "Pyserini API",
    "version": "v1",
    "description": "REST API aligned with Anserini (Lucene indexes via Pyserini).",
    "openapi": "/openapi.yaml",
    "documentation": "/docs",
}
NO_ROUTE = "Expected route /v1/{index}/search or /v1/{index}/doc/{docid}"
RETRY_SECONDS = 1
# Fields of a stored document: its id is given beside it, and long text may be cut.
IDS, TEXTS = frozenset({"id", "_id", "docid"}), frozenset({"body", "content", "contents", "text"})


@dataclass(frozen=True)
class ServedIndex:
    """An index that requests can name.

    Args:
        kind: `TF`, `DENSE` or `HYBRID`.
        shards: its shards; a hybrid index has none.
        encoder: a dense index's query encoder.
        base: the name of the index of terms that stores the documents.
        inputs: the names of the indexes that a hybrid one fuses, each with parameters of BM25 if the recipe has some.
        fusion: how it fuses them.
        depth: hits that it takes from each.
    """

    kind: str
    shards: RayShards | None = None
    encoder: str | None = None
    base: str | None = None
    inputs: tuple[tuple[str, Bm25 | None], ...] = ()
    fusion: Fusion | None = None
    depth: int = 0


@dataclass(frozen=True)
class Limits:
    """The limits of what an endpoint takes on.

    Args:
        hits: the most hits of a request.
        at_once: requests that are worked on.
        waiting: requests that wait for their turn.
        seconds: the time within which a request is answered, with 503 if nothing else.
    """

    hits: int = 10_000
    at_once: int = 16
    waiting: int = 1_000
    seconds: float = 45.0


class RefusedError(Exception):
    """A request that gets an error for an answer.

    Args:
        status: HTTP's status.
        message: the answer's field `error`.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Endpoint:
    """A deployment of Ray Serve that answers requests.

    Args:
        indexes: what requests can name.
        limits: what is taken on.
        keys: the API keys of which a request needs one; none is needed if there are none.
        setting: what this process takes over.
        encoders: where queries are encoded, and how: the arguments `device` and `backend` of `TasbQueryEncoder`.
    """

    def __init__(
        self,
        indexes: Mapping[str, ServedIndex],
        limits: Limits,
        keys: Sequence[str],
        setting: Setting,
        encoders: Mapping[str, Any],
    ) -> None:
        setting.take_over(lambda _: None)
        from pyserini_tasb.encoding.encoders import TasbQueryEncoder  # imports torch

        self._indexes, self._limits, self._keys = indexes, limits, keys
        names = {index.encoder for index in indexes.values() if index.encoder}
        self._encoders = {name: TasbQueryEncoder(name, **encoders) for name in names}
        self._encodes = ThreadPoolExecutor(1)
        self._turns = asyncio.Semaphore(limits.at_once)
        self._inside = 0

    async def __call__(self, request: Any) -> Any:
        """The answer to a request of HTTP."""
        from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse

        path = request.scope["path"]
        try:
            if path == "/openapi.yaml" and request.method == "GET":
                return PlainTextResponse(_openapi(), media_type="application/yaml; charset=utf-8")
            if path == "/docs" and request.method == "GET":
                from fastapi.openapi.docs import get_swagger_ui_html

                return HTMLResponse(get_swagger_ui_html(openapi_url="/openapi.yaml", title=ABOUT["name"]).body)
            return JSONResponse(await self._answer(path, request))
        except RefusedError as refused:
            later = {"Retry-After": str(RETRY_SECONDS)} if refused.status == 503 else None
            return JSONResponse({"error": refused.message}, status_code=refused.status, headers=later)
        except Exception:  # whatever it is, the next request shall be answered
            LOG.exception("a request failed")
            return JSONResponse({"error": "Internal server error"}, status_code=500)

    async def _answer(self, path: str, request: Any) -> dict[str, Any]:
        if path.startswith("/v1/"):
            self._require_key(request.headers)
        if path == "/":
            answer = None
        elif found := SEARCH.fullmatch(path):
            answer = self._search(unquote(found["index"]), request.query_params)
        elif found := DOCUMENT.fullmatch(path):
            answer = self._document(unquote(found["index"]), unquote(found["docid"]), request.query_params)
        else:
            raise RefusedError(404, NO_ROUTE)
        if request.method != "GET":
            if answer is not None:
                answer.close()
            raise RefusedError(405, "Only GET is supported")
        return ABOUT if answer is None else await self._in_turn(answer)

    def _require_key(self, headers: Mapping[str, str]) -> None:
        given = [headers.get("x-api-key", "").strip()]
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given += [token.strip()] if scheme.lower() == "bearer" else []
        if self._keys and not any(
            hmac.compare_digest(key.encode(), each.encode()) for key in self._keys for each in given if each
        ):
            raise RefusedError(401, "Unauthorized. Send a key as the header X-API-Key.")

    async def _in_turn(self, answer: Any) -> dict[str, Any]:
        """The answer, if there is a place for the request and time enough; otherwise 503."""
        import ray

        if self._inside >= self._limits.at_once + self._limits.waiting:
            answer.close()
            raise RefusedError(503, f"Too many requests wait for an answer; retry after {RETRY_SECONDS} s.")
        self._inside += 1
        try:
            return await asyncio.wait_for(self._worked_on(answer), self._limits.seconds)
        except TimeoutError as error:
            raise RefusedError(503, f"No answer within {self._limits.seconds:.0f} s; retry later.") from error
        except ray.exceptions.RayActorError as error:
            raise RefusedError(503, "A shard of the index is being loaded again; retry later.") from error
        finally:
            self._inside -= 1
            answer.close()

    async def _worked_on(self, answer: Any) -> dict[str, Any]:
        async with self._turns:
            found: dict[str, Any] = await answer
            return found

    async def _search(self, name: str, given: Mapping[str, str]) -> dict[str, Any]:
        query = given.get("query", "")
        if not query.strip():
            raise RefusedError(400, "Parameter 'query' is required")
        hits = _positive(given.get("hits"), "hits") or DEFAULT_HITS
        # In the order of Pyserini's server: of several faults, it names the first.
        parse = _parse(given)
        k1, b = _number(given.get("k1"), "k1"), _number(given.get("b"), "b")
        longest = _longest(given, parse=parse)
        bm25 = _bm25(k1, b)
        index = self._index(name)
        if bm25 is not None and index.kind != TF:
            raise RefusedError(400, "BM25 parameters k1 and b apply only to sparse (tf) indexes")
        if hits > self._limits.hits:
            raise RefusedError(400, f"Parameter 'hits' must be at most {self._limits.hits}")
        ranking = await self._ranking(index, query, hits, bm25)
        documents = await self._documents(name, list(ranking))
        for docid in ranking:
            if docid not in documents:
                raise RefusedError(404, f"Document {docid} not found in index {index.base or name}")
        candidates = [
            {
                "docid": docid,
                "score": round(score, DECIMALS),
                "rank": rank,
                "doc": formatted(documents[docid], parse=parse, longest=longest),
            }
            for rank, (docid, score) in enumerate(ranking.items(), 1)
        ]
        return {"api": "v1", "index": name, "query": {"text": query}, "candidates": candidates}

    async def _document(self, name: str, docid: str, given: Mapping[str, str]) -> dict[str, Any]:
        if not docid.strip():
            raise RefusedError(400, "Path parameter 'docid' is required")
        parse = _parse(given)
        longest = _longest(given, parse=parse)
        self._index(name)
        documents = await self._documents(name, [docid])
        if docid not in documents:
            raise RefusedError(404, f"Document not found: {docid}")
        doc = formatted(documents[docid], parse=parse, longest=longest)
        return {"api": "v1", "index": name, "docid": docid, "doc": doc}

    def _index(self, name: str) -> ServedIndex:
        if name not in self._indexes:
            raise RefusedError(400, f"Index not configured for this server: {name}")
        return self._indexes[name]

    async def _ranking(self, index: ServedIndex, query: str, hits: int, bm25: Bm25 | None = None) -> dict[str, float]:
        """Docid → score, best first."""
        if index.fusion is not None:
            rankings = [await self._ranking(self._indexes[name], query, index.depth, own) for name, own in index.inputs]
            if not any(rankings):
                return {}
            tables = [RunTable.from_run({QID: ranking}) for ranking in rankings]
            fused = concatenated(list(fuse_tables(tables, index.fusion))).to_run().get(QID, {})
            return dict(list(fused.items())[:hits])
        assert index.shards is not None  # noqa: S101 - all others have some
        if index.kind == TF:
            (found,) = await self._asked(index.shards, [query], hits, bm25)
            scores = [round(score, DECIMALS) for score in adjusted(found).scores.tolist()]
        else:
            loop = asyncio.get_running_loop()
            encoder = self._encoders[str(index.encoder)]
            vectors = await loop.run_in_executor(self._encodes, encoder.encode_batch, [query])
            (found,) = await self._asked(index.shards, vectors, hits)
            scores = found.scores.tolist()
        return dict(zip(found.docids, scores, strict=True))

    async def _asked(self, shards: RayShards, queries: Any, hits: int, bm25: Bm25 | None = None) -> Any:
        answers = await asyncio.gather(*shards.ask(queries, hits, bm25))
        return shards.merge(answers, hits)

    async def _documents(self, name: str, docids: list[str]) -> dict[str, str | None]:
        """Docid → what the index stores of the document, of those that it has."""
        index = self._indexes[name]
        base = index if index.kind == TF else self._indexes.get(str(index.base))
        if not docids:
            return {}
        if base is None or base.shards is None:
            kinds = {DENSE: "'FaissSearcher'", HYBRID: "'HybridSearcher'"}
            message = f"got {kinds[index.kind]} (doc index key {name!r})."
            raise RefusedError(400, f"Document retrieval requires a Lucene sparse index; {message}")
        answers = await asyncio.gather(*(actor.documents.remote(docids) for actor in base.shards.actors))
        return {docid: raw for answer in answers for docid, raw in answer.items()}


def _positive(given: str | None, name: str) -> int | None:
    if given is None or not given.strip():
        return None
    try:
        value = int(given)
    except ValueError as error:
        raise RefusedError(400, f"Parameter '{name}' must be an integer") from error
    if value <= 0:
        raise RefusedError(400, f"Parameter '{name}' must be positive")
    return value


def _number(given: str | None, name: str) -> float | None:
    if given is None or not given.strip():
        return None
    try:
        return float(given)
    except ValueError as error:
        raise RefusedError(400, f"Parameter '{name}' must be a number") from error


def _parse(given: Mapping[str, str]) -> bool:
    parse = given.get("parse", "true").strip().lower()
    if parse not in {"true", "false"}:
        raise RefusedError(400, "Parameter 'parse' must be 'true' or 'false'")
    return parse == "true"


def _longest(given: Mapping[str, str], *, parse: bool) -> int | None:
    longest = _positive(given.get("max_doc_length"), "max_doc_length")
    if longest is not None and not parse:
        raise RefusedError(400, "Parameter 'max_doc_length' requires parse=true")
    return longest


def _bm25(k1: float | None, b: float | None) -> Bm25 | None:
    if k1 is None and b is None:
        return None
    if k1 is None or b is None:
        raise RefusedError(400, "BM25 parameters k1 and b must be set together")
    if not 0 <= k1 < math.inf:
        raise RefusedError(400, "BM25 parameter k1 must be a non-negative number")
    if not 0 <= b <= 1:
        raise RefusedError(400, "BM25 parameter b must be between 0 and 1")
    return Bm25(round(k1, DECIMALS), round(b, DECIMALS))


def formatted(raw: str | None, *, parse: bool, longest: int | None = None) -> Any:
    """A stored document as the server of Pyserini 2 gives it.

    Args:
        raw: what the index stores: JSON, most often.
        parse: give the object's fields but its id, as text; a single field is given by itself.
        longest: the most characters of text.
    """
    if raw is None or not parse:
        return raw
    try:
        found = json.loads(raw)
    except json.JSONDecodeError:
        return raw if longest is None else raw[:longest]
    if isinstance(found, dict):
        kept = {key: value for key, value in found.items() if key not in IDS}
        fields = {key: value if isinstance(value, dict | list) else str(value) for key, value in kept.items()}
        found = next(iter(fields.values())) if len(fields) == 1 else fields
    if longest is None:
        return found
    if isinstance(found, dict):
        return {
            key: value[:longest] if key.lower() in TEXTS and isinstance(value, str) else value
            for key, value in found.items()
        }
    return found[:longest] if isinstance(found, str) else found


def _openapi() -> str:
    """The description of the routes that Pyserini 2 brings."""
    from importlib import resources

    try:
        file = resources.files("pyserini.server.rest").joinpath("openapi.yaml")
        return file.read_text(encoding="utf-8")
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise RefusedError(404, "Only Pyserini 2 has openapi.yaml") from error
