"""`tasb rerank-depths`: the table, the CSV, the picture, and what is refused."""

from __future__ import annotations

import csv

import pytest
from matplotlib import image

import pyserini_tasb
from pyserini_tasb import TasbError
from pyserini_tasb.formats.named import load_qrels, load_run
from pyserini_tasb.formats.run import Run
from pyserini_tasb.formats.run_table import ranked_docids
from tests.command_line import tasb

FIRST = "dl19-passage.bm25"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two re-rankings of the real BM25 top 100: one turns it over, one has the top 20 only."""
    folder = tmp_path_factory.mktemp("runs")
    first = load_run(FIRST)
    turned = {qid: {docid: -score for docid, score in ranking.items()} for qid, ranking in first.items()}
    top = {qid: {docid: ranking[docid] for docid in ranked_docids(ranking)[:20]} for qid, ranking in first.items()}
    Run(turned).write(folder / "turned.txt", tag="turned")
    Run(top).write(folder / "top20.txt", tag="same")
    return folder


@pytest.fixture
def depths(tmp_path, capsys):
    def run(*arguments, name="depths.png"):
        status = tasb("rerank-depths", "--qrels", "dl19-passage", *arguments, "--output", tmp_path / name)
        return status, tmp_path / name, capsys.readouterr()

    return run


def test_what_is_written(depths, folder):
    status, picture, printed = depths("--first-stage", FIRST, folder / "turned.txt", folder / "top20.txt")
    assert status == 0
    head, turned, same, _, about = printed.out.splitlines()
    assert head.split() == ["first", "stage", "re-ranker", "0", "10", "20", "50", "100"]
    assert turned.split()[:3] == [FIRST, "turned", "0.5058"]
    assert same.split() == [FIRST, "same", "0.5058", "0.5058", "0.5058", "-", "-"]
    values = list(map(float, turned.split()[2:]))
    assert values == sorted(values, reverse=True)
    assert about == "nDCG@10, 43 queries of dl19-passage"
    rows = list(csv.DictReader(picture.with_suffix(".csv").open()))
    assert [row["depth"] for row in rows] == ["0", "10", "20", "50", "100", "0", "10", "20"]
    assert [f"{float(row['nDCG@10']):.4f}" for row in rows[:5]] == turned.split()[2:]
    pixels = image.imread(picture)
    assert pixels.shape[0] > 500
    assert pixels[..., :3].std() > 0.05


def test_from_python(depths, folder, tmp_path):
    first, turned = load_run(FIRST), pyserini_tasb.Run(load_run(folder / "turned.txt"), name="turned")
    qrels = load_qrels("dl19-passage")
    curves = pyserini_tasb.rerank_depths([FIRST, turned], qrels=qrels, depths=[10, 100])
    (curve,) = curves.curves
    assert (curve.first_stage, curve.reranker, list(curve.values)) == (FIRST, "turned", [10, 100])
    assert (curves.measure, curves.queries, curves.picture) == ("nDCG@10", 43, None)
    assert repr(curves).splitlines()[0].split() == ["first", "stage", "re-ranker", "0", "10", "100"]
    assert "<td>0.5058</td>" in curves._repr_html_()
    picture = tmp_path / "drawn.png"
    several = [[first, turned], (FIRST, folder / "turned.txt")]
    drawn = pyserini_tasb.rerank_depths(several, qrels="dl19-passage", depths=[100, 10], output=picture)
    assert [each.first_stage for each in drawn.curves] == ["run", FIRST]
    assert drawn.curves[0].values == drawn.curves[1].values == curve.values
    assert drawn.to_csv() == picture.with_suffix(".csv").read_text()
    assert image.imread(drawn.picture).shape[0] > 500
    with pytest.raises(TasbError, match=r"first_stage= Run\('turned'.*\) without a re-ranked run; output= drawn.txt"):
        pyserini_tasb.rerank_depths([turned], qrels=qrels, output="drawn.txt")


def test_several_first_stages(depths, folder, tmp_path):
    Run(load_run(folder / "top20.txt")).write(tmp_path / "own.txt", tag="own")
    narrow = image.imread(depths("--first-stage", FIRST, folder / "turned.txt", name="one.png")[1])
    _, picture, printed = depths(
        *("--first-stage", FIRST, folder / "turned.txt", "--first-stage", tmp_path / "own.txt", folder / "turned.txt"),
        *("--depths", "20", "10", "20", "--measure", "RR(rel=2)@10", "--markdown"),
    )
    lines = printed.out.splitlines()
    assert lines[0] == "| first stage | re-ranker | 0 | 10 | 20 |"
    assert lines[3].startswith("| own | turned | 0.7024 |")
    assert image.imread(picture).shape[1] > 1.5 * narrow.shape[1]


def test_the_same_bytes_again(depths, folder):
    arguments = ("--first-stage", FIRST, folder / "turned.txt", "--depths", "10", "20")
    one, other = (depths(*arguments, name=name)[1] for name in ("one.png", "other.png"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "name", "found"),
    [
        (["--first-stage", FIRST, "turned.txt", "--depths", "0", "10"], "a.png", "a depth of 0"),
        (["--first-stage", FIRST], "a.png", f"--first-stage {FIRST} without a re-ranked run"),
        (["--first-stage", FIRST, "turned.txt"], "a.csv", "a.csv"),
        (["--first-stage", FIRST, "turned.txt", "turned.txt"], "a.png", "turned (turned.txt), turned (turned.txt)"),
        (["--first-stage", "dl20-passage.bm25", "turned.txt"], "a.png", "scores of only the top 0"),
        (["--first-stage", FIRST, "turned.txt", "--measure", "nDGC@10"], "a.png", "nDGC@10"),
    ],
)
def test_refusals(depths, folder, monkeypatch, arguments, name, found):
    monkeypatch.chdir(folder)
    status, picture, printed = depths(*arguments, name=name)
    assert status == 2
    assert found in printed.err
    assert list(picture.parent.iterdir()) == []


def test_queries_that_are_documents(depths, folder, tmp_path):
    """Each query's own document stands first, and was not re-ranked."""
    own = {qid: {qid: 1_000.0, **ranking} for qid, ranking in load_run(FIRST).items()}
    Run(own).write(tmp_path / "own.txt", tag=FIRST)
    _, expected, _ = depths("--first-stage", FIRST, folder / "turned.txt", name="expected.png")
    status, picture, _ = depths("--first-stage", tmp_path / "own.txt", folder / "turned.txt", "--remove-query")
    assert status == 0
    assert picture.read_bytes() == expected.read_bytes()
    assert picture.with_suffix(".csv").read_bytes() == expected.with_suffix(".csv").read_bytes()
    status, _, printed = depths("--first-stage", tmp_path / "own.txt", folder / "turned.txt", name="kept.png")
    assert status == 2
    assert "--remove-query, add it" in printed.err
