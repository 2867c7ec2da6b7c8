from __future__ import annotations

import json
import shutil
import sys

import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.named import bundled_files, load_qrels, load_run, load_topics, same_ids_advice
from tests.command_line import tasb
from tests.conftest import TINY_MODEL
from tests.evaluation.conftest import printed_by


@pytest.fixture
def no_pyserini(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyserini.search", None)


@pytest.mark.usefixtures("no_pyserini")
@pytest.mark.parametrize(
    ("names", "queries", "judged", "judgments"),
    [
        (["dl19-passage"], 43, 43, 9260),
        (["dl20", "dl20-passage"], 200, 54, 11386),
        (
            [
                "msmarco-passage-dev-subset",
                "msmarco-passage-dev",
                "msmarco-passage.dev",
                "msmarco-passage.dev-subset",
                "msmarco-v1-passage-dev",
                "msmarco-v1-passage.dev",
            ],
            6980,
            6980,
            7437,
        ),
    ],
)
def test_bundled_topics_and_qrels_under_every_name(names, queries, judged, judgments):
    for name in names:
        topics, qrels = load_topics(name), load_qrels(name)
        assert (len(topics), len(qrels), sum(map(len, qrels.values()))) == (queries, judged, judgments)
        assert qrels.keys() <= topics.keys()


def test_a_known_query_and_judgment():
    assert load_topics("dl19-passage")["156493"] == "do goldfish grow"
    assert load_qrels("dl20")["23849"]["1034183"] == 3


def test_bundled_runs_hold_a_hundred_passages_for_every_judged_query():
    assert list(bundled_files("run")) == [
        f"dl{year}-passage.{system}" for year in (19, 20) for system in ("bm25", "tasb")
    ]
    for name in bundled_files("run"):
        run = load_run(name)
        assert run.keys() == load_qrels(name.partition(".")[0]).keys()
        assert {len(ranking) for ranking in run.values()} == {100}


@pytest.mark.usefixtures("no_pyserini")
def test_a_file_that_exists_wins_over_a_bundled_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dl19-passage").write_text("q 0 d 1\n")
    (tmp_path / "dl20-passage").mkdir()  # a folder does not
    assert load_qrels("dl19-passage") == {"q": {"d": 1}}
    assert len(load_qrels("dl20-passage")) == 54


@pytest.mark.usefixtures("no_pyserini")
@pytest.mark.parametrize("load", [load_topics, load_qrels, load_run])
@pytest.mark.parametrize("name", ["./absent", "folder/absent", "absent.tsv", "qrels.dl21.txt", "~/absent", "run.gz"])
def test_what_looks_like_a_path_never_reaches_pyserini(load, name):
    with pytest.raises(TasbError, match="no such file") as caught:
        load(name)
    assert "Pyserini says" not in str(caught.value)


@pytest.mark.usefixtures("no_pyserini")
def test_unknown_name_lists_the_bundled_ones_and_the_likely_one():
    with pytest.raises(TasbError) as caught:
        load_run("dl19.tasb")
    assert "dl19-passage.bm25, dl19-passage.tasb, dl20-passage.bm25" in caught.value.expected
    assert caught.value.do.startswith("did you mean `dl19-passage.tasb`?")
    with pytest.raises(TasbError) as caught:
        load_qrels("robust04")
    assert caught.value.where == "qrels `robust04`"
    assert "Pyserini says ModuleNotFoundError" in caught.value.found


ASK_PYSERINI = """
import json
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.named import load_qrels
from pyserini_tasb.formats.named import load_topics

answers = [load_qrels("robust04"), load_topics("dl21")]
for load, name in ((load_qrels, "robust05"), (load_topics, "core17"), (load_topics, "no-such-topics")):
    try:
        load(name)
    except TasbError as error:
        answers.append(error.found)
print(json.dumps(answers))
"""


@pytest.mark.usefixtures("suitable_java")
def test_other_names_come_from_pyserini_and_its_failures_are_readable(tmp_path, monkeypatch):
    """Offline: two sets lie in Pyserini's cache, two cannot be downloaded, one does not exist."""
    cache = tmp_path / ".cache" / "pyserini"
    (cache / "topics-and-qrels").mkdir(parents=True)
    (cache / "topics-and-qrels" / "qrels.robust04.txt").write_text("301 0 FBIS3-10082 1\n")
    (cache / "topics-and-qrels" / "topics.dl21.txt").write_text("2082\tAt about what age do adults normally begin\n")
    monkeypatch.setenv("PYSERINI_CACHE", str(cache))
    # Pyserini 1.6.0 knows no PYSERINI_CACHE. The proxy makes sure that nothing is downloaded.
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", f"-Duser.home={tmp_path} -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=1")
    answers = json.loads(printed_by(ASK_PYSERINI))  # so nothing else was printed there
    assert answers[0] == {"301": {"FBIS3-10082": 1}}
    assert answers[1] == {"2082": "At about what age do adults normally begin"}
    assert "Pyserini says JavaException" in answers[2]
    assert "Pyserini says JavaException" in answers[3]
    assert "Pyserini says ValueError: Topic no-such-topics Not Found" in answers[4]


@pytest.mark.parametrize(
    ("ids", "others", "said"),
    [
        (["0001", "0002"], ["1", "2"], "stock Pyserini turns the query id `0001` into `1`"),
        (["1"], ["a", "007", "01"], "stock Pyserini turns the query id `01` into `1`"),
        (["000"], ["0"], "`000` into `0`"),
        (["a1"], ["a01"], "other"),
        (["1"], ["2"], "other"),
        ([], ["2"], "other"),
    ],
)
def test_ids_that_pyserini_shortens(ids, others, said):
    assert said in same_ids_advice(ids, others, "other")


COMMANDS = {
    "evaluate": "evaluate --qrels qrels --runs padded.run",
    "fuse": "fuse --method rrf --runs padded.run short.run --output new",
    "tune": "tune --recipe tasb+bm25 --runs padded.run other.run --qrels qrels --output new.yaml",
    "rerank": "rerank --run padded.run --topics topics.tsv --corpus corpus.tsv --model model --output new",
    "show": "show padded.run --topic 1 --topics topics.tsv --corpus corpus.tsv",
    "validation-set": "validation-set --topics topics.tsv --qrels qrels --run padded.run --corpus corpus.tsv "
    "--output new",
    "mine": "mine --topics padded.tsv --qrels qrels --run padded.run --corpus corpus.tsv --output new",
    "mine a run": "mine --topics topics.tsv --qrels qrels --run padded.run --corpus corpus.tsv --output new",
}


@pytest.mark.parametrize("verb", COMMANDS)
def test_where_no_topic_matches_the_ids_are_compared_as_pyserini_makes_them(tmp_path, monkeypatch, capsys, verb):
    monkeypatch.chdir(tmp_path)
    files = {
        "padded.run": "0001 Q0 a 1 2 t\n0001 Q0 b 2 1 t\n",
        "other.run": "0001 Q0 a 1 3 t\n0001 Q0 b 2 1 t\n",
        "short.run": "1 Q0 a 1 2 t\n1 Q0 b 2 1 t\n",
        "qrels": "1 0 a 1\n",
        "topics.tsv": "1\tsome words\n",
        "padded.tsv": "0001\tsome words\n",
        "corpus.tsv": "a\tsome text\nb\tmore text\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    shutil.copytree(TINY_MODEL, tmp_path / "model")
    assert tasb(*COMMANDS[verb].split()) == 2
    assert "stock Pyserini turns the query id `0001` into `1`" in capsys.readouterr().err
