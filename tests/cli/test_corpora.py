"""Collections as people have them, through every verb that reads one: what comes out is what a plain corpus gives."""

from __future__ import annotations

import json
import re
import shutil

import pytest

import pyserini_tasb
from pyserini_tasb.cli.main import GROUPS
from tests.cli.test_verbs import options_of
from tests.command_line import tasb
from tests.command_line_folder import contents, write_inputs
from tests.conftest import DATA
from tests.regression.conftest import Small

NEWS = "--fields headline body --docid-field docno"
# With each verb: what it writes is compared with what it writes of the plain corpus.
VERBS = {
    "encode": "--encoder model --corpus CORPUS --output new --device cpu --max-length 64",
    "pairs": "--scored-pairs scored.tsv --corpus CORPUS --topics topics.tsv --output new",
    "mine": "--topics topics.tsv --qrels qrels.txt --corpus CORPUS --run bm25.run --output new.tsv",
    "pseudo-queries": "--corpus CORPUS --output new --write-collection",
    "validation-set": "--topics topics.tsv --qrels qrels.txt --run bm25.run --corpus CORPUS --output new",
    "score": "--model model --pairs scored.tsv --corpus CORPUS --topics topics.tsv --output new.tsv --allow-reversed",
    "rerank": "--run bm25.run --model model --topics topics.tsv --corpus CORPUS --output new.run",
    "expand": "--corpus CORPUS --predictions predictions.txt --output new",
    "show": "bm25.run --topic 1 --corpus CORPUS --hits 2",
}
# A chain of many commands: tests/adaptation compares what all of them read.
TESTED_ELSEWHERE = {"adapt"}
# Texts apart, what says where they came from.
NAMES_THE_CORPUS = ("corpus.json", "manifest.json", "meta.json")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    with (folder / "news.jsonl").open("w") as out, (folder / "news.tsv").open("w") as table:
        table.write("docno\theadline\tbody\n")
        for line in (folder / "corpus.jsonl").open():
            record = json.loads(line)
            names = {"docno": record["id"], "headline": record["title"], "body": record["text"]}
            out.write(json.dumps({"language": "en", **names}) + "\n")
            table.write("\t".join(names.values()) + "\n")
    return folder


@pytest.fixture
def folder(inputs, tmp_path, monkeypatch):
    folder = shutil.copytree(inputs, tmp_path / "work")
    monkeypatch.chdir(folder)
    return folder


def run(folder, arguments, capsys):
    """What a command prints and writes; its files are taken away again."""
    before = set(contents(folder))
    assert tasb(*arguments.split()) == 0, capsys.readouterr().err
    written = {
        name: content
        for name, content in contents(folder).items()
        if name not in before and not name.endswith(NAMES_THE_CORPUS)
    }
    for name in ("new", "new.tsv", "new.run"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return capsys.readouterr().out if not written else "", written


def test_every_verb_with_a_corpus_is_here():
    with_corpus = {verb.name for group in GROUPS.values() for verb in group if "corpus" in options_of(verb)}
    assert with_corpus == {*VERBS, *TESTED_ELSEWHERE}
    for group in GROUPS.values():
        for verb in group:
            options = options_of(verb)
            has_fields = "corpus" in options or verb.name == "export"
            assert ("fields" in options) == ("docid_field" in options) == has_fields


@pytest.mark.parametrize("verb", VERBS)
def test_fields_by_other_names(verb, folder, capsys):
    typed = f"{verb} {VERBS[verb]}"
    plain = run(folder, typed.replace("CORPUS", "corpus.jsonl"), capsys)
    assert plain[0] or plain[1]
    for corpus in ("news.jsonl", "news.tsv"):
        found = run(folder, f"{typed.replace('CORPUS', corpus)} {NEWS}", capsys)
        assert found == plain


@pytest.mark.parametrize("verb", VERBS)
def test_a_missing_field_is_refused_and_nothing_written(verb, folder, capsys):
    before = contents(folder)
    typed = f"{verb} {VERBS[verb].replace('CORPUS', 'news.jsonl')} --fields headlin body --docid-field docno"
    assert tasb(*typed.split()) == 2
    said = capsys.readouterr().err
    assert "expected: lines of JSON with the id docno and the fields headlin, body" in said
    assert "news.jsonl:1: no headlin: the record has language, docno, headline, body" in said
    assert "do this:  name fields that every line has, in --fields and --docid-field" in said
    assert {name for name in contents(folder) if not name.startswith("new/units/")} == set(before)


def test_export_of_a_sample_by_fields(folder, capsys):
    assert tasb(*["export", "--encoder", "model", "--output", "new", "--fields", "body"]) == 2
    assert "--fields and --docid-field with --sample" in capsys.readouterr().err


@pytest.mark.parametrize("case", ["title_only.jsonl", "fields.jsonl", "notebooks", "tsv_folder", "header.tsv"])
def test_the_cases_are_encoded(case, folder, capsys):
    options = NEWS.split() if case == "fields.jsonl" else []
    corpus = DATA / "corpora" / case
    arguments = ["--encoder", "model", "--corpus", corpus, *options, "--output", "new", "--device", "cpu"]
    assert tasb("encode", *arguments, "--output-format", "jsonl") == 0
    said = capsys.readouterr().err
    assert ("`id text` was taken for a header and skipped" in said) == (case == "header.tsv")
    docids = [json.loads(line)["id"] for line in (folder / "new/jsonl/embeddings.jsonl").open()]
    assert docids == (["1"] if case in ("fields.jsonl", "notebooks") else ["1", "2"])


def test_a_job_goes_on_with_its_own_fields_only(folder, capsys):
    typed = f"encode {VERBS['encode'].replace('CORPUS', 'news.jsonl')} --unit-size 20"
    assert tasb(*typed.split(), *NEWS.split()) == 0
    finished = contents(folder)
    for path in list((folder / "new/units").glob("000003.*")):
        path.unlink()
    assert tasb(*typed.split(), "--fields", "body", "--docid-field", "docno") == 2
    assert "another corpus, or a changed one, or other fields of it" in capsys.readouterr().err
    assert tasb(*typed.split(), *NEWS.split()) == 0
    assert contents(folder) == finished


def test_a_store_of_other_fields_is_another_one(folder, capsys):
    typed = f"pairs {VERBS['pairs'].replace('CORPUS', 'news.jsonl')}".split()
    assert tasb(*typed, *NEWS.split()) == 0
    assert tasb(*typed, *NEWS.split()) == 0
    assert "built before" in capsys.readouterr().out
    assert tasb(*typed, "--fields", "body", "--docid-field", "docno") == 2
    assert "new" in capsys.readouterr().err


def test_fields_go_with_a_corpus(folder, capsys):
    assert tasb(*["pairs", "--triples", "scored.tsv", "--fields", "body", "--output", "new"]) == 2
    assert "--fields" in capsys.readouterr().err
    with pytest.raises(pyserini_tasb.TasbError, match=r"fields= and docid_field= with corpus="):
        pyserini_tasb.encode(texts=["a"], encoder="model", fields=["body"])


# BEIR's qrels, wherever qrels are read.

QRELS = "qrels/test.tsv"
WITH_QRELS = {
    "evaluate": "--qrels QRELS --runs bm25.run dense.run --measures nDCG@10",
    "mine": "--topics topics.tsv --qrels QRELS --corpus corpus.jsonl --run bm25.run --output new.tsv",
    "validation-set": "--topics topics.tsv --qrels QRELS --run bm25.run --corpus corpus.jsonl --output new",
    "tune": "--recipe tasb+bm25 --runs dense.run bm25.run --qrels QRELS --output new.yaml --grid 0:1:0.5",
    "pairs": "--qrels QRELS --negatives bm25.run --known-positives QRELS --corpus corpus.jsonl --topics topics.tsv "
    "--output new",
    "show": "bm25.run --topic 1 --corpus corpus.jsonl --hits 2 --qrels QRELS",
    "rerank-depths": "--qrels QRELS --first-stage bm25.run dense.run --depths 5 10 --output new.png",
}


@pytest.fixture
def beir(folder):
    """The same judgments in BEIR's layout; and nothing else, once they are taken."""
    (folder / "qrels").mkdir()
    lines = [line.split() for line in (folder / "qrels.txt").read_text().splitlines()]
    rows = "".join(f"{qid}\t{docid}\t{grade}\n" for qid, _, docid, grade in lines)
    (folder / QRELS).write_text(f"query-id\tcorpus-id\tscore\n{rows}")
    return folder


@pytest.mark.parametrize("verb", WITH_QRELS)
def test_beirs_qrels(verb, beir, capsys):
    printed, written = [], []
    for qrels in ("qrels.txt", QRELS):
        before = set(contents(beir))
        assert tasb(verb, *WITH_QRELS[verb].replace("QRELS", qrels).split()) == 0, capsys.readouterr().err
        printed.append(re.sub(r"built in .*", "", capsys.readouterr().out.replace(qrels, "QRELS")))
        written.append({name: content for name, content in contents(beir).items() if name not in before})
        for path in beir.glob("new*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert printed[0] == printed[1]
    assert printed[0]
    assert set(written[0]) == set(written[1])
    for name, content in written[0].items():
        if not name.endswith(("manifest.json", "meta.json", ".yaml", ".png")):  # which name their sources
            assert written[1][name] == content, name


def test_a_regression_with_beirs_qrels(folder, tmp_path, capsys):
    small = Small(tmp_path)
    path = small.regression()
    small.qrels.write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n1\tb\t1\n2\tc\t1\n")
    assert tasb("regress", path, "--output", "new") == 0
    assert "0.75" in capsys.readouterr().out


def test_other_qrels_of_three_columns_are_refused(folder, capsys):
    (folder / "three.tsv").write_text("1\tCACM-1\t1\n")
    for verb, arguments in WITH_QRELS.items():
        assert tasb(verb, *arguments.replace("QRELS", "three.tsv").split()) == 2
        assert "three.tsv:1: 3 columns" in capsys.readouterr().err


def test_the_whole_layout_of_beir(folder, capsys):
    beir = DATA / "beir"
    (folder / "run").write_text("q1 Q0 d1 1 2.0 t\nq1 Q0 d2 2 1.0 t\nq2 Q0 d1 1 2.0 t\nq2 Q0 d3 2 1.0 t\n")
    shared = ["--topics", beir / "queries.jsonl", "--qrels", beir / "qrels/test.tsv"]
    assert tasb("mine", *shared, "--corpus", beir, "--run", "run", "--output", "new.tsv") == 0
    lines = (folder / "new.tsv").read_text().splitlines()
    assert sorted(lines) == ["q1\td1\td2", "q2\td2\td1", "q2\td2\td3"]
    assert tasb("evaluate", "--qrels", beir / "qrels/test.tsv", "--runs", "run", "--measures", "RR@10") == 0
    assert "0.5000" in capsys.readouterr().out
