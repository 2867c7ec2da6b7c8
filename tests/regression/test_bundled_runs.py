"""The regressions on the runs that this package bundles: green as they are, red for the smallest change."""

from __future__ import annotations

import gzip

import pytest
import yaml

from pyserini_tasb.formats.named import bundled_files
from pyserini_tasb.recipes.lookup import own_folder
from tests.conftest import run_module

RUNS = [
    f"{topics}.{system}.run" for topics in ("dl19-passage", "dl20-passage") for system in ("tasb", "bm25", "tasb+bm25")
]


def shipped(name: str, folder: str = "") -> dict:
    return yaml.safe_load((own_folder("regressions") / folder / f"{name}.yaml").read_text())


def test_all_are_green(regress):
    done = regress("--match", "*.run")
    assert done.status == 0, done.stdout
    assert "6 conditions: 6 OK" in done.stdout
    for name in RUNS:
        result = done.result(name)
        assert result["verdict"] == "OK"
        assert {check["verdict"] for check in result["checks"]} == {"OK"}


def test_the_published_values_are_among_them(regress):
    done = regress("dl19-passage.tasb.run")
    check = done.result("dl19-passage.tasb.run")["checks"][0]
    assert (check["measure"], check["expected"], check["source"]["kind"]) == ("nDCG@10", 0.7210, "pyserini-2cr")
    assert round(check["measured"], 4) == 0.7210


@pytest.mark.parametrize("change", [0.0001, -0.0001])
@pytest.mark.parametrize("name", ["dl19-passage.tasb.run", "dl20-passage.bm25.run"])
def test_any_expected_digit_that_is_changed_fails(regress, small, name, change):
    values = [(index, measure) for index, block in enumerate(shipped(name)["expected"]) for measure in block["values"]]
    paths = []
    for number, (index, measure) in enumerate(values):
        about = shipped(name)
        about["expected"][index]["values"][measure] = round(about["expected"][index]["values"][measure] + change, 4)
        paths.append(small.write_yaml(f"changed-{number}", **{key: about[key] for key in about if key != "name"}))
    done = regress(*paths)
    assert done.status == 1
    assert len(values) == 5
    for path in paths:
        verdicts = [check["verdict"] for check in done.result(path.stem)["checks"]]
        assert sorted(verdicts) == sorted(["OK"] * 4 + ["FAIL" if change > 0 else "HIGHER"])


def unpacked(kind: str, name: str) -> list[str]:
    return gzip.decompress(bundled_files(kind)[name].read_bytes()).decode().splitlines(keepends=True)


def test_one_line_of_the_qrels_that_is_changed_fails(regress, small):
    lines = unpacked("qrels", "dl19-passage")
    first = {line.split()[2] for line in unpacked("run", "dl19-passage.tasb")[:10]}
    qid = unpacked("run", "dl19-passage.tasb")[0].split()[0]
    at = next(n for n, line in enumerate(lines) if line.split()[0] == qid and line.split()[2] in first)
    *columns, grade = lines[at].split()
    lines[at] = " ".join([*columns, "0" if grade != "0" else "3"]) + "\n"
    topics = shipped("dl19-passage", "topics") | {"qrels": str(small.write("changed.qrels", "".join(lines)))}
    about = shipped("dl19-passage.tasb.run") | {"topics": str(small.write_yaml(**topics))}
    done = regress(small.write_yaml(**about))
    assert done.status == 1


@pytest.mark.parametrize("kept", [-1, -100, 10])
def test_a_truncated_run_fails(regress, small, kept):
    """By the last line, which is of an irrelevant document, by a query, and to ten lines."""
    lines = unpacked("run", "dl19-passage.tasb")[:kept]
    about = shipped("dl19-passage.tasb.run") | {"run": str(small.write("truncated.run", "".join(lines)))}
    done = regress(small.write_yaml(**about))
    assert done.status == 1
    assert done.result("dl19-passage.tasb.run")["verdict"] == "FAIL"
    assert ("judged queries, which count as 0" in done.stdout) == (kept != -1)


def test_a_higher_score_fails_unless_it_is_allowed(regress, small):
    about = shipped("dl19-passage.bm25.run") | {"run": "dl19-passage.tasb"}
    path = small.write_yaml(**about)
    done = regress(path)
    assert done.status == 1
    assert done.result("dl19-passage.bm25.run")["verdict"] == "HIGHER"
    assert "HIGHER    nDCG@10" in done.stdout
    assert regress(path, "--allow-higher", "dl19*").status == 0
    assert regress(path, "--allow-higher", "dl20*").status == 1


def test_half_a_run_file_is_a_failure_with_its_line(regress, small):
    about = shipped("dl19-passage.tasb.run") | {"run": str(small.write("half.run", "1 Q0 a 1 9 x\n1 Q0 b"))}
    done = regress(small.write_yaml(**about))
    assert done.status == 1
    assert "half.run:2: 3 columns" in done.stdout
    assert done.result("dl19-passage.tasb.run")["checks"] == []


def test_hostile_text_in_a_run_is_shown_as_text(regress, small):
    run = small.write("hostile.run", "<script>alert(1)</script> Q0 \x1b[2J 1 9 x\n")
    done = regress(small.regression(run=str(run)))
    assert done.status == 1
    assert "\x1b" not in done.stdout
    assert done.result("small")["verdict"] == "FAIL"


def test_trec_eval_prints_the_same(regress, tmp_path, suitable_java):
    """By the arguments that the topic set has: of those, the ones with the most to get wrong."""
    checks = regress("dl19-passage.tasb.run").result("dl19-passage.tasb.run")["checks"]
    check = next(check for check in checks if check["measure"] == "RR(rel=2)@10")
    run, qrels = tmp_path / "run.txt", tmp_path / "qrels.txt"
    run.write_text("".join(unpacked("run", "dl19-passage.tasb")))
    qrels.write_text("".join(unpacked("qrels", "dl19-passage")))
    done = run_module("pyserini.eval.trec_eval", *check["trec_eval"].split(), qrels, run)
    assert done.stdout.split()[-3:][1:] == ["all", f"{check['measured']:.4f}"]
