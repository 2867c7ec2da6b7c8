"""What cannot be done is told, and what was there stays as it was."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from tests.conftest import TINY, TINY_MODEL
from tests.encoding.corpus.conftest import contents, encode, words


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-length", 255], "max_length 256, not 255"),
        (["--max-length", 256, "--dtype", "fp16"], "dtype float32, not float16"),
        (["--max-length", 256, "--precision", "bf16"], "precision fp32, not bf16"),
        (["--max-length", 256, "--unit-size", 21], "unit_size 20, not 21"),
    ],
)
def test_other_options(options, said, encoded, own_copy, no_model, capsys):
    assert encode(own_copy, *options) == 2
    assert said in capsys.readouterr().err
    assert contents(own_copy) == contents(encoded)


@pytest.mark.parametrize("finished", [True, False])
def test_another_model(finished, encoded, own_copy, tmp_path, no_model, capsys):
    if not finished:
        (own_copy / "units" / "000003.json").unlink()
    before = contents(own_copy)
    other = shutil.copytree(TINY_MODEL, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-3}))
    assert encode(own_copy, "--max-length", 256, encoder=other) == 2
    assert "another encoder" in capsys.readouterr().err
    assert contents(own_copy) == before


def test_the_same_model_and_corpus_elsewhere(encoded, own_copy, tmp_path, no_model):
    model = shutil.copytree(TINY_MODEL, tmp_path / "moved")
    corpus = shutil.copy(TINY / "corpus.jsonl", tmp_path / "moved.jsonl")
    assert encode(own_copy, "--max-length", 256, encoder=model, corpus=corpus) == 0
    assert contents(own_copy) == contents(encoded)


def test_a_changed_corpus(encoded, own_copy, tmp_path, no_model, capsys):
    plan = (own_copy / "corpus.json").read_bytes()
    changed = tmp_path / "changed.jsonl"
    changed.write_text((TINY / "corpus.jsonl").read_text().replace("the", "teh", 1))
    assert encode(own_copy, "--max-length", 256, corpus=changed) == 2
    assert "a changed one" in capsys.readouterr().err
    assert contents(own_copy) == contents(encoded)
    assert (own_copy / "corpus.json").read_bytes() == plan


def test_a_corpus_that_changes_while_it_is_encoded(tmp_path, monkeypatch, capsys):
    from pyserini_tasb.encoding import corpus as command

    corpus, prepare = tmp_path / "c.jsonl", command.prepare
    corpus.write_text((TINY / "corpus.jsonl").read_text())

    def prepare_then_change(*arguments, **options):
        plan = prepare(*arguments, **options)
        corpus.write_text(corpus.read_text().replace("the", "teh"))
        return plan

    monkeypatch.setattr(command, "prepare", prepare_then_change)
    assert encode(tmp_path / "out", corpus=corpus) == 2
    assert "other docids or texts" in capsys.readouterr().err
    assert list((tmp_path / "out" / "units").iterdir()) == []


def test_a_damaged_unit_is_named_and_can_be_made_again(encoded, own_copy, capsys):
    path = own_copy / "units" / "000002.npy"
    path.write_bytes(path.read_bytes()[:-1])
    assert encode(own_copy, "--max-length", 256) == 2
    told = capsys.readouterr().err
    assert "000002.npy" in told
    assert "remove the unit's three files" in told
    for file in own_copy.glob("units/000002.*"):
        file.unlink()
    assert encode(own_copy, "--max-length", 256) == 0
    assert contents(own_copy) == contents(encoded)


def test_a_flipped_bit_reaches_no_format(own_copy, capsys):
    path = own_copy / "units" / "000002.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    shutil.rmtree(own_copy / "faiss")
    assert encode(own_copy, "--max-length", 256, "--output-format", "faiss") == 2
    assert "sha256" in capsys.readouterr().err
    assert not (own_copy / "faiss").exists()


# Files end there, as on a full disk.
WITH_LARGEST_FILE = """
import resource, sys
from tests.command_line import tasb
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(tasb(*sys.argv[2:]))
"""


def encode_on_a_full_disk(largest_file, output, *options):
    """In a process of its own: exit status and what it says."""
    command = [sys.executable, "-c", WITH_LARGEST_FILE, str(largest_file), *words(output, *options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_a_disk_that_fills_up_while_units_are_written(encoded, own_copy):
    for path in own_copy.glob("units/00000[3-6].*"):
        path.unlink()
    before = contents(own_copy)
    status, told = encode_on_a_full_disk(2600, own_copy, "--max-length", 256)  # a unit's vectors are 2688 bytes
    assert status == 2, told
    assert "000003.npy" in told
    assert "File too large" in told
    assert "Traceback" not in told
    assert contents(own_copy) == before
    assert encode(own_copy, "--max-length", 256) == 0
    assert contents(own_copy) == contents(encoded)


@pytest.mark.parametrize("name", ["faiss", "jsonl", "parquet", "npy"])
def test_a_disk_that_fills_up_while_a_format_is_written(name, encoded, own_copy):
    shutil.rmtree(own_copy / name)
    before = contents(own_copy)
    status, told = encode_on_a_full_disk(10_000, own_copy, "--max-length", 256, "--output-format", name)
    assert status == 2, told
    assert "File too large" in told
    assert "Traceback" not in told
    assert contents(own_copy) == before


@pytest.mark.parametrize("kind", ["a file", "read-only"])
def test_an_output_that_cannot_be(kind, tmp_path, no_model, capsys):
    (tmp_path / "file").write_text("mine")
    # Not a folder without permissions: those do not bind the user that tests may run as.
    output = tmp_path / "file" / "out" if kind == "a file" else "/proc/out"
    assert encode(output) == 2
    told = capsys.readouterr().err
    assert "a folder that can be written to" in told
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_of_something_else(tmp_path, no_model, capsys):
    from pyserini_tasb.formats.text_store import write_text_store

    write_text_store(tmp_path / "store", [("1", "one")])
    before = contents(tmp_path / "store")
    assert encode(tmp_path / "store") == 2
    assert "found:    a text store" in capsys.readouterr().err
    assert contents(tmp_path / "store") == before
