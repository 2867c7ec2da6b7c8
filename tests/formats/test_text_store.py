from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserini_tasb.artifacts import sha256
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats import text_store
from pyserini_tasb.formats.arrays import Spans
from pyserini_tasb.formats.text_store import TextStore, copy_text_store, write_text_store

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
RECORDS = st.dictionaries(TEXTS.filter(bool), TEXTS, max_size=20)
THREE = [("007", "first"), ("7", ""), ("é", "third\n\t text")]


@settings(max_examples=25)  # it waits for the disk
@given(records=RECORDS, others=st.lists(TEXTS, max_size=5), batch=st.integers(1, 4))
def test_what_was_written_is_found_by_index_and_by_id(records, others, batch):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(text_store, "BATCH", batch)
        store = write_text_store(Path(folder) / "store", records.items())
        assert list(store) == list(records.items())
        assert len(store) == len(records)
        order = np.arange(len(records))[::-1]
        assert store.ids(order) == list(records)[::-1]
        assert store.texts(order.astype(np.uint32)) == list(records.values())[::-1]
        wanted = [*others, *records]
        places = {id_: index for index, id_ in enumerate(records)}
        assert store.indices(wanted).tolist() == [places.get(id_, -1) for id_ in wanted]
        assert store.without_text().tolist() == [text == "" for text in records.values()]
        copy = Path(folder) / "copy"
        copy.mkdir()
        assert list(copy_text_store(copy, store, order)) == list(records.items())[::-1]


@pytest.mark.parametrize("window", [1, 2, 3])
def test_copy_in_windows_of_the_source(tmp_path, monkeypatch, window):
    monkeypatch.setattr(text_store, "WINDOW", window)
    store = write_text_store(tmp_path / "store", THREE)
    (tmp_path / "copy").mkdir()
    assert list(copy_text_store(tmp_path / "copy", store, np.array([2, 0]))) == [THREE[2], THREE[0]]


@pytest.mark.parametrize("window", [1, 2, 100])
def test_first_bytes_of_every_text(tmp_path, monkeypatch, window):
    monkeypatch.setattr(text_store, "WINDOW", window)
    texts = ["long one", "", "é", "ab", "x"]
    store = write_text_store(tmp_path / "store", [(str(number), text) for number, text in enumerate(texts)])
    expected = [text.encode()[:3].ljust(3, b"\0") for text in texts]
    assert [bytes(row) for row in store.first_bytes(3)] == expected


def test_one_text_by_index_or_iterable_of_indices(tmp_path):
    store = write_text_store(tmp_path / "store", THREE)
    assert (store.id(2), store.text(2)) == THREE[2]
    assert store.texts(index for index in (2, 0)) == ["third\n\t text", "first"]
    assert store.indices(["7", "007", "\udcff", ""]).tolist() == [1, 0, -1, -1]


@settings(max_examples=25)
@given(records=RECORDS, others=st.lists(TEXTS, max_size=5))
def test_ids_with_the_same_hash_are_told_apart(records, others):
    def two_hashes(spans):
        return (spans.lengths % 2).astype(np.uint64)

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(Spans, "hashes", two_hashes)
        store = write_text_store(Path(folder) / "store", records.items())
        places = {id_: index for index, id_ in enumerate(records)}
        wanted = [*records, *others]
        assert store.indices(wanted).tolist() == [places.get(id_, -1) for id_ in wanted]


def test_repeated_ids_are_named_and_nothing_is_left(tmp_path):
    records = [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("b", "5"), ("a", "6")]
    with pytest.raises(TasbError) as caught:
        write_text_store(tmp_path / "store", records, source="my collection")
    assert caught.value.where == "my collection"
    assert "3 repeated ids" in caught.value.found
    assert caught.value.found.endswith(
        "'a': record 1 and record 3\n    'b': record 2 and record 5\n    'a': record 1 and record 6"
    )
    assert list(tmp_path.iterdir()) == []


def test_repeated_ids_are_named_up_to_a_limit(tmp_path):
    with pytest.raises(TasbError, match=r"30 repeated ids(.|\n)*… and 10 more"):
        write_text_store(tmp_path / "store", [("a", "")] * 31)


@pytest.mark.parametrize(
    ("record", "found"),
    [
        (("", "text"), r"record 2 \(id ''\): an empty id"),
        (("x\udcff", "text"), "record 2 .*: a lone surrogate"),
        (("x", "\ud800"), "record 2 .*: a lone surrogate"),
    ],
)
def test_unusable_record_is_named_and_nothing_is_left(tmp_path, record, found):
    with pytest.raises(TasbError, match=found):
        write_text_store(tmp_path / "store", [("a", "1"), record])
    assert list(tmp_path.iterdir()) == []


def test_interrupted_writing_leaves_nothing(tmp_path):
    def records():
        yield from THREE
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_text_store(tmp_path / "store", records())
    assert list(tmp_path.iterdir()) == []


def test_same_records_same_bytes_and_fingerprint(tmp_path):
    stores = [write_text_store(tmp_path / name, THREE) for name in "ab"]
    for path in stores[0].folder.iterdir():
        assert path.read_bytes() == (stores[1].folder / path.name).read_bytes()
    assert stores[0].fingerprint == stores[1].fingerprint
    other = write_text_store(tmp_path / "c", [*THREE[:2], ("é", "third")])
    assert other.fingerprint != stores[0].fingerprint


@pytest.fixture
def folder(tmp_path):
    return write_text_store(tmp_path / "store", THREE).folder


@pytest.mark.parametrize("name", ["texts.bin", "text_offsets.npy", "ids.bin", "id_hashes.npy", "id_order.npy"])
def test_missing_or_truncated_file_is_named(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(TasbError) as caught:
        TextStore(folder)
    assert caught.value.where == str(folder / name)
    assert caught.value.found == f"{len(content) - 1} bytes"
    (folder / name).unlink()
    with pytest.raises(TasbError, match="no such file"):
        TextStore(folder)


def test_array_of_another_type_is_refused(folder, monkeypatch):
    monkeypatch.setattr("pyserini_tasb.artifacts.DIGESTED_BYTES", 0)  # the checksum is not read of a large file
    size = (folder / "text_offsets.npy").stat().st_size
    np.save(folder / "text_offsets.npy", np.zeros(4))
    assert (folder / "text_offsets.npy").stat().st_size == size
    with pytest.raises(TasbError, match=r"expected: a \.npy file of int64\n  found:    float64, shape \(4,\)"):
        TextStore(folder)


def test_pickled_array_is_refused(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    np.save(folder / "text_offsets.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    path = folder / "text_offsets.npy"
    manifest["files"]["text_offsets.npy"] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(TasbError, match="Python objects in dtype"):
        TextStore(folder)


def test_newer_format_other_format_and_no_store_are_refused(folder, tmp_path):
    manifest = json.loads((folder / "manifest.json").read_text())
    for change, found in (({"version": 2}, "version 2"), ({"format": "something else"}, "something else")):
        (folder / "manifest.json").write_text(json.dumps({**manifest, **change}))
        with pytest.raises(TasbError, match=found):
            TextStore(folder)
    for content, found in (("[]", "not an object"), ("{}", "of something else"), ("{", "Expecting property name")):
        (folder / "manifest.json").write_text(content)
        with pytest.raises(TasbError, match=found):
            TextStore(folder)
    shutil.rmtree(folder)
    with pytest.raises(TasbError, match="no such folder"):
        TextStore(folder)
    with pytest.raises(TasbError, match=r"no manifest\.json in it"):
        TextStore(tmp_path)
