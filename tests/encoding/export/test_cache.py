"""What `backend: onnx` exports by itself: once for each model, whole, by any number of processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from pyserini_tasb import TasbError, TasbQueryEncoder
from pyserini_tasb.encoding import export_accuracy, export_graph
from pyserini_tasb.encoding.onnx_runtime import _place, cache_folder, cached_export, is_cached
from pyserini_tasb.recipes.types import EncoderCard
from tests.conftest import TINY_MODEL

ENCODE = (
    "import sys; from pyserini_tasb import TasbQueryEncoder as Q; print(Q(sys.argv[1], backend='onnx').encode('a'))"
)


def card(model=TINY_MODEL, **keys):
    return EncoderCard(name="tiny", model=str(model), **keys)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def folders():
    return sorted(path.name for path in cache_folder().iterdir())


def test_a_model_is_exported_once(notes, monkeypatch, tmp_path, empty_cache):
    first = cached_export(card(), "fp32")
    assert notes.text.count("to ONNX in fp32, once, into") == 1
    notes.clear()
    monkeypatch.setattr(export_graph, "PACKAGES", ("no_such_package",))  # what is there needs none
    moved = shutil.copytree(TINY_MODEL, tmp_path / "moved")
    assert cached_export(card(moved, query_max_length=9, query_prefix="q: "), "fp32") == first
    assert not notes.messages
    assert folders() == [first.name]
    with (moved / "config.json").open("a") as config:
        config.write(" ")
    for other in (card(moved), card(pooling="mean"), card(normalise=True)):
        with pytest.raises(TasbError, match="no_such_package"):
            cached_export(other, "fp32")
    with pytest.raises(TasbError, match="no_such_package"):
        cached_export(card(), "int8")


def test_two_processes_at_once(empty_cache):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ENCODE, str(TINY_MODEL)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    answers = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert answers[0][0] == answers[1][0] != ""
    assert len(folders()) == 1


def test_the_second_to_be_done_takes_the_first_ones(monkeypatch, empty_cache, exported_tiny):
    from pyserini_tasb.encoding import export

    export_model = export.export_model
    target = _place(card(), "fp32")

    def overtaken(*arguments, **options):
        shutil.copytree(exported_tiny, target)
        (target / "first").touch()
        return export_model(*arguments, **options)

    monkeypatch.setattr(export, "export_model", overtaken)
    assert cached_export(card(), "fp32") == target
    assert (target / "first").exists()
    assert folders() == [target.name]


def test_a_folder_that_lacks_a_part_is_made_again_and_what_killed_exports_left_removed(empty_cache):
    target = _place(card(), "fp32")
    old, young = (target.with_name(f"{target.name}.{pid}.1.part") for pid in (1, 2))
    for path in (target, old, young):
        path.mkdir(parents=True)
        (path / "export.json").touch()
    lock = target.with_name(f"{target.name}.1.1.lock")
    lock.touch()
    hours_ago = time.time() - 7_200
    for path in (old, lock):
        os.utime(path, (hours_ago, hours_ago))
    assert cached_export(card(), "fp32") == target
    assert (target / "model.onnx").exists()
    assert folders() == sorted([target.name, young.name])


def cut(path):
    path.write_bytes(path.read_bytes()[:-2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {"cut": cut, "flip": flip, "empty": lambda path: path.write_bytes(b""), "missing": lambda path: path.unlink()}
FILES = ["model.onnx", "tokenizer.json", "tokenizer_config.json", "config.json"]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [*FILES, "export.json"])
def test_whatever_is_damaged_is_exported_again(name, damage, notes, empty_cache, exported_tiny):
    target = _place(card(), "fp32")
    shutil.copytree(exported_tiny, target)
    assert cached_export(card(), "fp32") == target
    assert not notes.messages
    if (name, damage) == ("export.json", "flip"):
        (target / name).write_text((target / name).read_text().replace('"pad_id": 0', '"pad_id": 1'))
    else:
        DAMAGES[damage](target / name)
    broken = (target / name).read_bytes() if (target / name).exists() else None
    assert not is_cached(card(), "fp32")
    assert cached_export(card(), "fp32") == target
    said = notes.text
    assert f"{target} is damaged (" in said
    assert name in said or damage == "missing"
    assert "exporting " in said
    assert (target / name).read_bytes() != broken
    assert is_cached(card(), "fp32")
    assert folders() == [target.name]


def test_a_damaged_cache_gives_no_vectors_before_it_is_made_again(empty_cache, notes):
    encoder = TasbQueryEncoder(str(TINY_MODEL), backend="onnx")
    flip(_place(card(), "fp32") / "model.onnx")
    again = TasbQueryEncoder(str(TINY_MODEL), backend="onnx")
    assert "model.onnx has other bytes" in notes.text
    assert again.encode("a sort").tolist() == encoder.encode("a sort").tolist()


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(TasbError, match="set XDG_CACHE_HOME to another folder"):
        cached_export(card(), "fp32")


def test_a_failed_export_leaves_nothing(monkeypatch, empty_cache):
    from pyserini_tasb.encoding import export

    def fails(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "optimise", fails)
    with pytest.raises(TasbError, match="No space left on device"):
        cached_export(card(), "fp32")
    assert not folders()


def test_a_model_that_loses_too_much_is_exported_once(notes, monkeypatch, empty_cache):
    monkeypatch.setitem(export_accuracy.FLOORS, "int8", (0.9, 0.99999, 0.8))
    with pytest.raises(TasbError) as first:
        cached_export(card(), "int8")
    assert "on average 0.99999" in first.value.expected
    assert notes.text.count("to ONNX in int8, once, into") == 1
    notes.clear()
    with pytest.raises(TasbError) as again:
        cached_export(card(), "int8")
    assert str(again.value) == str(first.value)
    assert not notes.messages
    (damaged,) = cache_folder().glob("inaccurate-*.json")
    damaged.write_text("{")
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(empty_cache))
    assert is_cached(card(), "int8") is False
    cached_export(card(), "int8")
    assert is_cached(card(), "int8")
