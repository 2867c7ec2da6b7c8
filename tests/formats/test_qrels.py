from __future__ import annotations

import gzip

import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.qrels import read_qrels


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
            (3, "3 columns"),
            (4, "grade 'yes' is not an integer of at most 4 digits"),
            (5, "grade '1.0' is not an integer of at most 4 digits"),
            (6, "query 1, document a has grade 2 here and 1 before"),
            (7, "grade '4294967297' is not an integer of at most 4 digits"),
            (8, "not UTF-8"),
        ]
    ]


def test_empty_file_is_an_error(tmp_path):
    (tmp_path / "qrels.txt").touch()
    with pytest.raises(TasbError, match="an empty file"):
        read_qrels(tmp_path / "qrels.txt")
