"""Fields of a record by name, headers of TSV files, and folders, as people's collections have them."""

from __future__ import annotations

import json
import shutil

import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.collections import Corpus, Document, documents_of, open_collection
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.formats.passages import read_passages
from pyserini_tasb.formats.text_store import write_text_store
from pyserini_tasb.formats.topics import read_topics
from tests.conftest import DATA, TINY
from tests.processes import run_module

CORPORA = DATA / "corpora"
NEWS = Fields(("headline", "body"), "docno")


@pytest.fixture
def notes(caplog):
    caplog.set_level("INFO", logger="pyserini_tasb")
    return caplog


def written(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_the_cases():
    assert list(open_collection(CORPORA / "title_only.jsonl")) == [("1", "Only a title"), ("2", "and contents")]
    assert list(open_collection(CORPORA / "fields.jsonl", NEWS)) == [("1", "Rain It rained all day.")]
    assert list(open_collection(CORPORA / "notebooks")) == [("1", "kept")]
    assert list(open_collection(CORPORA / "tsv_folder")) == [("1", "first"), ("2", "second")]
    assert list(open_collection(CORPORA / "header.tsv")) == [("1", "first passage"), ("2", "second passage")]
    assert dict(open_collection(DATA / "beir"))["d3"] == "A lighthouse warns ships."


# Fields.


@pytest.mark.parametrize(
    ("names", "record", "text"),
    [
        (("headline", "body"), {"headline": " a ", "body": "b"}, "a b"),
        (("body", "headline"), {"headline": "a", "body": "b"}, "b a"),
        (("headline", "body"), {"headline": None, "body": "b"}, "b"),
        (("headline", "body"), {"headline": "a", "body": ""}, "a"),
        (("contents",), {"contents": "a\nb\n"}, "a b"),
        (("title", "contents"), {"title": "a", "contents": "b"}, "a b"),
        # As Pyserini does where the fields are lines of `contents`.
        (("title", "text"), {"contents": "a\nb"}, "a b"),
        (("title", "text"), {"contents": "a\nb\n"}, "a b"),
        (("title", "text"), {"contents": "a\n"}, "a"),
        (("text",), {"contents": "a"}, "a"),
    ],
)
def test_fields_are_joined_in_their_order(tmp_path, names, record, text):
    path = written(tmp_path / "c.jsonl", {"id": "d"} | record)
    assert list(open_collection(path, Fields(names))) == [("d", text)]


@pytest.mark.parametrize(
    ("names", "record"),
    [
        (["title", "text"], {"title": "a", "text": "b c"}),
        (["title", "text"], {"contents": "a\nb c\n"}),
        (["title", "text"], {"contents": "only a title\n"}),
        (["headline", "text"], {"headline": "a", "text": "b", "more": "c"}),
        (["text"], {"contents": "b"}),
    ],
)
def test_pyserini_reads_the_same_fields(tmp_path, names, record):
    from pyserini.encode import JsonlCollectionIterator

    path = written(tmp_path / "c.jsonl", {"docno": "d"} | record)
    stock = JsonlCollectionIterator(str(path), names, "docno")
    parts = [stock.all_info[name][0] for name in names]
    fields = Fields.named(names, "docno")
    assert list(open_collection(path, fields)) == [(stock.all_info["id"][0], " ".join(filter(None, parts)))]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (Fields(("headlin", "body"), "docno"), "no headlin: the record has docno, headline, body"),
        (Fields(("headline", "body")), "no id in id, _id, docid, a string or an integer: the record has docno, head"),
        (Fields(("headline", "body"), "number"), "no id in number, a string or an integer: the record has docno, head"),
        (Fields((), "docno"), "neither text nor contents nor title: the record has docno, headline, body"),
        (Fields(), "no id in id, _id, docid, a string or an integer: the record has docno, headline, body"),
    ],
)
def test_missing_fields_are_named_beside_those_that_are_there(fields, found):
    with pytest.raises(TasbError) as caught:
        list(open_collection(CORPORA / "fields.jsonl", fields))
    assert f"fields.jsonl:1: {found}" in caught.value.found
    assert "fields=" in caught.value.do
    assert "docid_field=" in caught.value.do


def test_contents_with_another_number_of_lines(tmp_path):
    path = written(tmp_path / "c.jsonl", {"id": "d", "contents": "a\nb\nc"})
    with pytest.raises(TasbError, match=r"no title, text: the record has id, contents"):
        list(open_collection(path, Fields(("title", "text"))))


def test_what_a_field_must_not_hold(tmp_path):
    path = written(tmp_path / "c.jsonl", {"id": "d", "body": ["a"]}, {"id": True, "body": "a"})
    with pytest.raises(TasbError) as caught:
        list(open_collection(path, Fields(("body",))))
    assert f"{path}:1: body is not a string" in caught.value.found
    assert f"{path}:2: no id in" in caught.value.found


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"title": "a"}, "a"),
        ({"title": "a", "text": None}, "a"),
        ({"title": "a", "contents": ""}, "a"),
        ({"title": "a", "contents": "b"}, "b"),
        ({"title": ""}, ""),
    ],
)
def test_a_title_alone_is_a_text(tmp_path, record, text):
    assert list(open_collection(written(tmp_path / "c.jsonl", {"id": "d"} | record))) == [("d", text)]


@pytest.mark.parametrize(
    ("fields", "document"),
    [
        (Fields(("headline", "body"), "docno"), Document("1", "Rain", "It rained all day.")),
        (Fields(("body", "headline"), "docno"), Document("1", "It rained all day.", "Rain")),
        (Fields(("body",), "docno"), Document("1", "", "It rained all day.")),
    ],
)
def test_the_title_is_the_first_of_several_fields(fields, document):
    assert list(documents_of(open_collection(CORPORA / "fields.jsonl", fields))) == [document]


def test_a_field_called_title_is_the_title(tmp_path):
    path = written(tmp_path / "c.jsonl", {"id": "d", "text": "b", "title": "a"})
    assert list(documents_of(open_collection(path, Fields(("text", "title"))))) == [Document("d", "a", "b")]
    assert list(documents_of(open_collection(path, Fields(("title",))))) == [Document("d", "a", "")]
    titles = [Document("1", "Only a title", ""), Document("2", "Both", "and contents")]
    assert list(documents_of(open_collection(CORPORA / "title_only.jsonl"))) == titles


def test_an_index_has_the_fields_of_its_raw_json(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    written(folder / "d.jsonl", {"id": "d1", "contents": "c", "headline": "a", "body": "b"})
    run_module(
        "pyserini.index.lucene", "--collection", "JsonCollection", "--input", folder, "--index", tmp_path / "index",
        "--generator", "DefaultLuceneDocumentGenerator", "--threads", 1, "--storeRaw", "--storeContents",
    )  # fmt: skip
    fields = Fields(("headline", "body"))
    assert list(open_collection(tmp_path / "index")) == [("d1", "c")]
    assert list(open_collection(tmp_path / "index", fields)) == [("d1", "a b")]
    assert read_passages(tmp_path / "index", ["d1"], fields) == {"d1": "a b"}
    with pytest.raises(TasbError, match="no headlin: the record has id, contents, headline, body"):
        list(open_collection(tmp_path / "index", Fields(("headlin", "body"))))
    with pytest.raises(TasbError, match="docids of its own"):
        open_collection(tmp_path / "index", Fields((), "docno"))


def test_what_has_no_fields_is_refused(tmp_path):
    write_text_store(tmp_path / "store", [("d", "text")])
    for path in (tmp_path / "store", f"{__name__}:outside:{CORPORA / 'fields.jsonl'}"):
        with pytest.raises(TasbError, match=r"fields= and docid_field=\n.*(text store|reader).*docids and texts"):
            open_collection(path, Fields(("body",)))
    assert list(open_collection(f"{__name__}:outside:{CORPORA / 'fields.jsonl'}")) == [("d", "text")]
    assert list(open_collection(f"lines:{CORPORA / 'fields.jsonl'}", NEWS)) == [("1", "Rain It rained all day.")]


def outside(_path):
    yield "d", "text"


def test_the_fields_are_part_of_a_corpus_state():
    path = str(CORPORA / "fields.jsonl")
    states = [Corpus([path], fields).state() for fields in (NEWS, Fields(("body",), "docno"), Fields((), "docno"))]
    assert all(one != other for number, one in enumerate(states) for other in states[:number])
    assert states[0][:1] == Corpus([path]).state()  # as before: a plan that was kept goes on


# Headers.


@pytest.mark.parametrize(
    "header",
    ["id\ttext", "_id\tcontents", "pid\tpassage text", "DocID\tText", "docno\tbody", "query-id\tquery", "\ufeffid\tx"],
)
def test_a_header_is_skipped_and_named(tmp_path, header, notes):
    path = tmp_path / "c.tsv"
    path.write_text(
        f"\n{header}\r\n1\tfirst\n2\tsecond\n" if header[0] != "\ufeff" else f"{header}\n1\tfirst\n2\tsecond\n"
    )
    collection = open_collection(path)
    assert list(collection) == [("1", "first"), ("2", "second")]
    marks = [mark for mark, _, _ in collection.marked()]
    assert [next(iter(collection.marked(mark)))[1] for mark in marks] == ["1", "2"]
    columns = header.strip("\ufeff").replace("\t", " ")
    assert [record.getMessage().split(" was ")[0].partition(": ")[2] for record in notes.records] == [f"`{columns}`"]
    assert read_topics(path) == {"1": "first", "2": "second"}


@pytest.mark.parametrize(
    "first",
    [
        "id\tThe id is the part of the mind that wants",  # a passage, by its text
        "id\t",
        "identity\ttext",
        "1\ttext",
        "ID7\ttext",
    ],
)
def test_what_is_no_header(tmp_path, first, notes):
    path = tmp_path / "c.tsv"
    path.write_text(f"{first}\nego\ttext\n")
    assert [docid for docid, _ in open_collection(path)] == [first.split("\t")[0], "ego"]
    path.write_text("ego\ttext\nid\ttext\n")  # not in the first line
    assert [docid for docid, _ in open_collection(path)] == ["ego", "id"]
    assert not notes.records


def test_each_file_of_a_folder_may_have_a_header(tmp_path, notes):
    for number in (1, 2):
        (tmp_path / f"{number}.tsv").write_text(f"id\ttext\n{number}\tx\n")
    collection = open_collection(tmp_path)
    for _ in range(2):  # and is noted once
        assert list(collection) == [("1", "x"), ("2", "x")]
    assert len(notes.records) == 2


def test_columns_below_a_header_are_fields(tmp_path):
    path = tmp_path / "c.tsv"
    path.write_text("docno\theadline\tbody\n1\tRain\tIt rained.\n2\tSnow\t\n")
    collection = open_collection(path, NEWS)
    assert list(collection) == [("1", "Rain It rained."), ("2", "Snow")]
    (_, second) = (mark for mark, _, _ in collection.marked())
    assert [text for _, _, text in collection.marked(second)] == ["Snow"]
    assert list(open_collection(path, Fields(("body",)))) == [("1", "It rained."), ("2", "")]
    assert next(iter(documents_of(open_collection(path, NEWS)))) == Document("1", "Rain", "It rained.")
    path.write_text("url\tkey\tbody\nu\t1\tIt rained.\n")  # no name of ids
    assert list(open_collection(path, Fields(("body",), "key"))) == [("1", "It rained.")]
    path.write_text("words\tkey\nIt rained.\t1\n")
    assert list(open_collection(path, Fields((), "key"))) == [("1", "It rained.")]
    path.write_text("id\ttitle\ttext\n1\tRain\tIt rained.\n2\tx\n")
    with pytest.raises(TasbError, match=r"c.tsv:3: 2 columns between tabs, below a header of 3"):
        list(open_collection(path))


@pytest.mark.parametrize("content", ["1\tRain\tIt rained.\n", "docno\ttitle\tbody\n1\tRain\tIt rained.\n", "1\tx\n"])
def test_a_tsv_without_the_fields(tmp_path, content):
    path = tmp_path / "c.tsv"
    path.write_text(content)
    with pytest.raises(TasbError, match="JSONL, or TSV whose first line names its columns, with headline") as caught:
        list(open_collection(path, NEWS))
    assert content.split("\n")[0].replace("\t", " TAB ") in caught.value.found


# Folders.


def test_hidden_folders_and_files_are_skipped(tmp_path):
    shutil.copytree(CORPORA / "notebooks", tmp_path / ".in a hidden folder")
    (tmp_path / ".in a hidden folder" / "._a.jsonl").write_bytes(b"\0\5\x16\7")
    (tmp_path / ".in a hidden folder" / "b").mkdir()
    written(tmp_path / ".in a hidden folder" / "b" / "b.jsonl", {"id": "3", "contents": "deeper"})
    assert list(open_collection(tmp_path / ".in a hidden folder")) == [("1", "kept"), ("3", "deeper")]


def test_a_folder_of_two_kinds(tmp_path):
    (tmp_path / "a.tsv").write_text("1\tx\n")
    written(tmp_path / "b.jsonl", {"id": "2", "contents": "y"})
    with pytest.raises(TasbError, match=r"both: b.jsonl \(JSONL\) and a.tsv \(TSV\)"):
        open_collection(tmp_path)
    written(tmp_path / "corpus.jsonl", {"_id": "3", "text": "z"})  # BEIR's layout
    assert list(open_collection(tmp_path)) == [("3", "z")]


def test_a_folder_without_passages_is_no_collection(tmp_path):
    shutil.copytree(CORPORA / "notebooks" / ".ipynb_checkpoints", tmp_path / ".ipynb_checkpoints")
    (tmp_path / "readme.txt").write_text("1\tx\n")
    with pytest.raises(TasbError, match="none of these"):
        open_collection(tmp_path)


def test_the_tiny_collection_by_other_names(tmp_path, collection):
    path = tmp_path / "c.jsonl"
    with path.open("w") as out:
        for line in (TINY / "corpus.jsonl").open():
            document = json.loads(line)
            record = {"docno": document["id"], "headline": document["title"], "body": document["text"]}
            out.write(json.dumps(record) + "\n")
    assert list(open_collection(path, NEWS)) == list(open_collection(TINY / "corpus.jsonl"))
