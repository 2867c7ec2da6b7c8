"""Opening a Faiss folder, mapped or read; what is damaged is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import faiss
import numpy as np
import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.indexes import faiss_folder
from pyserini_tasb.indexes.faiss_folder import open_folder
from pyserini_tasb.indexes.vector_source import FlatIndexVectors, open_vectors, sampled_rows
from tests.indexes.faiss_folders import write_faiss_folder

DOCIDS = [f"d{number}" for number in range(2_000)]
FACTORIES = ["Flat", "SQfp16", "SQ8", "HNSW8", "IVF8,Flat", "IVF8,SQ8,RFlat", "PCA8,Flat", "IVF8,PQ4x4fs,RFlat"]
FACTORIES += ["RR,RaBitQ2", "RR,IVF8,RaBitQ4"]


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).standard_normal((2_000, 16), dtype=np.float32)


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_mapped_index_finds_the_same(factory, vectors, tmp_path, monkeypatch):
    monkeypatch.setattr(faiss_folder, "LEAST_MAPPED", 0)
    folder = write_faiss_folder(tmp_path / "index", DOCIDS, vectors, factory)
    found = [open_folder(folder, mapped=mapped).index.search(vectors[:9], 20) for mapped in (False, True)]
    assert np.array_equal(found[0][0], found[1][0])
    assert np.array_equal(found[0][1], found[1][1])


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_mapped_index_is_not_read(tmp_path):
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    vectors = np.zeros((100_000, 256), np.float32)  # 102 MB
    folder = write_faiss_folder(tmp_path / "index", map(str, range(len(vectors))), vectors)
    before = resident()
    opened = open_folder(folder)
    assert resident() - before < 20
    assert opened.docids[99_999] == "99999"
    opened.index.search(np.ones((1, 256), np.float32), 1)
    assert resident() - before > 90  # so what was measured is what was not there


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("factory", ["Flat", "SQfp16", "HNSW8", "IVF8,Flat"])
@pytest.mark.parametrize("share", [0, 0.0002, 0.5, 0.9999])
def test_a_truncated_index(mapped, factory, share, vectors, tmp_path, monkeypatch):
    if share > 0.1:
        monkeypatch.setattr(faiss_folder, "LEAST_MAPPED", 0)
    folder = write_faiss_folder(tmp_path / "index", DOCIDS, vectors, factory)
    content = (folder / "index").read_bytes()
    (folder / "index").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(TasbError, match=r"(?s)index.*a whole Faiss index.*Faiss says"):
        open_folder(folder, mapped=mapped)


def test_as_many_docids_as_vectors(vectors, tmp_path):
    folder = write_faiss_folder(tmp_path / "index", DOCIDS[:-1], vectors)
    with pytest.raises(TasbError, match=r"(?s)docid.*2000 docids.*1999"):
        open_folder(folder)


def test_no_faiss_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "lucene").mkdir()
    (tmp_path / "lucene" / "segments_1").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "vectors.npy").write_text("")
    (tmp_path / "file").write_text("")
    for name, said in {
        "absent": "no such folder",
        "empty": "an empty folder",
        "lucene": r"a Lucene index(?s:.*)search.lucene.*--dense",
        "other": r"a folder with vectors\.npy",
        "file": "a file",
    }.items():
        with pytest.raises(TasbError, match=said):
            open_folder(tmp_path / name)


def test_vectors_of_a_flat_folder(vectors, tmp_path):
    source = FlatIndexVectors(write_faiss_folder(tmp_path / "index", DOCIDS, vectors))
    blocks = list(source.blocks(700))
    assert [docid for docids, _ in blocks for docid in docids] == DOCIDS
    assert np.array_equal(np.concatenate([block for _, block in blocks]), vectors)
    sample = sampled_rows(source, 50, seed=1)
    assert len(np.unique(sample, axis=0)) == 50
    assert {row.tobytes() for row in sample} <= {row.tobytes() for row in vectors}
    assert np.array_equal(sample, sampled_rows(source, 50, seed=1))
    assert not np.array_equal(sample, sampled_rows(source, 50, seed=2))
    assert np.array_equal(sampled_rows(source, 9_999, seed=1), vectors)


def test_other_folders_are_no_vectors(vectors, tmp_path):
    with pytest.raises(TasbError, match="IndexScalarQuantizer"):
        open_vectors(write_faiss_folder(tmp_path / "int8", DOCIDS, vectors, "SQ8"))
    with pytest.raises(TasbError, match=r"(?s)expected: +vectors.*found: +none"):
        open_vectors(write_faiss_folder(tmp_path / "none", [], vectors[:0]))
    with pytest.raises(TasbError, match="no such folder"):
        open_vectors(tmp_path / "absent")


def test_without_mapping_in_faiss(vectors, tmp_path, monkeypatch):
    folder = write_faiss_folder(tmp_path / "index", DOCIDS, vectors)
    monkeypatch.delattr(faiss, "IO_FLAG_MMAP_IFC")
    with pytest.raises(TasbError, match=r"Faiss 1\.11 or newer"):
        open_folder(folder)
    assert open_folder(folder, mapped=False).index.ntotal == len(DOCIDS)
