"""Stages: run once, logged, reused only when nothing has changed; a failure is no score."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from pyserini_tasb.regression import condition
from pyserini_tasb.regression import regress as command
from tests.command_line import tasb
from tests.regression.conftest import counts


def test_a_stage_makes_the_run(regress, small, stages):
    done = regress(small.made())
    assert done.status == 0
    search, evaluate = done.result("small")["stages"]
    assert search["command"][:3] == ["python", "-m", "counting"]
    assert (done.output / search["log"]).read_text() == "line one\n"
    assert evaluate["command"][:4] == ["tasb", "evaluate", "--qrels", str(small.qrels)]
    assert done.result("small")["per_query"]["RR@10"] == {"1": 1.0, "2": 0.5}


def test_a_failing_command_is_a_failure_with_its_last_lines_and_no_score(regress, small, stages):
    done = regress(small.made(what="fail"))
    assert done.status == 1
    assert "FAIL  small" in done.stdout
    assert "line one\n    no luck" in done.stdout
    result = done.result("small")
    assert (result["verdict"], result["checks"], result["per_query"]) == ("FAIL", [], {})


def test_a_command_that_makes_no_run_is_a_failure(regress, small, stages):
    done = regress(small.made(what="nothing"))
    assert done.status == 1
    assert "did not make runs/small.txt" in done.stdout


def test_an_old_run_is_never_scored_after_a_failure(regress, small, stages):
    assert regress(small.made()).status == 0
    assert regress(small.made(what="fail")).status == 1
    assert not (regress(small.made(what="nothing")).output / "runs" / "small.txt").exists()


def test_with_overwrite_all_runs_again(regress, small, stages):
    regress(small.made())
    regress(small.made(), "--overwrite")
    assert counts(regress(small.made()).output) == {"small.txt": 2}


def change_input(small, monkeypatch):
    text = small.run.read_text()
    before = small.run.stat()
    small.run.write_text(text.replace(" 8 ", " 7 "))
    os.utime(small.run, ns=(before.st_atime_ns, before.st_mtime_ns))  # same size, same time: another digest


def change_command(small, monkeypatch):
    small.made(read=small.write("same.run", small.run.read_text()))


def change_versions(small, monkeypatch):
    monkeypatch.setattr(command, "versions", lambda: {"torch": "9.9"})


def change_output(small, monkeypatch):
    (small.folder / "out" / "runs" / "small.txt").write_text(small.run.read_text() + "\n")


@pytest.mark.parametrize("change", [change_input, change_command, change_versions, change_output])
def test_what_is_not_the_same_runs_again(regress, small, stages, monkeypatch, change):
    path = small.made()
    regress(path)
    assert "done before" in regress(path).stderr
    change(small, monkeypatch)
    done = regress(path)
    assert "done before" not in done.stderr
    assert counts(done.output) == {"small.txt": 2}


def fused(small, name: str):
    """A regression that needs the runs of two others, which stand in the user's folder."""
    folder = small.folder / "home" / "regressions"
    folder.mkdir(parents=True, exist_ok=True)
    for system in ("one", "two"):
        small.made(system).rename(folder / f"{system}.yaml")
    return small.made(name, read="runs/one.txt", runs_of=["one", "two"])


def test_a_stage_that_several_conditions_need_runs_once(regress, small, stages):
    paths = [fused(small, name) for name in ("first", "second", "third")]
    done = regress(*paths, "one", "--jobs", 3)
    assert done.status == 0
    assert counts(done.output) == {"one.txt": 1, "two.txt": 1, "first.txt": 1, "second.txt": 1, "third.txt": 1}
    assert [stage["stage"] for stage in done.result("third")["stages"]] == ["search"] * 3 + ["evaluate"]


def test_a_needed_run_that_fails_fails_the_condition(regress, small, stages):
    path = fused(small, "first")
    (small.folder / "small.run").unlink()
    done = regress(path)
    assert done.status == 1
    assert counts(done.output) == {"one.txt": 1}
    assert "FileNotFoundError" in done.result("first")["failure"]


def test_regressions_that_need_each_other(small, stages, regress):
    folder = small.folder / "home" / "regressions"
    folder.mkdir(parents=True)
    for name, other in (("one", "two"), ("two", "one")):
        small.made(name, runs_of=[other]).rename(folder / f"{name}.yaml")
    done = regress("one")
    assert done.status == 2
    assert "one needs the run of two needs the run of one" in done.stderr


def test_one_kind_of_stage_at_a_time(regress, small, stages):
    path = small.made()
    evaluated = regress(path, "--stage", "evaluate")
    assert evaluated.status == 2
    assert f"needs the run runs/small.txt: tasb regress {path}, without --stage" in evaluated.stdout
    searched = regress(path, "--stage", "search")
    assert (searched.status, searched.result("small")["verdict"]) == (0, None)
    assert regress(path, "--stage", "fuse").status == 0
    assert regress(path, "--stage", "evaluate").result("small")["verdict"] == "OK"
    assert counts(searched.output) == {"small.txt": 1}


def test_ctrl_c_ends_the_commands_and_leaves_a_resumable_state(small, stages, output, regress):
    first, slow = small.made("first"), small.made("slow", what="sleep")
    # Started in the background of a script, the tests have SIGINT ignored, and so would the child.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from tests.command_line import tasb; sys.exit(tasb(*sys.argv[1:]))"
    )
    arguments = ["regress", first, slow, "--jobs", "2", "--output", output, "--allow-commands"]
    command_line = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(
        command_line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        for _ in range(300):
            if (output / "results" / "first.json").exists() and "slow.txt" in counts(output):
                break
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stdout + stderr
    assert "the same command continues" in stderr
    assert "Traceback" not in stderr
    assert not (output / "results" / "slow.json").exists()
    done = regress(first, small.made("slow"))
    assert done.status == 0
    assert counts(output) == {"first.txt": 1, "slow.txt": 2}


def test_somebody_elses_folder_is_refused(regress, small, output):
    output.mkdir()
    (output / "thesis.tex").write_text("precious")
    done = regress(small.regression())
    assert done.status == 2
    assert "an earlier run of the same command" in done.stderr
    assert [path.name for path in output.iterdir()] == ["thesis.tex"]


def test_two_at_once_in_one_folder_are_refused(regress, small, stages, output):
    regress(small.regression())
    holder = (
        "import sys, pathlib; from pyserini_tasb.artifacts import locked_folder\n"
        "with locked_folder(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(output)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        done = regress(small.regression())
        process.stdin.close()
    assert done.status == 2
    assert "another one is running" in done.stderr


def test_results_are_json_without_infinities(regress, small):
    done = regress(small.regression())
    text = (done.output / "results" / "small.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["machine"]["cpus"]


@pytest.mark.parametrize("output", ["../thesis.txt", "/elsewhere/thesis.txt", "."])
def test_outputs_elsewhere_are_refused(regress, small, output):
    stage = {"stage": "search", "command": ["counting"], "outputs": [output]}
    done = regress(small.regression(stages=[stage]))
    assert done.status == 2
    assert "outputs must be inside the folder of outputs" in done.stderr


def test_one_name_twice_is_refused(regress, small):
    done = regress(small.regression("small"), small.write("other.yaml", small.regression("small").read_text()))
    assert done.status == 2
    assert "small more than once" in done.stderr


# RR: 1 and 1/2 with the queries' own documents in the run; 1 for both without them.
OWN = "1 Q0 a 1 9 x\n1 Q0 1 2 8 x\n2 Q0 2 1 9 x\n2 Q0 c 2 8 x\n"
OWN_EXPECTED = [{"source": {"kind": "pyserini-2cr", "reference": "nowhere"}, "values": {"RR@10": 1.0, "R@10": 0.75}}]


def test_a_condition_that_drops_the_queries_own_documents(regress, small, stages):
    small.run.write_text(OWN)
    done = regress(small.made(remove_query=True, expected=OWN_EXPECTED))
    assert done.result("small")["verdict"] == "OK"
    search, evaluate = done.result("small")["stages"]
    assert "--remove-query" not in search["command"]  # no command that knows it
    assert evaluate["command"][-1] == "--remove-query"
    assert len(done.result("small")["recall"]["at"]) == 1  # hits that are left
    assert regress(small.made(expected=OWN_EXPECTED)).result("small")["verdict"] == "FAIL"


def fusing(small, **keys):
    """A regression whose stage fuses two runs, both with the queries' own documents."""
    runs = [small.write(f"{name}.run", OWN.replace("9", score)) for name, score in (("one", "9"), ("two", "10"))]
    command = ["pyserini_tasb", "fuse", "--method", "rrf", "--runs", *map(str, runs), "--output", "fused.txt"]
    stage = {"stage": "fuse", "command": command, "outputs": ["fused.txt"]}
    return small.regression("fusing", stages=[stage], run="fused.txt", expected=OWN_EXPECTED, **keys)


def test_its_commands_drop_them_too(regress, small):
    regress(fusing(small))
    kept = (small.folder / "out" / "fused.txt").read_text()
    done = regress(fusing(small, remove_query=True))
    assert "done before" not in done.stderr
    assert done.result("fusing")["verdict"] == "OK"
    assert done.result("fusing")["stages"][0]["command"][-1] == "--remove-query"
    dropped = (done.output / "fused.txt").read_text()
    assert [line.split()[2] for line in dropped.splitlines()] == ["a", "c"]
    assert len(kept.splitlines()) == 4
    assert "done before" in regress(fusing(small, remove_query=True)).stderr


@pytest.mark.parametrize("verb", condition.OUR_VERBS)
def test_the_commands_that_are_told_to_drop_them_can(verb, capsys):
    with pytest.raises(SystemExit):
        tasb(verb, "--help")
    assert "--remove-query" in capsys.readouterr().out


def test_one_name_for_two_commands_is_refused(regress, small):
    text = fusing(small).read_text()
    for name, keys in (("one", {}), ("two", {"remove_query": True})):
        content = yaml.safe_load(text) | {"name": name, **keys}
        content["stages"][0]["name"] = "shared.fuse"
        small.write(f"{name}.yaml", yaml.safe_dump(content))
    done = regress(small.folder / "one.yaml", small.folder / "two.yaml")
    assert done.status == 2
    assert "stage shared.fuse\n  expected: one command of this name: python -m pyserini_tasb fuse" in done.stderr
    assert not done.output.exists()
    folder = small.folder / "home" / "regressions"
    folder.mkdir(parents=True)
    (small.folder / "one.yaml").rename(folder / "one.yaml")
    small.write("two.yaml", yaml.safe_dump(content | {"runs_of": ["one"]}))
    assert "stage shared.fuse\n" in regress(small.folder / "two.yaml").stderr
