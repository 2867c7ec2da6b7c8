"""`tasb encode --ray`: the same bytes as one process writes, whatever is killed, and errors before any work."""

from __future__ import annotations

import gzip
import shutil
import signal
import socket
import sys

import pytest

import pyserini_tasb as tasb
from pyserini_tasb.encoding.on_ray import MOST_LOSSES
from pyserini_tasb.errors import TasbError
from tests.command_line import tasb_argv
from tests.conftest import TINY, TINY_MODEL
from tests.encoding.corpus.conftest import UNIT_SIZE, contents, encode, words
from tests.processes import marked
from tests.ray_nodes import in_the_background, kill


def encode_on(address, output, *, corpus=TINY / "corpus.jsonl", unit_size=UNIT_SIZE, **options):
    return tasb.encode(
        corpus, encoder=str(TINY_MODEL), output=output, device="cpu", max_length=256, unit_size=unit_size, ray=address,
        **options,
    )  # fmt: skip


@pytest.fixture
def vectors_only(encoded):
    """The files of the vectors in the plain folder, without other formats."""
    found = contents(encoded)
    return {name: content for name, content in found.items() if name.startswith("units/") or "/" not in name}


def test_bytes_are_those_of_one_process_also_from_s3_and_also_when_it_goes_on_elsewhere(
    ray_nodes,
    s3,
    vectors_only,
    own_copy,
    tmp_path,
    notes,
):
    s3.put_object(Bucket="bucket", Key="corpus.gz", Body=gzip.compress((TINY / "corpus.jsonl").read_bytes()))
    vectors = encode_on(ray_nodes.address, tmp_path / "out", corpus="s3://bucket/corpus.gz")
    assert contents(vectors.path) == vectors_only
    assert "actors: 2, each with 1 CPU" in notes.text
    assert notes.text.count("encoding passages with torch") == 1  # though both actors say it
    # Begun on Ray, gone on with in this process.
    for number in (0, 4):
        (vectors.path / "units" / f"{number:06}.json").unlink()
    encode_on(None, tmp_path / "out", corpus="s3://bucket/corpus.gz")
    assert contents(vectors.path) == vectors_only
    # Begun in one process, gone on with on Ray; what another folder had is the same corpus.
    for path in [path for path in own_copy.iterdir() if path.is_dir() and path.name != "units"]:
        shutil.rmtree(path)
    for number in (1, 2, 6):
        (own_copy / "units" / f"{number:06}.json").unlink()
    encode_on(ray_nodes.address, own_copy)
    assert contents(own_copy) == vectors_only


def test_a_killed_worker_and_then_a_killed_node_change_nothing(ray_nodes, tmp_path, caplog):
    encode_on(None, tmp_path / "plain", unit_size=2)
    lost = []

    def kill_a_worker_then_the_node():
        begun = list((tmp_path / "out").glob("units/*.json"))
        working = ray_nodes.actors("EncodingActor.encode")
        if begun and working and not lost:
            kill(working[0])
            lost.append("worker")
        elif lost == ["worker"] and len(begun) > 5:
            ray_nodes.kill_second()
            lost.append("node")
        return len(lost) == 2

    with in_the_background(kill_a_worker_then_the_node):
        encode_on(ray_nodes.address, tmp_path / "out", unit_size=2)
    assert lost == ["worker", "node"]
    assert "was lost" in caplog.text
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")


def test_a_unit_at_which_every_actor_dies_ends_the_work(ray_nodes, tmp_path):
    killed = set()

    def kill_all():
        for pid in ray_nodes.actors("EncodingActor.encode"):
            killed.add(pid)
            kill(pid)
        return False

    with (
        in_the_background(kill_all),
        pytest.raises(
            TasbError, match=r"the one at unit 0 of .*\n.*lost there, the last on node .*127\.0\.0\.1"
        ) as error,
    ):
        encode_on(ray_nodes.address, tmp_path / "out", processes=1)
    assert len(killed) == MOST_LOSSES
    assert "processes=" in error.value.do


def test_sigterm_ends_what_local_started_and_one_process_goes_on(vectors_only, tmp_path):
    command = tasb_argv(*words(tmp_path / "out", "--max-length", 256, "--ray", "local"))
    with marked(command) as first:
        first.wait_until((tmp_path / "out" / "manifest.json").exists)  # an actor is about to encode
        first.popen.send_signal(signal.SIGTERM)
        output = first.popen.communicate()
        assert first.orphans() == []
        assert first.popen.returncode == 128 + signal.SIGTERM, output
        assert "Traceback" not in output[1]
    assert encode(tmp_path / "out", "--max-length", 256) == 0
    assert contents(tmp_path / "out") == vectors_only


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"ray_cpus": 2}, r"room for 0:(\n.*)*second \(127\.0\.0\.1\): 1 CPU"),
        ({"ray_gpus": 1}, r"1 CPU, 1 GPU each"),
        ({"processes": 3}, r"room for 3 actors of 1 CPU each"),
        ({"ray_cpus": 0}, r"ray_cpus= of at least 1"),
        ({"shard": "0/2"}, r"the work shared by ray=, or by shard= or torchrun"),
    ],
)
def test_a_cluster_without_room_is_refused_before_anything_is_written(ray_nodes, tmp_path, options, found):
    with pytest.raises(TasbError, match=found):
        encode_on(ray_nodes.address, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_nodes_that_differ_or_do_not_share_the_folder_are_named(ray_nodes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pyserini_tasb.ray_cluster.nodes.SECONDS_TO_SEE_A_FILE", 0.2)
    # Another folder in each process: the current one.
    with pytest.raises(TasbError, match=r"second \(127\.0\.0\.1\): not /proc/self/cwd"):
        encode_on(ray_nodes.address, "/proc/self/cwd/out", corpus=TINY / "corpus.jsonl")
    monkeypatch.setattr("pyserini_tasb.artifacts.__version__", "9.9")
    with pytest.raises(TasbError, match=r"pyserini-tasb 9\.9.*\n.*others:(\n.*)*second \(.*\): pyserini-tasb \d"):
        encode_on(ray_nodes.address, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_ray_that_is_not_there_or_not_installed(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # refuses: it does not listen
        address = f"127.0.0.1:{free.getsockname()[1]}"
        monkeypatch.setattr("pyserini_tasb.ray_cluster.joining.SECONDS_TO_CONNECT", 1.0)
        monkeypatch.setenv("RAY_ADDRESS", address)
        for given in (address, "auto"):
            with pytest.raises(TasbError, match=rf"a Ray cluster at `{address}`"):
                encode_on(given, tmp_path / "out")
    with pytest.raises(TasbError, match="`local`, `auto` or HOST:PORT"):
        encode_on("ray://somewhere", tmp_path / "out")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TasbError, match=r"pip install 'pyserini-tasb\[ray\]'"):
        encode_on("auto", tmp_path / "out")
    with pytest.raises(TasbError, match="no ray="):
        encode_on(None, tmp_path / "out", ray_cpus=1)
