"""Answers of Pyserini 2's REST server to many different queries at once, with its own threads and with one thread.

    python benchmarks/server_requests.py --corpus documents.jsonl --encoder tasb:minilm

For each index (BM25, and one of vectors where there is an `--encoder`) and number of threads it prints how many answers
were errors, what these were, what the server logged, and queries a second. The server searches in the default executor
of its event loop, and has no option for its threads: `SERVER` below starts it with a number of one's own. It needs
Pyserini 2, and so Python 3.12, with `pip install -e '.[demo]'`.
"""

from __future__ import annotations

import argparse
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
from pathlib import Path

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
WORDS = 5  # of a query


def main() -> None:
    """Index the corpus, ask, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, type=Path, help="JSONL with id and text")
    parser.add_argument("--encoder", help="also ask an index of vectors by this encoder")
    parser.add_argument("--requests", type=int, default=3_000, help="default: %(default)s")
    parser.add_argument("--at-once", type=int, default=50, help="default: %(default)s")
    parser.add_argument("--threads", type=int, nargs="+", default=[0, 1], help="0: the server's own (default: 0 1)")
    arguments = parser.parse_args()
    documents = [json.loads(line) for line in arguments.corpus.open(encoding="utf-8")]
    words = sorted({word for document in documents for word in document["text"].split() if word.isalpha()})
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        config = write_config(Path(folder), documents, arguments.encoder)
        for threads in arguments.threads:
            for index in json.loads(config.read_text(encoding="utf-8"))["indexes"]:
                queries = [" ".join(draw.sample(words, WORDS)) for _ in range(arguments.requests)]
                ask_server(config, index, queries, threads, arguments.at_once)


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


def ask_server(config: Path, index: str, queries: list[str], threads: int, at_once: int) -> None:
    """Start the server, ask all queries, print what came back."""
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
    rate = len(answers) / seconds
    print(f"{index}, {with_threads}: {failed.total()} errors of {len(answers)}, {rate:.0f} queries a second")
    for kind, count in [*failed.most_common(3), *logged.most_common(3)]:
        print(f"  {count} {kind}", flush=True)


def answer(address: str) -> str:
    """What is wrong with the answer; empty if nothing is."""
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
    main()
