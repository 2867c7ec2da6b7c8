"""Answers of Pyserini 2's REST server to many different queries at once, with its own threads and with one thread.

    python benchmarks/server_requests.py --corpus documents.jsonl --encoder tasb:minilm

For each index (BM25, and one of vectors where there is an `--encoder`) and number of threads it prints how many answers
were errors, what these were, what the server logged, and queries a second. The server searches in the default executor
of its event loop, and has no option for its threads: `SERVER` below starts it with a number of one's own. It needs
Pyserini 2, and so Python 3.12, with `pip install -e '.[demo]'`.
"""

from __future__ import annotations

import json
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from measuring import ROOT, Options, Results

SERVER = """
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from pyserini.server.rest.app import create_app


async def serve(config, port, threads):
    if threads:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads))
    app = create_app(config, no_prebuilt_indexes=True)
    await uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning")).serve()


asyncio.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""
CORPUS = ROOT / "tests" / "data" / "tiny" / "corpus.jsonl"
WORDS = 5  # of a query
COLUMNS = {"queries/s": ".0f", "errors": "d", "answers": "d"}
STARTING, REQUEST = 12, 5e-3  # seconds on the machine of `measuring.PROBES`


def main() -> int:
    """Index the corpus, ask, count."""
    parser = Options(__file__, __doc__, quick={"requests": 500})
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="JSONL with id and text (default: the tests')")
    parser.add_argument("--encoder", help="also ask an index of vectors by this encoder")
    parser.add_argument("--requests", type=int, default=3_000, help="default: %(default)s")
    parser.add_argument("--at-once", type=int, default=50, help="default: %(default)s")
    parser.add_argument("--threads", type=int, nargs="+", default=[0, 1], help="0: the server's own (default: 0 1)")
    arguments = parser.parse_args()
    results = Results(arguments, COLUMNS)
    servers = len(arguments.threads) * (2 if arguments.encoder else 1)
    work = STARTING * (servers + 1) + servers * arguments.requests * REQUEST
    results.expect(f"{servers} servers to start, {arguments.requests:,} requests to each", python=work)
    if version("pyserini").startswith("1."):
        results.skip("all", f"Pyserini {version('pyserini')} has no such server; Pyserini 2 needs Python 3.12")
    else:
        documents = [json.loads(line) for line in arguments.corpus.open(encoding="utf-8")]
        words = sorted({word for document in documents for word in document["text"].split() if word.isalpha()})
        draw = random.Random(0)
        with tempfile.TemporaryDirectory() as folder:
            config = write_config(Path(folder), documents, arguments.encoder)
            for threads in arguments.threads:
                for index in json.loads(config.read_text(encoding="utf-8"))["indexes"]:
                    queries = [" ".join(draw.sample(words, WORDS)) for _ in range(arguments.requests)]
                    ask_server(config, index, queries, threads, arguments.at_once, results)
    return results.finish()


def write_config(folder: Path, documents: list[dict[str, str]], encoder: str | None) -> Path:
    """The server's configuration, and the indexes that it names."""
    (folder / "corpus").mkdir()
    with (folder / "corpus" / "all.jsonl").open("w", encoding="utf-8") as lines:
        for document in documents:
            lines.write(json.dumps({"id": document["id"], "contents": document["text"]}) + "\n")
    lucene = ["pyserini.index.lucene", "--collection", "JsonCollection", "--input", folder / "corpus"]
    lucene += ["--generator", "DefaultLuceneDocumentGenerator", "--threads", "1", "--storeRaw"]
    run(*lucene, "--index", folder / "bm25")
    indexes = {"bm25": {"path": str(folder / "bm25"), "index_type": "tf"}}
    if encoder:
        run(
            "pyserini_tasb",
            "encode",
            "--encoder",
            encoder,
            "--corpus",
            folder / "corpus",
            "--output",
            folder / "vectors",
        )
        run("pyserini_tasb", "index", "--vectors", folder / "vectors", "--output", folder / "dense")
        dense = {"path": str(folder / "dense"), "index_type": "faiss", "encoder": encoder, "base_index": "bm25"}
        indexes["dense"] = dense
    config = folder / "config.yaml"
    config.write_text(json.dumps({"indexes": indexes}), encoding="utf-8")  # JSON is YAML
    return config


def run(*module: object) -> None:
    """`python -m …`, silently."""
    subprocess.run([sys.executable, "-m", *map(str, module)], check=True, capture_output=True)


def ask_server(config: Path, index: str, queries: list[str], threads: int, at_once: int, results: Results) -> None:
    """Start the server, ask all queries, add a row of what came back."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", SERVER, str(config), str(port), str(threads)]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            address = f"http://127.0.0.1:{port}/v1/{index}/search?hits=10&query="
            while answer(address + "first") == "no connection":
                time.sleep(0.5)
            begin = time.monotonic()
            with ThreadPoolExecutor(at_once) as pool:
                answers = list(pool.map(lambda query: answer(address + urllib.parse.quote(query)), queries))
            seconds = time.monotonic() - begin
        finally:
            server.terminate()
            server.wait()
        log.seek(0)
        logged = Counter(re.findall(r"^(?:\w+\.)*\w*(?:Error|Exception)\b.{,100}", log.read().decode(), re.MULTILINE))
    failed = Counter(kind for kind in answers if kind)
    with_threads = f"{threads} thread" if threads else "its own threads"
    name = f"{index}, {with_threads}"
    results.rows[name] = {"queries/s": len(answers) / seconds, "errors": failed.total(), "answers": len(answers)}
    for kind, count in [*failed.most_common(3), *logged.most_common(3)]:
        results.note(f"{name}: {count} {kind}")


def answer(address: str) -> str:
    """The fault of the answer; empty if it has none."""
    try:
        with urllib.request.urlopen(address, timeout=120) as reply:  # noqa: S310 - a loopback address
            json.load(reply)
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode(errors='replace')[:150]}"
    except urllib.error.URLError:
        return "no connection"
    except OSError as error:
        return repr(error)
    return ""


if __name__ == "__main__":
    sys.exit(main())
