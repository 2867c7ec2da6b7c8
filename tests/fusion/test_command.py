"""`tasb fuse`: files in, file out."""

from __future__ import annotations

import os
import subprocess

import pytest
import yaml

from pyserini_tasb.evaluation.measures import evaluate_run
from pyserini_tasb.formats.named import load_qrels, load_run
from pyserini_tasb.formats.run import Run
from pyserini_tasb.formats.run_files import read_run
from pyserini_tasb.fusion.fuse import fuse_runs
from pyserini_tasb.fusion.methods import Fusion
from pyserini_tasb.recipes.lookup import fusion_recipe
from tests.command_line import tasb, tasb_argv

REAL = ["dl19-passage.tasb", "dl19-passage.bm25"]


@pytest.fixture
def fuse(tmp_path, capsys):
    """Run `tasb fuse`: exit status, the output's path, what was printed."""

    def run(*arguments, name="out.txt"):
        output = tmp_path / name
        status = tasb("fuse", *arguments, "--output", output)
        return status, output, capsys.readouterr()

    return run


def test_a_shipped_recipe_on_real_runs(fuse):
    status, output, printed = fuse("--recipe", "tasb+bm25", "--runs", *REAL)
    assert status == 0
    assert not printed.err  # tuned on runs as deep as these
    found = read_run(output)
    assert found == fuse_runs([load_run(name) for name in REAL], Fusion("linear", weights=(1.0, 0.435)))
    assert output.read_text().splitlines()[0].endswith(" tasb+bm25")
    value = evaluate_run(found, load_qrels("dl19-passage"), ["nDCG@10"]).overall["nDCG@10"]
    assert value == pytest.approx(0.7274, abs=5e-5)  # TAS-B alone: 0.7210


@pytest.fixture
def deeper(tmp_path):
    """Two runs of one query and depth 101."""
    paths = [tmp_path / "dense.txt", tmp_path / "sparse.txt"]
    for path in paths:
        path.write_text("".join(f"q Q0 D{rank} {rank} {200 - rank} t\n" for rank in range(1, 102)))
    return paths


def test_deeper_runs_than_the_weights_were_tuned_on(fuse, deeper):
    status, _, printed = fuse("--recipe", "tasb+bm25", "--runs", *deeper)
    assert status == 0
    assert "tuned at depth 100, but these runs have depth 101: use --set depth=100" in printed.err
    for untouched in (["--set", "depth=100"], ["--weights", 1, 0.5]):
        _, _, printed = fuse("--recipe", "tasb+bm25", "--runs", *deeper, *untouched)
        assert "untuned" not in printed.err


def test_untuned_weights_are_called_so(fuse, deeper):
    _, _, printed = fuse("--recipe", "tasb+doct5query", "--runs", *deeper)
    assert "the weights of tasb+doct5query are untuned: alpha of TCT-ColBERT" in printed.err


def test_choices_over_the_recipes(fuse):
    status, output, printed = fuse(
        "--recipe", "tasb+bm25", "--runs", *REAL, "--set", "method=rrf", "depth=50", "--weights", 1, 1, "--tag", "mine"
    )  # fmt: skip
    assert status == 0
    assert "untuned" not in printed.err
    assert read_run(output) == fuse_runs([load_run(name) for name in REAL], Fusion("rrf", depth=50))
    assert output.read_text().splitlines()[0].endswith(" mine")


def test_options_without_a_recipe(fuse):
    status, output, _ = fuse(
        "--method", "convex", "--runs", *REAL, "--weights", 0.8, 0.2, "--normalization", "theoretical-min",
        "--minimums", 0, 0, "--missing", "theoretical", "--depth", 100, "--hits", 10, "--output-format", "msmarco",
        name="out.tsv.gz",
    )  # fmt: skip
    assert status == 0
    import gzip

    lines = gzip.decompress(output.read_bytes()).decode().splitlines()
    fusion = Fusion("convex", (0.8, 0.2), "theoretical-min", "theoretical", (0.0, 0.0), depth=100, hits=10)
    expected = fuse_runs([load_run(name) for name in REAL], fusion)
    assert lines == [f"{qid}\t{docid}\t{rank}" for qid, hits in expected.items() for rank, docid in enumerate(hits, 1)]


def test_same_bytes_whatever_the_hash_seed(tmp_path):
    outputs = []
    for seed in ("0", "1", "2"):
        output = tmp_path / f"{seed}.txt"
        command = tasb_argv("fuse", "--method", "rrf", "--runs", *REAL, "--output", output)
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True)
        outputs.append(output.read_bytes())
    assert len(set(outputs)) == 1


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (["--recipe", "tasb+bm52", "--runs", *REAL], "did you mean `tasb+bm25`"),
        (["--method", "cobmsum", "--runs", *REAL], "did you mean `combsum`"),
        (["--recipe", "tasb+bm25+doct5query", "--runs", *REAL], "3 runs, in this order: tasb:tasb, bm25, doct5query"),
        (["--recipe", "tasb+bm25", "--runs", *REAL, "--depth", "5"], "--set key=value"),
        (["--method", "rrf", "--runs", *REAL, "--set", "depth=5"], "--recipe beside --set"),
        (["--method", "rrf", "--runs", REAL[0], REAL[0]], "more than once"),
        (["--method", "rrf", "--runs", REAL[0], "dl20-passage.bm25"], "none of them"),
        (["--method", "linear", "--runs", *REAL, "--weights", "1"], "one weight for each of the 2 runs"),
        (["--method", "rrf", "--runs", *REAL, "--weights", "0", "0"], "a weight other than 0"),
        (["--method", "convex", "--runs", *REAL, "--weights", "0", "0"], "a weight other than 0"),
        (["--recipe", "tasb+bm25", "--runs", *REAL, "--weights", "0", "0"], "a weight other than 0"),
        (["--method", "combmax", "--runs", *REAL, "--weights", "1", "nan"], "found:    1 nan"),
        (["--method", "isr", "--runs", *REAL, "--weights", "1", "inf"], "finite weights"),
        (["--method", "convex", "--runs", *REAL, "--weights", "1", "-1"], "use the method `linear`"),
        (["--method", "rrf", "--runs", *REAL, "--rrf-k", "-1"], "k of RRF from 0 on"),
        (
            ["--method", "linear", "--runs", *REAL, "--normalization", "theoretical-min", "--minimums", "nan", "0"],
            "finite minimums",
        ),
        (["--recipe", "tasb+bm25", "--runs", *REAL, "--set", "normalization=theoretical-min"], "none for run 1"),
        (["--recipe", "tasb+bm25", "--runs", *REAL, "--set", "dept=5"], "did you mean `depth`"),
    ],
)
def test_mistakes(fuse, arguments, phrase):
    status, output, printed = fuse(*arguments)
    assert status == 2
    assert phrase in printed.err
    assert not output.exists()


def test_runs_of_different_kinds_of_docids(fuse, tmp_path):
    numbers, names, others = tmp_path / "numbers", tmp_path / "names", tmp_path / "others"
    numbers.write_text("q Q0 1 1 2 t\nq Q0 2 1 1 t\n")
    names.write_text("q Q0 D1 1 2 t\nq Q0 D2 1 1 t\n")
    others.write_text("q Q0 3 1 2 t\np Q0 2 1 1 t\n")
    status, output, printed = fuse("--method", "rrf", "--runs", numbers, names)
    assert status == 2
    assert "no document in common" in printed.err
    assert not output.exists()
    status, output, printed = fuse("--method", "rrf", "--runs", numbers, others)
    assert status == 0
    assert "have no document in common (1, 2 against 3" in printed.err
    assert "1 of 2 queries of" in printed.err


def test_a_faulty_run_leaves_the_old_output(fuse, tmp_path):
    (tmp_path / "out.txt").write_text("old")
    bad = tmp_path / "bad"
    bad.write_text("q Q0 a 1 2 t\nq Q0 b 2 nan t\n")
    status, output, printed = fuse("--method", "rrf", "--runs", REAL[0], bad, "--overwrite")
    assert status == 2
    assert f"{bad}:2: score 'nan' is not a finite number" in printed.err
    assert output.read_text() == "old"


def test_a_query_s_own_document_has_no_part_in_normalisation_and_ranks(fuse, tmp_path):
    dense, sparse = tmp_path / "dense", tmp_path / "sparse.tsv"
    dense.write_text("a Q0 a 1 100 t\na Q0 b 2 20 t\na Q0 c 3 15 t\na Q0 d 4 10 t\nb Q0 b 1 1 t\nb Q0 a 2 0 t\n")
    sparse.write_text("a\td\t1\na\ta\t2\na\tc\t3\nb\tb\t1\n")  # after dropping: d 1, c 1/2
    options = ["--method", "combsum", "--normalization", "min-max", "--runs", dense, sparse, "--remove-query"]
    status, output, printed = fuse(*options)
    assert status == 0
    assert read_run(output) == {"a": {"b": 1.0, "d": 1.0, "c": 0.5}, "b": {"a": 1.0}}
    assert "1 of 2 queries of" in printed.err  # sparse has nothing else for b
    status, output, _ = fuse("--method", "rrf", "--runs", dense, sparse, "--remove-query", "--overwrite")
    assert read_run(output)["a"] == {"d": 1 / 63 + 1 / 61, "c": 1 / 62 + 1 / 62, "b": 1 / 61}


def test_a_run_of_own_documents_only_is_refused_when_they_are_dropped(fuse, tmp_path):
    run, own = tmp_path / "run", tmp_path / "own"
    run.write_text("a Q0 a 1 2 t\na Q0 b 2 1 t\n")
    own.write_text("a Q0 a 1 9 t\n")
    status, output, printed = fuse("--method", "rrf", "--runs", run, own, "--remove-query")
    assert (status, output.exists()) == (2, False)
    assert f"{own}\n" in printed.err
    assert "none: --remove-query drops all" in printed.err


def test_a_recipe_that_was_tuned_without_own_documents_says_so_when_they_are_in(fuse, tmp_path):
    recipe = tmp_path / "own.yaml"
    source = fusion_recipe("tasb+bm25")
    provenance = source.provenance.model_copy(update={"remove_query": True})
    values = source.model_copy(update={"name": "own", "provenance": provenance}).model_dump(mode="json")
    recipe.write_text(yaml.safe_dump(values))
    for option, said in (([], True), (["--remove-query"], False)):
        _, _, printed = fuse("--recipe", recipe, "--runs", *REAL, *option)
        assert ("own were tuned with --remove-query, which is missing here" in printed.err) == said


@pytest.mark.parametrize("form", ["trec", "msmarco"])
def test_dropping_is_fusing_files_without_these_lines(fuse, tmp_path, form):
    """Real runs, with a docid of theirs as the id of every query but some."""
    runs = [load_run(name) for name in REAL]
    own = {qid: list(ranking)[place % 90] for place, (qid, ranking) in enumerate(runs[0].items())}
    given, without = [], []
    for number, run in enumerate(runs):
        renamed = {own[qid] if int(qid) % 5 else qid: ranking for qid, ranking in run.items()}
        left = {qid: {docid: score for docid, score in of.items() if docid != qid} for qid, of in renamed.items()}
        for paths, content in ((given, renamed), (without, left)):
            paths.append(tmp_path / f"{'given' if content is renamed else 'without'}{number}")
            Run(content).write(paths[-1], tag="t")
    options = ("--method", "linear", "--normalization", "z-score", "--depth", 60, "--output-format", form)
    expected = fuse(*options, "--runs", *without)[1].read_bytes()
    assert fuse(*options, "--runs", *given, "--remove-query", name="dropped")[1].read_bytes() == expected
    assert fuse(*options, "--runs", *given, name="kept")[1].read_bytes() != expected
