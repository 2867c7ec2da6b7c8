"""`tasb serve`: the answers of Pyserini 2's server, hybrid search, many requests at once, and a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from importlib.metadata import version
from urllib.parse import quote

import numpy as np
import pytest

import pyserini_tasb
from pyserini_tasb.indexes.flat_file import flat_vectors
from tests.encoding.corpus.vector_folders import write_vector_folder
from tests.processes import MarkedProcess
from tests.retrieval.serving.pyserini_server import (
    MODEL,
    RECORDING,
    REQUESTS,
    answers,
    asked,
    free_port,
    rounded,
    write_indexes,
)

SECONDS = 60


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Three shards of the texts and three of the vectors, and both fused. Each index has processes of its own.

    One of the shards of vectors is a folder of `tasb encode`.
    """
    path = write_indexes(tmp_path_factory.mktemp("serve"), parts=3)
    flat = path.parent / "flat" / "shard-1"
    docids, vectors = (flat / "docid").read_text().split(), np.array(flat_vectors(flat / "index"))
    shutil.rmtree(flat)
    write_vector_folder(flat, docids, vectors)
    both = "{index_type: hybrid, recipe: tasb+bm25, inputs: [dense, texts], base_index: texts}"
    indexes = [line for line in path.read_text().splitlines() if "bare" not in line]
    path.write_text("\n".join([*indexes, f"  both: {both}"]) + "\n")
    return path


@pytest.fixture(scope="module")
def process(config):
    port = free_port()
    folder = tempfile.mkdtemp(prefix="ray")  # short: paths of sockets have at most 107 bytes
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "disabled")  # its token would be written to the user's home folder
        environment.setenv("RAY_TMPDIR", folder)
        command = ["-m", "pyserini_tasb", "serve", "--config", str(config), "--port", str(port)]
        served = MarkedProcess([sys.executable, *command])
    served.port = port

    def answers_already():
        with contextlib.suppress(OSError, json.JSONDecodeError):
            return asked(port, "GET /", seconds=5)[0] == 200

    served.wait_until(answers_already, seconds=240)
    yield served
    served.orphans(0)
    served.popen.communicate()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The answers of Pyserini 2's own server, over one index: of now where it is installed, or the recorded ones."""
    if version("pyserini").startswith("1."):
        return json.loads(RECORDING.read_text())["answers"]
    return answers(write_indexes(tmp_path_factory.mktemp("pyserini")))


@pytest.mark.parametrize("request_", [request for request in REQUESTS if "bare" not in request])
def test_the_answers_of_pyserini(request_, process, expected):
    status, content = expected[request_]
    assert asked(process.port, request_) == (status, rounded(content))
    if "/texts/" in request_:  # BM25 gives the very numbers
        assert asked(process.port, request_)[1] == content


def test_hybrid_is_that_of_tasb_hybrid(process, config, tmp_path):
    text = "algebraic language"
    whole = write_indexes(tmp_path).parent
    run = pyserini_tasb.hybrid(
        "tasb+bm25",
        topics={"1": text},
        dense_index=whole / "flat" / "shard-0",
        sparse_index=whole / "bm25" / "shard-0",
        encoder=f"tasb:{MODEL}",
    )
    status, found = asked(process.port, f"GET /v1/both/search?query={quote(text)}&hits=30")
    assert status == 200
    assert [(each["docid"], each["score"]) for each in found["candidates"]] == [
        (docid, pytest.approx(score, abs=1e-5)) for docid, score in list(run["1"].items())[:30]
    ]
    assert all(each["doc"] for each in found["candidates"])


def test_too_many_hits(process):
    for hits in (10_001, 10**9):
        message = {"error": "Parameter 'hits' must be at most 10000"}
        assert asked(process.port, f"GET /v1/texts/search?query=computer&hits={hits}") == (400, message)


def test_openapi(process, monkeypatch):
    with contextlib.suppress(json.JSONDecodeError):
        status, content = asked(process.port, "GET /openapi.yaml")
        assert status == 404  # Pyserini 1 has none
        assert "Pyserini 2" in content["error"]


async def one_of_many(port, path):
    """Status and JSON of a request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    content = await reader.read()
    writer.close()
    head, _, body = content.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_a_thousand_requests_at_once(process):
    words = [
        "algebraic",
        "computer",
        "language",
        "numerical",
        "sorting",
        "tables",
        "matrix",
        "compiler",
        "time",
        "files",
    ]
    paths = [
        f"/v1/{index}/search?query={first}+{second}&hits=5"
        for index in ("texts", "dense") for first in words for second in words
    ]  # fmt: skip
    alone = {path: asked(process.port, f"GET {path}") for path in paths[::10]}
    begin = time.monotonic()

    async def all_of_them():
        return await asyncio.gather(*(one_of_many(process.port, paths[number % 200]) for number in range(1_000)))

    found = asyncio.run(all_of_them())
    assert time.monotonic() - begin < SECONDS
    statuses = [status for status, _ in found]
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 16
    by_path = {}
    for number, (status, content) in enumerate(found):
        path = paths[number % 200]
        if status == 200:
            assert content == by_path.setdefault(path, content)
            assert path not in alone or (status, content) == alone[path]
        else:
            assert content["error"]


def test_sigterm_leaves_nothing(process):
    assert len(process.living()) > 5
    os.kill(process.popen.pid, signal.SIGTERM)
    process.popen.wait(60)
    assert process.popen.returncode == 128 + signal.SIGTERM
    assert not process.orphans(20)
