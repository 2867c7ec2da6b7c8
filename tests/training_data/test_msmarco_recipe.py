"""The whole recipe on MS MARCO in miniature."""

from __future__ import annotations

import dataclasses
import fcntl
import logging
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pyserini_tasb.data import msmarco
from pyserini_tasb.data.downloads import Internet, Patience
from pyserini_tasb.data.msmarco import MSMARCO, prepare
from pyserini_tasb.data.pair_store import open_pair_store
from pyserini_tasb.data.validation_building import build_validation_set
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.named import load_qrels, load_topics
from pyserini_tasb.recipes.loading import load_recipe
from pyserini_tasb.training.config import TrainConfig
from tests.command_line import parse, tasb
from tests.training_data.msmarco_miniature import make_miniature, md5_of
from tests.training_data.msmarco_server import Served, running_server

IMPATIENT = Patience(tries=2, first_pause=0.001, longest_pause=0.001, silence=5)


@pytest.fixture(scope="module")
def miniature():
    return make_miniature()


@pytest.fixture
def server(miniature):
    with running_server() as server:
        server.files = {name: Served(content) for name, content in miniature.published().items()}
        yield server


@pytest.fixture
def internet(server):
    return Internet(server.address, IMPATIENT)


@pytest.fixture
def source(miniature, tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for name, content in miniature.published().items():
        (folder / name).write_bytes(content)
    return folder


def pairs_of(folder):
    """(qid, positive, negative) → the two scores, as the store has them."""
    store = open_pair_store(folder / "pairs")
    queries = np.repeat(np.arange(len(store.queries)), np.diff(store.offsets))
    ids = zip(
        store.queries.ids(queries),
        store.passages.ids(store.positives),
        store.passages.ids(store.negatives),
        strict=True,
    )
    return dict(zip(ids, map(tuple, store.scores.tolist()), strict=True))


def test_from_the_internet(miniature, server, internet, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="pyserini_tasb")
    folder = tmp_path / "msmarco"
    commands = prepare(miniature.files, folder, internet=internet)
    rows = [line.split("\t") for line in miniature.content[MSMARCO.scores.name].decode().splitlines()]
    expected = {(qid, positive, negative): (float(high), float(low)) for high, low, qid, positive, negative in rows}
    pairs = pairs_of(folder)
    assert pairs.keys() == expected.keys()
    np.testing.assert_allclose([pairs[ids] for ids in expected], list(expected.values()), rtol=1e-6)
    store = open_pair_store(folder / "pairs")
    assert store.passages.ids(store.known_positives(int(store.queries.indices(["100"])[0]))) == ["0", "50"]
    assert dict(zip(store.queries.ids(range(6)), store.queries.texts(range(6)), strict=True)) == load_topics(
        folder / "files" / "queries.train.tsv"
    )
    assert load_topics(folder / "dev-49k" / "topics.tsv").keys() == set(miniature.held_out)
    assert load_qrels(folder / "dev-49k" / "qrels.txt") == {"900001": {"0": 1}, "900002": {"1": 1}}
    assert commands == (folder / "next-steps.sh").read_text().splitlines()[1:]
    assert "collection.tsv: 123 rows; verified by md5 of the archive; from collection.tar.gz" in caplog.text

    server.requests.clear()
    state = {path: path.stat().st_mtime_ns for path in (folder / "pairs").rglob("*")}
    assert prepare(miniature.files, folder, internet=internet) == commands
    assert "built before, from the same files" in caplog.text
    assert state == {path: path.stat().st_mtime_ns for path in (folder / "pairs").rglob("*")}
    assert not server.requests


def test_from_local_copies_the_same_bytes(miniature, internet, source, tmp_path):
    prepare(miniature.files, tmp_path / "there", internet=internet)
    prepare(miniature.files, tmp_path / "here", source=source)
    stores = [open_pair_store(tmp_path / name / "pairs") for name in ("here", "there")]
    assert stores[0].fingerprint == stores[1].fingerprint


def test_the_next_commands_fit_the_files(miniature, source, tmp_path):
    folder = tmp_path / "a folder: with 'signs' #1"
    search, validation, cluster, train = map(shlex.split, prepare(miniature.files, folder, source=source))
    config = load_recipe(folder / "tas-b.yaml", TrainConfig)
    assert train == ["tasb", "train", str(folder / "tas-b.yaml")]
    assert option(cluster, "--topics") == str(config.data.pairs) == str(folder / "pairs")
    assert config.data.clusters.parent == folder / "clusters" == folder.parent / option(cluster, "--output")
    assert option(validation, "--output") == str(config.data.validation)
    assert option(validation, "--run") == option(search, "--output")
    assert (config.batch_size, config.loss.alpha, config.optimiser.learning_rate) == (32, 0.75, 7e-6)
    assert option(cluster, "--clusters") == "2000"
    for program, *given in (validation, cluster, train):
        assert program == "tasb"
        assert parse(*given).verb == given[0]
    topics, qrels = load_topics(option(search, "--topics")), load_qrels(option(validation, "--qrels"))
    made = build_validation_set(
        config.data.validation,
        topics=topics,
        qrels=qrels,
        run={qid: {"7": 2.0, "8": 1.0} for qid in topics},
        passages=load_topics(option(validation, "--corpus")).items(),
    )
    assert sorted(made.queries.ids(range(len(made.queries)))) == miniature.held_out


def option(arguments, name):
    return arguments[arguments.index(name) + 1]


def test_an_edited_configuration_stays(miniature, source, tmp_path):
    prepare(miniature.files, tmp_path, source=source)
    (tmp_path / "tas-b.yaml").write_text("mine")
    prepare(miniature.files, tmp_path)
    assert (tmp_path / "tas-b.yaml").read_text() == "mine"


def test_other_files_are_built_anew(miniature, source, tmp_path):
    folder = tmp_path / "out"
    prepare(miniature.files, folder, source=source)
    before = open_pair_store(folder / "pairs").fingerprint
    changed = miniature.content["qrels.train.tsv"].replace(b"100\t0\t50\t1", b"100\t0\t51\t1")
    (folder / "files" / "qrels.train.tsv").unlink()
    (folder / "files" / "qrels.train.tsv").write_bytes(changed)
    files = redescribed(miniature.files, changed)
    (source / "qrels.train.tsv").write_bytes(changed)
    prepare(files, folder, source=source)
    store = open_pair_store(folder / "pairs")
    assert store.fingerprint != before
    assert store.passages.ids(store.known_positives(int(store.queries.indices(["100"])[0]))) == ["0", "51"]


def redescribed(files, qrels):
    """The description of a publisher who fixed his qrels."""
    return dataclasses.replace(files, train_qrels=dataclasses.replace(files.train_qrels, md5=md5_of(qrels)))


def test_a_damaged_store_is_built_anew(miniature, source, tmp_path):
    folder = tmp_path / "out"
    prepare(miniature.files, folder, source=source)
    whole = pairs_of(folder)
    (folder / "pairs" / "positives.npy").write_bytes(b"")
    prepare(miniature.files, folder)
    assert pairs_of(folder) == whole


def test_what_is_not_ours_is_not_replaced(miniature, source, tmp_path):
    folder = tmp_path / "out"
    (folder / "pairs").mkdir(parents=True)
    (folder / "pairs" / "thesis.tex").write_text("years of work")
    with pytest.raises(TasbError):
        prepare(miniature.files, folder, source=source)
    assert (folder / "pairs" / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_and_gone_on_with(miniature, server, tmp_path, number):
    folder, scores = tmp_path / "out", server.files[MSMARCO.scores.name]
    scores.block, scores.seconds_per_block = 500, 0.1
    program = (
        "import signal, sys; from pathlib import Path\n"
        "from pyserini_tasb.data.downloads import Internet\n"
        "from pyserini_tasb.data.msmarco import prepare\n"
        "from tests.training_data.msmarco_miniature import make_miniature\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # even where the parent ignores it
        "prepare(make_miniature().files, Path(sys.argv[2]), internet=Internet(sys.argv[1]))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, server.address, folder], stderr=subprocess.PIPE)
    part = folder / "files" / f"{MSMARCO.scores.name}.part"
    while not (part.exists() and part.stat().st_size):
        assert child.poll() is None, child.stderr.read().decode()
        time.sleep(0.01)
    child.send_signal(number)
    child.communicate()
    here = part.stat().st_size
    assert 0 < here < len(scores.content)
    scores.seconds_per_block = 0
    server.requests.clear()
    prepare(miniature.files, folder, internet=Internet(server.address, IMPATIENT))
    assert [(name, headers.get("Range")) for name, headers in server.requests] == [
        (MSMARCO.scores.name, f"bytes={here}-")
    ]
    assert len(pairs_of(folder)) == miniature.files.scores.rows


def test_one_process_at_a_time(miniature, source, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    with (folder / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TasbError, match="another one is running"):
            prepare(miniature.files, folder, source=source)
    prepare(miniature.files, folder, source=source)


def test_no_folder_can_be_made(miniature, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TasbError, match="choose another folder"):
        prepare(miniature.files, tmp_path / "file" / "out")


def test_dev_queries_of_other_qrels(miniature, source, tmp_path):
    (source / "qrels.dev.tsv").write_bytes(other := b"5\t0\t1\t1\n")
    files = dataclasses.replace(
        miniature.files, dev_qrels=dataclasses.replace(miniature.files.dev_qrels, rows=1, md5=md5_of(other))
    )
    with pytest.raises(TasbError, match="belong together"):
        prepare(files, tmp_path / "out", source=source)


def run(tmp_path, *options):
    return tasb("msmarco", "--output", tmp_path / "out", *options)


def test_command_with_nothing_at_hand(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(tmp_path, "--source", str(tmp_path / "empty"), "--skip-download") == 2
    assert f"    {MSMARCO.scores.name}" in capsys.readouterr().err.splitlines()


def test_command_with_another_server(miniature, server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(msmarco, "MSMARCO", miniature.files)  # the real files need more disk than a test may ask for
    server.files = {}
    assert run(tmp_path, "--base-url", server.address) == 2
    assert "HTTP 404 Not Found" in capsys.readouterr().err
    assert server.names_asked() == ["collection.tar.gz"]


def test_command_with_options_that_exclude_each_other(tmp_path, capsys):
    assert run(tmp_path, "--base-url", "http://127.0.0.1:9", "--skip-download") == 2
    assert "leave out one of the two" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_command_prints_what_comes_next(miniature, server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(msmarco, "MSMARCO", miniature.files)
    assert run(tmp_path, "--base-url", server.address) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"$ tasb train {tmp_path}/out/tas-b.yaml"
