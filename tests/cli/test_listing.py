"""`tasb list`: each axis shows its names; what is not there is refused."""

from __future__ import annotations

import json

import pytest

from pyserini_tasb.cli.listing import AXES
from pyserini_tasb.errors import TasbError
from tests.command_line import tasb, tasb_raising

SOME = {
    "encoders": "tasb:tasb",
    "back-ends": "onnx",
    "poolings": "cls",
    "pair-scorers": "colbert",
    "corpus-readers": "lucene",
    "topic-readers": "lines",
    "in-batch-teachers": "bi-encoder",
    "index-kinds": "hnsw",
    "fusion-recipes": "tasb+bm25",
    "fusion-methods": "rrf",
    "normalizations": "min-max",
    "missing": "minimum",
    "pairwise-losses": "margin-mse",
    "in-batch-losses": "margin-mse",
    "samplings": "tas-balanced",
    "binnings": "quantile",
    "schedules": "cosine",
    "regressions": "dl19-passage.tasb",
}


@pytest.mark.parametrize("axis", AXES)
def test_an_axis(axis, capsys):
    assert tasb("list", axis) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[0] in ("NAME", "ENCODER")
    assert any(line.split()[0] == SOME[axis] for line in lines)
    assert tasb("list", axis, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert SOME[axis] in [row.get("name", row.get("encoder")) for row in rows]


def test_the_axes(capsys):
    assert tasb("list", "--json") == 0
    assert [row["axis"] for row in json.loads(capsys.readouterr().out)] == list(AXES)


def test_no_such_axis():
    with pytest.raises(TasbError, match="a kind of names: encoders, back-ends"):
        tasb_raising("list", "colours")


def test_an_axis_that_is_nearly_right():
    with pytest.raises(TasbError, match="did you mean `fusion-methods`\\?"):
        tasb_raising("list", "fusion-method")
