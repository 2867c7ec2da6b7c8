"""What `tasb encode` writes is read back in corpus order, or refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pyserini_tasb.encoding.vectors import VectorFolder, VectorUnit
from pyserini_tasb.errors import TasbError
from tests.encoding.corpus.vector_folders import write_vector_folder

pytestmark = pytest.mark.bare

DOCIDS = [f"d{number}" for number in range(123)]


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(123, 8)).astype(np.float32)


@pytest.fixture
def folder(tmp_path, vectors):
    return write_vector_folder(tmp_path / "vectors", DOCIDS, vectors, {"card": "a"})


@pytest.mark.parametrize(("rows", "sizes"), [(65_536, [50, 50, 23]), (20, [20, 20, 10, 20, 20, 10, 20, 3])])
def test_blocks_are_in_corpus_order_and_over_the_files(folder, vectors, rows, sizes):
    opened = VectorFolder(folder)
    opened.verify()
    assert (opened.dimension, opened.count, opened.dtype, opened.about) == (8, 123, np.float32, {"card": "a"})
    docids, blocks = zip(*opened.blocks(rows), strict=True)
    assert [len(block) for block in blocks] == sizes
    assert [docid for block in docids for docid in block] == DOCIDS
    assert np.array_equal(np.concatenate(blocks), vectors)
    assert not any(block.flags.owndata or block.flags.writeable for block in blocks)


@pytest.mark.parametrize("rows", [[122, 0, 50, 49, 50], []])
def test_rows_in_any_order(folder, vectors, rows):
    found = VectorFolder(folder).at(np.array(rows, np.int64))
    assert (found.dtype, found.shape) == (np.float32, (len(rows), 8))
    np.testing.assert_array_equal(found, vectors[rows])


def test_rows_of_a_damaged_unit(folder):
    opened = VectorFolder(folder)
    path = folder / "units" / "000001.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    opened.at(np.array([0]))
    with pytest.raises(TasbError, match=r"(?s)000001\.npy.*sha256"):
        opened.at(np.array([0, 50]))


def test_half_precision_stays_as_stored(tmp_path, vectors):
    opened = VectorFolder(write_vector_folder(tmp_path / "half", DOCIDS, vectors.astype(np.float16), unit_size=123))
    (block,) = [block for _, block in opened.blocks()]
    assert opened.dtype == block.dtype == np.float16
    assert np.array_equal(block, vectors.astype(np.float16))


def test_unfinished(folder):
    for number in (0, 2):
        (folder / "units" / f"{number:06}.json").unlink()
    with pytest.raises(TasbError, match="2 not finished: 000000, 000002"):
        VectorFolder(folder)


def test_damaged(folder):
    whole = VectorFolder(folder)
    path = folder / "units" / "000001.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(TasbError, match=r"(?s)000001\.npy.*sha256"):
        whole.verify()
    VectorFolder(folder)  # of the right size
    path.write_bytes(content[:-1])
    with pytest.raises(TasbError, match=r"(?s)000001\.npy.*expected: 1728 bytes.*found: +1727"):
        VectorFolder(folder)
    path.unlink()
    with pytest.raises(TasbError, match=r"(?s)000001\.npy.*no such file"):
        VectorFolder(folder)


def test_a_unit_of_another_model(folder, vectors):
    VectorUnit(folder, 1, "of another").write(DOCIDS[50:100], vectors[50:100])
    with pytest.raises(TasbError, match=r"(?s)000001\.json.*another unit, of \d+ passages"):
        VectorFolder(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "pyserini-tasb pair store"}, "found:    a pair store"),
        ({"version": 2}, "version 2"),
        ({"dtype": "object"}, "values that cannot be"),
        ({"unit_size": 0}, "values that cannot be"),
        ({"records": 10**18}, "units"),
        ({"about": "nothing"}, "`about` is no object"),
    ],
)
def test_another_manifest(folder, change, said):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(TasbError, match=said):
        VectorFolder(folder)


def test_no_vector_folder(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for path, said in (
        (tmp_path / "absent", "no such folder"),
        (tmp_path / "empty", "no manifest.json in it"),
        (folder / "manifest.json", "a file"),
    ):
        with pytest.raises(TasbError, match=said):
            VectorFolder(path)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(TasbError, match="damaged"):
        VectorFolder(folder)
