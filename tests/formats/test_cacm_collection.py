from __future__ import annotations

import hashlib
import json
import re

import pytest

import pyserini_tasb as tasb
from pyserini_tasb.environment.java import prepare_java
from pyserini_tasb.formats.cacm_collection import DATA, read_documents, read_topics, repair_qrels
from pyserini_tasb.formats.named import load_topics


def judgments(qrels: str) -> list[list[str]]:
    return [line.split() for line in qrels.splitlines()]


def test_the_three_files_are_anserinis_as_the_readme_says():
    for name, digest in re.findall(r"^\| `(\S+)` .* `(\w{64})` \|$", (DATA / "README.md").read_text(), re.MULTILINE):
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == digest
    assert {path.name for path in DATA.iterdir()} == {
        "README.md", "cacm.tar.gz", "qrels.cacm.txt", "topics.cacm.txt", "train.yaml",
    }  # fmt: skip


def test_documents():
    documents = {docid: (title, text) for docid, title, text in read_documents(DATA / "cacm.tar.gz")}
    assert list(documents) == [f"CACM-{number:04d}" for number in range(1, 3205)]
    assert documents["CACM-0001"] == (
        "Preliminary Report-International Algebraic Language",
        "CACM December, 1958 Perlis, A. J. Samelson,K. CA581203 JB March 22, 1978 8:28 PM",
    )
    title, text = documents["CACM-1046"]
    assert title == "A Compiler-Building System Developed by Brooker and Morris"
    assert text.startswith("In a number of articles published during the past two years, R. A. Brooker")
    assert text.endswith("Rosen, S. CA640701 JB March 9, 1978 8:47 PM")  # and no citations
    assert all(title and "<pre>" not in title + text and "\n" not in title + text for title, text in documents.values())


def test_repair_pads_55_docids_and_changes_nothing_else():
    original = (DATA / "qrels.cacm.txt").read_text()
    before, after = judgments(original), judgments(repair_qrels(original))
    assert len(before) == len(after) == 796
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 55
    assert all(int(old[2][5:]) == int(new[2][5:]) and old[:2] + old[3:] == new[:2] + new[3:] for old, new in changed)
    documents = {docid for docid, _, _ in read_documents(DATA / "cacm.tar.gz")}
    assert all(docid in documents for _, _, docid, _ in after)
    assert len({(qid, docid) for qid, _, docid, _ in after}) == 796


def test_layout_keeps_what_is_indexed_and_what_is_encoded_alone_in_folders(tmp_path):
    tasb.cacm(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        "archive/cacm.tar.gz",
        "documents/cacm.jsonl",
        "titled/cacm.jsonl",
        "qrels.cacm.txt",
        "qrels.repaired.txt",
        "topics.cacm.txt",
        "topics.tsv",
        "train.yaml",
    }
    documents = {row["id"]: row["contents"] for row in rows(tmp_path / "documents" / "cacm.jsonl")}
    assert len(documents) == 3204
    assert documents["CACM-0001"].startswith("Preliminary Report-International Algebraic Language CACM December, 1958")
    titled = rows(tmp_path / "titled" / "cacm.jsonl")
    assert len(titled) == 1588
    assert "CACM-0001" not in {row["id"] for row in titled}  # it has no abstract
    for row in titled:
        assert documents[row["id"]] == f"{row['title']} {row['text']}"


def test_what_cacm_returns_is_what_other_functions_take(tmp_path):
    found = tasb.cacm(tmp_path / "here")
    assert found.path == tmp_path / "here"
    assert len((found.documents / "cacm.jsonl").read_text().splitlines()) == 3204
    assert len((found.titled / "cacm.jsonl").read_text().splitlines()) == 1588
    assert len(load_topics(found.topics)) == 64
    assert len(tasb.Qrels.read(found.qrels)) == 52
    assert [path.name for path in found.archive.iterdir()] == ["cacm.tar.gz"]
    before = {path: path.read_bytes() for path in found.path.rglob("*") if path.is_file()}
    assert tasb.cacm(tmp_path / "here") == found
    assert {path: path.read_bytes() for path in found.path.rglob("*") if path.is_file()} == before


def test_topics_are_read_as_pyserini_reads_them():
    prepare_java()
    from pyserini.search import get_topics_with_reader

    reader = "io.anserini.search.topicreader.CacmTopicReader"
    topics = get_topics_with_reader(reader, str(DATA / "topics.cacm.txt"))
    expected = {str(qid): " ".join(fields["title"].split()) for qid, fields in topics.items()}
    assert dict(read_topics(DATA / "topics.cacm.txt")) == expected


def rows(path):
    return [json.loads(line) for line in path.open()]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(tasb.TasbError, match="choose another output="):
        tasb.cacm(tmp_path / "file" / "cacm")
    assert (tmp_path / "file").read_text() == "mine"
