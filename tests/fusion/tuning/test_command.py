"""`tasb tune` on the real runs: the recipe, the curve, and what is kept apart."""

from __future__ import annotations

import csv

import pytest
import yaml

from pyserini_tasb.evaluation.measures import evaluate_run
from pyserini_tasb.formats.named import load_qrels, load_run
from pyserini_tasb.formats.run import Run
from pyserini_tasb.fusion.fuse import fuse_runs
from pyserini_tasb.fusion.methods import Fusion
from pyserini_tasb.recipes.lookup import fusion_recipe
from tests.command_line import tasb

RUNS_19 = ["dl19-passage.tasb", "dl19-passage.bm25"]
RUNS_20 = ["dl20-passage.tasb", "dl20-passage.bm25"]
ON_19 = ["--recipe", "tasb+bm25", "--runs", *RUNS_19, "--qrels", "dl19-passage", "--grid", "0:1:0.05"]


@pytest.fixture
def tune(tmp_path, capsys):
    """Run `tasb tune`: exit status, the recipe's path, what was printed."""

    def run(*arguments, name="mine.yaml"):
        output = tmp_path / name
        status = tasb("tune", *arguments, "--output", output)
        return status, output, capsys.readouterr()

    return run


def ndcg(recipe, runs, qrels):
    fused = fuse_runs([load_run(name) for name in runs], Fusion.from_recipe(recipe))
    return evaluate_run(fused, load_qrels(qrels), ["nDCG@10"]).overall["nDCG@10"]


def test_cross_validation(tune):
    status, output, printed = tune(*ON_19)
    assert status == 0
    recipe = fusion_recipe(str(output))
    provenance = recipe.provenance
    assert (recipe.name, provenance.tuned, provenance.qrels, provenance.queries) == (
        "mine",
        True,
        ("dl19-passage",),
        43,
    )
    assert (provenance.depth, provenance.measure, provenance.search) == (100, "nDCG@10", "grid 0:1:0.05")
    assert provenance.runs == tuple(RUNS_19)
    assert provenance.held_out == "5-fold cross-validation by query, seed 0"
    # The number it notes is the one that fusing by it and evaluating gives.
    assert ndcg(recipe, RUNS_19, "dl19-passage") == pytest.approx(provenance.tuned_value, abs=1e-6)
    assert provenance.held_out_value <= provenance.tuned_value
    assert f"{provenance.tuned_value:.4f}" in printed.out
    assert f"a gap of {provenance.tuned_value - provenance.held_out_value:+.4f}" in printed.out
    assert yaml.safe_load(output.read_text())["inputs"][1]["weight"] == recipe.inputs[1].weight

    with output.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["weight"]) for row in rows[:3]] == [0.0, 0.05, 0.1]
    assert {row["runs"] for row in rows} == {RUNS_19[1]}
    values = {float(row["weight"]): float(row["nDCG@10 tuned on"]) for row in rows}
    assert max(values.values()) == values[recipe.inputs[1].weight]
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_same_seed_same_recipe(tune):
    first, second = (tune(*ON_19, "--folds", 3, "--seed", 7, name=f"{name}.yaml")[1] for name in "ab")
    assert first.read_text().replace("name: a", "name: b") == second.read_text()
    assert first.with_suffix(".png").read_bytes() == second.with_suffix(".png").read_bytes()


def test_tested_on_other_topics(tune):
    status, output, _ = tune(*ON_19, "--test-qrels", "dl20-passage", "--test-runs", *RUNS_20)
    assert status == 0
    recipe = fusion_recipe(str(output))
    assert recipe.provenance.held_out == "the 54 queries of dl20-passage"
    assert ndcg(recipe, RUNS_20, "dl20-passage") == pytest.approx(recipe.provenance.held_out_value, abs=1e-6)
    with output.with_suffix(".csv").open() as file:
        assert next(csv.reader(file)) == ["runs", "weight", "nDCG@10 tuned on", "nDCG@10 tested on"]


def test_several_sets_of_topics(tune):
    both = ["--qrels", "dl19-passage", "dl20-passage", "--runs", *RUNS_19, *RUNS_20]
    status, output, printed = tune(*ON_19, *both)
    assert status == 0
    recipe = fusion_recipe(str(output))
    provenance = recipe.provenance
    assert (provenance.qrels, provenance.queries) == (("dl19-passage", "dl20-passage"), 97)
    assert provenance.runs == (*RUNS_19, *RUNS_20)
    assert "on the 97 queries tuned on" in printed.out
    by_set = ndcg(recipe, RUNS_19, "dl19-passage"), ndcg(recipe, RUNS_20, "dl20-passage")
    assert provenance.tuned_value == pytest.approx((43 * by_set[0] + 54 * by_set[1]) / 97, abs=1e-6)
    with output.with_suffix(".csv").open() as file:
        assert {row["runs"] for row in csv.DictReader(file)} == {f"{RUNS_19[1]} {RUNS_20[1]}"}


def test_the_shipped_weight_is_what_its_provenance_says(tune):
    shipped = fusion_recipe("tasb+bm25")
    noted = shipped.provenance
    status, output, _ = tune("--recipe", "tasb+bm25", "--qrels", *noted.qrels, "--runs", *noted.runs, name="again.yaml")
    assert status == 0
    found = fusion_recipe(str(output))
    assert found.inputs == shipped.inputs
    when = {"date": noted.date, "tool": noted.tool}
    assert found.provenance.model_copy(update=when) == noted


def test_some_queries_to_tune_on_and_the_others_to_test_on(tune, tmp_path):
    qids = sorted(load_qrels("dl19-passage"))
    (tmp_path / "train").write_text("\n".join(qids[:30]))
    status, output, _ = tune(*ON_19, "--train-queries", tmp_path / "train")
    assert status == 0
    provenance = fusion_recipe(str(output)).provenance
    assert (provenance.queries, provenance.held_out) == (30, "the 13 other queries of dl19-passage")


@pytest.mark.parametrize("search", ["coordinate", "random"])
def test_three_runs(tune, tmp_path, search):
    third = tmp_path / "third.txt"
    assert tasb("fuse", "--method", "rrf", "--runs", *RUNS_19, "--output", third) == 0
    status, output, _ = tune(
        "--recipe", "tasb+bm25+doct5query", "--runs", *RUNS_19, third, "--qrels", "dl19-passage",
        "--measure", "RR(rel=2)@10",
        "--search", search, "--samples", 50, "--grid", "0:1:0.1", "--folds", 2,
    )  # fmt: skip
    assert status == 0
    recipe = fusion_recipe(str(output))
    assert recipe.inputs[0].weight == 1
    assert search in recipe.provenance.search
    with output.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    for run, source in zip([RUNS_19[1], str(third)], recipe.inputs[1:], strict=True):
        values = {float(row["weight"]): float(row["RR(rel=2)@10 tuned on"]) for row in rows if row["runs"] == run}
        assert [*values] == sorted(values)
        assert {0.0, 0.5, 1.0} <= values.keys()
        # The curve goes through what was chosen.
        assert values[source.weight] == pytest.approx(recipe.provenance.tuned_value, abs=1e-6)
        # A round of coordinate ascent changed nothing any more; drawn weights are not the best along each line.
        assert search == "random" or values[source.weight] == max(values.values())
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (["--test-qrels", "dl19-passage", "--test-runs", *RUNS_19], "43 in both"),
        (["--test-qrels", "dl20-passage"], "--test-qrels and --test-runs together"),
        (["--test-qrels", "dl20-passage", "--test-runs", RUNS_20[0]], "2 --test-runs, in this order: tasb:tasb, bm25"),
        (["--qrels", "dl19-passage", "dl20-passage"], "4 --runs, in this order: tasb:tasb, bm25, for each of dl19"),
        (["--qrels", "dl19-passage", "dl19-passage", "--runs", *RUNS_19, *RUNS_19], "43 in two: "),
        (["--folds", "1"], "2 to 43 folds"),
        (["--measure", "nDCG10"], "nDCG10"),
        (["--set", "method=combmax"], "weighted sum"),
        (["--grid", "1:0:1"], "FROM:TO:STEP"),
        (["--set", "method=convex", "--grid", "0:2:0.1"], "shares from 0 to 1"),
        (["--name", "Mine!"], "a name of small letters"),
        (["--qrels", "dl20-passage"], "the topics' own qrels"),
    ],
)
def test_mistakes(tune, arguments, phrase):
    status, output, printed = tune(*ON_19, *arguments)
    assert status == 2
    assert phrase in printed.err
    assert not output.exists()


def write_runs_and_qrels(folder, relevant):
    """Two runs of as many queries as `relevant` has grades, each with one judgment of that grade."""
    qids = [f"q{number}" for number in range(len(relevant))]
    for name, docids in (("dense", "ab"), ("sparse", "ba")):
        lines = [f"{qid} Q0 {docid} {rank} {3 - rank} t" for qid in qids for rank, docid in enumerate(docids, 1)]
        (folder / name).write_text("\n".join(lines) + "\n")
    judgments = [f"{qid} 0 a {grade}" for qid, grade in zip(qids, relevant, strict=True)]
    (folder / "qrels").write_text("\n".join(judgments) + "\n")
    return ["--recipe", "tasb+bm25", "--runs", folder / "dense", folder / "sparse", "--qrels", folder / "qrels"]


@pytest.mark.parametrize(
    ("relevant", "options", "expected", "do"),
    [
        ([1], [], "two judged queries or more", "more topics, or other topics to test on (--test-qrels and"),
        ([1], ["--train-queries", "qids"], "two judged queries or more", "more topics"),
        ([1, 1, 1], [], "2 to 3 folds, as there are 3 queries", "e.g. --folds 3"),
        ([0] * 6, [], "relevant documents in the runs for some of the 6 queries to tune on", "grades above 0"),
        ([1] * 6, ["--measure", "RR(rel=2)@10"], "for some of the 6 queries to tune on", "grades above 0"),
        ([1] + [0] * 5, [], "queries of two folds or more", "judgments of more topics"),
        ([1] + [0] * 5, ["--train-queries", "qids"], "for some of the 5 queries to test on", "grades above 0"),
        ([0] + [1] * 5, ["--train-queries", "qids"], "for some of the 1 queries to tune on", "grades above 0"),
    ],
)
def test_judgments_that_nothing_can_be_tuned_on(tune, tmp_path, relevant, options, expected, do):
    (tmp_path / "qids").write_text("q0\n")
    options = [tmp_path / option if option == "qids" else option for option in options]
    status, output, printed = tune(*write_runs_and_qrels(tmp_path, relevant), *options)
    assert (status, output.exists()) == (2, False)
    assert expected in printed.err
    assert do in printed.err.partition("do this:")[2]


def test_topics_to_test_on_without_a_relevant_document(tune, tmp_path):
    tested = tmp_path / "tested"
    tested.mkdir()
    *_, dense, sparse, _, qrels = write_runs_and_qrels(tested, [0, 0])
    status, output, printed = tune(*ON_19, "--test-runs", dense, sparse, "--test-qrels", qrels)
    assert (status, output.exists()) == (2, False)
    assert "for some of the 2 queries to test on" in printed.err


def test_a_few_relevant_documents_are_enough_to_tune(tune, tmp_path):
    assert tune(*write_runs_and_qrels(tmp_path, [0, 1, 1, 0, 0, 0]), "--folds", 6)[0] == 0


def test_overlap_where_asked_for(tune):
    status, output, _ = tune(*ON_19, "--test-qrels", "dl19-passage", "--test-runs", *RUNS_19, "--allow-overlap")
    assert status == 0
    provenance = fusion_recipe(str(output)).provenance
    assert provenance.held_out_value == provenance.tuned_value


def test_train_queries_that_are_not_judged(tune, tmp_path):
    (tmp_path / "train").write_text("nobody\n")
    status, _, printed = tune(*ON_19, "--train-queries", tmp_path / "train")
    assert status == 2
    assert "nobody, not judged" in printed.err


def test_the_best_at_an_end_of_the_grid_is_said(tune):
    _, _, printed = tune(*ON_19[:-2], "--grid", "0:0.02:0.01")
    assert "is at an end of --grid" in printed.err


def test_queries_that_are_documents(tune, tmp_path):
    """With every query's own document put first the weight is found that is found without it."""
    runs, given = [load_run(name) for name in RUNS_19], []
    for name, run in zip(RUNS_19, runs, strict=True):
        given.append(tmp_path / name)
        Run({qid: {qid: 1_000.0, **ranking} for qid, ranking in run.items()}).write(given[-1], tag="t")
    qids = tmp_path / "train"
    qids.write_text("\n".join(sorted(runs[0])[:30]))
    options = [
        "--recipe",
        "tasb+bm25",
        "--qrels",
        "dl19-passage",
        "--grid",
        "0:1:0.1",
        "--set",
        "normalization=min-max",
    ]
    options += ["--train-queries", qids]
    _, expected, printed = tune(*options, "--runs", *RUNS_19)
    _, output, without = tune(*options, "--runs", *given, "--remove-query", name="own.yaml")
    assert without.out.splitlines()[1:] == printed.out.splitlines()[1:]
    found, wanted = fusion_recipe(str(output)), fusion_recipe(str(expected))
    assert found.inputs == wanted.inputs
    assert (found.provenance.remove_query, wanted.provenance.remove_query) == (True, False)
    assert "remove_query" not in expected.read_text()
    _, kept, _ = tune(*options, "--runs", *given, name="kept.yaml")
    assert fusion_recipe(str(kept)).provenance.tuned_value < wanted.provenance.tuned_value
    held_out = ["--test-qrels", "dl19-passage", "--test-runs", *given, "--allow-overlap"]
    _, tested, _ = tune(*options[:-2], "--runs", *given, *held_out, "--remove-query", name="tested.yaml")
    provenance = fusion_recipe(str(tested)).provenance
    assert provenance.held_out_value == provenance.tuned_value
