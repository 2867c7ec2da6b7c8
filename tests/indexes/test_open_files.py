"""Vector folders of many units, in a process that may open few files: no unit's files stay open."""

from __future__ import annotations

import resource
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import pyserini_tasb
from pyserini_tasb import TasbError
from pyserini_tasb.encoding.vectors import VectorFolder
from pyserini_tasb.formats import arrays
from pyserini_tasb.formats.arrays import mapped_array, mapped_bytes
from pyserini_tasb.indexes.flat_file import flat_vectors
from pyserini_tasb.indexes.opening import DenseSearch
from pyserini_tasb.indexes.search import ShardedIndex
from tests.conftest import TINY, TINY_MODEL
from tests.encoding.corpus.vector_folders import write_vector_folder
from tests.indexes.faiss_folders import write_faiss_folder

UNITS, MORE_FILES = 70, 25


@contextmanager
def few_files():
    """A block in which `MORE_FILES` more files can be opened than now."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(file.name) for file in Path("/dev/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + MORE_FILES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture(scope="module")
def many_units(vectors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("many") / "vectors"
    return write_vector_folder(folder, vectors.docids, vectors.vectors, unit_size=-(-len(vectors.docids) // UNITS))


def test_a_search_of_many_units(many_units, vectors, tmp_path):
    given = {"topics": TINY / "topics.tsv", "encoder": f"tasb:{TINY_MODEL}", "allow_other_encoder": True}
    flat = write_faiss_folder(tmp_path / "flat", vectors.docids, vectors.vectors)
    wanted = pyserini_tasb.search(flat, search_with="torch", **given)
    with few_files():
        assert pyserini_tasb.search(many_units, **given) == wanted


def test_vectors_of_many_units_at_once(many_units, vectors):
    folder, rows = VectorFolder(many_units), np.arange(len(vectors.docids))
    with few_files():
        assert np.array_equal(folder.at(rows), vectors.vectors)
        blocks = list(folder.blocks())
    assert [docid for docids, _ in blocks for docid in docids] == list(vectors.docids)
    assert np.array_equal(np.concatenate([block for _, block in blocks]), vectors.vectors)


def test_many_shards(vectors, tmp_path):
    flat = [write_faiss_folder(tmp_path / "A", vectors.docids, vectors.vectors)] * UNITS
    with few_files():
        shards = ShardedIndex(flat, DenseSearch("torch"))
        opened = [shards.open(shard, vectors.vectors.shape[1]) for shard in range(len(flat))]
        assert opened[-1].docids[-1] == shards.docids[len(shards.docids) - 1] == vectors.docids[-1]


def test_a_file_can_be_removed_and_is_still_there(vectors, tmp_path):
    folder = write_faiss_folder(tmp_path / "flat", vectors.docids, vectors.vectors)
    found = flat_vectors(folder / "index")
    (folder / "index").unlink()
    assert np.array_equal(found, vectors.vectors)
    assert not found.flags.writeable


@pytest.mark.parametrize("array", [np.arange(12.0).reshape(3, 4), np.asfortranarray(np.eye(3, 5)), np.empty((0, 7))])
def test_an_array_over_its_file(array, tmp_path):
    np.save(tmp_path / "array.npy", array)
    found = mapped_array(tmp_path / "array.npy")
    assert (found.shape, found.dtype, found.flags.writeable) == (array.shape, array.dtype, False)
    assert np.array_equal(found, array)


def test_what_is_no_array(tmp_path):
    path = tmp_path / "array.npy"
    np.save(path, np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        mapped_array(path)
    np.save(path, np.arange(100))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"927 bytes, for int64 \[100\]"):
        mapped_array(path)
    (tmp_path / "empty").touch()
    assert not len(mapped_bytes(tmp_path / "empty"))


def test_the_system_maps_no_more(tmp_path, monkeypatch):
    class Full:
        def mmap(self, *_):
            return 2**64 - 1

    (tmp_path / "file").write_text("text")
    monkeypatch.setattr(arrays, "_system", Full)
    with pytest.raises(TasbError, match=r"vm\.max_map_count"):
        mapped_bytes(tmp_path / "file")
