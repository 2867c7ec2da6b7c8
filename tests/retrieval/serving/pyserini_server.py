"""The answers of the REST server of Pyserini 2 to some requests.

`python -m tests.retrieval.serving.pyserini_server` records it, where Pyserini 2 is installed; the recording is
`tests/data/server/pyserini-2.3.0.json`, for tests where it is not.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.indexes.faiss_folders import write_faiss_folder
from tests.indexes.lucene_folders import documents_of, write_lucene_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDING = Path(__file__).parents[2] / "data" / "server" / "pyserini-2.3.0.json"
MODEL = Path(__file__).parents[2] / "data" / "tiny-tasb"

REQUESTS = [
    *(f"GET /v1/{path}" for path in (
        "texts/search?query=algebraic+language",
        "texts/search?query=algebraic+language&hits=3",
        "texts/search?query=computer&hits=100",
        "texts/search?query=computer&hits=%202%20&parse=FALSE",
        "texts/search?query=computer&hits=2&max_doc_length=20",
        "texts/search?query=computer&hits=5&k1=0.82&b=0.68",
        "texts/search?query=computer&hits=5&k1=0&b=1",
        "texts/search?query=the&hits=5",
        "texts/search?query=%C3%A4%E6%97%A5&hits=5",
        "te%78ts/search?query=computer&hits=1",
        "dense/search?query=algebraic+language",
        "dense/search?query=computer&hits=1000&max_doc_length=5",
        "dense/search?query=computer&k1=0.9&b=0.4",
        "bare/search?query=computer",
        "texts/doc/CACM-0001",
        "texts/doc/CACM-0001?parse=false",
        "texts/doc/CACM-0001?max_doc_length=9",
        "texts/doc/CACM-0001?max_doc_length=9&parse=false",
        "texts/doc/none",
        "texts/doc/%20",
        "texts/doc/CACM-0001?parse=2",
        "dense/doc/CACM-0001",
        "bare/doc/CACM-0001",
        "none/doc/CACM-0001",
        "none/search?query=computer",
        "a/b/c/search?query=computer",
        "texts/search",
        "texts/search?query=",
        "texts/search?query=%20%20",
        "texts/search?query=computer&hits=0",
        "texts/search?query=computer&hits=-1",
        "texts/search?query=computer&hits=1.5",
        "texts/search?query=computer&hits=&parse=",
        "texts/search?query=computer&parse=maybe",
        "texts/search?query=computer&k1=x&max_doc_length=x",
        "texts/search?query=computer&k1=0.9",
        "texts/search?query=computer&k1=-1&b=0.4",
        "texts/search?query=computer&k1=nan&b=0.4",
        "texts/search?query=computer&k1=0.9&b=1.5",
        "texts/search?query=computer&b=x",
        "texts/search?query=computer&max_doc_length=0",
        "texts/search?query=computer&max_doc_length=3&parse=false",
        "none/search?query=computer&k1=0.9",
        "texts",
        "texts/doc",
        "search?query=computer",
    )),
    "GET /",
    "GET /v2/texts/search?query=computer",
    "POST /v1/texts/search?query=computer",
    "DELETE /v1/texts/doc/CACM-0001",
    "PUT /nowhere",
]  # fmt: skip


def write_indexes(folder: Path, parts: int = 1) -> Path:
    """Indexes of the tiny collection in so many shards, and the configuration of a server of them."""
    from pyserini_tasb.encoding.encoders import TasbQueryEncoder

    documents = documents_of()
    encoder = TasbQueryEncoder(str(MODEL), device="cpu")
    # Passages are encoded as queries, which is as good here.
    vectors = np.stack([encoder.encode_batch([each["contents"]])[0] for each in documents])
    bounds = [len(documents) * part // parts for part in range(parts + 1)]
    for part, (first, last) in enumerate(itertools.pairwise(bounds)):
        of_part = slice(first, last)
        write_lucene_folder(folder / "bm25" / f"shard-{part}", documents[of_part])
        docids = [each["id"] for each in documents[of_part]]
        write_faiss_folder(folder / "flat" / f"shard-{part}", docids, vectors[of_part])
    shard = "shard-0" if parts == 1 else "shard-[0-9]"
    vectors_of = f"path: 'flat/{shard}', index_type: faiss, encoder: 'tasb:{MODEL}'"
    config = [
        "indexes:",
        f"  texts: bm25/{shard}",
        f"  dense: {{{vectors_of}, base_index: texts}}",
        f"  bare: {{{vectors_of}}}",
    ]
    (folder / "server.yaml").write_text("\n".join(config) + "\n")
    return folder / "server.yaml"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def asked(port: int, request: str, seconds: float = 60) -> tuple[int, object]:
    """The status and the JSON of an answer."""
    method, _, path = request.partition(" ")
    question = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(question, timeout=seconds) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def rounded(value):
    """JSON with numbers that other processors compute alike."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    import pytest

    return pytest.approx(value, abs=2e-5) if isinstance(value, float) else value


@contextlib.contextmanager
def pyserini_server(config: Path) -> Iterator[int]:
    """The port of a server of Pyserini 2."""
    port = free_port()
    command = [sys.executable, "-m", "pyserini.server.rest", "--config", str(config), "--no-prebuilt-indexes"]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                asked(port, "GET /")
                break
            time.sleep(0.2)
        yield port
    finally:
        os.kill(server.pid, signal.SIGKILL)
        server.wait()


def answers(config: Path) -> dict[str, tuple[int, object]]:
    with pyserini_server(config) as port:
        return {request: asked(port, request) for request in REQUESTS}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = answers(write_indexes(Path(folder)))
    RECORDING.parent.mkdir(exist_ok=True)
    content = {"pyserini": version("pyserini"), "answers": found}
    RECORDING.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
