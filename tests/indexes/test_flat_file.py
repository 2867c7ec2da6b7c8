"""The file of a flat Faiss index, read without Faiss: what Faiss wrote, and what is damaged or of another kind."""

from __future__ import annotations

import struct

import faiss
import numpy as np
import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.indexes.flat_file import flat_vectors, is_flat
from tests.indexes.faiss_folders import write_faiss_folder

DIMENSION = 16


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).standard_normal((1_000, DIMENSION), np.float32)


@pytest.mark.parametrize("count", [0, 1, 2, 1_000])
def test_the_vectors_that_faiss_wrote(count, vectors, tmp_path):
    file = write_faiss_folder(tmp_path / "index", [], vectors[:count]) / "index"
    assert is_flat(file)
    found = flat_vectors(file)
    assert (found.dtype, found.shape) == (np.float32, (count, DIMENSION))
    assert np.array_equal(found, vectors[:count])


OTHERS = {
    "HNSW8": "a graph",
    "IVF8,Flat": "inverted lists",
    "IVF8,PQ4": "inverted lists",
    "SQ8": "a scalar quantiser",
    "SQfp16": "a scalar quantiser",
    "PQ4": "a product quantiser",
    "PQ4x4fs": "a product quantiser",
    "RaBitQ2": "RaBitQ",
    "RaBitQfs2": "RaBitQ",
    "OPQ4,PQ4": "rotated",
    "RR,RaBitQ2": "rotated",
    "SQ8,RFlat": "two stages",
    "IDMap,Flat": "numbers of its own",
}


@pytest.mark.parametrize("factory", OTHERS)
def test_other_kinds_are_refused_with_a_reason(factory, tmp_path):
    file = tmp_path / "index"
    faiss.write_index(faiss.index_factory(DIMENSION, factory, faiss.METRIC_INNER_PRODUCT), str(file))
    assert not is_flat(file)
    with pytest.raises(TasbError, match=rf"found: .*{OTHERS[factory]}(?s:.*)search_with='faiss'"):
        flat_vectors(file)


@pytest.mark.parametrize(
    ("metric", "said"), [(faiss.METRIC_L2, "Euclidean distances"), (faiss.METRIC_L1, "another distance")]
)
def test_other_distances_are_refused(metric, said, vectors, tmp_path):
    index = faiss.IndexFlat(DIMENSION, metric)
    index.add(vectors)
    faiss.write_index(index, str(tmp_path / "index"))
    with pytest.raises(TasbError, match=said):
        flat_vectors(tmp_path / "index")


def test_a_file_that_was_cut_or_has_grown(vectors, tmp_path):
    file = write_faiss_folder(tmp_path / "index", [], vectors) / "index"
    whole = file.read_bytes()
    for content in (whole[:-1], whole[:-64], whole + b"\0", whole[:45], whole[:44], whole[:5]):
        file.write_bytes(content)
        with pytest.raises(TasbError, match=r"cut off(?s:.*)copy or make it again"):
            flat_vectors(file)
    for content in (b"", b"IxF", b"\x93NUMPY", b"{}"):
        file.write_bytes(content)
        assert not is_flat(file)
        with pytest.raises(TasbError, match="something else"):
            flat_vectors(file)
    assert not is_flat(tmp_path / "absent")
    with pytest.raises(TasbError, match="No such file"):
        flat_vectors(tmp_path / "absent")


# Where a number stands in the header, its form, and a value that cannot be.
@pytest.mark.parametrize(
    ("place", "form", "value"),
    [
        (4, "i", 0),
        (4, "i", -DIMENSION),
        (4, "i", 2 * DIMENSION),
        (8, "q", 999),
        (8, "q", -1_000),
        (8, "q", 1 << 62),
        (33, "i", 1),
        (37, "Q", 999 * DIMENSION),
        (37, "Q", (1 << 64) - 1),
    ],
)
def test_a_header_that_cannot_be(place, form, value, vectors, tmp_path):
    file = write_faiss_folder(tmp_path / "index", [], vectors) / "index"
    content = bytearray(file.read_bytes())
    struct.pack_into(f"<{form}", content, place, value)
    file.write_bytes(content)
    with pytest.raises(TasbError, match=r"found: +metric"):
        flat_vectors(file)
