"""Query vectors and their file, with the tiny model."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import pytest

from pyserini_tasb.data import query_vectors
from pyserini_tasb.data.query_vectors import QueryVectors
from pyserini_tasb.errors import TasbError
from pyserini_tasb.resume import partial_file
from tests.conftest import DIMENSION, TINY_MODEL, plain_vectors

CHUNK = 16


@pytest.fixture(scope="module")
def texts(collection):
    return [*collection.topics.values(), *collection.titles][:100]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(query_vectors, "QUERIES_AT_ONCE", CHUNK)


class InterruptedTexts(list):
    """Texts whose reader is interrupted after three chunks, as by Ctrl-C."""

    chunks = 3

    def __getitem__(self, rows):
        if rows.start >= self.chunks * CHUNK:
            raise KeyboardInterrupt
        return super().__getitem__(rows)


class WatchedTexts(list):
    """Texts that note which chunks were read."""

    def __init__(self, texts):
        super().__init__(texts)
        self.starts = []

    def __getitem__(self, rows):
        self.starts.append(rows.start)
        return super().__getitem__(rows)


def test_queries_are_cut_at_30_tokens_as_in_training(texts):
    long = max(texts, key=len)
    found = QueryVectors([long, texts[-1]], str(TINY_MODEL)).encode()
    assert np.abs(found - plain_vectors(TINY_MODEL, [long, texts[-1]], max_length=30)).max() < 1e-4
    assert np.abs(found[0] - plain_vectors(TINY_MODEL, [long])).max() > 0.1


def test_a_file_is_made_once_and_read_afterwards(texts, tmp_path):
    path = tmp_path / "new" / "vectors.npy"
    found = QueryVectors(texts, str(TINY_MODEL)).read_or_encode(path)
    assert np.array_equal(found, QueryVectors(texts, str(TINY_MODEL)).encode())
    assert sorted(file.name for file in path.parent.iterdir()) == ["vectors.npy", "vectors.npy.json"]
    watched = WatchedTexts(texts)
    assert np.array_equal(QueryVectors(watched, str(TINY_MODEL)).read_or_encode(path), found)
    assert watched.starts == []


def test_an_interrupted_file_goes_on_where_it_stopped(texts, tmp_path):
    whole, broken = tmp_path / "whole.npy", tmp_path / "broken.npy"
    QueryVectors(texts, str(TINY_MODEL)).read_or_encode(whole)
    with pytest.raises(KeyboardInterrupt):
        QueryVectors(InterruptedTexts(texts), str(TINY_MODEL)).read_or_encode(broken)
    assert not broken.exists()
    with (tmp_path / "broken.npy.part").open("ab") as part:
        part.write(b"half of a chunk")  # as a kill in the middle of writing leaves it
    watched = WatchedTexts(texts)
    QueryVectors(watched, str(TINY_MODEL)).read_or_encode(broken)
    assert watched.starts == [48, 64, 80, 96]
    assert broken.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.part*"))


def test_a_part_of_other_queries_is_not_used(texts, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        QueryVectors(InterruptedTexts(texts), str(TINY_MODEL)).read_or_encode(tmp_path / "v.npy")
    others = texts[::-1]
    found = QueryVectors(others, str(TINY_MODEL)).read_or_encode(tmp_path / "v.npy")
    assert np.array_equal(found, QueryVectors(others, str(TINY_MODEL)).encode())


def test_a_part_that_others_began_anew_is_begun_anew(texts, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        QueryVectors(InterruptedTexts(texts), str(TINY_MODEL)).read_or_encode(tmp_path / "v.npy")
    others = InterruptedTexts(texts[::-1])
    others.chunks = 0
    with pytest.raises(KeyboardInterrupt):
        QueryVectors(others, str(TINY_MODEL)).read_or_encode(tmp_path / "v.npy")
    found = QueryVectors(texts, str(TINY_MODEL)).read_or_encode(tmp_path / "v.npy")
    assert np.array_equal(found, QueryVectors(texts, str(TINY_MODEL)).encode())


def test_one_process_at_a_time(texts, tmp_path):
    path = tmp_path / "v.npy"
    with partial_file(path, "vectors"), pytest.raises(TasbError, match=r"v\.npy\.lock\n(?s:.*)another one is running"):
        QueryVectors(texts, str(TINY_MODEL)).read_or_encode(path)


def test_vectors_of_other_queries_or_another_model_are_refused(texts, tmp_path):
    path = tmp_path / "vectors.npy"
    QueryVectors(texts, str(TINY_MODEL)).read_or_encode(path)
    with pytest.raises(TasbError, match="vectors of these 99 queries"):
        QueryVectors(texts[1:], str(TINY_MODEL)).read_or_encode(path)
    moved = shutil.copytree(TINY_MODEL, tmp_path / "moved")
    QueryVectors(texts, str(moved)).read_or_encode(path)  # the same weights
    config = json.loads((moved / "config.json").read_bytes())
    (moved / "config.json").write_text(json.dumps({**config, "attention_dropout": 0.3}))
    with pytest.raises(TasbError, match="texts or weights differ"):
        QueryVectors(texts, str(moved)).read_or_encode(path)


def test_a_changed_byte_is_refused(texts, tmp_path):
    path = tmp_path / "vectors.npy"
    QueryVectors(texts, str(TINY_MODEL)).read_or_encode(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(TasbError, match=r"(?s)vectors\.npy.*sha256.*changed or damaged"):
        QueryVectors(texts, str(TINY_MODEL)).read_or_encode(path)
    sidecar = json.loads((tmp_path / "vectors.npy.json").read_text())
    del sidecar["sha256"]  # as earlier versions wrote it
    (tmp_path / "vectors.npy.json").write_text(json.dumps(sidecar))
    QueryVectors(texts, str(TINY_MODEL)).read_or_encode(path)


def test_vectors_from_elsewhere_are_taken_with_a_note(texts, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="pyserini_tasb")
    path = tmp_path / "vectors.npy"
    np.save(path, np.ones((100, DIMENSION), dtype=np.float16))
    found = QueryVectors(texts, str(TINY_MODEL)).read_or_encode(path)
    assert (found.dtype, found.shape) == (np.float32, (100, DIMENSION))
    assert len(caplog.messages) == 1
    assert "is used without a check" in caplog.messages[0]
    caplog.clear()
    QueryVectors(texts, str(TINY_MODEL)).read_or_encode(tmp_path / "made.npy")
    assert not caplog.messages


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.ones((99, 4), dtype=np.float32), r"float32 \[99, 4\]"),
        (np.ones(100, dtype=np.float32), r"float32 \[100\]"),
        (np.ones((100, 4), dtype=np.int32), r"int32 \[100, 4\]"),
    ],
)
def test_arrays_that_do_not_fit(texts, tmp_path, array, found):
    np.save(tmp_path / "vectors.npy", array)
    with pytest.raises(TasbError, match=found):
        QueryVectors(texts, str(TINY_MODEL)).read_or_encode(tmp_path / "vectors.npy")


def test_pickles_and_other_files_are_refused(texts, tmp_path):
    np.save(tmp_path / "pickle.npy", np.array([{}] * 100, dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("not an array")
    (tmp_path / "empty.npy").touch()
    for name in ("pickle.npy", "text.npy", "empty.npy"):
        with pytest.raises(TasbError, match=rf"{name}(?s:.*)vectors in a .npy file"):
            QueryVectors(texts, str(TINY_MODEL)).read_or_encode(tmp_path / name)


def test_nowhere_to_write(texts, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TasbError, match="a file to which the vectors can be written"):
        QueryVectors(texts, str(TINY_MODEL)).read_or_encode(tmp_path / "file" / "vectors.npy")
