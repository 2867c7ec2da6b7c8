from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserini_tasb.data.ensemble import EnsembleReport, write_ensemble
from pyserini_tasb.errors import TasbError
from tests.command_line import tasb

ORACLE = json.loads((Path(__file__).parents[1] / "data" / "train" / "oracle_ensemble.json").read_text())
GOOD = "1.0\t0.5\tq1\tp1\tn1\n"


def written(folder, name, rows):
    path = folder / name
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return path


def rows_of(path):
    rows = (line.split("\t") for line in path.read_text().splitlines())
    return [[float(positive), float(negative), *ids] for positive, negative, *ids in rows]


@pytest.mark.parametrize("bytes_at_once", [2**24, 10])
def test_mean_is_the_oracle_s(tmp_path, bytes_at_once):
    files = [written(tmp_path, f"{name}.tsv", rows) for name, rows in ORACLE["files"].items()]
    report = write_ensemble(files, tmp_path / "mean.tsv", bytes_at_once=bytes_at_once)
    assert rows_of(tmp_path / "mean.tsv") == ORACLE["out"]
    assert report == EnsembleReport(pairs=2, scores=3, unused=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A.tsv", "B.tsv", "mean.tsv"]


ids = st.integers(0, 4)
pairs = st.lists(st.tuples(ids, ids, ids).filter(lambda pair: pair[1] != pair[2]), min_size=1, max_size=30)
scores = st.floats(-20, 20)


@settings(max_examples=40)
@given(st.data(), pairs, st.integers(2, 4), st.integers(1, 200))
def test_any_parts_and_any_order_of_files_give_the_mean_of_last_scores(data, triples, teachers, bytes_at_once):
    rows = [
        [(data.draw(scores), data.draw(scores), f"q{q}", f"p{p}", f"p{n}") for q, p, n in triples]
        for _ in range(teachers)
    ]
    last = [
        {(row[2], passage): score for row in table for passage, score in ((row[3], row[0]), (row[4], row[1]))}
        for table in rows
    ]
    with tempfile.TemporaryDirectory() as folder:
        first, *others = [written(Path(folder), f"{number}.tsv", table) for number, table in enumerate(rows)]
        out, again = Path(folder) / "mean.tsv", Path(folder) / "again.tsv"
        write_ensemble([first, *others], out, bytes_at_once=bytes_at_once)
        write_ensemble([first, *others[::-1]], again)
        for mean, row in zip(rows_of(out), rows[0], strict=True):
            assert mean[2:] == list(row[2:])
            for score, passage in ((mean[0], row[3]), (mean[1], row[4])):
                expected = sum(table[row[2], passage] for table in last) / teachers
                assert score == pytest.approx(expected, abs=1e-12)
        assert again.read_bytes() == out.read_bytes()


def test_other_files_may_be_compressed_in_another_order_and_have_more(tmp_path):
    first = written(tmp_path, "a.tsv", [(1, 2, "q2", "p1", "p2"), (3, 4, "q1", "p1", "p2")])
    second = tmp_path / "b.tsv.gz"
    second.write_bytes(gzip.compress(b"5\t6\tq1\tp1\tp2\n7\t8\tq2\tp1\tp3\n9\t9\tq3\tp1\tp2\n2\t2\tq2\tp2\tp3\n"))
    report = write_ensemble([first, second], tmp_path / "mean.tsv")
    assert (tmp_path / "mean.tsv").read_text() == "4.0\t2.0\tq2\tp1\tp2\n4.0\t5.0\tq1\tp1\tp2\n"
    assert report == EnsembleReport(pairs=2, scores=4, unused=3)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1.0\t2.0\tq1\tp1", "4 columns (margins only?"),
        ("1.0 2.0 q1 p1 n1", "1 columns"),
        ("1.0\t2.0\tq1\tp1\tn1\t", "6 columns"),
        ("one\t2.0\tq1\tp1\tn1", "score 'one' is not a finite number"),
        ("1.0\tnan\tq1\tp1\tn1", "score 'nan' is not a finite number"),
        ("1_0\t2.0\tq1\tp1\tn1", "score '1_0' is not a finite number"),
        ("1.0\t2.0\tq1\t\tn1", "id '' is empty"),
        ("1.0\t2.0\tq1\tp1\tp1", "passage p1 is the positive and the negative"),
        ("1.0\t2.0\tq1\tp1 \tn1", "id 'p1 ' is empty or begins or ends with white space"),
        (b"1.0\t2.0\tq1\tp\xff\tn1", "not UTF-8"),
    ],
)
def test_faulty_lines_are_named_and_nothing_is_written(tmp_path, line, reason):
    good, bad, out = tmp_path / "good.tsv", tmp_path / "bad.tsv", tmp_path / "mean.tsv"
    good.write_text(GOOD)
    raw = line if isinstance(line, bytes) else line.encode()
    bad.write_bytes(GOOD.encode() + raw + b"\n\n" + raw + b"\n" + GOOD.encode())
    out.write_text("from before")
    with pytest.raises(TasbError) as caught:
        write_ensemble([good, bad], out, overwrite=True)
    assert f"{bad}:2: {reason}" in caught.value.found
    assert f"{bad}:4: {reason}" in caught.value.found
    assert "2 faulty lines" in caught.value.found
    assert out.read_text() == "from before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tsv", "good.tsv", "mean.tsv"]


def test_scores_that_a_file_lacks_are_named(tmp_path):
    first = written(tmp_path, "a.tsv", [(1, 2, f"q{number}", "p1", "p2") for number in range(30)])
    second = written(tmp_path, "b.tsv", [(1, 2, "q0", "p1", "p2"), (1, 2, "q1", "p1", "p3")])
    with pytest.raises(TasbError) as caught:
        write_ensemble([first, second], tmp_path / "mean.tsv")
    assert f"{second}: query q1, passage p2" in caught.value.found
    assert f"{second}: query q1, passage p1" not in caught.value.found
    assert caught.value.found.startswith("57 missing")
    assert "… and 37 more" in caught.value.found
    assert not (tmp_path / "mean.tsv").exists()


def test_fewer_than_two_files_or_one_twice_or_none_is_refused(tmp_path):
    one = written(tmp_path, "a.tsv", [(1, 2, "q", "p", "n")])
    twice = tmp_path / ".." / tmp_path.name / "a.tsv"
    for files in ([], [one], [one, twice]):
        with pytest.raises(TasbError, match="two or more"):
            write_ensemble(files, tmp_path / "mean.tsv")
    with pytest.raises(TasbError, match="no plain file"):
        write_ensemble([one, tmp_path], tmp_path / "mean.tsv")
    with pytest.raises(TasbError, match="No such file"):
        write_ensemble([one, tmp_path / "absent.tsv"], tmp_path / "mean.tsv")
    with pytest.raises(TasbError, match="empty"):
        write_ensemble([one, written(tmp_path, "empty.tsv", [])], tmp_path / "mean.tsv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tsv", "empty.tsv"]


def test_one_of_several_parts_without_a_query_is_no_fault(tmp_path):
    files = [written(tmp_path, name, [(1, 2, "only", "p", "n")]) for name in ("a.tsv", "b.tsv")]
    assert write_ensemble(files, tmp_path / "mean.tsv", bytes_at_once=1).pairs == 1


def test_a_teacher_whose_columns_are_swapped_does_not_hide_in_the_mean(tmp_path, capsys):
    ids = [(f"q{number}", "p1", "p2") for number in range(10)]
    files = [
        written(tmp_path, "good.tsv", [(20, 0, *row) for row in ids]),
        written(tmp_path, "swapped.tsv", [(1, 2, *row) for row in ids]),
    ]
    command = ["score", "--ensemble", *map(str, files), "--output", str(tmp_path / "mean.tsv")]
    assert tasb(*command) == 2
    error = capsys.readouterr().err
    assert f"{files[1]}\n" in error
    assert "in 100 % of the pairs the teacher puts the negative first: are the columns swapped?" in error
    assert not (tmp_path / "mean.tsv").exists()
    assert tasb(*command, "--allow-reversed") == 0
    output = capsys.readouterr().out
    assert f"{files[0]} agrees with the labels in 100 % of 10 pairs (0 % against, 0 % tied)\n" in output
    assert f"{files[1]} agrees with the labels in 0 % of 10 pairs (100 % against, 0 % tied)\n" in output
    assert "the mean agrees with the labels in 100 % of 10 pairs (0 % against, 0 % tied)\n" in output
