"""The cluster file, read back and against a real pair store."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.data.cluster_file import clusters_in_store, read_clusters, write_clusters
from pyserini_tasb.errors import TasbError
from tests.training_data.clusters.stores import pair_store

QID = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=8)


@given(qids=st.lists(QID, min_size=1, max_size=40, unique=True), data=st.data())
def test_what_is_written_is_read(tmp_path_factory, qids, data):
    path = tmp_path_factory.getbasetemp() / "clusters.tsv"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(qids)), max_size=6)))
    bounds = zip([0, *cuts], [*cuts, len(qids)], strict=True)
    clusters = [qids[start:end] for start, end in bounds]
    write_clusters(path, clusters)
    assert read_clusters(path) == [cluster for cluster in clusters if cluster]


def test_the_format_is_the_released_codes(tmp_path):
    write_clusters(tmp_path / "clusters.tsv", [["12", "007"], [], ["q3"]])
    assert (tmp_path / "clusters.tsv").read_bytes() == b"12\t007\nq3\n"


def test_empty_lines_and_windows_line_ends(tmp_path):
    (tmp_path / "clusters.tsv").write_bytes(b"\n1\t2\r\n\n3\n\n")
    assert read_clusters(tmp_path / "clusters.tsv") == [["1", "2"], ["3"]]


@pytest.mark.parametrize("qid", ["", "a b", "a\tb", "a\n"])
def test_qids_that_could_not_be_read_back_are_refused(tmp_path, qid):
    (tmp_path / "clusters.tsv").write_text("old\n")
    with pytest.raises(TasbError, match="without white space"):
        write_clusters(tmp_path / "clusters.tsv", [["1"], [qid]])
    assert (tmp_path / "clusters.tsv").read_text() == "old\n"
    assert len(list(tmp_path.iterdir())) == 1


def test_nowhere_to_write(tmp_path):
    with pytest.raises(TasbError, match="No such file or directory"):
        write_clusters(tmp_path / "absent" / "clusters.tsv", [["1"]])


def test_every_faulty_line_is_named(tmp_path):
    path = tmp_path / "clusters.tsv"
    path.write_bytes(b"1\t2\n3\t1\n4\t4\n5 6\n7\t\t8\n\xff\n9\n")
    with pytest.raises(TasbError) as caught:
        read_clusters(path)
    for line in (
        f"{path}:2: query 1 a second time, after line 1",
        f"{path}:3: query 4 a second time, after line 3",
        f"{path}:4: the qid '5 6' is empty or has white space in it",
        f"{path}:5: the qid '' is empty or has white space in it",
        f"{path}:6: not UTF-8",
    ):
        assert line in str(caught.value)
    assert "5 faulty lines" in str(caught.value)


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_empty_file(tmp_path, content):
    (tmp_path / "clusters.tsv").write_text(content)
    with pytest.raises(TasbError, match="an empty file"):
        read_clusters(tmp_path / "clusters.tsv")


def test_absent_file(tmp_path):
    with pytest.raises(TasbError, match=r"absent\.tsv"):
        read_clusters(tmp_path / "absent.tsv")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Queries q0 … q9, each with pairs."""
    return pair_store(tmp_path_factory.mktemp("store") / "pairs", {f"q{i}": f"query {i}" for i in range(10)})


def of(tmp_path, store, text):
    notes = []
    (tmp_path / "clusters.tsv").write_text(text)
    clusters = clusters_in_store(tmp_path / "clusters.tsv", store, note=notes.append)
    assert all(cluster.dtype == np.int64 for cluster in clusters)
    ids = [store.queries.ids(cluster) for cluster in clusters]
    return ids, [note.partition(": ")[2] for note in notes]


def test_clusters_as_indices_of_the_store(tmp_path, store):
    assert of(tmp_path, store, "q3\tq1\nq0\tq2\tq9\nq4\tq5\tq6\tq7\tq8\n") == (
        [["q3", "q1"], ["q0", "q2", "q9"], ["q4", "q5", "q6", "q7", "q8"]],
        [],
    )


def test_queries_that_the_store_lacks_and_empty_clusters_are_left_out_and_counted(tmp_path, store):
    clusters, notes = of(tmp_path, store, "q3\tother\tq1\nunknown\nq0\n")
    assert clusters == [["q3", "q1"], ["q0"]]
    assert notes == [
        "left out 2 qids that the pair store lacks",
        "7 queries with pairs are in no cluster, so they are never drawn",
    ]


def test_queries_without_pairs_are_left_out_and_counted(tmp_path, store, monkeypatch):
    offsets = store.offsets.copy()
    offsets[4:] -= offsets[4] - offsets[3]  # q3 has no pairs now
    monkeypatch.setattr(store, "offsets", offsets)
    clusters, notes = of(tmp_path, store, "q3\nq0\tq1\tq2\tq4\tq5\tq6\tq7\tq8\tq9\n")
    assert clusters == [["q0", "q1", "q2", "q4", "q5", "q6", "q7", "q8", "q9"]]
    assert notes == ["left out 1 queries without pairs"]
    with pytest.raises(TasbError, match="1 qids, none of them with pairs"):
        of(tmp_path, store, "q3\n")


def test_half_unknown_is_allowed_and_more_is_not(tmp_path, store):
    assert of(tmp_path, store, "q1\tq2\tx\ty\n")[0] == [["q1", "q2"]]
    with pytest.raises(TasbError, match="3 of 5 qids that the pair store lacks"):
        of(tmp_path, store, "q1\tq2\tx\ty\tz\n")
    with pytest.raises(TasbError, match="2 of 2 qids"):
        of(tmp_path, store, "x\ty\n")


def test_notes_are_logged_by_default(tmp_path, store, caplog):
    caplog.set_level(logging.INFO, logger="pyserini_tasb")
    (tmp_path / "clusters.tsv").write_text("q0\n")
    clusters_in_store(tmp_path / "clusters.tsv", store)
    assert "9 queries with pairs are in no cluster" in caplog.text
