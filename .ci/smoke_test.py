"""A release must be able to do this where only the wheel and what it requires are installed.

`make release` runs it as `python smoke_test.py VERSION` in an empty folder, by the Python of such an environment.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

DOCUMENTS = {
    "bees": "Bees carry pollen from flower to flower, and make honey of nectar.",
    "bridges": "A suspension bridge hangs its deck on cables between two towers.",
    "bread": "Dough of flour, water and yeast rises for hours before it is baked.",
}
TOPICS = {"1": "which insects pollinate plants", "2": "how to bake a loaf"}
EXPECTED = {"1": "bees", "2": "bread"}
ENCODER = "tasb:minilm"


def main(version: str) -> None:
    """Fail at the first thing that does not work."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # the weights are in a package
    tasb = str(Path(sys.executable).with_name("tasb"))
    assert printed(tasb, "--version") == f"pyserini-tasb {version}\n"
    print(printed(tasb, "doctor"))
    _check_licences()
    _check_encoder()
    Path("corpus.jsonl").write_text(
        "".join(f"{json.dumps({'id': docid, 'text': text})}\n" for docid, text in DOCUMENTS.items())
    )
    Path("topics.tsv").write_text("".join(f"{qid}\t{text}\n" for qid, text in TOPICS.items()))
    # Stock Pyserini, which knows our encoder by the start-up hook.
    printed(
        sys.executable, "-m", "pyserini.encode", "input", "--corpus", "corpus.jsonl", "--fields", "text",
        "output", "--embeddings", "index", "--to-faiss",
        "encoder", "--encoder", ENCODER, "--dimension", "384", "--fields", "text", "--device", "cpu",
    )  # fmt: skip
    printed(
        sys.executable, "-m", "pyserini.search.faiss", "--index", "index", "--encoder", ENCODER, "--device", "cpu",
        "--topics", "topics.tsv", "--output", "pyserini.txt", "--hits", "3",
    )  # fmt: skip
    printed(tasb, "encode", "--encoder", ENCODER, "--corpus", "corpus.jsonl", "--output", "vectors")
    printed(tasb, "index", "--vectors", "vectors", "--output", "flat")
    printed(tasb, "search", "--index", "flat", "--topics", "topics.tsv", "--output", "tasb.txt")
    for run in ("pyserini.txt", "tasb.txt"):
        assert first_hits(run) == EXPECTED, Path(run).read_text()
    print(f"smoke test passed: Python {sys.version.split()[0]}, Pyserini {importlib.metadata.version('pyserini')}")


def _check_licences() -> None:
    files = importlib.metadata.files("pyserini-tasb") or []
    licences = [str(file).partition("/licenses/")[2] for file in files if "/licenses/" in str(file)]
    assert sorted(licences) == ["LICENSE", "pyserini_tasb/formats/cacm/README.md", "regressions/data/README.md"]


def _check_encoder() -> None:
    from pyserini_tasb import TasbDocumentEncoder, TasbQueryEncoder

    vectors = TasbDocumentEncoder(ENCODER, device="cpu").encode(list(DOCUMENTS.values()))
    assert vectors.shape == (3, 384)
    scores = vectors @ TasbQueryEncoder(ENCODER, device="cpu").encode(TOPICS["1"])
    assert list(DOCUMENTS)[scores.argmax()] == EXPECTED["1"]


def first_hits(run: str) -> dict[str, str]:
    """The docid of rank 1 for each qid."""
    lines = [line.split() for line in Path(run).read_text().splitlines()]
    return {qid: docid for qid, _, docid, rank, *_ in lines if rank == "1"}


def printed(*command: str) -> str:
    """The standard output of a command. If it fails, everything that it printed is shown."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        raise SystemExit(f"exit status {done.returncode}: {' '.join(command)}")
    return done.stdout


if __name__ == "__main__":
    main(sys.argv[1])
