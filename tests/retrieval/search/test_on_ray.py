"""`tasb search --ray`: the run of one machine, byte for byte, whatever is killed; and errors before loading."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

import pyserini_tasb
from pyserini_tasb import TasbError
from pyserini_tasb.encoding.vectors import FILES
from pyserini_tasb.errors import FailedError
from pyserini_tasb.folders import FAISS, LUCENE
from pyserini_tasb.indexes.opening import DenseSearch
from pyserini_tasb.indexes.shards import LuceneShards, VectorShards, memory_needed
from pyserini_tasb.ray_cluster.joining import connected
from pyserini_tasb.ray_cluster.nodes import Node
from pyserini_tasb.retrieval import on_ray
from pyserini_tasb.retrieval.on_ray import RayShards, grouped
from tests.conftest import TINY, TINY_MODEL
from tests.encoding.corpus.vector_folders import write_vector_folder
from tests.indexes.faiss_folders import write_faiss_folder
from tests.indexes.lucene_folders import documents_of, write_lucene_folder
from tests.ray_nodes import kill

PARTS = {"A": slice(0, 211), "B": slice(211, 230), "C": slice(230, None)}


@pytest.fixture(scope="module")
def folders(vectors, tmp_path_factory):
    """Shards of three kinds. Every seventh vector is the one before it, so that scores tie; some docids are in two."""
    folder = tmp_path_factory.mktemp("shards")
    rows = np.arange(len(vectors.docids))
    same = vectors.vectors[np.where(rows % 7 == 6, rows - 1, rows)]
    for name, part in PARTS.items():
        docids = [vectors.docids[0], *vectors.docids[part][1:]]
        write_faiss_folder(folder / "flat" / name, docids, same[part])
        write_faiss_folder(folder / "int8" / name, docids, same[part], "SQ8")
        write_vector_folder(folder / "vectors" / name, docids, same[part], unit_size=100)
    (folder / "mixed").mkdir()
    for name, kind in {"A": "flat", "B": "vectors", "C": "vectors"}.items():
        (folder / "mixed" / name).symlink_to(folder / kind / name)
    documents = documents_of()
    for name, part in {"A": slice(0, 60), "B": slice(60, 64), "C": slice(64, None)}.items():
        write_lucene_folder(folder / "bm25" / name, documents[part])
    write_lucene_folder(folder / "whole", documents)
    for corpus in (folder / "bm25").glob("*-corpus"):
        shutil.rmtree(corpus)
    return folder


def search(index, output, **options):
    encoder = None if "bm25" in str(index) or "whole" in str(index) else f"tasb:{TINY_MODEL}"
    pyserini_tasb.search(index, topics=TINY / "topics.tsv", encoder=encoder, output=output, batch_size=3, **options)
    return output.read_bytes()


@pytest.fixture
def joined(ray_nodes):
    """This process as the driver."""
    with connected(ray_nodes.address):
        yield ray_nodes


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("flat", {"remove_query": True}),
        ("flat", {"search_with": "torch", "search_precision": "bf16", "threads": 2}),
        ("int8", {}),
        ("mixed", {"allow_other_encoder": True}),
        ("bm25", {}),
    ],
)
def test_the_run_of_one_machine(kind, given, joined, folders, tmp_path):
    options = {"hits": 40, **given}
    expected = search(folders / kind / "*", tmp_path / "here", **options)
    assert search(folders / kind / "*", tmp_path / "there", ray=joined.address, **options) == expected
    assert len(expected.splitlines()) > 300
    if kind == "bm25":
        assert search(folders / "whole", tmp_path / "one", **options) == expected


def test_a_killed_actor_is_asked_again(joined, folders, collection):
    paths = sorted((folders / "bm25").iterdir())
    queries = list(collection.topics.values())
    shards = RayShards(paths, LUCENE, threads=2)  # Java has one: two nodes of one CPU stay two places
    shards.load()
    places = shards.places()
    assert len({node for node, _ in places}) == 2

    def batches():
        for number in range(6):
            if number == 4:  # while it has three batches before it
                kill(places[0][1])
            yield queries

    expected = LuceneShards(paths).search(queries, 20)
    for found in shards.search(batches(), 20):
        for one, other in zip(found, expected, strict=True):
            assert one.docids == other.docids
            assert (one.scores == other.scores).all()
    assert shards.places()[0] != places[0]
    shards.close()


def test_shards_of_a_killed_node_go_to_others(joined, folders, vectors):
    paths = sorted((folders / "flat").iterdir())
    shards = RayShards(paths, FAISS, dimension=vectors.vectors.shape[1])
    shards.load()
    assert len({node for node, _ in shards.places()}) == 2

    def batches():
        for number in range(6):
            if number == 4:
                joined.kill_second()
            yield vectors.vectors[:10]

    expected = [hits.docids for hits in VectorShards(paths, vectors.vectors.shape[1]).search(vectors.vectors[:10], 20)]
    assert [[hits.docids for hits in found] for found in shards.search(batches(), 20)] == [expected] * 6
    assert len({node for node, _ in shards.places()}) == 1
    shards.close()


def test_a_shard_that_is_lost_again_and_again_ends_the_search(joined, folders, vectors, monkeypatch):
    monkeypatch.setattr(on_ray, "RELOADS", 0)
    paths = sorted((folders / "flat").iterdir())
    shards = RayShards(paths, FAISS, dimension=vectors.vectors.shape[1])
    shards.load()
    (group,) = (number for number, group in enumerate(shards.groups) if paths.index(folders / "flat" / "B") in group)
    kill(shards.places()[group][1])
    with pytest.raises(FailedError, match=r"flat/B.*hits would be missing"):
        list(shards.search([vectors.vectors[:10]], 20))
    shards.close()


def test_faults_before_anything_is_loaded(joined, folders, vectors, tmp_path, monkeypatch):
    dimension = vectors.vectors.shape[1]
    shutil.copytree(folders / "flat" / "A", tmp_path / "huge")
    os.truncate(tmp_path / "huge" / "index", 3 << 40)
    with pytest.raises(TasbError, match=r"huge\n.*a node with 3,072\.28 GiB of memory for this shard\n.*\n.*second"):
        RayShards([folders / "flat" / "A", tmp_path / "huge"], FAISS, dimension=dimension)
    shutil.copytree(folders / "flat" / "B", tmp_path / "gone")
    shards = RayShards([tmp_path / "gone"], FAISS, dimension=dimension)
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(TasbError, match=r"gone\n.*every node of the Ray cluster sees"):
        shards.load()
    shards.close()
    shards = RayShards([folders / "flat" / "B"], FAISS, dimension=7)
    with pytest.raises(TasbError, match="vectors of 7 dimensions"):
        shards.load()
    shards.close()
    # More than the cluster has left: the process waits for a place, but not for ever.
    monkeypatch.setattr(on_ray, "START_SECONDS", 3)
    monkeypatch.setattr(on_ray, "PROCESS_BYTES", {FAISS: max(node.memory for node in on_ray.nodes()) - (1 << 20)})
    monkeypatch.setattr(on_ray, "_free_memory", lambda: 1 << 60)
    shards = RayShards([folders / "flat" / name for name in "ABC"], FAISS, dimension=dimension)
    with pytest.raises(FailedError, match="Ray found no place"):
        shards.load()
    shards.close()


def test_with_a_gpu_for_a_device(joined, folders, vectors):
    """In a cluster without GPUs, `auto` takes Faiss where it can, and what only torch searches is refused."""
    dimension = vectors.vectors.shape[1]
    flat, unindexed = ([folders / kind / name for name in "ABC"] for kind in ("flat", "vectors"))
    shards = RayShards(flat, FAISS, dimension=dimension, how=DenseSearch(device="cuda"))
    assert {needs.gpus for needs in shards._needs} == {0}
    shards.close()
    for paths, how in {"vectors": (unindexed, "auto"), "flat": (flat, "torch")}.values():
        with pytest.raises(TasbError, match=r"a Ray cluster with GPUs, for device='cuda'\n.*\n.*second"):
            RayShards(paths, FAISS, dimension=dimension, how=DenseSearch(how, "cuda:0"))


def test_a_faiss_search_of_vectors_is_refused_first(joined, folders):
    with pytest.raises(TasbError, match="which torch searches"):
        RayShards([folders / "vectors" / "A"], FAISS, dimension=32, how=DenseSearch("faiss"))


NODES = [Node("1", "small", 2, 0, 100), Node("2", "large", 4, 0, 300)]


@pytest.mark.parametrize(
    ("sizes", "process", "expected"),
    [
        ([10] * 6, 10, [[0], [1], [2], [3], [4], [5]]),
        ([10] * 8, 10, [[0, 6], [1, 7], [2], [3], [4], [5]]),
        ([200, 10, 10], 10, [[0], [1], [2]]),
        ([60, 50, 40, 30, 20, 10, 5], 0, [[0], [1], [2], [3], [4], [5, 6]]),
    ],
)
def test_groups_of_equal_size(sizes, process, expected, tmp_path):
    paths = [tmp_path / str(number) for number in range(len(sizes))]
    assert grouped(paths, sizes, NODES, process=process, free=400, threads=1) == expected


def test_more_groups_than_cpus_where_memory_is_short(tmp_path):
    nodes = [Node("1", "one", 1, 0, 100), Node("2", "two", 1, 0, 100)]
    paths = [tmp_path / name for name in "ABC"]
    assert grouped(paths, [60, 60, 60], nodes, process=0, free=200, threads=1) == [[0], [1], [2]]
    with pytest.raises(TasbError, match=r"C\n.*for all 3 shards"):
        grouped(paths, [90, 60, 60], nodes, process=0, free=150, threads=1)


def test_as_many_groups_as_gpus(tmp_path):
    nodes = [Node("1", "one", 8, 1, 100), Node("2", "two", 8, 2, 100), Node("3", "three", 8, 0, 400)]
    paths = [tmp_path / str(number) for number in range(7)]
    assert grouped(paths, [10] * 7, nodes, process=5, free=600, threads=1, gpus=1) == [[0, 3, 6], [1, 4], [2, 5]]
    assert grouped(paths[:2], [10] * 2, nodes, process=5, free=600, threads=1, gpus=1) == [[0], [1]]
    with pytest.raises(TasbError, match=r"for the shards of one of 3 GPUs"):
        grouped(paths, [60] * 7, nodes[:2], process=5, free=600, threads=1, gpus=1)
    with pytest.raises(TasbError, match=r"GPUs, for device='cuda'\n.*\n.*three"):
        grouped(paths, [10] * 7, nodes[2:], process=5, free=600, threads=1, gpus=1)


def test_memory_is_that_of_the_files(folders):
    index = folders / "flat" / "A"
    assert memory_needed(index, FAISS) == (index / "index").stat().st_size + 2 * (index / "docid").stat().st_size
    units = list((folders / "vectors" / "A" / "units").iterdir())
    of_vectors, of_docids = (sum(file.stat().st_size for file in units if file.suffix == end) for end in FILES)
    assert memory_needed(folders / "vectors" / "A", FAISS) == of_vectors + 2 * of_docids
    half = DenseSearch(precision="fp16")
    assert memory_needed(folders / "vectors" / "A", FAISS, half) == of_vectors * 3 // 2 + 2 * of_docids
    lucene = folders / "bm25" / "A"
    files = {path.suffix: path.stat().st_size for path in lucene.iterdir()}
    assert memory_needed(lucene, LUCENE) == sum(path.stat().st_size for path in lucene.iterdir()) - files[".fdt"]


@pytest.mark.parametrize(
    ("index", "options", "message"),
    [
        ("bm25/*", {"encoder": "tasb"}, "a Lucene index of terms, which BM25 searches"),
        ("flat/*", {"k1": 1.0}, "BM25's"),
        ("bm25/*", {"latency": True}, "latency"),
        ("flat/*", {"latency": True, "ray": "local"}, "latency"),
        ("none/*", {}, "matches at least one folder"),
        (["flat/A", "bm25/A"], {}, "of one kind"),
        ("bm25/*", {"b": 2.0}, "from 0 to 1"),
    ],
)
def test_options_that_do_not_fit(index, options, message, folders):
    paths = [folders / each for each in ([index] if isinstance(index, str) else index)]
    with pytest.raises(TasbError, match=message):
        pyserini_tasb.search(paths, topics=TINY / "topics.tsv", **options)


def test_no_ray(folders, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(TasbError, match=r"pip install 'pyserini-tasb\[ray\]'"):
        pyserini_tasb.search(
            folders / "flat" / "A", topics=TINY / "topics.tsv", encoder=f"tasb:{TINY_MODEL}", ray="auto"
        )
