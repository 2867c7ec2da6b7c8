from __future__ import annotations

import gzip

import pandas as pd
import pytest

from pyserini_tasb import Qrels
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.named import QRELS_COLUMNS, as_qrels, load_qrels
from pyserini_tasb.formats.qrels import read_qrels
from tests.conftest import DATA


def test_ids_stay_strings_and_the_order_stays_the_files(tmp_path):
    path = tmp_path / "qrels.gz"
    path.write_bytes(gzip.compress(b"10 0 007 2\n2\tQ0\t7\t-1\r\n\n10 0 7 0\n10 0 007 2\n"))
    qrels = read_qrels(path)
    assert qrels == {"10": {"007": 2, "7": 0}, "2": {"7": -1}}
    assert list(qrels) == ["10", "2"]


def test_every_faulty_line_is_named(tmp_path):
    path = tmp_path / "qrels.txt"
    path.write_bytes(
        b"1 0 a 1\n"
        b"1 0 a b 1\n"
        b"query-id\tcorpus-id\tscore\n"
        b"1 0 b yes\n"
        b"1 0 b 1.0\n"
        b"1 0 a 2\n"
        b"1 0 b 4294967297\n"
        b"1 0 \xe9 1\n"
        b"1 0 c 1\n"
    )
    with pytest.raises(TasbError) as caught:
        read_qrels(path)
    assert caught.value.found.splitlines()[1:] == [
        f"    {path}:{line}: {reason}"
        for line, reason in [
            (2, "5 columns"),
            (3, "3 columns; below the header query-id corpus-id score they would be BEIR's"),
            (4, "grade 'yes' is not an integer of at most 4 digits"),
            (5, "grade '1.0' is not an integer of at most 4 digits"),
            (6, "query 1, document a has grade 2 here and 1 before"),
            (7, "grade '4294967297' is not an integer of at most 4 digits"),
            (8, "not UTF-8"),
        ]
    ]


BEIR = DATA / "beir" / "qrels" / "test.tsv"


def test_three_columns_below_beirs_header():
    assert read_qrels(BEIR) == {"q1": {"d1": 1}, "q2": {"d2": 1}}


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("query-id\tcorpus-id\tscore", "007\tb\t2"),
        ("query_id corpus_id score", "007 b 2"),
        ("\ufeffQuery-ID\tCorpus-ID\tScore\r", "007\tb\t2\r"),
        ("corpus-id\tscore\tquery-id", "b\t2\t007"),
    ],
)
def test_beirs_header_says_where_the_columns_are(tmp_path, header, line):
    path = tmp_path / "test.tsv"
    path.write_text(f"{header}\n\n{line}\n", encoding="utf-8")
    assert read_qrels(path) == {"007": {"b": 2}}


@pytest.mark.parametrize("first", ["q1\td1\t1", "query-id\tcorpus-id\tvalue", "query-id\tcorpus-id\tscore\tsplit"])
def test_other_files_of_three_columns_are_refused(tmp_path, first):
    path = tmp_path / "test.tsv"
    path.write_text(f"{first}\nq1\td1\t1\n")
    with pytest.raises(TasbError, match="3 columns") as caught:
        read_qrels(path)
    assert "below the header query-id corpus-id score" in caught.value.expected


def test_every_faulty_line_below_beirs_header_is_named(tmp_path):
    path = tmp_path / "test.tsv"
    path.write_text("query-id\tcorpus-id\tscore\nq1 0 d1 1\nq1\td1\t0.5\nq1\td1\t1\nq1\td1\t0\n")
    with pytest.raises(TasbError) as caught:
        read_qrels(path)
    assert caught.value.found.splitlines()[1:] == [
        f"    {path}:2: 4 columns",
        f"    {path}:3: grade '0.5' is not an integer of at most 4 digits",
        f"    {path}:5: query q1, document d1 has grade 0 here and 1 before",
    ]


def test_a_header_above_trecs_columns_is_skipped_with_a_note(tmp_path, caplog):
    path = tmp_path / "qrels.txt"
    path.write_text("qid iter docid rel\nq1 0 d1 1\n")
    with caplog.at_level("INFO"):
        assert read_qrels(path) == {"q1": {"d1": 1}}
    assert "`qid iter docid rel` was taken for a header" in caplog.text


def test_empty_file_is_an_error(tmp_path):
    (tmp_path / "qrels.txt").touch()
    with pytest.raises(TasbError, match="an empty file"):
        read_qrels(tmp_path / "qrels.txt")


# The object.

JUDGMENTS = {"007": {"b": 3, "a": 0}, "7": {"c": -1}}


def test_it_is_a_dictionary_with_a_name():
    qrels = Qrels(JUDGMENTS, name="mine")
    assert qrels == JUDGMENTS
    assert list(qrels["007"]) == ["b", "a"]
    assert repr(qrels) == "Qrels('mine', 2 queries, 3 judgments)"
    assert as_qrels(qrels) is qrels
    assert as_qrels(JUDGMENTS) == JUDGMENTS
    assert Qrels({7: {42: 1}}) == {"7": {"42": 1}}


@pytest.mark.parametrize("columns", list(QRELS_COLUMNS))
def test_data_frames_there_and_back(columns):
    frame = Qrels(JUDGMENTS).to_pandas(columns)
    assert tuple(frame.columns) == QRELS_COLUMNS[columns]
    assert frame.iloc[0].tolist() == ["007", "b", 3]
    assert Qrels.from_pandas(frame) == JUDGMENTS == as_qrels(frame)
    assert list(Qrels.from_pandas(frame)) == list(JUDGMENTS)


def test_files_and_names(tmp_path):
    (tmp_path / "qrels").write_text("q 0 d 1\n")
    assert Qrels.read(tmp_path / "qrels") == {"q": {"d": 1}} == as_qrels(str(tmp_path / "qrels"))
    assert Qrels.read(tmp_path / "qrels").name == str(tmp_path / "qrels")
    assert as_qrels("dl19-passage") == load_qrels("dl19-passage")
    assert as_qrels("dl19-passage").name == "dl19-passage"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (pd.DataFrame({"qid": ["q"], "docid": ["d"], "label": [1]}), "columns qid docid label"),
        (pd.DataFrame({"qid": ["q", "q"], "docno": ["d", "d"], "label": [1, 2]}), "query q, document d has two"),
        (7, "int"),
    ],
)
def test_what_are_no_judgments(given, found):
    with pytest.raises(TasbError) as caught:
        as_qrels(given)
    assert found in caught.value.found
