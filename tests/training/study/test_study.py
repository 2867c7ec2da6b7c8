"""`tasb study` from the configuration to the table, and what it does when it is asked again."""

from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pyserini_tasb.artifacts import locked_folder
from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluation.measures import evaluate_run
from pyserini_tasb.formats.named import load_qrels, load_run
from pyserini_tasb.formats.run import Run
from pyserini_tasb.formats.run_table import ranked_docids
from pyserini_tasb.reranking.scorers import ScoringOptions
from pyserini_tasb.training.study_cells import load_tasks, rank_tasks
from pyserini_tasb.training.study_config import Task
from pyserini_tasb.training.study_report import read_document
from tests.command_line import tasb_argv, tasb_process
from tests.conftest import TINY, TINY_MODEL
from tests.training.study.conftest import Study, study_values

CELLS = {"none+random": [1], "both+random": [1], "both+tas": [1, 2]}


def row_of(folder) -> dict:
    return json.loads((folder / "row.json").read_text())


def weights(study: Study, name: str, seed: int) -> dict:
    return load_file(study.cell(name, seed) / "run" / "model" / "model.safetensors")


def rows_of_table(study: Study) -> dict[str, list[str]]:
    """First two columns joined → the others, of the first table."""
    table = (study.output / "table.md").read_text().split("\n\n")[1].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert cells[0] == [
        "teachers",
        "sampling",
        "seeds",
        "rerank nDCG@10",
        "rerank RR@10",
        "search nDCG@10",
        "ms a pair",
    ]
    return {"+".join(filter(None, line[:2])).strip("*"): line[2:] for line in cells[2:]}


def test_every_cell_is_trained_and_measured(finished):
    for name, seeds in CELLS.items():
        for seed in seeds:
            row = row_of(finished.cell(name, seed))
            assert row["about"]["training"]["config"]["seed"] == seed
            assert set(row["values"]) == {"rerank", "search"}
            assert not (finished.cell(name, seed) / "run" / "checkpoints").exists()
    one, other = weights(finished, "both+tas", 1), weights(finished, "both+tas", 2)
    assert any((one[key] != other[key]).any() for key in one)


def test_values_are_those_of_our_own_commands(finished, tmp_path, bm25):
    cell = finished.cell("both+tas", 2)
    (card,) = (cell / "run" / "model").glob("*.yaml")
    tasb_process(
        "rerank", "--run", bm25, "--topics", TINY / "topics.tsv", "--depth", 15,
        "--corpus", TINY / "corpus.jsonl", "--model", f"tasb:{card}", "--output", tmp_path / "run.txt",
    )  # fmt: skip
    expected, found = load_run(tmp_path / "run.txt"), load_run(cell / "runs" / "rerank.txt")
    assert {qid: pytest.approx(ranking, rel=1e-5) for qid, ranking in expected.items()} == found
    qrels = load_qrels(TINY / "qrels.txt")
    evaluation = evaluate_run(expected, qrels, ["nDCG@10"])
    assert list(row_of(cell)["values"]["rerank"]["nDCG@10"].values()) == pytest.approx(evaluation.per_query["nDCG@10"])


def test_the_document_has_what_the_table_has(finished):
    document, table = read_document(finished.output), rows_of_table(finished)
    assert document.columns == (("rerank", "nDCG@10"), ("rerank", "RR@10"), ("search", "nDCG@10"))
    assert document.axes == {"teachers": ("none", "both"), "sampling": ("random", "tas")}
    assert [entry.name for entry in document.entries] == list(table)
    for entry in document.entries:
        for values, shown in zip(entry.values, table[entry.name][1:], strict=False):
            assert f"{sum(values) / len(values):.4f}" == shown[:6] if values else shown == "-"
    differences = (finished.output / "table.md").read_text().split("## Against")[1:]
    for letter, text in zip(document.letters, differences, strict=True):
        shown = [f"{each.difference:+.4f}" for each in document.differences if each.letter == letter]
        assert shown
        assert all(difference in text for difference in shown)


def test_the_table_has_what_was_measured(finished):
    table = rows_of_table(finished)
    assert list(table) == ["BM25", "untrained", "teacher", *CELLS]
    assert table["BM25"][3] == table["teacher"][3] == "-"  # one was not searched for, the other makes no vectors
    assert [row[0] for row in table.values()] == ["", "", "", "1", "1", "2"]
    for name, seeds in CELLS.items():
        means = [
            sum(values.values()) / len(values)
            for values in (row_of(finished.cell(name, seed))["values"]["search"]["nDCG@10"] for seed in seeds)
        ]
        assert table[name][3].startswith(f"{sum(means) / len(means):.4f}")
        assert (" ± " in table[name][3]) == (len(seeds) > 1)
        assert float(table[name][4]) > 0
    text = (finished.output / "table.md").read_text()
    assert "## Against u: untrained" in text
    assert "| both · tas | " in text.partition("## Against r: sampling random")[2]
    assert (finished.output / "study.png").read_bytes().startswith(b"\x89PNG")


def test_asked_again_it_does_nothing(finished, training_set, bm25, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    before = {path: path.stat().st_mtime_ns for path in finished.output.rglob("row.json")}
    assert finished() == 0
    assert caplog.text.count("done before") == 6
    assert {path: path.stat().st_mtime_ns for path in finished.output.rglob("row.json")} == before


def test_another_machine_goes_on_from_finished_rows(finished, study, caplog):
    """Its pairs have other scores in the last bit, and so another digest; its folder is another one."""
    caplog.set_level(logging.INFO)
    kept = study.folder / "kept"
    for path in finished.output.rglob("row.json"):
        row = json.loads(path.read_text())
        if "training" in row["about"]:
            row["about"]["training"] |= {"pairs": "of another machine", "clusters": "of another machine"}
        copy = kept / path.relative_to(finished.output)
        copy.parent.mkdir(parents=True)
        copy.write_text(json.dumps(row))
    missing = kept / "cells" / "both+tas" / "seed-2" / "row.json"
    missing.unlink()
    assert study(finished=str(kept)) == 0
    assert caplog.text.count("done before, elsewhere") == 4
    trained = {path.parent.relative_to(study.output) for path in study.output.rglob("seed-*/training.json")}
    assert trained == {study.cell("both+tas", 2).relative_to(study.output)}
    assert row_of(missing.parent) == row_of(study.cell("both+tas", 2))
    expected, found = rows_of_table(finished), rows_of_table(study)
    assert set(expected) - set(found) == {"teacher"}  # a row that only the other study has
    assert {name: row[:-1] for name, row in found.items()} == {name: expected[name][:-1] for name in found}
    assert "4 of 6 rows were finished on another machine" in (study.output / "table.md").read_text()


def test_finished_rows_of_something_else_are_refused_before_training(study):
    kept = str(study.folder / "kept")
    one = [{"seeds": [1]}]
    assert study(cells=one, finished=kept) == 0
    assert (study.folder / "kept" / "cells" / "none+random" / "seed-1" / "row.json").exists()
    assert (study.folder / "kept" / "rows" / "untrained" / "row.json").exists()
    elsewhere = {"output": str(study.folder / "other"), "finished": kept}
    with pytest.raises(TasbError, match="config") as refused:
        study("--set", "train.max_steps=3", cells=one, **elsewhere)
    assert refused.value.where == str(study.folder / "kept" / "cells" / "none+random" / "seed-1" / "row.json")
    assert not list((study.folder / "other").rglob("model.safetensors"))
    with pytest.raises(TasbError, match="tasks"):
        study("--set", "tasks.search.depth=5", cells=one, **elsewhere)
    # Here the model exists: it is only measured again, and the copy with it.
    assert study("--set", "tasks.search.depth=5", cells=one, finished=kept) == 0
    copy = row_of(study.folder / "kept" / "cells" / "none+random" / "seed-1")
    assert copy == row_of(study.cell("none+random"))


def test_a_grid_grows_and_is_measured_anew_without_being_trained_anew(study, capsys):
    assert study(cells=[{"seeds": [1]}]) == 0
    trained = (study.cell("none+random") / "run" / "model" / "model.safetensors").stat()
    row = study.cell("none+random") / "row.json"
    before = row.stat().st_mtime_ns
    more = {"levels": {"sampling": ["tas"]}, "seeds": [1]}
    (study.output / "study.json").unlink()
    assert study("--report-only", cells=[{"seeds": [1]}, more]) == 0
    assert capsys.readouterr().out.endswith("measured: 2 of 3 models\n")
    assert [entry.name for entry in read_document(study.output).entries] == ["BM25", "untrained", "none+random"]
    assert not (study.cell("none+tas") / "run").exists()
    assert study(cells=[{"seeds": [1]}, more]) == 0
    assert row.stat().st_mtime_ns == before
    tasks = study.values["tasks"] | {"search": study.values["tasks"]["search"] | {"measures": ["R@10"]}}
    assert study(cells=[{"seeds": [1]}, more], tasks=tasks) == 0
    assert list(json.loads(row.read_text())["values"]["search"]) == ["R@10"]
    assert (study.cell("none+random") / "run" / "model" / "model.safetensors").stat() == trained


def test_a_cell_that_was_trained_on_something_else_is_no_cell_of_this_study(study, capsys):
    one = {"cells": [{"seeds": [1]}]}
    assert study(**one) == 0
    model = (study.cell("none+random") / "run" / "model" / "model.safetensors").read_bytes()
    changed = study.values["train"] | {"batch_size": 6}
    assert study(**one, train=changed) == 1
    said = capsys.readouterr().err
    assert "none+random, seed 1 failed" in said
    assert "one with another config" in said
    assert (study.cell("none+random") / "run" / "model" / "model.safetensors").read_bytes() == model
    assert study(**one) == 0


def test_a_cell_that_fails_does_not_stop_the_others(study, capsys):
    axes = {"rate": {"sane": {}, "insane": {"optimiser.learning_rate": 1e20}}}
    cells = [{"levels": {"rate": ["insane", "sane"]}, "seeds": [1]}]
    assert study(axes=axes, cells=cells, letters={}) == 1
    out, err = capsys.readouterr()
    assert "insane, seed 1 failed" in err
    assert "a finite loss" in err
    assert "| sane | 1 | " in out
    assert not (study.cell("insane") / "row.json").exists()


def test_two_processes_share_a_study(finished, training_set, bm25, tmp_path):
    study = Study(tmp_path, study_values(tmp_path, training_set, bm25) | {"name": finished.values["name"] + "-shared"})
    command = tasb_argv("study", study.write())
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    trained = [err.count(" steps in ") for _, err in said]
    assert sum(trained) == 4
    assert all(trained)
    for out, _ in said:
        assert out.endswith((study.output / "table.md").read_text() + "\n")
    for name, seeds in CELLS.items():
        for seed in seeds:
            assert row_of(study.cell(name, seed))["values"] == row_of(finished.cell(name, seed))["values"]


def test_what_another_process_is_at_is_left_to_it_and_waited_for(study):
    path = study.write(cells=[{"levels": {"teachers": ["none", "both"]}, "seeds": [1]}])
    command = tasb_argv("study", path)
    said = []
    with locked_folder(study.cell("none+random")):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in process.stderr:
            said.append(line.strip().removeprefix("tasb study: note: "))
            if said[-1] == "none+random, seed 1: left to another process":
                break
    said += [line.removeprefix("tasb study: note: ") for line in process.communicate()[1].splitlines()]
    assert process.returncode == 0
    begun = [line for line in said if line.startswith(("none+", "both+"))]
    assert begun == ["both+random, seed 1", "none+random, seed 1: left to another process", "none+random, seed 1"]


def test_killed_at_any_time_it_ends_in_the_same_models_and_values(finished, training_set, bm25, tmp_path):
    study = Study(tmp_path, study_values(tmp_path, training_set, bm25) | {"name": finished.values["name"] + "-killed"})
    study.values["rows"] = dict(finished.values["rows"])
    study.values["train"]["checkpoint"] = {"every": 2}
    command = tasb_argv("study", study.write())
    second = study.cell("both+random") / "run" / "metrics.jsonl"
    for happened in (second.exists, (study.cell("both+tas") / "training.json").exists):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while not happened():
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
    assert not (study.cell("both+tas", 2) / "row.json").exists()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for name, seeds in CELLS.items():
        for seed in seeds:
            assert row_of(study.cell(name, seed))["values"] == row_of(finished.cell(name, seed))["values"]
            expected = weights(finished, name, seed)
            assert all((value == expected[key]).all() for key, value in weights(study, name, seed).items())


def test_interrupted_it_says_how_to_go_on(study):
    study.values["train"]["max_steps"] = 10_000
    command = tasb_argv("study", study.write(cells=[{"seeds": [1]}]))
    log = study.cell("none+random") / "run" / "metrics.jsonl"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        while not (log.exists() and log.read_text().count("step") > 3):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert f"continue with\n  tasb study {study.folder / 'study.yaml'}\n" in out


def test_a_lost_model_is_not_needed_once_its_row_is_there(study):
    assert study(cells=[{"seeds": [1]}]) == 0
    shutil.rmtree(study.cell("none+random") / "run")
    assert study(cells=[{"seeds": [1]}]) == 0


def test_queries_that_are_documents(collection, tmp_path):
    """One deeper, so that as many passages are left; what is measured is without the query's own document too."""
    own = {collection.docids[row]: text for row, text in zip((3, 9), collection.topics.values(), strict=False)}
    (tmp_path / "topics.tsv").write_text("".join(f"{qid}\t{text}\n" for qid, text in own.items()))
    (tmp_path / "qrels.txt").write_text("".join(f"{qid} 0 {collection.docids[4]} 1\n" for qid in own))
    run = {qid: {qid: 9.0, collection.docids[5]: 8.0, collection.docids[4]: 7.0} for qid in own}
    Run(run).write(tmp_path / "run.txt", tag="t")
    about = {"topics": str(tmp_path / "topics.tsv"), "qrels": str(tmp_path / "qrels.txt")}
    about |= {"collection": TINY / "corpus.jsonl", "measures": ["RR"]}
    loaded = {}
    for remove_query in (False, True):
        tasks = {
            "search": Task(**about, depth=60 + 63 * (not remove_query), remove_query=remove_query),
            "rerank": Task(**about, run=str(tmp_path / "run.txt"), depth=2, remove_query=remove_query),
        }
        loaded[remove_query] = load_tasks(tasks)
    whole, found = (rank_tasks(f"tasb:{TINY_MODEL}", tasks, ScoringOptions("cpu")) for tasks in loaded.values())
    for qid in own:
        ranked = [docid for docid in ranked_docids(whole["search"][qid]) if docid != qid]
        assert ranked_docids(found["search"][qid]) == ranked[:60]
        assert set(found["rerank"][qid]) == {collection.docids[5], collection.docids[4]}
        assert set(whole["rerank"][qid]) == {collection.docids[5], qid}
    assert [task.values(run)["RR"] for task in (loaded[False][1], loaded[True][1])] == [
        dict.fromkeys(own, pytest.approx(1 / 3)),
        dict.fromkeys(own, 1 / 2),
    ]
    same = Task(**about, depth=60)
    assert load_tasks({"search": same})[0].digest != loaded[True][0].digest


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_model_without_numbers_has_no_values(pooling, tmp_path):
    weights = load_file(TINY_MODEL / "model.safetensors")
    weights["embeddings.LayerNorm.weight"] = np.full_like(weights["embeddings.LayerNorm.weight"], np.nan)
    shutil.copytree(TINY_MODEL, tmp_path / "broken")
    save_file(weights, tmp_path / "broken" / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "card.yaml").write_text(f"name: broken\nmodel: {tmp_path / 'broken'}\npooling: {pooling}\n")
    files = {"topics": str(TINY / "topics.tsv"), "qrels": str(TINY / "qrels.txt"), "collection": TINY / "corpus.jsonl"}
    with pytest.raises(TasbError, match="finite numbers"):
        rank_tasks(f"tasb:{tmp_path / 'card.yaml'}", load_tasks({"t": Task(**files)}), ScoringOptions("cpu"))


@pytest.mark.parametrize("with_run", [False, True])
def test_a_collection_with_other_fields(with_run, tmp_path, collection):
    with (tmp_path / "news.jsonl").open("w") as out:
        for docid, title, text in zip(collection.docids, collection.titles, collection.texts, strict=True):
            out.write(json.dumps({"docno": docid, "headline": title, "body": text}) + "\n")
    about = {"topics": str(TINY / "topics.tsv"), "qrels": str(TINY / "qrels.txt"), "depth": 5}
    if with_run:
        about["run"] = str(tmp_path / "run.txt")
        Run({qid: {collection.docids[n]: 9.0 - n for n in range(6)} for qid in collection.topics}).write(about["run"])
    named = {"collection": tmp_path / "news.jsonl", "fields": ["headline", "body"], "docid_field": "docno"}
    plain, other = (load_tasks({"t": Task(**about, **of)}) for of in ({"collection": TINY / "corpus.jsonl"}, named))
    options = ScoringOptions("cpu")
    assert rank_tasks(f"tasb:{TINY_MODEL}", other, options) == rank_tasks(f"tasb:{TINY_MODEL}", plain, options)
    only_bodies = load_tasks({"t": Task(**about, **named | {"fields": ["body"]})})
    assert only_bodies[0].digest != other[0].digest
