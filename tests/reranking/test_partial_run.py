"""A run written query by query: what an interruption leaves is gone on with, or refused."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import resource

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.run_files import read_run
from pyserini_tasb.reranking.partial_run import partial_run, run_lines
from pyserini_tasb.reranking.rerank import RerankedQuery

TOPS = {"q1": ["a", "b"], "q2": ["c"], "q3": ["d", "a"]}
QUERIES = [
    RerankedQuery("q1", ["b", "a"], np.array([0.1, -2e-7], np.float32), 0.0),
    RerankedQuery("q2", ["c"], np.array([1.0], np.float32), 0.0),
    RerankedQuery("q3", ["d", "a"], np.array([3.5, 3.5], np.float32), 0.0),
]
LINES = [
    b"q1 Q0 b 1 0.1 t\nq1 Q0 a 2 -2e-07 t\n",
    b"q2 Q0 c 1 1.0 t\n",
    b"q3 Q0 d 1 3.5 t\nq3 Q0 a 2 3.5 t\n",
]
ABOUT = {"run": "0" * 64, "model": "1" * 64, "depth": 2, "device": "cpu"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "out.run"


def write(path, queries=QUERIES, about=ABOUT, **options) -> int:
    """Resume, write what is not finished, put it in its place; how many queries were finished."""
    with partial_run(path, "t", **options) as partial:
        done = partial.resume(about, TOPS)
        for query in queries[done:]:
            partial.append(query)
        partial.finish()
    return done


def interrupt(path, count=2, **options) -> None:
    with partial_run(path, "t", **options) as partial:
        for query in QUERIES[partial.resume(ABOUT, TOPS) : count]:
            partial.append(query)


def beside(path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def test_a_run_is_there_once_it_is_finished(path):
    with partial_run(path, "t") as partial:
        assert partial.resume(ABOUT, TOPS) == 0
        for number, query in enumerate(QUERIES, 1):
            partial.append(query)
            assert beside(path)["out.run.part"] == b"".join(LINES[:number])
        assert not path.exists()
        partial.finish()
    assert beside(path) == {"out.run": b"".join(LINES)}
    assert read_run(path)["q3"] == {"d": 3.5, "a": 3.5}


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_scores_read_back_as_they_were(score):
    line = run_lines("q", ["d"], np.array([score], np.float32), "t").decode()
    assert np.float32(line.split(" ")[4]) == np.float32(score)
    assert float(np.float32(line.split(" ")[4])) == score


def test_an_interrupted_run_goes_on_after_its_last_query(path):
    interrupt(path)
    assert sorted(beside(path)) == ["out.run.part", "out.run.part.json"]
    assert write(path) == 2
    assert beside(path) == {"out.run": b"".join(LINES)}


@pytest.mark.parametrize(
    ("tail", "finished"),
    [
        (b"", 2),
        (LINES[2], 3),
        (LINES[2] + LINES[1], 3),
        (LINES[2][:5], 2),
        (LINES[2][:16], 2),  # the first of its two lines
        (LINES[2][:-1], 2),
        (LINES[2][:-2] + b"\n", 2),
        (bytes(40), 2),  # what some file systems leave when the power fails
        (b"\xff Q0 d 1 3.5 t\nq3 Q0 a 2 3.5 t\n", 2),
        (LINES[2].replace(b"q3", b"q4"), 2),
        (LINES[2].replace(b" a ", b" b "), 2),
        (LINES[2].replace(b" a ", b" d "), 2),
        (LINES[2].replace(b" 2 ", b" 1 "), 2),
        (LINES[2].replace(b"3.5", b"3.50"), 2),
        (LINES[2].replace(b"3.5", b"x"), 2),
        (LINES[2].replace(b" t\n", b" u\n"), 2),
    ],
)
def test_whatever_is_no_whole_query_is_dropped(path, tail, finished):
    interrupt(path)
    with path.with_name("out.run.part").open("ab") as part:
        part.write(tail)
    assert write(path) == finished
    assert beside(path) == {"out.run": b"".join(LINES)}


def test_damage_in_the_middle_drops_what_follows(path):
    interrupt(path)
    path.with_name("out.run.part").write_bytes(LINES[0][:-4] + LINES[1])
    assert write(path) == 0
    assert path.read_bytes() == b"".join(LINES)


def test_what_another_command_left_is_refused_and_kept(path):
    interrupt(path)
    before = beside(path)
    about = ABOUT | {"model": "2" * 64, "depth": 3, "device": "cuda:0"}
    found = r"part\.json\n +found: +not the same model; depth 2, not 3; device cpu, not cuda:0\n"
    with pytest.raises(TasbError, match=found):
        write(path, about=about)
    assert beside(path) == before


@pytest.mark.parametrize("damage", [b"", b"[]", b"{", None])
def test_a_part_that_nothing_is_known_of(path, damage):
    interrupt(path)
    sidecar = path.with_name("out.run.part.json")
    sidecar.unlink() if damage is None else sidecar.write_bytes(damage)
    with pytest.raises(TasbError, match=r"out\.run\.part\.json is missing or damaged"):
        write(path)


def test_another_command_that_finished_no_query_is_in_nobodys_way(path):
    interrupt(path, count=0)
    assert sorted(beside(path)) == ["out.run.part", "out.run.part.json"]
    other = ABOUT | {"depth": 3}
    with partial_run(path, "t") as partial:
        assert partial.resume(other, TOPS) == 0
    assert json.loads(beside(path)["out.run.part.json"]) == other


def test_a_run_that_is_there_is_refused_or_replaced(path):
    write(path)
    with pytest.raises(TasbError, match="found:    it exists"):
        write(path)
    with partial_run(path, "t", overwrite=True) as partial:
        partial.resume(ABOUT, TOPS)
        partial.append(QUERIES[0])
    assert path.read_bytes() == b"".join(LINES)  # for as long as there is no other
    path.write_bytes(b"old")
    assert write(path, overwrite=True) == 1
    assert beside(path) == {"out.run": b"".join(LINES)}


def test_what_is_known_of_nothing_is_cleared_away(path):
    """As it is left by a kill just before the end."""
    write(path)
    path.with_name("out.run.part.json").write_text(json.dumps(ABOUT))
    with pytest.raises(TasbError, match="found:    it exists"):
        write(path)
    assert sorted(beside(path)) == ["out.run"]


def test_a_folder_is_not_replaced(path):
    path.mkdir(parents=True)
    with pytest.raises(TasbError, match="found:    a folder"):
        write(path, overwrite=True)


def test_one_process_at_a_time(path):
    with partial_run(path, "t"), pytest.raises(TasbError, match=r"out\.run\.lock\n(?s:.*)another one is running"):
        write(path)
    assert write(path) == 0


def test_whoever_is_refused_holds_nobody_up(path):
    write(path)
    for _ in range(2):
        with pytest.raises(TasbError, match="found:    it exists"):
            write(path)
    assert sorted(beside(path)) == ["out.run"]


def test_gzip(path):
    compressed = path.with_name("out.run.gz")
    interrupt(compressed)
    assert beside(path)["out.run.gz.part"] == b"".join(LINES[:2])
    assert write(compressed) == 2
    first = compressed.read_bytes()
    assert gzip.decompress(first) == b"".join(LINES)
    assert sorted(beside(path)) == ["out.run.gz"]
    assert write(compressed, overwrite=True) == 0
    assert compressed.read_bytes() == first


@contextlib.contextmanager
def room(size):
    """Within the block, and not a line longer: pytest writes its own output to a file, too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_an_error_after_which_it_goes_on(path):
    interrupt(path, count=1)
    message = r"too large(?s:.*)then the same command continues"
    with pytest.raises(TasbError, match=message), room(len(b"".join(LINES)) - 10):
        write(path)
    assert beside(path)["out.run.part"] == b"".join(LINES)[:-10]
    assert write(path) == 2
    assert beside(path) == {"out.run": b"".join(LINES)}


def test_a_disk_that_does_not_take_it_is_an_error(path, monkeypatch):
    def broken(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(TasbError, match="Input/output error"):
        write(path)


def test_nowhere_to_write(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TasbError, match="a file that can be written"):
        write(tmp_path / "file" / "out.run")
