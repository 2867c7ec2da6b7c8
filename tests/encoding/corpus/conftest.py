"""`tasb encode` in this process, over the tiny collection."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import torch

from tests.command_line import tasb
from tests.conftest import TINY, TINY_MODEL

if TYPE_CHECKING:
    from pathlib import Path


UNIT_SIZE = 20


def words(
    output: Path, *options: object, corpus: Path = TINY / "corpus.jsonl", encoder: Path = TINY_MODEL
) -> list[str]:
    """The command, without `tasb`."""
    given = [] if "--unit-size" in options else ["--unit-size", UNIT_SIZE]
    rest = ["--encoder", encoder, "--corpus", corpus, "--output", output, "--device", "cpu", *given, *options]
    return ["encode", *map(str, rest)]


def encode(output: Path, *options: object, **inputs: Path) -> int:
    """The exit status."""
    return tasb(*words(output, *options, **inputs))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder. Where the corpus lies, and when it was written, is not what vectors depend on."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "corpus.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Here and in other processes: the last bits of vectors depend on it, and on a busy machine it is faster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)


@pytest.fixture(scope="session")
def encoded(tmp_path_factory, one_thread) -> Path:
    """The tiny collection's vectors, in every format. Not to be changed."""
    output = tmp_path_factory.mktemp("encoded") / "vectors"
    assert encode(output, "--max-length", 256, "--output-format", "faiss", "jsonl", "parquet", "npy") == 0
    return output


@pytest.fixture
def own_copy(encoded, tmp_path) -> Path:
    """One that a test may change."""
    return shutil.copytree(encoded, tmp_path / "vectors")


@pytest.fixture
def no_model(monkeypatch):
    """Loading a model is an error."""

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("pyserini_tasb.encoding.encoders.TextEncoder.__init__", refuse)
