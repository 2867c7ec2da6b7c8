from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserini_tasb.data import pair_builder
from pyserini_tasb.data.pair_builder import COLUMNS, PairRows, PairStoreBuilder
from pyserini_tasb.data.pair_store import PairStore, open_pair_store
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.text_store import TextStore

# Few ids and few scores: many rows of one pair, equal ones and contradicting ones; and both zeros.
SCORE = st.sampled_from([-1.5, -0.0, 0.0, 2.25, 1000.5])
ROW = st.tuples(st.integers(0, 8), st.integers(0, 3), st.integers(2, 11), SCORE, SCORE)
ROWS = st.lists(ROW, min_size=1, max_size=60)
KNOWN = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 11)), max_size=8)


def build(folder, texts, rows, supervision="scores", known=(), chunk=7, **options):
    with PairStoreBuilder(folder, supervision, **options) as builder:
        for start in range(0, len(rows), chunk):
            columns = np.array(rows[start : start + chunk], np.float64).T
            queries, positives, negatives = columns[:3].astype(np.int64)
            values = columns[3:].T.astype(np.float32)[:, : COLUMNS[supervision]]
            builder.add(PairRows(queries, positives, negatives, values))
        pairs = np.array(known, np.int64).reshape(-1, 2).T
        builder.finish(*texts, known_positives=(pairs[0], pairs[1]), notes={"note": "mine"})
    return open_pair_store(folder)


def content(store: PairStore) -> Counter:
    """The rows of a store, with ids for indices."""
    of_query = np.repeat(np.arange(len(store.queries)), np.diff(store.offsets))
    columns = [store.queries.ids(of_query), store.passages.ids(store.positives), store.passages.ids(store.negatives)]
    if store.supervision == "scores":
        columns += store.scores.T.tolist()
    elif store.supervision == "margins":
        columns.append(store.margins(slice(None)).tolist())
    return Counter(zip(*columns, strict=True))


def expected_content(rows, supervision) -> set:
    return {
        (f"q{query}", f"p{positive}", f"p{negative}", *np.float32(scores[: COLUMNS[supervision]]).tolist())
        for query, positive, negative, *scores in rows
    }


@settings(max_examples=40)
@given(rows=ROWS, known=KNOWN, supervision=st.sampled_from(sorted(COLUMNS)), bucket=st.integers(1, 9))
def test_it_holds_exactly_the_distinct_rows(texts, rows, known, supervision, bucket):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(pair_builder, "BUCKET_ROWS", bucket)
        patch.setattr(pair_builder, "BUCKET_QUERIES", 3)
        patch.setattr(pair_builder, "CHUNK", 5)
        store = build(Path(folder) / "store", texts, rows, supervision, known)
        expected = expected_content(rows, supervision)
        assert content(store) == Counter(expected)
        assert store.supervision == supervision
        manifest = store.manifest
        assert manifest["repeated_rows"] == len(rows) - len(expected)
        assert manifest["contradicting_rows"] == len(expected) - len({row[:3] for row in expected})

        # Texts: those needed and no others, in the order of their source.
        with_pairs = sorted({row[0] for row in rows})
        relevant = {(row[0], row[1]) for row in rows} | {pair for pair in known if pair[0] in with_pairs}
        needed = sorted({row[2] for row in rows} | {passage for _, passage in relevant})
        assert list(store.queries) == [(f"q{query}", f"queries {query}") for query in with_pairs]
        assert list(store.passages) == [(f"p{passage}", f"passages {passage}") for passage in needed]
        for index, query in enumerate(with_pairs):
            passages = store.known_positives(index)
            assert store.passages.ids(passages) == [f"p{p}" for q, p in sorted(relevant) if q == query]
            assert (np.diff(passages.astype(np.int64)) > 0).all()
        assert manifest["known_positives"] == len(relevant)

        per_query = np.diff(store.offsets)
        assert manifest["pairs_per_query"] == {
            "min": per_query.min(), "median": np.median(per_query), "max": per_query.max()
        }  # fmt: skip
        if supervision != "labels":
            margins = store.margins(slice(None)).astype(np.float64)
            assert manifest["margins"]["mean"] == pytest.approx(margins.mean())
            assert manifest["margins"]["deviation"] == pytest.approx(margins.std(), abs=1e-4)


@settings(max_examples=12)
@given(rows=ROWS, data=st.data(), supervision=st.sampled_from(sorted(COLUMNS)))
def test_rows_in_any_order_give_the_same_bytes(texts, rows, data, supervision):
    shuffled = data.draw(st.permutations(rows))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        first = build(Path(folder) / "first", texts, rows, supervision, chunk=len(rows))
        patch.setattr(pair_builder, "BUCKET_ROWS", 4)
        second = build(Path(folder) / "second", texts, shuffled, supervision, chunk=3)
        files = [path.relative_to(first.folder) for path in first.folder.rglob("*") if path.is_file()]
        assert len(files) == 6 + 2 * 7 + (supervision != "labels")
        for file in files:
            assert (first.folder / file).read_bytes() == (second.folder / file).read_bytes(), file
        assert first.fingerprint == second.fingerprint


def test_rows_of_a_query_are_sorted(tmp_path, texts):
    rows = [(1, 3, 2, 0, 0), (1, 0, 5, 2, 1), (1, 0, 5, 1, 2), (1, 0, 4, 0, 0), (0, 9, 8, 0, 0)]
    store = build(tmp_path / "store", texts, rows)
    assert store.passages.ids(store.positives) == ["p9", "p0", "p0", "p0", "p3"]
    assert store.passages.ids(store.negatives) == ["p8", "p4", "p5", "p5", "p2"]
    assert store.scores[2:4].tolist() == [[1, 2], [2, 1]]
    assert store.offsets.tolist() == [0, 1, 5]


def test_both_zeros_are_one_score(tmp_path, texts):
    rows = [(0, 1, 2, 0.0, 1), (0, 1, 2, -0.0, 1)]
    stores = [build(tmp_path / name, texts, order) for name, order in (("a", rows), ("b", rows[::-1]))]
    assert stores[0].fingerprint == stores[1].fingerprint
    assert [len(store) for store in stores] == [1, 1]


def test_fingerprint_is_of_the_content_alone(tmp_path, texts):
    store = build(tmp_path / "a", texts, [(0, 1, 2, 3, 4)])
    assert store.manifest["note"] == "mine"
    assert not (store.folder / "scratch").exists()
    with PairStoreBuilder(tmp_path / "b", "scores") as builder:
        builder.add(PairRows(np.array([0]), np.array([1]), np.array([2]), np.array([[3, 4]], np.float32)))
        builder.finish(*texts, notes={"note": "another"})
    assert open_pair_store(tmp_path / "b").fingerprint == store.fingerprint
    assert build(tmp_path / "c", texts, [(0, 1, 2, 3, 4.5)]).fingerprint != store.fingerprint


def test_no_row_is_an_error_and_leaves_nothing(tmp_path, texts):
    with pytest.raises(TasbError, match="expected: at least one pair"), PairStoreBuilder(tmp_path / "s", "labels") as b:
        b.finish(*texts)
    assert list(tmp_path.iterdir()) == []


def test_leaving_early_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match=r"before finish\(\)"), PairStoreBuilder(tmp_path / "store", "labels"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf])
def test_score_that_is_not_finite_is_refused(tmp_path, texts, score):
    with pytest.raises(ValueError, match="not finite"):
        build(tmp_path / "store", texts, [(0, 1, 2, score, 0.0)])
    assert list(tmp_path.iterdir()) == []


def test_failing_build_keeps_what_was_there(tmp_path, texts):
    store = build(tmp_path / "store", texts, [(0, 1, 2, 3, 4)])
    with pytest.raises(KeyboardInterrupt), PairStoreBuilder(tmp_path / "store", "scores", overwrite=True):
        raise KeyboardInterrupt
    with pytest.raises(TasbError, match="found:    it exists"):
        build(tmp_path / "store", texts, [(0, 1, 2, 3, 5)])
    assert open_pair_store(tmp_path / "store").fingerprint == store.fingerprint
    assert list(tmp_path.iterdir()) == [tmp_path / "store"]
    replaced = build(tmp_path / "store", texts, [(0, 1, 2, 3, 5)], overwrite=True)
    assert replaced.scores.tolist() == [[3, 5]]
    assert list(tmp_path.iterdir()) == [tmp_path / "store"]


@pytest.mark.parametrize("moment", ["add", "finish"])
def test_killed_build_leaves_nothing_that_opens(tmp_path, texts, moment):
    program = f"""
        import os, signal, sys
        from pathlib import Path
        import numpy as np
        from pyserini_tasb.data import pair_builder
        from pyserini_tasb.formats.text_store import TextStore
        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)
        if {moment!r} == "finish":
            pair_builder.write_manifest = die  # the last thing that is written
        with pair_builder.PairStoreBuilder(Path(sys.argv[1]), "labels") as builder:
            one = np.array([1])
            builder.add(pair_builder.PairRows(one, one, one, np.empty((1, 0), np.float32)))
            if {moment!r} == "add":
                die()
            builder.finish(TextStore(Path(sys.argv[2])), TextStore(Path(sys.argv[3])))
    """
    paths = [tmp_path / "store", *(store.folder for store in texts)]
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program), *paths], check=False)
    assert done.returncode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store.lock", "store.part"]
    for folder in (tmp_path / "store", tmp_path / "store.part"):
        with pytest.raises(TasbError, match="expected: a pair store"):
            open_pair_store(folder)
    build(tmp_path / "store", texts, [(0, 1, 2, 3, 4)])
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_rows(tmp_path, texts):
    # In a process of its own, which counts its own peak: buckets of 50,000 rows, then 20 times as many rows.
    program = """
        import sys
        from pathlib import Path
        import numpy as np
        from pyserini_tasb.data import pair_builder as row_spool
        from pyserini_tasb.data.pair_builder import PairRows
        from pyserini_tasb.data.pair_builder import PairStoreBuilder
        from pyserini_tasb.formats.text_store import write_text_store
        row_spool.BUCKET_ROWS = row_spool.CHUNK = 50_000
        folder = Path(sys.argv[1])
        texts = [write_text_store(folder / name, ((str(i), "") for i in range(2000))) for name in ("q", "p")]
        randomness = np.random.default_rng(0)
        peaks = []
        for chunks in (2, 40):
            with PairStoreBuilder(folder / str(chunks), "scores") as builder:
                for _ in range(chunks):
                    ids = randomness.integers(0, 2000, (3, 50_000))
                    builder.add(PairRows(*ids, randomness.random((50_000, 2), np.float32)))
                builder.finish(*texts)
            peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
            peaks.append(int(peak.split()[1]))
        print(peaks[1] / peaks[0])
    """
    command = [sys.executable, "-c", textwrap.dedent(program), tmp_path]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    # 2 million rows are 40 MB; a process with numpy in it takes about 60 MB.
    assert float(done.stdout) < 1.1


def test_texts_of_stores_are_stores(tmp_path, texts):
    store = build(tmp_path / "store", texts, [(0, 1, 2, 3, 4)])
    assert list(TextStore(store.folder / "passages")) == [("p1", "passages 1"), ("p2", "passages 2")]
    assert json.loads((store.folder / "manifest.json").read_text())["pairs"] == 1
