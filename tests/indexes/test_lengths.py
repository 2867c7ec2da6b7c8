"""Vectors of different lengths are found in graphs and lists; those of like lengths are added as Faiss does."""

from __future__ import annotations

import logging

import faiss
import numpy as np
import pytest

import pyserini_tasb
from pyserini_tasb.indexes.build import index_recipe
from pyserini_tasb.indexes.faiss_build import graphs_are_the_same_each_time, make_index, set_parameters
from pyserini_tasb.indexes.lengths import graph_of
from tests.encoding.corpus.vector_folders import write_vector_folder

COUNT = 6_000
DIFFER = "the vectors' lengths differ"


def folder_of(vectors, path):
    docids = [f"d{number}" for number in range(len(vectors))]
    return write_vector_folder(path / "vectors", docids, np.ascontiguousarray(vectors, np.float32), unit_size=2_500)


@pytest.fixture(scope="module")
def directions():
    random = np.random.default_rng(0)
    centres = random.standard_normal((40, 32))
    vectors = centres[random.integers(40, size=COUNT)] + random.standard_normal((COUNT, 32))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def spread(directions, tmp_path_factory):
    lengths = np.random.default_rng(1).lognormal(0, 1.5, (COUNT, 1))
    return folder_of(directions * lengths, tmp_path_factory.mktemp("spread"))


def as_faiss_adds(kind, vectors):
    """What Faiss makes of a kind by itself, with the parameters that ours has."""
    recipe = index_recipe(kind, *vectors.shape)
    index = make_index(recipe, vectors.shape[1])
    set_parameters(index, recipe.parameters)
    index.train(vectors)
    index.add(vectors)
    return index


def recall(index, vectors, queries, depth):
    exact = faiss.knn(queries, vectors, depth, metric=faiss.METRIC_INNER_PRODUCT)[1]
    found = index.search(queries, depth)[1]
    return np.mean([len(np.intersect1d(*pair)) / depth for pair in zip(found, exact, strict=True)])


def read(folder):
    index = faiss.read_index(str(folder / "index"))
    vectors = faiss.read_index(str(folder.parent / "flat" / "index")).reconstruct_n(0, COUNT)
    return index, vectors


@pytest.fixture
def queries(directions):
    return np.ascontiguousarray(directions[:100], np.float32)


@pytest.mark.parametrize(
    ("kind", "parameters", "depth", "gain"),
    [
        ("hnsw", "efSearch=256", 1_000, 0.2),
        ("ivf", "nprobe=16", 10, 0.3),
        ("IVF153,SQ8", "nprobe=16", 10, 0.1),
        ("IVF300,PQ16x4", "nprobe=16", 10, 0.05),
    ],
)
def test_more_is_found(kind, parameters, depth, gain, spread, queries, tmp_path, caplog):
    pyserini_tasb.index(spread, output=tmp_path / "flat", threads=1)
    with caplog.at_level(logging.INFO, "pyserini_tasb"):
        pyserini_tasb.index(spread, output=tmp_path / "index", kind=kind, parameters=parameters, threads=1)
    assert sum(DIFFER in message for message in caplog.messages) == 1
    index, vectors = read(tmp_path / "index")
    before = as_faiss_adds(kind, vectors)
    set_parameters(before, parameters)
    assert recall(index, vectors, queries, depth) >= recall(before, vectors, queries, depth) + gain
    assert (tmp_path / "index" / "index").stat().st_size == len(faiss.serialize_index(before))


def test_every_vector_is_reachable(spread, tmp_path):
    def reachable(index):
        hnsw = index.hnsw
        links, starts = faiss.vector_to_array(hnsw.neighbors), faiss.vector_to_array(hnsw.offsets).astype(np.int64)
        seen, front = np.zeros(COUNT, bool), np.array([hnsw.entry_point])
        while len(front):
            seen[front] = True
            following = np.unique(links[starts[front, np.newaxis] + np.arange(hnsw.nb_neighbors(0))])
            front = following[(following >= 0) & ~seen[following]]
        return seen.sum()

    pyserini_tasb.index(spread, output=tmp_path / "flat", threads=1)
    pyserini_tasb.index(spread, output=tmp_path / "index", kind="hnsw", refine="fp16", threads=1)
    index, vectors = read(tmp_path / "index")
    assert reachable(as_faiss_adds("hnsw", vectors)) < COUNT
    assert reachable(graph_of(index)) == COUNT


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "IVF16,SQ8", "OPQ4,IVF16,PQ4x4", "ivfrabitq", "PCA16,IVF16,Flat"])
def test_scores_are_inner_products(kind, spread, queries, tmp_path):
    refined = pyserini_tasb.index(spread, output=tmp_path / "index", kind=kind, refine="fp32", threads=1)
    assert refined.vectors == COUNT
    pyserini_tasb.index(spread, output=tmp_path / "flat", threads=1)
    index, vectors = read(tmp_path / "index")
    assert index.ntotal == COUNT
    scores, rows = index.search(queries, 10)
    products = np.einsum("qd,qkd->qk", queries, vectors[rows])
    assert scores == pytest.approx(products, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("kind", ["hnsw", "ivf", "IVF16,SQ8"])
@pytest.mark.parametrize("few_are", [1, 50])
def test_like_lengths_are_added_as_faiss_does(kind, few_are, directions, tmp_path, caplog):
    lengths = np.random.default_rng(1).normal(10, 0.5, (COUNT, 1))
    lengths[:10] *= few_are
    folder = folder_of(directions * lengths, tmp_path)
    with caplog.at_level(logging.INFO, "pyserini_tasb"):
        pyserini_tasb.index(folder, output=tmp_path / "index", kind=kind, threads=1)
    assert not any(DIFFER in message for message in caplog.messages)
    if kind != "hnsw":  # blocks of a folder are added one after the other, and the order makes the graph
        expected = as_faiss_adds(kind, np.ascontiguousarray(directions * lengths, np.float32))
        assert (tmp_path / "index" / "index").read_bytes() == faiss.serialize_index(expected).tobytes()


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_the_same_bytes_with_any_number_of_threads(kind, spread, tmp_path):
    if not graphs_are_the_same_each_time():
        pytest.skip("Faiss builds graphs by several threads without an order before 1.15.1")
    for threads in (1, 2, 4):
        pyserini_tasb.index(spread, output=tmp_path / str(threads), kind=kind, threads=threads)
    one, two, four = ((tmp_path / threads / "index").read_bytes() for threads in "124")
    assert one == two == four


def test_zero_vectors(tmp_path, caplog):
    vectors = np.zeros((400, 8), np.float32)
    vectors[:300] = np.random.default_rng(0).standard_normal((300, 8))
    folder = folder_of(vectors, tmp_path)
    for kind in ("hnsw", "IVF4,Flat"):
        with caplog.at_level(logging.INFO, "pyserini_tasb"):
            index = pyserini_tasb.index(folder, output=tmp_path / kind, kind=kind, threads=1)
        assert DIFFER in caplog.text
        caplog.clear()
        assert index.vectors == 400
        faiss.read_index(str(tmp_path / kind / "index")).search(vectors[:20], 10)


@pytest.mark.parametrize("kind", ["OPQ4,IVF16,PQ4x4", "IVF16,SQ8"])
def test_codes_are_of_the_vectors_not_of_residuals(kind, spread, tmp_path):
    pyserini_tasb.index(spread, output=tmp_path / "index", kind=kind, threads=1)
    index = faiss.read_index(str(tmp_path / "index" / "index"))
    assert not faiss.try_extract_index_ivf(index).by_residual
