"""Changed bytes and cut files are noticed before anything is made of them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from pyserini_tasb.encoding.vectors import VectorFolder, VectorUnit
from pyserini_tasb.errors import TasbError
from pyserini_tasb.plugin.startup import register_encoders
from tests.command_line import tasb
from tests.conftest import TINY, TINY_MODEL
from tests.indexes.faiss_folders import write_faiss_folder


def flip(path, at=-1):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def change_a_docid(path):
    """Another one as long, so that sizes are as before."""
    first, rest = path.read_text().split("\n", 1)
    path.write_text("x" * len(first) + "\n" + rest)


def cut_a_line(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


@pytest.fixture
def vectors_folder(encoded_vectors, tmp_path):
    return shutil.copytree(encoded_vectors, tmp_path / "vectors")


UNITS = {
    "vector": ("000001.npy", flip),
    "docid": ("000002.docids", change_a_docid),
    "line": ("000002.docids", cut_a_line),
}


@pytest.mark.parametrize(("name", "damage"), UNITS.values(), ids=UNITS)
@pytest.mark.parametrize("kind", ["flat", "IVF2,Flat", "lucene-flat"])
def test_an_index_of_damaged_units(name, damage, kind, vectors_folder, tmp_path, capsys):
    damage(vectors_folder / "units" / name)
    assert tasb("index", "--vectors", vectors_folder, "--output", tmp_path / "index", "--kind", kind) == 2
    said = capsys.readouterr().err
    assert name in said
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("form", ["faiss", "jsonl", "parquet", "npy"])
def test_a_format_of_damaged_units(form, vectors_folder, capsys):
    flip(vectors_folder / "units" / "000002.npy")
    shutil.rmtree(vectors_folder / "faiss")
    given = ["--encoder", f"tasb:{TINY_MODEL}", "--corpus", TINY / "corpus.jsonl", "--output", vectors_folder]
    assert tasb("encode", *given, "--device", "cpu", "--output-format", form) == 2
    assert "000002.npy" in capsys.readouterr().err
    assert not (vectors_folder / form).exists()


def test_each_unit_is_read_for_its_checksum_once(vectors_folder, monkeypatch):
    verified = []
    verify = VectorUnit.verify
    monkeypatch.setattr(VectorUnit, "verify", lambda unit: (verified.append(unit.number), verify(unit))[1])
    folder = VectorFolder(vectors_folder)
    blocks = folder.blocks(10)
    next(blocks)
    assert verified == [0]
    list(blocks)
    folder.verify()
    list(folder.blocks())
    assert verified == [0, 1, 2]


@pytest.mark.parametrize("key", ["sha256", ".npy", ".docids", "bytes"])
def test_what_says_a_units_checksums_is_damaged(key, vectors_folder):
    path = vectors_folder / "units" / "000001.json"
    path.write_text(path.read_text().replace(f'"{key}"', '"changed"'))
    with pytest.raises(TasbError, match=r"000001\.json"):
        VectorFolder(vectors_folder)


def test_a_damaged_flat_index_is_no_source(vectors_folder, tmp_path, capsys):
    flip(vectors_folder / "faiss" / "index")
    assert tasb("index", "--vectors", vectors_folder / "faiss", "--output", tmp_path / "index") == 2
    assert "sha256" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["index", "docid"])
def test_sizes_are_checked_when_an_index_is_opened(name, vectors_folder, tmp_path, capsys):
    register_encoders()
    from pyserini.search.faiss import FaissSearcher

    folder = vectors_folder / "faiss"
    with (folder / name).open("ab") as file:
        file.write(b" ")
    assert tasb("search", "--index", folder, "--encoder", f"tasb:{TINY_MODEL}", "--topics", TINY / "topics.tsv",
                "--output", tmp_path / "run") == 2  # fmt: skip
    said = capsys.readouterr().err
    assert str(folder / name) in said
    assert "bytes" in said
    with pytest.raises(TasbError, match=f"{name}.*\n.*bytes"):
        FaissSearcher(str(folder), None)


def check(*folders):
    return tasb("doctor", *folders)


def test_doctor_says_that_folders_are_whole(encoded_vectors, tmp_path, capsys):
    assert tasb("index", "--vectors", encoded_vectors, "--output", tmp_path / "hnsw", "--kind", "hnsw") == 0
    assert tasb("index", "--vectors", encoded_vectors, "--output", tmp_path / "lucene", "--kind", "lucene-hnsw") == 0
    foreign = write_faiss_folder(tmp_path / "foreign", ["a"], np.ones((1, 8), np.float32))
    capsys.readouterr()
    assert check(encoded_vectors, tmp_path / "hnsw", tmp_path / "lucene", foreign) == 0
    lines = capsys.readouterr().out.splitlines()
    for folder in (encoded_vectors, encoded_vectors / "faiss", tmp_path / "hnsw", tmp_path / "lucene"):
        assert any(line.startswith(f"OK  {folder} ") for line in lines)
    assert any(line.startswith(f"!   {foreign}") for line in lines)
    assert lines[-1] == "0 problem(s), 1 warning(s)"


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("units/000001.npy", flip),
        ("units/000000.docids", change_a_docid),
        ("units/000000.docids", cut_a_line),
        ("faiss/index", flip),
        ("faiss/docid", change_a_docid),
        ("faiss/docid", cut_a_line),
    ],
)
def test_doctor_names_the_damaged_file(name, damage, vectors_folder, capsys):
    damage(vectors_folder / name)
    assert check(vectors_folder) == 1
    out = capsys.readouterr().out
    assert str(vectors_folder / name) in out
    assert "!!" in out
    assert check("--json", vectors_folder) == 1


@pytest.mark.parametrize("kind", ["int8", "lucene-flat"])
def test_doctor_looks_at_every_file_of_an_index(kind, encoded_vectors, tmp_path, capsys):
    assert tasb("index", "--vectors", encoded_vectors, "--output", tmp_path / "index", "--kind", kind) == 0
    assert check(tmp_path / "index") == 0
    files = [path for path in (tmp_path / "index").iterdir() if path.suffix != ".json"]
    assert len(files) >= 2
    for path in files:
        before = path.read_bytes()
        flip(path, len(before) // 2)
        capsys.readouterr()
        assert check(tmp_path / "index") == 1
        assert str(path) in capsys.readouterr().out
        path.write_bytes(before)
    assert check(tmp_path / "index") == 0


def test_doctor_of_something_else(tmp_path, capsys):
    assert check(tmp_path / "absent", tmp_path) == 1
    assert capsys.readouterr().out.count("neither a Faiss nor a Lucene index") == 2
