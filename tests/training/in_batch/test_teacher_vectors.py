"""A bi-encoder's vectors, computed once: the losses of the model in the loop, whichever folder they come from."""

from __future__ import annotations

import json
import os
import shutil
import signal

import numpy as np
import pytest

import pyserini_tasb
from pyserini_tasb.data.pair_store import open_pair_store
from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.encoding.vectors import VectorFolder
from pyserini_tasb.errors import TasbError
from pyserini_tasb.models.colbert import new_colbert, save_colbert
from pyserini_tasb.training.train import train
from tests.command_line import tasb_processes
from tests.conftest import DIMENSION, TINY_MODEL

STUDENT = {"model": str(TINY_MODEL), "query_max_length": 20, "passage_max_length": 40}
ALWAYS, NEVER = ["teacher.precompute=always"], ["teacher.precompute=never"]


def losses(run):
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return np.array([[step["loss"], step["in_batch"]] for step in records if step["kind"] == "step"])


def weights(run):
    return (run / "model" / "model.safetensors").read_bytes()


def vectors_in(run):
    return sorted(path.name.partition("-")[0] for path in (run / "teacher-vectors").glob("*"))


@pytest.fixture(scope="module")
def teacher(training_set):
    return f"tasb:{training_set.teacher}"


@pytest.fixture
def trained(training_set, tmp_path):
    """Train in a folder of its own; the run's folder."""

    def run(name, *settings, **sections):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        usual = {"name": f"{tmp_path.name}-{name}".lower(), "student": STUDENT, "batch_size": 5}
        config = training_set.config(folder, **usual | sections)
        train(config, settings=settings)
        return folder / "run"

    return run


@pytest.fixture(scope="module")
def folders(training_set, teacher, tmp_path_factory):
    """Vectors of the pairs' texts, as `tasb encode` makes them of the pair store and of the whole collection."""
    made = tmp_path_factory.mktemp("vectors")
    caps = {"queries": {"max_length": 20, "kind": "query"}, "passages": {"max_length": 40}}
    corpora = {
        "store": {side: training_set.pairs / side for side in caps},
        "whole": {
            "queries": training_set.pairs.parent / "queries.tsv",
            "passages": training_set.pairs.parent / "collection.tsv",
        },
    }
    for name, sides in corpora.items():
        for dtype in ("fp32", "fp16"):
            for side, corpus in sides.items():
                output = made / f"{name}-{dtype}" / side
                pyserini_tasb.encode(
                    corpus, encoder=teacher, output=output, dtype=dtype, unit_size=7, device="cpu", **caps[side]
                )
    return made


def named(folder, *sides):
    return {side: str(folder / side) for side in sides or ("queries", "passages")}


def test_losses_are_those_of_the_model_in_the_loop(trained, folders, teacher):
    live = losses(trained("live", *NEVER))
    assert len(live) == 8
    made = trained("made", *ALWAYS)
    np.testing.assert_allclose(losses(made), live, rtol=1e-5)
    assert vectors_in(made) == ["passages", "queries"]
    for name, tolerance in (("store-fp32", 1e-5), ("whole-fp32", 1e-5), ("whole-fp16", 5e-3)):
        given = trained(name, teacher={"in_batch": teacher, "vectors": named(folders / name)})
        np.testing.assert_allclose(losses(given), live, rtol=tolerance)
        assert vectors_in(given) == []
    without_a_model = trained("no-model", teacher={"vectors": named(folders / "whole-fp16")})
    assert weights(without_a_model) == weights(given)


def test_the_side_without_a_folder_is_encoded(trained, folders, teacher):
    passages = {"in_batch": teacher, "vectors": named(folders / "store-fp32", "passages")}
    run = trained("half", teacher=passages)
    assert vectors_in(run) == ["queries"]
    np.testing.assert_allclose(losses(run), losses(trained("live", *NEVER)), rtol=1e-5)


def test_two_processes_share_the_encoding(training_set, trained, tmp_path):
    one = losses(trained("one", *ALWAYS, student=STUDENT | {"dropout": 0.0, "attention_dropout": 0.0}))
    folder = tmp_path / "two"
    folder.mkdir()
    student = STUDENT | {"dropout": 0.0, "attention_dropout": 0.0}
    config = training_set.config(folder, student=student, batch_size=5)
    tasb_processes(2, "train", config, "--set", "device=cpu", *ALWAYS)
    assert vectors_in(folder / "run") == ["passages", "queries"]
    np.testing.assert_allclose(losses(folder / "run"), one, rtol=1e-5)


def test_what_is_less_work_is_done(trained, training_set, tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO", "pyserini_tasb")
    store = open_pair_store(training_set.pairs)
    texts = len(store.queries) + len(store.passages)
    steps = -(-texts // (5 * 3))
    assert vectors_in(trained("few", max_steps=steps - 1)) == []
    assert f"batch by batch: the batches of {steps - 1} steps have {15 * (steps - 1)}, the pairs {texts}" in caplog.text
    many = trained("many", max_steps=steps)
    assert vectors_in(many) == ["passages", "queries"]
    assert f"the {texts} texts of the pairs are encoded once; the batches of {steps} steps" in caplog.text
    size = texts * DIMENSION * 4
    full = shutil.disk_usage("/")._replace(free=2 * size - 1)
    with monkeypatch.context() as context:
        context.setattr("pyserini_tasb.training.teacher_vectors.shutil.disk_usage", lambda _path: full)
        assert vectors_in(trained("full", max_steps=steps)) == []
        shutil.copytree(many / "teacher-vectors", tmp_path / "killed" / "run" / "teacher-vectors")
        assert vectors_in(trained("killed", max_steps=steps)) == ["passages", "queries"]  # room that they take counts
    assert "would take 0.0 GB, and the disk has 0.0 GB" in caplog.text


@pytest.mark.parametrize(("first", "then"), [(ALWAYS, NEVER), (NEVER, ALWAYS)])
def test_a_run_goes_on_with_what_it_began_with(trained, first, then):
    begun = trained("begun", *first, max_steps=3)
    trained("begun", *then, max_steps=6)
    whole = trained("whole", *first, max_steps=6)
    assert weights(begun) == weights(whole)
    assert vectors_in(begun) == vectors_in(whole)


def test_interrupted_while_vectors_are_made(trained, monkeypatch):
    """As by Ctrl-C, in the second unit: the first is not encoded again, and the model has the same bits."""
    monkeypatch.setattr("pyserini_tasb.training.teacher_vectors.TEXTS_OF_A_UNIT", 10)
    whole = trained("whole", *ALWAYS)
    begin_tokens, batches = TextEncoder.begin_tokens, []

    def interrupted(self, token_ids, lengths, **options):
        batches.append(len(lengths))
        if sum(batches) > 10:
            os.kill(os.getpid(), signal.SIGINT)
        return begin_tokens(self, token_ids, lengths, **options)

    with monkeypatch.context() as context:
        context.setattr(TextEncoder, "begin_tokens", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained("begun", *ALWAYS)
    begun = whole.parent.parent / "begun" / "run"
    written = {unit: unit.stat().st_mtime_ns for unit in begun.glob("teacher-vectors/queries-*/units/*.json")}
    assert 1 <= len(written) <= 2
    assert not (begun / "checkpoints").exists()
    trained("begun", *ALWAYS)
    assert {unit: unit.stat().st_mtime_ns for unit in written} == written
    assert weights(begun) == weights(whole)


def test_where_nothing_was_trained_vectors_of_another_teacher_go(trained, training_set, tmp_path, monkeypatch):
    with monkeypatch.context() as context:
        context.setattr("pyserini_tasb.training.train.finished_run", None)
        with pytest.raises(TypeError):
            trained("run", *ALWAYS)
    before = set((tmp_path / "run" / "run" / "teacher-vectors").iterdir())
    trained("run", *ALWAYS, teacher={"in_batch": str(TINY_MODEL)})
    after = set((tmp_path / "run" / "run" / "teacher-vectors").iterdir())
    assert (len(before), len(after), before & after) == (2, 2, set())


def test_other_vectors_are_not_gone_on_with(trained, folders, teacher, tmp_path):
    copied = tmp_path / "vectors"
    shutil.copytree(folders / "store-fp32", copied)
    sections = {"teacher": {"in_batch": teacher, "vectors": named(copied)}}
    trained("run", max_steps=2, **sections)
    shutil.rmtree(copied)
    shutil.copytree(folders / "store-fp16", copied)
    with pytest.raises(TasbError, match="the vectors of the in-batch teacher that the run began with"):
        trained("run", max_steps=3, **sections)


def test_folders_that_do_not_fit(trained, folders, teacher, training_set, tmp_path):
    both = named(folders / "store-fp32")
    other = {"in_batch": str(TINY_MODEL), "vectors": both}
    with pytest.raises(TasbError, match=rf"(?s)vectors of the encoder `{TINY_MODEL}`.*vectors of `{teacher}`"):
        trained("another-model", teacher=other)
    swapped = {"queries": both["passages"], "passages": both["queries"]}
    with pytest.raises(TasbError, match=r"(?s)kind='query', for `teacher.vectors.queries`.*kind='passage'"):
        trained("swapped", teacher={"in_batch": teacher, "vectors": swapped})
    few = tmp_path / "few.tsv"
    lines = (training_set.pairs.parent / "collection.tsv").read_text().splitlines(keepends=True)
    few.write_text("".join(lines[2:]))
    pyserini_tasb.encode(few, encoder=teacher, output=tmp_path / "few", device="cpu")
    missing = [line.partition("\t")[0] for line in lines[:2]]
    with pytest.raises(TasbError, match=f"(?s)none for 2 of them: .*{missing[0]}.*or leave out `teacher"):
        trained("few", teacher={"in_batch": teacher, "vectors": both | {"passages": str(tmp_path / "few")}})
    with pytest.raises(TasbError, match="a vector folder"):
        trained("none", teacher={"in_batch": teacher, "vectors": both | {"passages": str(tmp_path)}})
    mixed = pyserini_tasb.encode(
        training_set.pairs / "passages", encoder=str(TINY_MODEL), output=tmp_path / "mixed", device="cpu"
    )
    with pytest.raises(TasbError, match="vectors of the encoder that made"):
        trained("mixed", teacher={"vectors": both | {"passages": os.fspath(mixed)}})


def test_the_digest_is_of_the_weights(trained, folders, teacher, training_set, tmp_path):
    """A card of the same name, and other weights behind it."""
    model = shutil.copytree(TINY_MODEL, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-3}))
    (tmp_path / "teacher.yaml").write_text(f"name: teacher\nmodel: {model}\npooling: mean\n")
    sections = {"in_batch": f"tasb:{tmp_path}/teacher.yaml", "vectors": named(folders / "store-fp32")}
    with pytest.raises(TasbError, match="with its present card, tokenizer and weights"):
        trained("run", teacher=sections)


def test_other_kinds_of_teachers_have_no_vectors(trained, tmp_path):
    from transformers import AutoTokenizer

    (tmp_path / "colbert").mkdir()
    save_colbert(tmp_path / "colbert", new_colbert(TINY_MODEL, dimension=12, seed=3))
    AutoTokenizer.from_pretrained(TINY_MODEL).save_pretrained(tmp_path / "colbert")
    with pytest.raises(TasbError, match=r"(?s)a bi-encoder as `teacher.in_batch`.*of the kind colbert"):
        trained("run", *ALWAYS, teacher={"in_batch": str(tmp_path / "colbert")})


def test_a_longer_cap_of_the_teacher_is_said(trained, folders, teacher, training_set, tmp_path, caplog):
    """Vectors made for a search keep more of a text than the student reads."""
    caplog.set_level("INFO", "pyserini_tasb")
    longer = pyserini_tasb.encode(
        training_set.pairs / "passages", encoder=teacher, output=tmp_path / "longer", device="cpu"
    )
    queries = named(folders / "store-fp32", "queries")
    trained("run", max_steps=1, teacher={"in_batch": teacher, "vectors": queries | {"passages": os.fspath(longer)}})
    assert "read at most 512 tokens of its passages; the student reads 40" in caplog.text
    assert VectorFolder(longer.path).about["max_length"] == 512
