"""Values that nobody has published: recorded first, compared afterwards; and which versions moved since the last OK."""

from __future__ import annotations

import json

import pytest

from pyserini_tasb.regression import regress as command

OTHER = "1 Q0 z 1 9 x\n1 Q0 a 2 8 x\n2 Q0 z 1 9 x\n2 Q0 c 2 8 x\n"  # RR .5 instead of .75


def test_recorded_first_and_compared_afterwards(regress, small, home):
    path = small.regression(expected="measure")
    first = regress(path)
    assert (first.status, first.result("small")["verdict"]) == (0, "RECORDED")
    assert "0.7500, without a published value" in first.stdout
    assert regress(path).result("small")["verdict"] == "OK"
    small.run.write_text(OTHER)
    worse = regress(path)
    assert worse.status == 1
    rank, recall = worse.result("small")["checks"]
    assert (rank["verdict"], rank["expected"], rank["source"]["reference"]) == ("FAIL", 0.75, "the first run here")
    assert recall["verdict"] == "OK"
    recorded = json.loads((home / "regressions" / "recorded" / "small.json").read_text())
    assert recorded["values"] == {"RR@10": 0.75, "R@10": 0.75}


def test_a_higher_value_than_the_recorded_one_fails_too(regress, small):
    path = small.regression(expected="measure")
    before = small.run.read_text()
    small.run.write_text(OTHER)
    regress(path)
    small.run.write_text(before)
    assert regress(path).result("small")["verdict"] == "HIGHER"


def test_another_folder_for_what_is_recorded(regress, small, home, tmp_path):
    regress(small.regression(expected="measure"), "--recorded", tmp_path / "mine")
    assert (tmp_path / "mine" / "small.json").is_file()
    assert not home.exists()


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"values": {"RR@10": "high"}}', '{"unknown": 1}', '{"values": null}', '{"last_ok": "x"}']
)
def test_a_damaged_record_counts_as_none(regress, small, home, damage):
    path = home / "regressions" / "recorded" / "small.json"
    path.parent.mkdir(parents=True)
    path.write_text(damage)
    assert regress(small.regression(expected="measure")).result("small")["verdict"] == "RECORDED"


def test_a_failure_names_the_versions_that_moved_since_the_last_ok(regress, small, monkeypatch):
    path = small.regression()
    monkeypatch.setattr(command, "versions", lambda: {"torch": "2.12", "java": "21", "faiss-gpu": "1"})
    assert regress(path).status == 0
    monkeypatch.setattr(command, "versions", lambda: {"torch": "2.13", "java": "21", "faiss-cpu": "1"})
    small.run.write_text(OTHER)
    done = regress(path)
    assert done.result("small")["moved"] == {
        "faiss-cpu": [None, "1"],
        "faiss-gpu": ["1", None],
        "torch": ["2.12", "2.13"],
    }
    assert "faiss-cpu - → 1, faiss-gpu 1 → -, torch 2.12 → 2.13" in done.stdout
    monkeypatch.setattr(command, "versions", lambda: {"torch": "2.12", "java": "21", "faiss-gpu": "1"})
    assert "no version has changed" in regress(path).stdout


def test_a_command_that_fails_names_them_too(regress, small, stages, monkeypatch):
    monkeypatch.setattr(command, "versions", lambda: {"torch": "2.12"})
    assert regress(small.made()).status == 0
    monkeypatch.setattr(command, "versions", lambda: {"torch": "2.13"})
    assert "torch 2.12 → 2.13" in regress(small.made(what="fail")).stdout


def test_versions_are_of_what_numbers_depend_on(regress, small):
    versions = regress(small.regression()).result("small")["versions"]
    assert {"pyserini", "anserini", "torch", "transformers", "tokenizers", "java", "python"} <= versions.keys()
    assert versions["anserini"][0].isdigit()


def test_values_with_and_without_the_queries_own_documents_are_not_compared(regress, small):
    small.run.write_text("1 Q0 1 1 9 x\n1 Q0 a 2 8 x\n2 Q0 2 1 9 x\n2 Q0 c 2 8 x\n")
    kept, dropped = {"expected": "measure"}, {"expected": "measure", "remove_query": True}
    for verdict in ("RECORDED", "OK"):
        for keys, value in ((kept, 0.5), (dropped, 1.0)):
            result = regress(small.regression(**keys)).result("small")
            assert (result["verdict"], result["checks"][0]["measured"]) == (verdict, value)
