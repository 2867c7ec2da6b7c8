"""Pairs by ids, by texts, and from qrels with a run: each source's rows, and each of its faults."""

from __future__ import annotations

import gzip
from collections import Counter
from hashlib import blake2b
from types import SimpleNamespace

import numpy as np
import pytest

from pyserini_tasb.data import pair_sources
from pyserini_tasb.data.pair_sources import IdPairs, JudgedRun, TextPool, TextTriples
from pyserini_tasb.data.pair_store import open_pair_store
from pyserini_tasb.data.pairs import build_from_triples
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.text_store import TextLookup, TextStore, TextStoreWriter, write_text_store


@pytest.fixture
def stores(tmp_path):
    queries = write_text_store(tmp_path / "q", [("7", "seven"), ("007", "bond"), ("8", "")])
    passages = write_text_store(tmp_path / "p", [(f"d{n}", "text" if n else "") for n in range(6)])
    return queries, passages


def rows_of(source, stores):
    """(qid, positive, negative, *values) of every row."""
    queries, passages = stores
    found = []
    for rows in source.rows(TextLookup(queries), TextLookup(passages)):
        columns = queries.ids(rows.queries), passages.ids(rows.positives), passages.ids(rows.negatives)
        assert rows.values.dtype == np.float32
        found += zip(*columns, *rows.values.T.tolist(), strict=True)
    return found


@pytest.mark.parametrize(
    ("content", "supervision", "rows"),
    [
        ("1.5\t-2\t007\td1\td2\r\n\n3\t1e1\t7\td2\td1", "scores",
         [("007", "d1", "d2", 1.5, -2), ("7", "d2", "d1", 3, 10)]),
        ("3.5\t007\td1\td2\n", "margins", [("007", "d1", "d2", 3.5)]),
        ("007\td1\td2\n7\td3\td1\n", "labels", [("007", "d1", "d2"), ("7", "d3", "d1")]),
    ],
)  # fmt: skip
def test_format_is_seen_from_the_first_row(tmp_path, stores, content, supervision, rows):
    (tmp_path / "pairs.tsv.gz").write_bytes(gzip.compress(content.encode()))
    source = IdPairs([tmp_path / "pairs.tsv.gz"], skip_bad=False)
    assert source.supervision == supervision
    assert rows_of(source, stores) == rows


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("\npos_score\tneg_score\tqid\tpos_pid\tneg_pid\r\n1.5\t-2\t007\td1\td2\n", [("007", "d1", "d2", 1.5, -2)]),
        ("margin\tquery-id\tpos_docid\tneg_docid\n3.5\t007\td1\td2\n", [("007", "d1", "d2", 3.5)]),
        ("qid\tpos_pid\tneg_pid\n007\td1\td2\n", [("007", "d1", "d2")]),
    ],
)
def test_a_header_is_skipped_with_a_note(tmp_path, stores, content, rows, caplog):
    (tmp_path / "pairs.tsv").write_text(content)
    source = IdPairs([tmp_path / "pairs.tsv"], skip_bad=True)
    with caplog.at_level("INFO"):
        assert rows_of(source, stores) == rows
    assert source.faults[0].count == 0
    assert "was taken for a header and skipped" in caplog.text


def test_a_header_moves_no_line_number(tmp_path, stores):
    (tmp_path / "pairs.tsv").write_text("qid\tpos_pid\tneg_pid\n007\td1\td2\nqid\tpos_pid\tneg_pid\n")
    with pytest.raises(TasbError, match=r"pairs.tsv:3: query qid has no text"):
        rows_of(IdPairs([tmp_path / "pairs.tsv"], skip_bad=False), stores)


def test_files_of_one_format_are_read_in_turn_and_other_formats_refused(tmp_path, stores):
    (tmp_path / "a").write_text("1\t2\t7\td1\td2\n")
    (tmp_path / "b").write_text("1\t2\t7\td3\td4\n")
    (tmp_path / "c").write_text("1\t7\td3\td4\n")
    assert [row[1] for row in rows_of(IdPairs([tmp_path / "a", tmp_path / "b"], skip_bad=False), stores)] == [
        "d1",
        "d3",
    ]
    with pytest.raises(TasbError, match=r"c:1: 4 columns between tabs"):
        rows_of(IdPairs([tmp_path / "a", tmp_path / "c"], skip_bad=False), stores)


@pytest.mark.parametrize(("content", "found"), [("a\tb\n", "2 columns between tabs"), ("\n", "an empty file")])
def test_unknown_format_is_refused(tmp_path, content, found):
    (tmp_path / "pairs").write_text(content)
    with pytest.raises(TasbError, match=found):
        IdPairs([tmp_path / "pairs"], skip_bad=False)
    with pytest.raises(TasbError, match=found):
        TextTriples(tmp_path / "pairs", skip_bad=False)


def test_ids_without_text_are_named_with_file_and_line(tmp_path, stores):
    path = tmp_path / "pairs"
    lines = ["7\td1\td2", "07\td1\td2", "7\td9\td2", "7\td1\td10", "broken", "8\td1\td2", "7\td0\td2", "x\ty\tz"]
    path.write_text("\n".join(lines))
    with pytest.raises(TasbError) as caught:
        rows_of(IdPairs([path], skip_bad=False), stores)
    assert caught.value.found.split("\n    ")[1:] == [
        f"{path}:2: query 07 has no text",
        f"{path}:3: passage d9 has no text",
        f"{path}:4: passage d10 has no text",
        f"{path}:5: 1 column between tabs",
        f"{path}:6: query 8 has no text",  # it is there, and empty
        f"{path}:7: passage d0 has no text",
        f"{path}:8: query x has no text",
    ]
    source = IdPairs([path], skip_bad=True)
    assert rows_of(source, stores) == [("7", "d1", "d2")]
    assert source.faults[0].count == 7


def test_scores_stay_with_their_row_when_others_are_skipped(tmp_path, stores):
    (tmp_path / "pairs").write_text("1\t1\t7\tabsent\td2\n2\t3\t7\td1\td2\n4\t4\t9\td1\td2\n5\t6\t007\td2\td3\n")
    source = IdPairs([tmp_path / "pairs"], skip_bad=True)
    assert rows_of(source, stores) == [("7", "d1", "d2", 2, 3), ("007", "d2", "d3", 5, 6)]


def triples(path, *, skip_bad=False):
    build_from_triples(path.parent / "store", TextTriples(path, skip_bad=skip_bad), recipe={})
    store = open_pair_store(path.parent / "store")
    queries = np.repeat(np.arange(len(store.queries)), np.diff(store.offsets))
    columns = [
        store.queries.texts(queries),
        store.passages.texts(store.positives),
        store.passages.texts(store.negatives),
    ]
    return store, Counter(zip(*columns, strict=True))


@pytest.mark.parametrize("scores", ["", "2.5\t-1\t"])
def test_texts_are_stored_once_under_ids_of_their_content(tmp_path, monkeypatch, scores):
    monkeypatch.setattr(pair_sources, "RECENT", 2)
    rows = [("q one", "a", "b"), ("q one", "a", "c"), ("q two", " a ", "é"), ("q one", "c", "a"), ("é", "d", "b")]
    path = tmp_path / "triples.tsv"
    path.write_text("".join(scores + "\t".join(row) + "\n" for row in rows))
    store, found = triples(path)
    assert found == Counter(tuple(text.strip() for text in row) for row in rows)
    assert store.supervision == ("scores" if scores else "labels")
    assert [text for _, text in store.queries] == ["q one", "q two", "é"]
    assert sorted(text for _, text in store.passages) == ["a", "b", "c", "d", "é"]
    for id_, text in (*store.queries, *store.passages):
        assert id_ == blake2b(text.encode(), digest_size=16).hexdigest()


def test_pool_numbers_texts_by_first_appearance(tmp_path, monkeypatch):
    monkeypatch.setattr(pair_sources, "RECENT", 50)
    randomness = np.random.default_rng(0)
    drawn = randomness.integers(0, 300, (40, 30))
    with TextStoreWriter(tmp_path, "texts") as writer:
        pool = TextPool(writer)
        indices = [pool.add([b"%d" % number for number in numbers]) for numbers in drawn.tolist()]
    first = {number: index for index, number in enumerate(dict.fromkeys(drawn.ravel().tolist()))}
    assert np.concatenate(indices).tolist() == [first[number] for number in drawn.ravel().tolist()]
    assert TextStore(tmp_path).texts(range(len(first))) == [str(number) for number in first]


def test_pool_compares_the_whole_digest(tmp_path, monkeypatch):
    def digests_that_begin_alike(text, digest_size):
        return SimpleNamespace(digest=lambda: text.rjust(digest_size, b"\0"))

    monkeypatch.setattr(pair_sources, "RECENT", 0)
    monkeypatch.setattr(pair_sources, "blake2b", digests_that_begin_alike)
    with TextStoreWriter(tmp_path, "texts") as writer:
        pool = TextPool(writer)
        assert [pool.add([text]).tolist() for text in (b"a", b"b", b"a")] == [[0], [1], [0]]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"q\tp", "2 columns between tabs"),
        (b"q\tp\t ", "an empty text"),
        (b"q\t\tn", "an empty column"),
        (b"q\tp\tn\xff", "not UTF-8"),
    ],
)
def test_faulty_triple_is_named(tmp_path, line, reason):
    path = tmp_path / "triples.tsv"
    path.write_bytes(b"q\tp\tn\n" + line + b"\nq\tp\tm\n")
    with pytest.raises(TasbError) as caught:
        triples(path)
    assert f"{path}:2: {reason}" in caught.value.found
    assert list(tmp_path.iterdir()) == [path]
    store, found = triples(path, skip_bad=True)
    assert found == Counter([("q", "p", "n"), ("q", "p", "m")])
    assert store.manifest["skipped_rows"] == 1


QRELS = "7 0 d1 1\n7 0 d2 2\n7 0 d3 0\n007 0 d4 1\n9 0 d1 1\n"
RUN = "".join(
    f"{qid} Q0 {docid} 1 {score} t\n"
    for qid, docid, score in [("7", "d5", 3), ("7", "d2", 2), ("7", "d3", 1), ("007", "d4", 1), ("11", "d1", 1)]
)


@pytest.fixture
def judged(tmp_path):
    (tmp_path / "qrels.txt").write_text(QRELS)
    (tmp_path / "run.txt").write_text(RUN)
    return str(tmp_path / "qrels.txt"), str(tmp_path / "run.txt")


def test_relevant_passages_go_with_what_the_run_ranks_and_is_not_relevant(stores, judged):
    source = JudgedRun(*judged)
    pairs = [("7", "d1", "d5"), ("7", "d1", "d3"), ("7", "d2", "d5"), ("7", "d2", "d3")]
    assert rows_of(source, stores) == pairs
    assert source.unpaired == 2  # 007: all that is ranked is relevant; 11: nothing is
    source = JudgedRun(*judged, min_relevance=2)
    assert rows_of(source, stores) == [("7", "d2", "d5"), ("7", "d2", "d3")]
    assert source.relevant == {"7": {"d2": 2}}


def test_drawn_negatives_depend_on_the_seed_and_the_query_alone(tmp_path, judged):
    queries = write_text_store(tmp_path / "q", [("7", "seven"), ("007", "bond")])
    passages = write_text_store(tmp_path / "p", [(f"d{n}", "text") for n in range(100)])
    lines = {qid: [f"{qid} Q0 d{n} 1 {-n} t\n" for n in range(10, 90)] for qid in ("7", "007")}

    def draw(order, seed, count=5):
        (tmp_path / "run.txt").write_text("".join(line for qid in order for line in lines[qid]))
        source = JudgedRun(*judged, min_relevance=1, negatives_per_query=count, seed=seed)
        return Counter(rows_of(source, (queries, passages)))

    first = draw(["7", "007"], 1)
    assert len({row[2] for row in first if row[0] == "7"}) == 5
    assert len(first) == 2 * 5 + 1 * 5
    assert first == draw(["007", "7"], 1)
    assert first != draw(["7", "007"], 2)
    assert len(draw(["7"], 1, count=1000)) == 2 * 80


def test_ids_of_qrels_and_run_without_text_are_named(tmp_path, stores):
    qrels, run = tmp_path / "qrels.txt", tmp_path / "run.txt"
    qrels.write_text("7 0 d1 1\n7 0 d77 1\n5 0 d1 1\n6 0 gone 1\n")
    run.write_text("5 Q0 d2 1 1 t\n7 Q0 d2 1 2 t\n7 Q0 d88 2 1 t\n")
    with pytest.raises(TasbError) as caught:
        rows_of(JudgedRun(str(qrels), str(run)), stores)
    assert f"{qrels}:2: passage d77 has no text" in caught.value.found  # and not line 4: no pair needs it
    assert "1 faulty line" in caught.value.found
    qrels.write_text("7 0 d1 1\n5 0 d1 1\n")
    with pytest.raises(TasbError) as caught:
        rows_of(JudgedRun(str(qrels), str(run)), stores)
    assert caught.value.found.split("\n    ")[1:] == [
        f"{run}:1: query 5 has no text", f"{run}:3: passage d88 has no text"
    ]  # fmt: skip
    source = JudgedRun(str(qrels), str(run), skip_bad=True)
    assert rows_of(source, stores) == [("7", "d1", "d2")]
    assert [faults.count for faults in source.faults] == [0, 2]


def test_bundled_names_are_taken(stores):
    source = JudgedRun("dl19-passage", "dl19-passage.bm25", min_relevance=2)
    with pytest.raises(TasbError, match=r"run\.dl19-passage\.bm25\.top100\.txt\.gz:1: query 264014 has no text"):
        rows_of(source, stores)
