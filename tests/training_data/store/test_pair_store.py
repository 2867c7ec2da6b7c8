from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from pyserini_tasb.artifacts import DIGESTED_BYTES, sha256, verify_files, write_manifest
from pyserini_tasb.data.pair_builder import COLUMNS, PairRows, PairStoreBuilder
from pyserini_tasb.data.pair_store import open_pair_store
from pyserini_tasb.errors import TasbError

pytestmark = pytest.mark.bare

SCORES = np.array([[5, 1], [4, 4], [3, 6.5]], np.float32)


@pytest.fixture
def make(tmp_path, texts):
    def make(supervision):
        with PairStoreBuilder(tmp_path / supervision, supervision) as builder:
            rows = (np.array(column) for column in ([7, 2, 2], [1, 1, 3], [4, 5, 6]))
            builder.add(PairRows(*rows, SCORES[:, : COLUMNS[supervision]]))
            builder.finish(*texts, known_positives=(np.array([2, 8]), np.array([0, 1])))
        return tmp_path / supervision

    return make


def test_arrays_of_scores(make):
    store = open_pair_store(make("scores"))
    assert store.queries.ids([0, 1]) == ["q2", "q7"]
    assert store.offsets.tolist() == [0, 2, 3]
    assert store.passages.ids(range(6)) == ["p0", "p1", "p3", "p4", "p5", "p6"]
    assert store.positives.tolist() == [1, 2, 1]
    assert store.negatives.tolist() == [4, 5, 3]
    assert store.scores.tolist() == [[4, 4], [3, 6.5], [5, 1]]
    for array, dtype in ((store.positives, "u4"), (store.negatives, "u4"), (store.scores, "f4"), (store.offsets, "i8")):
        assert type(array) is np.ndarray  # not memmap, whose slices are dear
        assert array.dtype == dtype
        assert not array.flags.writeable
    assert store.margins(np.array([2, 0])).tolist() == [4, 0]
    assert store.margins(slice(1, 3)).tolist() == [-3.5, 4]
    assert store.margins(slice(1, 3)).dtype == np.float32
    assert store.known_positives(0).tolist() == [0, 1, 2]
    assert store.known_positives(1).tolist() == [1]
    assert len(store) == 3


def test_margins_and_labels(make):
    store = open_pair_store(make("margins"))
    assert (store.supervision, store.scores) == ("margins", None)
    assert store.margins(np.array([2, 0])).tolist() == [5, 4]
    store = open_pair_store(make("labels"))
    assert (store.supervision, store.scores) == ("labels", None)
    with pytest.raises(TasbError, match="pairs with labels only"):
        store.margins(slice(None))
    assert "margins" not in store.manifest


@pytest.mark.parametrize(
    "name", ["positives.npy", "scores.npy", "pair_offsets.npy", "known_positives.npy", "passages/manifest.json"]
)
def test_missing_or_truncated_file_is_named(make, name):
    folder = make("scores")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(TasbError, match="the store is damaged") as caught:
        open_pair_store(folder)
    assert caught.value.where == str(folder / name)
    (folder / name).unlink()
    with pytest.raises(TasbError, match="no such file"):
        open_pair_store(folder)


def test_damaged_texts_are_found_when_the_store_opens(make):
    folder = make("scores")
    (folder / "passages" / "texts.bin").unlink()
    with pytest.raises(TasbError, match=r"passages/texts\.bin"):
        open_pair_store(folder)


def test_arrays_that_do_not_fit_together_are_refused(make):
    folder = make("scores")
    manifest = json.loads((folder / "manifest.json").read_text())
    np.save(folder / "negatives.npy", np.zeros(2, np.uint32))
    write_manifest(folder, "pair store", 1, {"supervision": manifest["supervision"]})
    with pytest.raises(TasbError, match="lengths that do not fit"):
        open_pair_store(folder)


def test_checksums_find_what_sizes_do_not(make, monkeypatch):
    folder = make("scores")
    verify_files(folder)
    path = folder / "passages" / "texts.bin"
    path.write_bytes(path.read_bytes().replace(b"0", b"X"))
    for read in (open_pair_store, verify_files):
        with pytest.raises(TasbError, match=r"texts\.bin\n  expected: sha256"):
            read(folder)
    monkeypatch.setattr("pyserini_tasb.artifacts.DIGESTED_BYTES", 0)
    open_pair_store(folder)  # the checksums of large files are not read


def test_other_folders_and_newer_formats_are_refused(make, texts, tmp_path):
    with pytest.raises(TasbError, match="found:    a text store"):
        open_pair_store(texts[0].folder)
    with pytest.raises(TasbError, match="no such folder"):
        open_pair_store(tmp_path / "absent")
    folder = make("scores")
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(TasbError, match="expected: a pair store of version 1\n  found:    version 2"):
        open_pair_store(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_opening_40_million_pairs_takes_no_time_and_no_memory(make):
    folder = make("scores")
    pairs = 40_000_000
    for name, dtype, shape in (
        ("positives", "u4", (pairs,)), ("negatives", "u4", (pairs,)), ("scores", "f4", (pairs, 2)),
    ):  # fmt: skip
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape)  # sparse on most file systems
    np.save(folder / "pair_offsets.npy", np.array([0, 1, pairs]))
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, file in manifest["files"].items():
        file["bytes"] = (folder / name).stat().st_size
        if file["bytes"] < DIGESTED_BYTES:
            file["sha256"] = sha256(folder / name)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    program = """
        import sys, time
        from pathlib import Path
        start = time.process_time()
        from pyserini_tasb.data.pair_store import open_pair_store
        store = open_pair_store(Path(sys.argv[1]))
        seconds = time.process_time() - start
        assert len(store) == 40_000_000
        peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
        print(seconds, int(peak.split()[1]) / 1024)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), folder]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(3)]
    assert min(float(seconds) for seconds, _ in runs) < 1
    assert max(float(mebibytes) for _, mebibytes in runs) < 200
