"""The same bytes wherever weights and inputs lie in memory, however a process of ours begins."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from pyserini_tasb import TasbDocumentEncoder
from pyserini_tasb.environment.checks import check_torch
from pyserini_tasb.environment.processor import OFFSETS, products_depend_on_alignment
from tests.command_line import TASB
from tests.conftest import TINY, TINY_MODEL

needs_mkl = pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="this torch multiplies without MKL")
ENCODE = f"from pyserini_tasb import TasbQueryEncoder; TasbQueryEncoder({str(TINY_MODEL)!r}).encode('a query')"
ASK = "from pyserini_tasb.environment.processor import products_depend_on_alignment as depends; print(depends())"
MULTIPLY = "import torch; torch.ones(3, 64) @ torch.ones(64, 32)"


def corpus_options(output):
    return ["--encoder", TINY_MODEL, "--corpus", TINY / "corpus.jsonl", "--output", output, "--device", "cpu"]


def run(*arguments, **variables):
    """Python in a process of its own, whose MKL prints a line for each product."""
    inherited = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    command = [sys.executable, *map(str, arguments)]
    environment = inherited | {"MKL_VERBOSE": "1", "OMP_NUM_THREADS": "1"} | variables
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def modes(done):
    """The modes in which MKL multiplied; children's too."""
    return set(re.findall(r"MKL_VERBOSE [A-Z]+\(.* CNR:(\w+)", done.stdout + done.stderr))


@needs_mkl
@pytest.mark.parametrize(
    "begin",
    [
        lambda output: [*TASB, "encode", *corpus_options(output), "--unit-size", 20, "--processes", 2],
        lambda output: [
            *["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", 2],
            *[*TASB, "encode", *corpus_options(output), "--unit-size", 20],
        ],
        lambda output: [
            *["-m", "pyserini.encode", "input", "--corpus", TINY / "corpus.jsonl", "--fields", "title", "text"],
            *["output", "--embeddings", output, "encoder", "--encoder", f"tasb:{TINY_MODEL}", "--device", "cpu"],
        ],
        lambda _: ["-c", f"import torch\n{ENCODE}"],
    ],
    ids=["tasb encode --processes 2", "torchrun", "pyserini.encode", "a program that imports torch first"],
)
def test_mkl_is_told_before_it_multiplies(begin, tmp_path):
    assert modes(run(*begin(tmp_path / "out"))) == {"AUTO"}


@needs_mkl
def test_the_users_own_setting_stays():
    done = run("-c", ENCODE, MKL_CBWR="COMPATIBLE")
    assert modes(done) == {"COMPATIBLE"}
    assert "MKL_CBWR" not in done.stderr


@needs_mkl
def test_a_program_that_multiplies_before_it_loads_an_encoder_is_told_once_if_it_matters_here():
    done = run("-c", f"{MULTIPLY}\n{ENCODE}\n{ENCODE}\n{ASK}")
    assert modes(done) == {"OFF"}
    assert done.stderr.count("set MKL_CBWR=AUTO before Python starts") == done.stdout.splitlines().count("True")


def test_doctor_says_whether_products_are_reproducible():
    assert not products_depend_on_alignment()
    _, finding = check_torch()
    assert (finding.name, finding.status) == ("reproducibility", "ok")
    assert "same bytes" in finding.found


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_vectors_are_the_same_bytes_at_every_alignment_of_the_weights(pooling, collection, tmp_path, weights_at):
    """Texts one by one as well: the smaller a product, the more kernels there are to choose from."""
    card, vectors = tmp_path / "card.yaml", set()
    card.write_text(f"name: aligned\nmodel: {TINY_MODEL}\npooling: {pooling}\nbackend: torch\n")
    for offset in OFFSETS:
        weights_at(offset)
        encoder = TasbDocumentEncoder(f"tasb:{card}")
        one_by_one = [encoder.encode([text]) for text in collection.titles[:6]]
        vectors.add(np.concatenate([encoder.encode(collection.texts[:30]), *one_by_one]).tobytes())
    assert len(vectors) == 1
