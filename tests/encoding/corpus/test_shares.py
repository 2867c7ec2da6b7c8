"""Units shared out, in whatever way, give the bytes of one process."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time

import pytest
import torch

from pyserini_tasb.artifacts import lock_file
from tests.command_line import tasb_processes
from tests.conftest import TINY, TINY_MODEL
from tests.encoding.corpus.conftest import contents, encode


def units_of(folder):
    return {name: content for name, content in contents(folder).items() if name.startswith(("units", "manifest"))}


def test_shards_one_after_the_other_the_last_makes_the_formats(encoded, tmp_path, capsys):
    for shard in ("2/3", "0/3", "1/3"):
        assert not (tmp_path / "out" / "faiss").exists()
        assert encode(tmp_path / "out", "--max-length", 256, "--shard", shard, "--output-format", "faiss") == 0
    assert "are left for other shards" in capsys.readouterr().out
    assert units_of(tmp_path / "out") == units_of(encoded)
    assert contents(tmp_path / "out" / "faiss") == contents(encoded / "faiss")


@pytest.mark.parametrize("threads", [1, 2])
def test_shards_and_what_is_resumed_at_other_addresses_of_the_weights(collection, tmp_path, weights_at, threads):
    """Passages one by one: the smaller a product, the more kernels there are to choose from."""
    corpus, folders = tmp_path / "corpus.jsonl", {}
    passages = zip(collection.docids[:6], collection.titles, strict=False)
    corpus.write_text("".join(json.dumps({"id": docid, "contents": title}) + "\n" for docid, title in passages))
    with threads_of_torch(threads):
        for name, shards, offset in (("whole", ["0/1"], 0), ("shards", ["1/2", "0/2"], 20), ("resumed", ["0/1"], 36)):
            folders[name] = tmp_path / name
            if name == "resumed":
                shutil.copytree(folders["whole"], folders[name])
                for unit in (1, 2, 4):
                    (folders[name] / "units" / f"{unit:06}.json").unlink()
            for number, shard in enumerate(shards):
                weights_at(offset + 12 * number)
                assert encode(folders[name], "--unit-size", 1, "--shard", shard, corpus=corpus) == 0
    whole, *others = map(units_of, folders.values())
    assert others == [whole, whole]


@contextlib.contextmanager
def threads_of_torch(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def test_torchrun(encoded, tmp_path):
    arguments = ["--encoder", TINY_MODEL, "--corpus", TINY / "corpus.jsonl", "--output", tmp_path / "out"]
    options = ["--max-length", 256, "--unit-size", 20, "--device", "cpu", "--output-format", "faiss"]
    tasb_processes(2, "encode", *arguments, *options)
    assert units_of(tmp_path / "out") == units_of(encoded)
    assert contents(tmp_path / "out" / "faiss") == contents(encoded / "faiss")


@pytest.mark.timeout(120)
def test_rank_0_encodes_what_a_rank_that_ended_has_left(encoded, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert encode(tmp_path / "out", "--max-length", 256, "--unit-size", 20) == 0
    assert units_of(tmp_path / "out") == units_of(encoded)


def test_a_unit_that_another_process_is_at_work_on_is_waited_for(encoded, own_copy, monkeypatch):
    """Both processes were given the same command."""
    from pyserini_tasb.encoding.encoders import TextEncoder

    passages, begin_tokens = [], TextEncoder.begin_tokens

    def counted(self, token_ids, lengths, **options):
        passages.append(len(lengths))
        return begin_tokens(self, token_ids, lengths, **options)

    monkeypatch.setattr(TextEncoder, "begin_tokens", counted)
    for number in (1, 2):
        (own_copy / "units" / f"{number:06}.json").unlink()

    def other_process():
        with held:
            while sum(passages) < 20:
                time.sleep(0.05)
            shutil.copy(encoded / "units" / "000001.json", own_copy / "units")

    with contextlib.ExitStack() as stack:
        stack.enter_context(lock_file(own_copy / "units" / "000001.lock"))
        held = stack.pop_all()
    thread = threading.Thread(target=other_process)
    thread.start()
    assert encode(own_copy, "--max-length", 256) == 0
    thread.join()
    assert sum(passages) == 20
    assert contents(own_copy) == contents(encoded)


def test_an_encoding_process_that_dies_is_told_and_loses_nothing(encoded, tmp_path, capsys):
    killed = threading.Event()

    def kill():
        while not killed.is_set():
            for process in multiprocessing.active_children():
                if process.name == "encoding process 1" and (tmp_path / "out" / "manifest.json").exists():
                    os.kill(process.pid, signal.SIGKILL)
                    killed.set()
            time.sleep(0.02)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        status = encode(tmp_path / "out", "--max-length", 256, "--processes", 2, "--unit-size", 20)
    finally:
        killed.set()
        thread.join()
    assert status == 2
    assert "signal SIGKILL" in capsys.readouterr().err
    assert encode(tmp_path / "out", "--max-length", 256) == 0
    assert units_of(tmp_path / "out") == units_of(encoded)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_shards_cover_every_unit_once(size):
    from pyserini_tasb.encoding.corpus import _share

    numbers = [number for index in range(size) for number in _share(f"{index}/{size}").numbers(10)]
    assert sorted(numbers) == list(range(10))
