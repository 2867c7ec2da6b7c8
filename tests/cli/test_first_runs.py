"""All that first commands print to stderr, each in a process of its own: what encodes, and nothing without a use."""

from __future__ import annotations

import fnmatch
import os

import pytest

from tests.command_line import tasb_process, without_progress
from tests.command_line_folder import write_inputs

SEARCH = "--topics topics.tsv --output"
FASTEST = "its fastest on this machine for precision fp32; torch is the default"
PASSAGES, QUERIES, BOTH = (
    f"note: encoding {texts} with torch in fp32, {FASTEST}" for texts in ("passages", "queries", "queries and passages")
)
# Java's own, which no option takes away.
JAVA = ("WARNING: Using incubator modules: jdk.incubator.vector",)
# What is typed, and the lines on stderr without `tasb VERB: `.
FIRST_RUNS = {
    "encode --corpus corpus.jsonl --encoder model --output vectors": [PASSAGES, "note: … passages encoded in …"],
    "index --vectors vectors --output index": [],
    f"search --index index --encoder model {SEARCH} dense.txt": [QUERIES],
    f"hybrid --recipe tasb+bm25 --dense-index index --encoder model --sparse-index bm25/index {SEARCH} hybrid.txt": [
        QUERIES,
        *JAVA,
    ],
    f"rerank --run dense.txt --model model --corpus corpus.jsonl --depth 5 {SEARCH} reranked.txt": [BOTH],
    "index --vectors vectors --output flat --kind lucene-flat": [*JAVA],
    "mine --topics topics.tsv --qrels qrels.txt --corpus corpus.jsonl --index bm25/index --output mined.tsv": [
        *JAVA,
    ],
    "pairs --scored-pairs scored.tsv --corpus corpus.jsonl --topics topics.tsv --output pairs": [
        "note: scored.tsv: pos_score TAB neg_score TAB …"
    ],
    "train train.yaml": [
        "note: pairs: the teacher agrees with the labels in …",
        "note: computing in float32; from the start",
        "step 1 of 2 · loss …",
        "step 2 of 2 · loss …",
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    write_inputs(folder)
    return folder


@pytest.fixture(scope="module", params=FIRST_RUNS)
def said(request, folder, tmp_path_factory):
    """What is typed and the lines on stderr; later commands need what earlier ones have made."""
    environment = os.environ | {"PYSERINI_TASB_HOME": str(folder / "home"), "PYSERINI_TASB_BACKEND": ""}
    done = tasb_process(*request.param.split(), cwd=folder, env=environment)
    return request.param, without_progress(done.stderr).splitlines()


def test_nothing_else_is_said(said):
    typed, lines = said
    verb = typed.partition(" ")[0]
    # That another Java is taken is said where the machine has an old one, too.
    lines = [line.removeprefix(f"tasb {verb}: ") for line in lines if "Pyserini's Java" not in line]
    expected = FIRST_RUNS[typed]
    assert len(lines) == len(expected), lines
    for line, pattern in zip(lines, expected, strict=True):
        assert fnmatch.fnmatchcase(line, pattern.replace("…", "*")), lines
