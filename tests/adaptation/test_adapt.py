"""`tasb adapt` on the tiny collection: killed at a step, continued from Python, and measured on judged queries."""

from __future__ import annotations

import json
import signal

import pytest

from pyserini_tasb import TasbDocumentEncoder, TasbError, adapt
from pyserini_tasb.adaptation import adapt as chapter
from pyserini_tasb.formats.topics import read_topics
from pyserini_tasb.recipes.lookup import encoder_card
from pyserini_tasb.regression.steps import STAMPS, Pipeline, StepFailedError
from tests.command_line import tasb, tasb_argv
from tests.conftest import TINY, TINY_MODEL
from tests.processes import marked

CORPUS = TINY / "corpus.jsonl"
SECONDS = 300
# What the command is given, by the names of the function's arguments.
OPTIONS = {
    "name": "tiny-adapted",
    "student": f"tasb:{TINY_MODEL}",
    "negatives": 4,
    "batch_size": 8,
    "max_steps": 6,
    "max_length": 40,
    "device": "cpu",
    "seed": 3,
}
SETTINGS = ["optimiser.learning_rate=1e-3", "precision=fp32"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> str:
    """Another encoder than the student: the same weights, pooled in another way."""
    card = tmp_path_factory.mktemp("teacher") / "teacher.yaml"
    card.write_text(f"name: teacher\nmodel: {TINY_MODEL}\npooling: mean\n")
    return f"tasb:{card}"


@pytest.fixture(scope="module")
def leak(collection) -> str:
    """A document whose title becomes a query, unless that is a judged one."""
    return next(
        docid
        for docid, title, text in zip(collection.docids, collection.titles, collection.texts, strict=True)
        if len(title.split()) > 3 and text and collection.titles.count(title) == 1
    )


@pytest.fixture(scope="module")
def judged(tmp_path_factory, collection, leak):
    """The tiny topics and judgments, and one more: a document's title, in other letters."""
    folder = tmp_path_factory.mktemp("judged")
    title = collection.titles[collection.docids.index(leak)]
    (folder / "topics.tsv").write_text(f"{(TINY / 'topics.tsv').read_text()}leak\t{title.upper()}\n")
    (folder / "qrels.txt").write_text(f"{(TINY / 'qrels.txt').read_text()}leak 0 {leak} 1\n")
    return {"topics": folder / "topics.tsv", "qrels": folder / "qrels.txt"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("adapt") / "out"


@pytest.fixture(scope="module")
def arguments(teacher, judged):
    return {**OPTIONS, "teacher": teacher, "settings": SETTINGS, "allow_reversed": True, **judged}


@pytest.fixture(scope="module")
def stamps_of_killed(folder, arguments):
    """The finished steps of a command that was killed in its training."""
    words = ["adapt", "--corpus", CORPUS, "--output", folder, "--allow-reversed", "--set", *SETTINGS]
    for name, value in arguments.items():
        if name not in {"settings", "allow_reversed"}:
            words += [f"--{name.replace('_', '-')}", value]
    with marked(tasb_argv(*words)) as process:
        process.wait_until((folder / "logs" / "train.log").exists, SECONDS)
        process.popen.send_signal(signal.SIGKILL)
        assert not process.orphans()
    return stamps(folder)


@pytest.fixture(scope="module")
def adapted(stamps_of_killed, folder, arguments):
    return adapt(CORPUS, output=folder, **arguments)


def stamps(folder):
    """When each step was finished."""
    return {path.stem: path.stat().st_mtime_ns for path in (folder / STAMPS).glob("*.json") if "." not in path.stem}


def test_what_a_killed_command_finished_is_not_done_again(stamps_of_killed, adapted, folder):
    assert {"queries", "mine-bm25", "mine-student", "pairs", "cluster"} < stamps_of_killed.keys()
    assert "train" not in stamps_of_killed
    now = stamps(folder)
    assert {name: now[name] for name in stamps_of_killed} == stamps_of_killed
    assert {"train", "search-adapted", "search-teacher"} < now.keys()
    assert adapted.seconds.keys() == now.keys()


def test_the_adapted_encoder_is_there_under_its_name(adapted):
    assert adapted.encoder == "tasb:tiny-adapted"
    assert encoder_card(adapted.encoder).model == str(adapted.model)
    text = ["a compiler for Algol"]
    vectors = [TasbDocumentEncoder(name, device="cpu").encode(text) for name in (adapted.encoder, str(TINY_MODEL))]
    assert abs(vectors[0] - vectors[1]).max() > 1e-4  # it has learnt something


def test_four_systems_are_compared_on_the_judged_queries(adapted, folder):
    assert adapted.judged == 11
    assert adapted.comparison.runs == ["BM25", "start", "adapted", "teacher"]
    assert adapted.comparison.measures == ["nDCG@10", "R@100"]
    assert {(run, other) for run, other in adapted.comparison.tests["nDCG@10"]} >= {("start", "adapted")}
    values = [adapted.comparison[name].overall["nDCG@10"] for name in ("start", "adapted")]
    assert values[0] != values[1]
    report = json.loads((folder / "report.json").read_text())
    assert [run["run"] for run in report["comparison"]["runs"]] == adapted.comparison.runs
    assert report["options"]["sampling"] == "tas-balanced"
    assert report["counts"] == {
        name: getattr(adapted, name) for name in ("documents", "queries", "pairs", "steps", "judged")
    }
    assert (folder / "report.txt").read_text() == f"{adapted.summary}\n"


def test_no_judged_query_is_a_training_query(adapted, folder, judged, leak):
    trained = {text.casefold() for text in read_topics(folder / "queries" / "queries.tsv").values()}
    topics = {text.casefold() for text in read_topics(judged["topics"]).values()}
    assert not trained & topics
    assert f"pseudo-{leak}" not in read_topics(folder / "queries" / "queries.tsv")
    report = json.loads((folder / "report.json").read_text())
    assert any("1 whose query is excluded" in line for line in report["queries"])
    assert report["judged queries among the training queries"] == 0


def test_no_judgment_is_read_by_a_step_before_the_measuring(adapted, folder):
    commands = json.loads((folder / "adapt.json").read_text())["steps"]
    assert not any(
        "qrels" in command for name, command in commands.items() if name not in {"mine-bm25", "mine-student", "pairs"}
    )
    assert "judged" not in "".join(commands[name] for name in commands if not name.startswith(("queries", "search")))


def test_a_finished_folder_runs_nothing_again(adapted, folder, arguments, caplog):
    caplog.set_level("INFO")
    before = stamps(folder)
    again = adapt(CORPUS, output=folder, **arguments, measures=["RR@10"])
    assert stamps(folder) == before
    assert caplog.text.count("done before") == len(before)
    assert again.comparison.measures == ["RR@10"]  # measuring is free


@pytest.mark.parametrize(
    ("change", "step", "was"),
    [
        ({"sampling": "random"}, "train", "sampling='tas-balanced'"),
        ({"negatives": 5}, "mine-bm25", "negatives=4"),
        ({"mine_with": ["bm25"]}, "pairs", r"mine_with=\['bm25', 'student'\]"),
        ({"seed": 0}, "queries", "seed=3"),
        ({"source": "sentence", "queries": 7}, "queries", "source='auto', queries=250000"),
        ({"max_length": 30}, "encode-student-passages", "max_length=40"),
        ({"settings": ["optimiser.learning_rate=1e-4"]}, "train", r"settings=\['optimiser.learning_rate=1e-3', .*\]"),
        ({"fields": ["text"]}, "documents", "no fields="),
        (
            {"topics": {"1": "another query"}, "qrels": {"1": {"CACM-1410": 1}}},
            "queries",
            "topics= and qrels= as before",
        ),
        ({"topics": None, "qrels": None}, "queries", "topics= and qrels= as before"),
        ({"topics": None, "qrels": None, "negatives": 5}, "queries", "negatives=4, topics= and qrels= as before"),
    ],
)
def test_a_changed_option_is_refused_with_the_step_that_it_changes(adapted, folder, arguments, change, step, was):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(TasbError, match=f"begun with: {was}\n.*that changes the step {step} and what follows"):
        adapt(CORPUS, output=folder, **{**arguments, **change})
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_another_corpus_or_teacher_under_the_same_name_is_refused(adapted, folder, arguments, tmp_path, teacher):
    other = tmp_path / "corpus.jsonl"
    other.write_text(CORPUS.read_text().replace("algorithm", "rule"))
    with pytest.raises(TasbError, match="another corpus; that changes the step documents"):
        adapt(other, output=folder, **arguments)
    card = tmp_path / "teacher.yaml"
    card.write_text(f"name: teacher\nmodel: {TINY_MODEL}\n")
    with pytest.raises(TasbError, match=r"teacher=.*that changes the step encode-teacher-passages"):
        adapt(CORPUS, output=folder, **{**arguments, "teacher": f"tasb:{card}"})


# What needs no step to run.


class StoppedError(Exception):
    """Raised in place of the steps."""


@pytest.fixture
def without_steps(monkeypatch):
    def stop(_pipeline, steps):
        raise StoppedError

    monkeypatch.setattr(Pipeline, "run", stop)


def test_judged_queries_may_come_later_unless_they_have_trained(without_steps, tmp_path, arguments, judged, collection):
    output = tmp_path / "out"
    documents_only = {**arguments, "name": "later", "topics": None, "qrels": None}
    with pytest.raises(StoppedError):
        adapt(CORPUS, output=output, **documents_only)
    (output / "queries").mkdir()
    (output / "queries" / "queries.tsv").write_text(f"pseudo-1\t{collection.titles[3]}\n")
    seen = {"topics": {"7": f" {collection.titles[3].lower()}"}, "qrels": {"7": {collection.docids[3]: 1}}}
    with pytest.raises(TasbError, match="1 that were, such as pseudo-1"):
        adapt(CORPUS, output=output, **{**documents_only, **seen})
    with pytest.raises(StoppedError):
        adapt(CORPUS, output=output, **{**documents_only, "topics": TINY / "topics.tsv", "qrels": TINY / "qrels.txt"})


def test_fields_by_other_names(without_steps, tmp_path, arguments):
    news = tmp_path / "news.jsonl"
    with CORPUS.open() as lines, news.open("w") as out:
        for record in map(json.loads, lines):
            named = {"docno": record["id"], "headline": record["title"], "body": record["text"], "language": "en"}
            out.write(json.dumps(named) + "\n")
    calls = {"plain": (CORPUS, {}), "news": (news, {"fields": ["headline", "body"], "docid_field": "docno"})}
    for name, (corpus, fields) in calls.items():
        with pytest.raises(StoppedError):
            adapt(corpus, output=tmp_path / name, **{**arguments, "name": name, **fields})
    plain, found = (tmp_path / name / "documents" / "documents.jsonl" for name in calls)
    records = [[json.loads(line) for line in path.read_text().splitlines()] for path in (plain, found)]
    for record in records[0]:  # `headline` is a title, too: the first of several fields
        assert record["contents"].startswith(record.get("title", ""))
    assert records[1] == records[0]


def test_the_corpus_is_written_once_with_its_titles(without_steps, tmp_path, arguments, collection):
    with pytest.raises(StoppedError):
        adapt(CORPUS, output=tmp_path / "out", **{**arguments, "name": "written"})
    records = list(map(json.loads, (tmp_path / "out" / "documents" / "documents.jsonl").read_text().splitlines()))
    assert [record["id"] for record in records] == collection.docids
    for record, title, text in zip(records, collection.titles, collection.texts, strict=True):
        assert record.get("title", "") == " ".join(title.split())
        assert record["contents"].split() == f"{title} {text}".split()


def test_a_failed_step_says_how_to_go_on(monkeypatch, tmp_path, arguments):
    def fail(_pipeline, steps):
        raise StepFailedError("step mine exited with status 1")

    monkeypatch.setattr(Pipeline, "run", fail)
    with pytest.raises(StepFailedError, match="status 1\nThe same command goes on from this step"):
        adapt(CORPUS, output=tmp_path / "out", **{**arguments, "name": "failed"})


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"qrels": None}, "only topics="),
        ({"sampling": "balanced"}, "one of random, tas, tas-balanced for sampling="),
        ({"mine_with": []}, "mine_with= with bm25 or student"),
        ({"mine_with": ["bm25", "bm25"]}, "mine_with= with bm25 or student"),
        ({"measures": ["nDGC@10"]}, "nDCG@10"),
        ({"batch_size": 1}, "batch_size= of at least 2"),
        ({"settings": ["max_steps=3"]}, "use max_steps="),
        ({"settings": ["optimizer.learning_rate=1"]}, "optimiser"),
        ({"student": "no-such-encoder"}, "no-such-encoder"),
        ({"topics": {"x": "no judgments"}}, "none of 1 topics"),
        ({"name": "No Name"}, "a name of small letters"),
    ],
)
def test_what_cannot_work_is_refused_before_any_step(without_steps, tmp_path, arguments, change, error):
    with pytest.raises(TasbError, match=error):
        adapt(CORPUS, output=tmp_path / "out", **{**arguments, "name": "refused", **change})
    assert not (tmp_path / "out" / "adapt.json").exists()


def test_without_a_suitable_java_nothing_begins(without_steps, tmp_path, arguments, monkeypatch):
    monkeypatch.setattr("pyserini_tasb.environment.java.find_java", lambda: None)
    with pytest.raises(TasbError, match="a Java 21 or newer"):
        adapt(CORPUS, output=tmp_path / "out", **{**arguments, "name": "java"})
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_refused(tmp_path, arguments, capsys):
    (tmp_path / "mine.txt").touch()
    assert tasb("adapt", "--corpus", CORPUS, "--output", tmp_path, "--name", "x", "--student", TINY_MODEL,
                "--teacher", TINY_MODEL) == 2  # fmt: skip
    assert "an earlier run of the same command" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_models_are_found_from_the_steps_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "minilm").mkdir()
    (tmp_path / "mine").mkdir()
    named = {
        name: chapter._found_anywhere(name) for name in ("tasb:minilm", "minilm", "tasb:mine", "mine", "org/model")
    }
    assert named == {
        "tasb:minilm": "tasb:minilm",  # a card's name comes first, as everywhere
        "minilm": "minilm",
        "tasb:mine": f"tasb:{tmp_path / 'mine'}",
        "mine": str(tmp_path / "mine"),
        "org/model": "org/model",
    }
