"""Pyserini 2's REST server (its MCP server stands on the same backend) with our encoder in its configuration."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conftest import TINY_MODEL

pytestmark = pytest.mark.skipif(
    version("pyserini").startswith("1."), reason="the server of Pyserini 1.x knows pre-built indexes only"
)


PAGE = Path(__file__).parents[2] / "docs" / "server.md"
PROGRAM = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]


@pytest.fixture(scope="module", params=["stock", "one thread"])
def server(request, faiss_index, lucene_index, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    indexes = {
        "texts": {"path": str(lucene_index), "index_type": "tf"},
        "dense": {
            "path": str(faiss_index), "index_type": "faiss", "encoder": f"tasb:{TINY_MODEL}", "base_index": "texts"
        },
    }  # fmt: skip
    (folder / "config.yaml").write_text(json.dumps({"indexes": indexes}))  # JSON is YAML
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert 'create_app("config.yaml"' in PROGRAM
    options = ["--host", "127.0.0.1", "--port", str(port), "--config", folder / "config.yaml", "--no-prebuilt-indexes"]
    with (folder / "log").open("w") as log:
        stock = ["-m", "pyserini.server.rest", *options]
        command = stock if request.param == "stock" else ["-c", PROGRAM.replace("port=8081", f"port={port}")]
        process = subprocess.Popen([sys.executable, *command], cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    yield f"http://127.0.0.1:{port}/v1", process, folder / "log"
    os.kill(process.pid, signal.SIGTERM)
    process.wait(30)


def get(server, path):
    address, process, log = server
    for _ in range(120):
        try:
            with urllib.request.urlopen(f"{address}/{path}", timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            pytest.fail(f"{error.read().decode()}\n{log.read_text()[-3000:]}")
        except urllib.error.URLError:
            assert process.poll() is None, log.read_text()[-3000:]
            time.sleep(0.5)
    pytest.fail(log.read_text()[-3000:])


def test_dense_search(server, collection, expected_scores):
    query = urllib.parse.quote(collection.topics["19"])
    candidates = get(server, f"dense/search?query={query}&hits=5")["candidates"]
    wanted = sorted(expected_scores["19"].items(), key=lambda hit: -hit[1])[:5]
    assert [candidate["docid"] for candidate in candidates] == [docid for docid, _ in wanted]
    assert [candidate["score"] for candidate in candidates] == pytest.approx([score for _, score in wanted], abs=1e-3)
