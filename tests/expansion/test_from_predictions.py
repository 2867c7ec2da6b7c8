"""`tasb expand --predictions`: the published forms, and what does not fit the collection."""

from __future__ import annotations

import gzip
import json
import os

import pytest

import pyserini_tasb
from pyserini_tasb import TasbError
from tests.command_line import tasb
from tests.conftest import DATA, write_tsv
from tests.retrieval.hybrid.lucene_indexes import index_folder

PASSAGES = {
    "p0": "Sparse retrieval counts words.",
    "p7": "Dense retrieval has vectors.",
    "p3": "Queries are short.",
}
PREDICTED = [["what is sparse", "zygote  words"], [], ["how long is a query", "what is sparse"]]


@pytest.fixture
def collection(tmp_path):
    return write_tsv(tmp_path / "collection.tsv", PASSAGES)


@pytest.fixture
def expand(tmp_path, collection, capsys):
    """Run `tasb expand`: exit status, the folder, what it said."""

    def run(*predictions, options=()):
        output = tmp_path / "expanded"
        arguments = ["--corpus", collection, "--predictions", *predictions, "--output", output, *options]
        status = tasb("expand", *arguments)
        printed = capsys.readouterr()
        return status, output, printed.out if status == 0 else printed.err

    return run


@pytest.fixture
def refused(expand):
    """Run `tasb expand`, which is to fail and to leave nothing; what it said."""

    def run(*predictions, options=()):
        status, output, said = expand(*predictions, options=options)
        assert status == 2
        assert not list(output.parent.glob("expanded*"))
        return said

    return run


def as_text(path, samples=PREDICTED):
    path.write_text("".join(" ".join(queries) + "\n" for queries in samples))
    return path


def as_jsonl(path, docids=tuple(PASSAGES), samples=PREDICTED):
    records = [{"id": docid, "predicted_queries": queries} for docid, queries in zip(docids, samples, strict=True)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read(folder):
    return {path.name: [json.loads(line) for line in path.open()] for path in sorted(folder.iterdir())}


EXPANDED = [
    {"id": "p0", "contents": "Sparse retrieval counts words. what is sparse zygote words"},
    {"id": "p7", "contents": "Dense retrieval has vectors."},
    {"id": "p3", "contents": "Queries are short. how long is a query what is sparse"},
]


def test_a_line_of_queries_for_each_passage(expand, tmp_path):
    path = tmp_path / "predictions.txt.gz"
    path.write_bytes(gzip.compress(as_text(tmp_path / "plain").read_bytes()))
    status, output, said = expand(path)
    assert status == 0
    assert read(output) == {"000000.jsonl": EXPANDED}
    assert "3 passages" in said
    assert f"--input {output}" in said


def test_from_python(tmp_path, collection):
    path = as_text(tmp_path / "predictions.txt")
    made = pyserini_tasb.expand(collection, predictions=path, output=tmp_path / "new")
    assert (made.path, made.passages, os.fspath(made)) == (tmp_path / "new", 3, str(tmp_path / "new"))
    assert read(made.path) == {"000000.jsonl": EXPANDED}
    given = [({}, "neither"), ({"predictions": []}, "neither"), ({"predictions": path, "model": "t5"}, "both")]
    for arguments, found in given:
        with pytest.raises(TasbError, match=rf"predictions= or model=\n +found: +{found}"):
            pyserini_tasb.expand(collection, output=tmp_path / "other", **arguments)
    with pytest.raises(TasbError, match="predictions= and top_k=, allow_bin=\n"):
        pyserini_tasb.expand(collection, predictions=[path], output=tmp_path / "other", top_k=5, allow_bin=True)


def test_samples_side_by_side(expand, tmp_path):
    first = as_text(tmp_path / "sample000", [queries[:1] for queries in PREDICTED])
    second = as_text(tmp_path / "sample001", [queries[1:] for queries in PREDICTED])
    _, output, _ = expand(first, second)
    assert read(output) == {"000000.jsonl": EXPANDED}


def test_jsonl_in_one_file_and_in_several(expand, tmp_path):
    docids = list(PASSAGES)
    parts = [
        as_jsonl(tmp_path / "0.jsonl", docids[:1], PREDICTED[:1]),
        as_jsonl(tmp_path / "1.jsonl", docids[1:], PREDICTED[1:]),
    ]
    _, output, _ = expand(*parts, options=["--shard-size", 2])
    assert read(output) == {"000000.jsonl": EXPANDED[:2], "000001.jsonl": EXPANDED[2:]}
    output.rename(tmp_path / "of parts")
    _, output, _ = expand(as_jsonl(tmp_path / "all.jsonl"), options=["--shard-size", 2])
    assert read(output) == read(tmp_path / "of parts")


def test_a_passage_is_found_by_a_predicted_query(expand, tmp_path):
    from pyserini.search.lucene import LuceneSearcher

    _, output, _ = expand(as_text(tmp_path / "predictions.txt"))
    index = index_folder(output, tmp_path / "index")
    assert [hit.docid for hit in LuceneSearcher(str(index)).search("zygote")] == ["p0"]


@pytest.mark.parametrize("write", [as_text, as_jsonl])
def test_more_or_fewer_predictions_than_passages(write, refused, tmp_path, collection):
    options = [] if write is as_text else [["p0", "p7"], [*PASSAGES, "p9", "p10"]]
    few = write(tmp_path / "few", *options[:1], samples=PREDICTED[:2])
    said = refused(few)
    assert f"3 predictions, one for each passage of {collection}" in said
    assert "found:    2" in said
    many = write(tmp_path / "many", *options[1:], samples=[*PREDICTED, ["a"], ["b"]])
    said = refused(many)
    assert "3 predictions" in said
    assert "found:    5" in said


def test_samples_of_unequal_length(refused, tmp_path):
    one, other = as_text(tmp_path / "one"), as_text(tmp_path / "other", PREDICTED[:2])
    said = refused(one, other)
    assert f"{other}\n  expected: 3 lines, as {one} has\n  found:    2" in said


def test_predictions_in_another_order(refused, tmp_path, collection):
    path = as_jsonl(tmp_path / "other.jsonl", ["p0", "p3", "p7"])
    said = refused(path)
    assert f"{path}:2" in said
    assert f"a prediction for p7, the passage at {collection}:2" in said
    assert "one for p3" in said


def test_faulty_lines_are_all_named(refused, tmp_path):
    path = tmp_path / "faulty.jsonl"
    path.write_text('{"id": "p0", "predicted_queries": "a"}\n{"id": true, "predicted_queries": []}\n{"id": "p3"\n')
    said = refused(path)
    for line, fault in ((1, "predicted_queries is not a list"), (2, "no id"), (3, "not JSON: Expecting ',' delimiter")):
        assert f"{path}:{line}: {fault}" in said
    path.write_bytes(b"a\nb\xff\nc\n")
    assert f"{path}:2: not UTF-8" in refused(path)
    assert "no such file" in refused(tmp_path / "absent").lower()


def test_a_docid_twice(refused, tmp_path, collection):
    collection.write_text("p0\ta\np0\tb\np3\tc\n")
    said = refused(as_text(tmp_path / "predictions"))
    assert "p0" in said
    assert f"{collection}:2" in said


def test_a_folder_that_is_there(expand, tmp_path):
    (tmp_path / "expanded").mkdir()
    (tmp_path / "expanded" / "mine.jsonl").write_text("mine")
    status, output, said = expand(as_text(tmp_path / "predictions"))
    assert status == 2
    assert "found:    it exists" in said
    assert [path.read_text() for path in output.iterdir()] == ["mine"]


def test_options_of_a_model(refused, tmp_path):
    said = refused(as_text(tmp_path / "predictions"), options=["--samples", 3, "--seed", 0, "--allow-bin"])
    assert "--predictions and --samples, --seed, --allow-bin" in said


NUMBERED = "p0\twhat is sparse\np0\tzygote  words\np3\thow long is a query\np3\twhat is sparse\n"


def test_docids_in_front_of_the_queries(expand, tmp_path):
    path = tmp_path / "predictions.tsv"
    path.write_text(NUMBERED)
    status, output, said = expand(path)
    assert status == 0
    assert read(output) == {"000000.jsonl": EXPANDED}
    assert "each got 0 to 2 queries, 1 of them none, 4 in all" in said


def test_passage_numbers_in_front_are_no_words(expand, refused, collection, tmp_path):
    predictions = DATA / "corpora" / "predictions.tsv"
    assert "found:    0, which is not in the collection, or is out of order" in refused(predictions)
    collection.write_text("0\tIt rains.\n1\tSnow.\n")
    status, _, said = expand(predictions)
    assert status == 0
    assert "2 passages with predicted queries: each got 1 to 2 queries, 3 in all" in said
    made = pyserini_tasb.expand(tmp_path / "collection.tsv", predictions=predictions, output=tmp_path / "new")
    assert [record["contents"] for record in read(made.path)["000000.jsonl"]] == [
        "It rains. what is rain why does it rain",
        "Snow. what is snow",
    ]
    assert (made.queries.queries, made.queries.fewest, made.queries.most) == (3, 1, 2)
    assert "each got 1 to 2 queries, 3 in all" in made.summary


def test_samples_with_docids_in_front(expand, tmp_path):
    first, second = tmp_path / "sample000", tmp_path / "sample001"
    first.write_text("id\tquery\np0\twhat is sparse\np3\thow long is a query\n")
    second.write_text("p0\tzygote words\np7\t\np3\twhat is sparse\n")
    status, output, said = expand(first, second)
    assert (status, read(output)) == (0, {"000000.jsonl": EXPANDED})
    assert "each got 0 to 2 queries" in said


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("p3\tx\np0\ty\n", "tsv:2\n  expected: the docid of its passage in front of each query"),
        ("0\tx\n1\ty\n2\tz\n", "found:    0, which is not in the collection"),
        ("p0\tx\np9\ty\n", "found:    p9, which"),
        ("p0\tx\nwhat is dense\np3\ty\n", "tsv:2: no docid and tab in front of one query"),
        ("p0\tx\np7\ty\tz\np3\ty\n", "tsv:2: no docid and tab in front of one query"),
        ("what is sparse\n1\twhat is dense\nhow long\n", "tsv:2: a passage's number and a tab in front"),
    ],
)
def test_numbers_that_do_not_fit(refused, tmp_path, lines, said):
    path = tmp_path / "predictions.tsv"
    path.write_text(lines)
    assert said in refused(path)


def test_lines_and_queries_are_counted(expand, tmp_path):
    _, output, said = expand(as_text(tmp_path / "text"))
    assert "each got 0 to 1 lines of queries, 1 of them none, 2 in all" in said
    output.rename(tmp_path / "of text")
    _, _, said = expand(as_jsonl(tmp_path / "jsonl"))
    assert "each got 0 to 2 queries, 1 of them none, 4 in all" in said
