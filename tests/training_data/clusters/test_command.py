"""`tasb cluster` from queries to files, with the tiny model."""

from __future__ import annotations

import hashlib
import json
import logging
import sys

import pytest

import pyserini_tasb as tasb
from pyserini_tasb.data import clusters as clusters_module
from pyserini_tasb.data.cluster_file import clusters_in_store, read_clusters
from pyserini_tasb.errors import TasbError
from tests.conftest import TINY_MODEL
from tests.training_data.clusters.stores import pair_store


def cluster(queries, output, **options):
    """Cluster and print what is said of it; what was written into statistics.json."""
    made = tasb.cluster(queries, output=output, **{"encoder": str(TINY_MODEL), "batch_size": 8, **options})
    print(made.summary)
    assert made.path == output / "clusters.tsv"
    return json.loads(made.statistics.read_bytes())


@pytest.fixture(scope="module")
def queries(collection):
    """Some 200 queries: topics, titles, and the first words of texts."""
    texts = [*collection.topics.values(), *collection.titles]
    texts += [" ".join(text.split()[:7]) for text in collection.texts if text.strip()]
    return {f"q{number}": " ".join(text.split()) for number, text in enumerate(texts[:200])}


@pytest.fixture(scope="module")
def queries_file(queries, tmp_path_factory):
    path = tmp_path_factory.mktemp("queries") / "queries.tsv"
    path.write_text("".join(f"{qid}\t{text}\n" for qid, text in queries.items()))
    return path


def test_clusters_statistics_and_picture(queries, queries_file, tmp_path, capsys):
    statistics = cluster(queries_file, tmp_path / "out", picture=True)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "clusters.png",
        "clusters.tsv",
        "statistics.json",
    ]
    clusters = read_clusters(tmp_path / "out" / "clusters.tsv")
    assert sorted(qid for qids in clusters for qid in qids) == sorted(queries)
    lengths = [len(qids) for qids in clusters]
    assert statistics["k_means"]["clusters"] == len(queries) // 24 == 8
    assert statistics["sizes"]["min"] == min(lengths)
    assert statistics["sizes"]["max"] == max(lengths)
    assert statistics["sizes"]["mean"] == pytest.approx(sum(lengths) / len(lengths))
    assert statistics["sizes"]["empty"] == 8 - len(lengths)
    assert statistics["queries"] == {"source": str(queries_file), "clustered": 200, "without_pairs": 0}
    assert (statistics["encoder"]["name"], statistics["encoder"]["query_tokens"]) == (str(TINY_MODEL), 30)
    assert (statistics["k_means"]["metric"], statistics["k_means"]["seed"]) == ("spherical", 1234)
    assert len(statistics["k_means"]["objective"]) == statistics["k_means"]["iterations"] + 1
    assert "the released code" in statistics["k_means"]["objective_is"]
    assert {"python", "pyserini-tasb", "numpy", "torch", "transformers"} < statistics["versions"].keys()
    digest = hashlib.sha256((tmp_path / "out" / "clusters.tsv").read_bytes()).hexdigest()
    assert statistics["clusters_sha256"] == digest
    printed = capsys.readouterr()
    assert "200 queries in 8 clusters" in printed.out
    assert "spherical k-means" in printed.out
    assert "encoding" in printed.err
    assert "k-means" in printed.err


def test_same_input_and_seed_same_bytes(queries_file, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        cluster(queries_file, tmp_path / name, seed=seed)
    a, b, c = ([(tmp_path / run / name).read_bytes() for name in ("clusters.tsv", "statistics.json")] for run in "abc")
    assert a == b
    assert all(one != other for one, other in zip(a, c, strict=True))


def test_metrics_differ_and_the_output_says_which(queries_file, tmp_path, capsys):
    cluster(queries_file, tmp_path / "spherical")
    capsys.readouterr()
    statistics = cluster(queries_file, tmp_path / "euclidean", metric="euclidean")
    assert "Eq. 10" in capsys.readouterr().out
    assert statistics["k_means"]["metric"] == "euclidean"
    one, other = (tmp_path / metric / "clusters.tsv" for metric in ("spherical", "euclidean"))
    assert one.read_bytes() != other.read_bytes()
    # What Eq. 10 sums is the mean of the objective once the centroids are the means of their clusters.
    assert statistics["inertia"] / 200 == pytest.approx(statistics["k_means"]["objective"][-1], rel=0.01)


def test_vectors_are_kept_and_reused(queries_file, tmp_path):
    first = cluster(queries_file, tmp_path / "a", vectors=str(tmp_path / "vectors.npy"))
    second = cluster(queries_file, tmp_path / "b", vectors=str(tmp_path / "vectors.npy"))
    assert first == second == cluster(queries_file, tmp_path / "c")


def test_a_pair_store_in_and_its_indices_out(queries, tmp_path, capsys):
    store = pair_store(tmp_path / "pairs", queries)
    statistics = cluster(tmp_path / "pairs", tmp_path / "out")
    assert statistics["queries"]["clustered"] == 200
    clusters = clusters_in_store(tmp_path / "out" / "clusters.tsv", store)
    assert sorted(index for indices in clusters for index in indices) == list(range(200))
    assert "note" not in capsys.readouterr().err


def test_labels(queries, queries_file, tmp_path, capsys):
    labels = tmp_path / "labels.tsv"
    labels.write_text("".join(f"q{number}\tL{number % 3}\n" for number in range(150)))
    statistics = cluster(queries_file, tmp_path / "out", labels=str(labels))
    assert (statistics["labels"]["queries"], statistics["labels"]["labels"]) == (150, 3)
    assert 1 / 3 < statistics["labels"]["purity"] < 1
    assert f"purity {statistics['labels']['purity']:.3f} (random " in capsys.readouterr().out


def test_a_number_of_clusters_that_makes_them_small_is_warned_about(queries_file, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="pyserini_tasb")
    assert cluster(queries_file, tmp_path / "out", clusters=30)["k_means"]["clusters"] == 30
    assert "6.7 queries on average, fewer than a batch of 8" in caplog.text


def test_fewer_queries_than_a_batch(queries_file, tmp_path):
    with pytest.raises(TasbError, match="at least as many usable queries"):
        cluster(queries_file, tmp_path / "out", batch_size=201)


@pytest.mark.parametrize("option", [{"clusters": 200}, {"clusters": 0}, {"iterations": 0}, {"labels": "absent.tsv"}])
def test_impossible_options_are_refused_before_anything_is_encoded(queries_file, tmp_path, option, capsys):
    with pytest.raises(TasbError):
        cluster(queries_file, tmp_path / "out", **option)
    assert "encoding" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_picture_of_an_earlier_run_does_not_stay(queries_file, tmp_path):
    cluster(queries_file, tmp_path / "out", clusters=5)
    (tmp_path / "out" / "clusters.png").touch()
    cluster(queries_file, tmp_path / "out", clusters=5, overwrite=True)
    assert not (tmp_path / "out" / "clusters.png").exists()


def test_output_that_is_a_file(queries_file):
    with pytest.raises(TasbError, match="a folder that can be written"):
        cluster(queries_file, queries_file)


def test_faulty_queries(tmp_path):
    (tmp_path / "queries.tsv").write_text("1\tone\n2\n1\tagain\n")
    with pytest.raises(TasbError, match=r"(?s)queries\.tsv:2: .*queries\.tsv:3: query 1 a second time"):
        cluster(tmp_path / "queries.tsv", tmp_path / "out")


def test_a_folder_that_is_no_pair_store(tmp_path):
    with pytest.raises(TasbError, match="pair store"):
        cluster(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(("count", "warned"), [(20, True), (48, False)])
def test_one_cluster_is_warned_about(queries, tmp_path, caplog, count, warned):
    some = dict(list(queries.items())[:count])
    cluster(some, tmp_path / "out")
    assert ("in one cluster, so topic-aware batches are the same as random ones" in caplog.text) == warned


def test_queries_that_are_all_the_same_are_one_cluster(tmp_path, caplog):
    cluster({f"q{number}": "a sort" for number in range(30)}, tmp_path / "out", clusters=3)
    assert len(read_clusters(tmp_path / "out" / "clusters.tsv")) == (1 if "in one cluster" in caplog.text else 3)


def test_without_faiss_torch_computes_the_same_clusters(queries_file, tmp_path, monkeypatch):
    expected = cluster(queries_file, tmp_path / "faiss")
    monkeypatch.setattr(clusters_module, "find_spec", lambda _: None)
    monkeypatch.setitem(sys.modules, "faiss", None)
    found = cluster(queries_file, tmp_path / "torch", device="cpu")
    assert found["k_means"]["objective"] == pytest.approx(expected["k_means"]["objective"], rel=1e-4)
    assert found["sizes"]["mean"] == pytest.approx(expected["sizes"]["mean"], rel=0.1)
