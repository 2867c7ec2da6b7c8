"""Compressed files are read as what they hold; damaged ones, a missing package and archives are errors."""

from __future__ import annotations

import bz2
import io
import lzma
import sys
import tarfile
import zipfile

import numpy as np
import pytest

from pyserini_tasb import Run
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.collections import open_collection
from pyserini_tasb.formats.lines import open_lines
from pyserini_tasb.formats.qrels import read_qrels
from pyserini_tasb.formats.topics import read_topics
from tests.command_line import tasb

# Does not compress well: several chunks are to be read.
LINES = [f"{number}\n" for number in np.random.default_rng(0).integers(0, 2**60, 50_000)]


@pytest.fixture
def frames():
    zstandard = pytest.importorskip("zstandard")
    halves = "".join(LINES[:20_000]), "".join(LINES[20_000:])
    return [zstandard.ZstdCompressor(write_checksum=True).compress(half.encode()) for half in halves]


def test_several_frames_are_one_file(frames, tmp_path):
    path = tmp_path / "file"  # by its first bytes, not by its name
    path.write_bytes(b"".join(frames))
    with open_lines(path) as lines:
        assert list(lines) == LINES
    with open_lines(path, len("".join(LINES[:30_000]))) as lines:
        assert list(lines) == LINES[30_000:]


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_damaged(frames, tmp_path, damage):
    content = bytearray(b"".join(frames))
    if damage == "cut":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 255
    (tmp_path / "file.zst").write_bytes(content)
    with (
        pytest.raises(TasbError, match=r"(?s)file\.zst.*plain, gzip, bzip2, xz or Zstandard"),
        open_lines(tmp_path / "file.zst") as lines,
    ):
        list(lines)


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    (tmp_path / "file.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(TasbError, match="pip install zstandard"), open_lines(tmp_path / "file.zst"):
        pass


OF_PYTHON = {"bzip2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("kind", OF_PYTHON)
def test_what_python_decompresses(kind, tmp_path):
    compress = OF_PYTHON[kind]
    path = tmp_path / "file"
    # Two streams one after the other, as parallel programs write them.
    path.write_bytes(compress("".join(LINES[:20_000]).encode()) + compress("".join(LINES[20_000:]).encode()))
    with open_lines(path) as lines:
        assert list(lines) == LINES
    with open_lines(path, len("".join(LINES[:30_000]))) as lines:
        assert list(lines) == LINES[30_000:]


@pytest.mark.parametrize("kind", OF_PYTHON)
@pytest.mark.parametrize("damage", ["cut", "flipped", "begun"])
def test_damaged_by_kind(kind, damage, tmp_path):
    content = bytearray(OF_PYTHON[kind]("".join(LINES).encode()))
    if damage == "flipped":
        content[len(content) // 2] ^= 255
    else:
        content = content[: len(content) // 2 if damage == "cut" else 8]
    (tmp_path / "file").write_bytes(content)
    with (
        pytest.raises(TasbError, match="plain, gzip, bzip2, xz or Zstandard"),
        open_lines(tmp_path / "file") as lines,
    ):
        list(lines)


@pytest.mark.parametrize("kind", OF_PYTHON)
def test_a_python_that_was_built_without_a_module(kind, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, {"bzip2": "bz2", "xz": "lzma"}[kind], None)
    (tmp_path / "file").write_bytes(OF_PYTHON[kind](b"line\n"))
    with pytest.raises(TasbError, match="decompress the file"), open_lines(tmp_path / "file"):
        pass


@pytest.mark.parametrize(("ending", "compress"), [(".bz2", bz2.compress), (".xz", lzma.compress)])
def test_every_reader_takes_them(ending, compress, tmp_path):
    def written(name, text):
        path = tmp_path / f"{name}{ending}"
        path.write_bytes(compress(text.encode()))
        return path

    passages = [("1", "first"), ("2", "second")]
    corpus = written("corpus.tsv", "1\tfirst\n2\tsecond\n")
    assert list(open_collection(corpus)) == passages
    (_, second) = (mark for mark, _, _ in open_collection(corpus).marked())
    assert [text for _, _, text in open_collection(corpus).marked(second)] == ["second"]
    assert list(open_collection(tmp_path)) == passages
    assert read_topics(written("topics.tsv", "q\ta query\n")) == {"q": "a query"}
    qrels, run = written("qrels.txt", "q 0 1 1\n"), written("run.txt", "q Q0 1 1 2.0 t\n")
    assert read_qrels(qrels) == {"q": {"1": 1}}
    assert Run.read(run) == {"q": {"1": 2.0}}
    assert tasb("evaluate", "--qrels", qrels, "--runs", run, "--measures", "RR@10") == 0


def tar(mode):
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=mode) as archive:
        archive.addfile(tarfile.TarInfo("corpus.tsv"), io.BytesIO())
    return held.getvalue()


def zipped():
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("corpus.tsv", "1\tfirst\n")
    return held.getvalue()


@pytest.mark.parametrize(
    ("content", "found", "do"),
    [
        (zipped(), "a zip archive", "unzip it.zip"),
        (tar("w"), "a tar archive", "tar xf it.zip"),
        (tar("w:gz"), "a tar archive, compressed with gzip", "tar xf it.zip"),
        (tar("w:bz2"), "a tar archive, compressed with bzip2", "tar xf it.zip"),
        (b"7z\xbc\xaf\x27\x1c\x00", "a 7z archive", "7z x it.zip"),
        (b"PAR1\x15\x04", "a Parquet file", "read_parquet"),
        ("1\tfirst\n".encode("utf-16"), "text in UTF-16", "iconv -f UTF-16 -t UTF-8 it.zip"),
    ],
    ids=["zip", "tar", "tar.gz", "tar.bz2", "7z", "Parquet", "UTF-16"],  # archives hold the time, processes compare ids
)
def test_other_kinds_are_named_with_the_way_out(content, found, do, tmp_path, capsys):
    path = tmp_path / "it.zip"
    path.write_bytes(content)
    for read in (lambda: list(open_collection(path)), lambda: read_topics(path), lambda: read_qrels(path)):
        with pytest.raises(TasbError) as caught:
            read()
        assert caught.value.where == str(path)
        assert caught.value.found == found
        assert do in caught.value.do
    assert tasb("evaluate", "--qrels", path, "--runs", path) == 2
    assert found in capsys.readouterr().err
