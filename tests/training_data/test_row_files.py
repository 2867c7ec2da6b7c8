from __future__ import annotations

import gzip
import math
import re
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserini_tasb.data import rows as row_files
from pyserini_tasb.data.rows import RowFaults, first_row, read_rows
from pyserini_tasb.errors import TasbError

FIELDS = st.text(st.characters(exclude_characters="\t\n\r", exclude_categories=["Cs"]), min_size=1, max_size=12)
NUMBERS = ("1", "-2.5", "+3", ".5", "7.", "1e3", "-1E-3", "0.1", "123456.789012")
LOOKALIKES = ("nan", "inf", "1e39", "1_0", "0x10", "1.0-2.0", "1 2", " 1", "", "-", "1e", "\u0661", "high")
GOOD = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


def is_good(number: str) -> bool:
    return bool(GOOD.fullmatch(number)) and math.isfinite(np.float32(float(number)))


def read(path, numbers=2, strings=2, *, skip=True):
    """Every row as a tuple, with its line number before it; and the faults."""
    faults = RowFaults(path, expected="rows", skip=skip)
    rows = []
    for chunk in read_rows(path, numbers=numbers, strings=strings, faults=faults):
        columns = [[string.decode() for string in spans.strings()] for spans in chunk.columns]
        rows += zip(chunk.lines.tolist(), *chunk.numbers.T.tolist(), *columns, strict=True)
    return rows, faults


LINES = st.lists(
    st.tuples(*[st.sampled_from(NUMBERS + LOOKALIKES)] * 2, FIELDS, FIELDS)
    | st.lists(FIELDS, max_size=6).map(tuple)
    | st.tuples(*[st.sampled_from(NUMBERS)] * 2, FIELDS, FIELDS),
    min_size=1,
    max_size=12,
)


@settings(max_examples=200)
@given(lines=LINES, ends=st.sampled_from(["\n", "\r\n"]), chunk=st.integers(4, 60), last=st.booleans())
def test_it_reads_what_a_plain_loop_reads(lines, ends, chunk, last):
    text = ends.join("\t".join(line) for line in lines) + (ends if last else "")
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder, np.errstate(over="ignore"):
        patch.setattr(row_files, "CHUNK_BYTES", chunk)
        path = Path(folder) / "rows.tsv"
        path.write_bytes(text.encode())
        expected, faulty = [], []
        for number, line in enumerate(lines, 1):
            if not "".join(line).strip(" \x0b\x0c"):
                continue
            if len(line) == 4 and is_good(line[0]) and is_good(line[1]) and all(line[2:]):
                expected.append((number, float(np.float32(line[0])), float(np.float32(line[1])), *line[2:]))
            else:
                faulty.append(number)
        if not expected and not faulty:
            with pytest.raises(TasbError, match="an empty file"):
                read(path)
            return
        rows, faults = read(path)
        assert rows == expected
        assert faults.count == len(faulty)
        assert [int(shown.split(":")[1]) for shown in faults.shown] == faulty


def test_gzip_byte_order_mark_and_blank_lines(tmp_path):
    path = tmp_path / "rows"
    path.write_bytes(gzip.compress("\ufeff1\t2\ta\tb\n\n \t \n3\t4\tc\té".encode()))
    assert read(path)[0] == [(1, 1, 2, "a", "b"), (4, 3, 4, "c", "é")]
    assert first_row(path) == [b"1", b"2", b"a", b"b"]


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:40] + b"\0\0\0\0" + data[44:]])
def test_damaged_gzip_is_an_error(tmp_path, damage):
    data = gzip.compress(b"".join(b"%d\t%d\ta%d\tb\n" % (i, i, i * i) for i in range(300)))
    (tmp_path / "rows.gz").write_bytes(damage(data))
    with pytest.raises(TasbError, match="plain, gzip, bzip2, xz or Zstandard"):
        read(tmp_path / "rows.gz")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1\t2\ta", "3 columns between tabs"),
        (b"one", "1 column between tabs"),
        (b"1\tnan\ta\tb", "score 'nan' is not a finite number"),
        (b"1\t-inf\ta\tb", "score '-inf' is not a finite number"),
        (b"1e999\t1\ta\tb", "score '1e999' is not a finite number"),
        (b"1\t3e39\ta\tb", "score '3e39' is not a finite number"),  # too large for float32
        (b"\t1\ta\tb", "score '' is not a finite number"),
        (b" 1\t2\ta\tb", "score ' 1' is not a finite number"),
        (b"1\t2 \ta\tb", "score '2 ' is not a finite number"),
        (b"1 2\t\ta\tb", "score '1 2' is not a finite number"),
        (b"1\t\xff\ta\tb", "score '\ufffd' is not a finite number"),
        (b"1\t2\t\tb", "an empty column"),
        (b"1\t2\ta\t\r", "an empty column"),
    ],
)
def test_faulty_line_is_named_with_its_reason(tmp_path, line, reason):
    path = tmp_path / "rows.tsv"
    path.write_bytes(b"1\t2\ta\tb\n" + line + b"\n3\t4\tc\td\n")
    with pytest.raises(TasbError) as caught:
        read(path, skip=False)
    assert f"1 faulty line:\n    {path}:2: {reason}" in caught.value.found
    assert "skip_bad=True" in caught.value.do
    rows, faults = read(path)
    assert [row[0] for row in rows] == [1, 3]
    assert faults.count == 1


def test_columns_missing_here_and_too_many_there_are_two_faults(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("1\t2\ta\n3\t4\tb\tc\td\n5\t6\te\tf\n")
    rows, faults = read(path)
    assert rows == [(3, 5, 6, "e", "f")]
    assert [shown.split(": ")[1] for shown in faults.shown] == ["3 columns between tabs", "5 columns between tabs"]


def test_reading_stops_at_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(row_files, "CHUNK_BYTES", 60)
    path = tmp_path / "rows.tsv"
    path.write_text("short\n" * 1000)
    with pytest.raises(TasbError) as caught:
        read(path, skip=False)
    assert "where reading stopped" in caught.value.found
    assert caught.value.found.count("1 column between tabs") == 20
    count, last = map(int, re.match(r"(\d+) faulty lines up to line (\d+)", caught.value.found).groups())
    assert 20 <= count == last < 60
    assert f"… and {count - 20} more" in caught.value.found or count == 20
    rows, faults = read(path)
    assert (rows, faults.count, len(faults.shown)) == ([], 1000, 20)


@pytest.mark.parametrize("content", [b"", b"\n \n", gzip.compress(b"")], ids=["nothing", "blank lines", "gzip"])
def test_empty_file_is_an_error(tmp_path, content):
    (tmp_path / "rows").write_bytes(content)
    with pytest.raises(TasbError, match="an empty file"):
        read(tmp_path / "rows")
    assert first_row(tmp_path / "rows") == []
    with pytest.raises(TasbError, match="No such file"):
        read(tmp_path / "absent")


def test_one_long_line_is_read_about_as_fast_as_many_short_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(row_files, "CHUNK_BYTES", 1 << 12)

    def seconds(text):
        path = tmp_path / "rows.tsv"
        path.write_bytes(text)
        begin = time.process_time()
        assert sum(map(len, row_files._chunks(path))) == len(text)
        return time.process_time() - begin

    size = 1 << 24
    # Where each part is appended to what was read before, the long line takes hundreds of times as long.
    assert seconds(b"x" * (size - 1) + b"\n") < 20 * seconds(b"xxx\n" * (size // 4))
