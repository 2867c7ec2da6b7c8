"""Where the files come from: a folder, archives, a server; and that nothing wrong is used."""

from __future__ import annotations

import dataclasses
import gzip
import os

import pytest

from pyserini_tasb.data.downloads import Internet, Patience, check_contents
from pyserini_tasb.data.msmarco import MSMARCO
from pyserini_tasb.data.verified_folder import VerifiedFolder, acquire
from pyserini_tasb.errors import TasbError
from tests.training_data.msmarco_miniature import make_miniature, md5_of, packed
from tests.training_data.msmarco_server import Served, running_server

IMPATIENT = Patience(tries=2, first_pause=0.001, longest_pause=0.001, silence=5)
SCORES = MSMARCO.scores.name
PLAIN = [file.name for file in MSMARCO.data_files]


@pytest.fixture(scope="module")
def miniature():
    return make_miniature()


@pytest.fixture
def server(miniature):
    with running_server() as server:
        server.files = {name: Served(content) for name, content in miniature.published().items()}
        yield server


@pytest.fixture
def internet(server):
    return Internet(server.address, IMPATIENT)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out" / "files"


def lay_out(source, miniature, *names):
    source.mkdir(parents=True, exist_ok=True)
    for name in names:
        (source / name).write_bytes(miniature.content[name])
    return source


def get(miniature, folder, **options) -> VerifiedFolder:
    here = VerifiedFolder(folder)
    acquire(miniature.files, here, **options)
    assert_all_right(miniature, folder)
    return here


def assert_all_right(miniature, folder):
    assert {name: (folder / name).read_bytes() for name in PLAIN} == {name: miniature.content[name] for name in PLAIN}
    assert not list(folder.rglob("*.part*"))


def test_downloaded(miniature, server, internet, folder, capsys, caplog):
    here = get(miniature, folder, internet=internet)
    assert server.names_asked() == ["collection.tar.gz", "queries.tar.gz", "qrels.train.tsv", "qrels.dev.tsv", SCORES]
    assert here.vouched(miniature.files.collection) == "md5 of the archive; from collection.tar.gz"
    assert here.vouched(miniature.files.scores) == f"md5; from {server.address}/{SCORES}"
    assert "non-commercial research" in caplog.text
    capsys.readouterr()
    server.requests.clear()
    get(miniature, folder, internet=internet)
    get(miniature, folder)
    assert not server.requests
    assert "check" not in capsys.readouterr().err  # not even read again


def test_from_plain_files(miniature, tmp_path, folder):
    source = lay_out(tmp_path / "data" / "msmarco", miniature, *PLAIN)
    here = get(miniature, folder, source=tmp_path / "data")
    assert {name: (folder / name).readlink() for name in PLAIN} == {name: source / name for name in PLAIN}
    assert here.vouched(miniature.files.collection) == f"number of rows; in {source}"
    assert here.vouched(miniature.files.train_qrels) == f"md5; in {source}"
    get(miniature, folder)


@pytest.mark.parametrize(
    "archives", [["collection.tar.gz", "queries.tar.gz"], ["collectionandqueries.tar.gz"]], ids=["apart", "together"]
)
def test_from_archives(miniature, tmp_path, folder, archives):
    source = lay_out(tmp_path / "data", miniature, *archives, "qrels.train.tsv", "qrels.dev.tsv", SCORES)
    here = get(miniature, folder, source=source)
    assert not (folder / "collection.tsv").is_symlink()
    assert here.vouched(miniature.files.dev_queries) == f"md5 of the archive; from {archives[-1]}"
    assert sorted(path.name for path in folder.iterdir()) == sorted([*PLAIN, "verified.json"])


def test_the_name_that_wget_gives(miniature, tmp_path, folder):
    source = lay_out(tmp_path / "data", miniature, *(name for name in PLAIN if name != SCORES))
    (source / f"{SCORES}?download=1").write_bytes(miniature.content[SCORES])
    get(miniature, folder, source=source)


def test_what_the_folder_lacks_is_downloaded(miniature, tmp_path, folder, server, internet):
    source = lay_out(tmp_path / "data", miniature, "collection.tsv", SCORES, "queries.train.tsv")
    get(miniature, folder, source=source, internet=internet)
    assert server.names_asked() == ["qrels.train.tsv", "queries.tar.gz", "qrels.dev.tsv"]


def test_nothing_is_downloaded_unasked(miniature, tmp_path, folder):
    source = lay_out(tmp_path / "data", miniature, "collection.tsv", SCORES)
    with pytest.raises(TasbError) as error:
        get(miniature, folder, source=source)
    assert error.value.found.splitlines()[1:] == [
        "    queries.train.tsv or queries.tar.gz or collectionandqueries.tar.gz", "    qrels.train.tsv",
        "    queries.dev.tsv or queries.tar.gz or collectionandqueries.tar.gz", "    qrels.dev.tsv",
    ]  # fmt: skip


def test_wrong_copies_are_all_named(miniature, tmp_path, folder, internet, server):
    source = lay_out(tmp_path / "data", miniature, *PLAIN)
    (source / "collection.tsv").write_bytes(miniature.content["collection.tsv"] + b"123\tone more\n")
    (source / "qrels.train.tsv").write_bytes(miniature.content["qrels.train.tsv"].replace(b"1\n", b"2\n", 1))
    with pytest.raises(TasbError) as error:
        get(miniature, folder, source=source, internet=internet)
    assert f"{source}/collection.tsv: 124 rows, " in error.value.found
    assert "not 123 rows" in error.value.found
    assert f"{source}/qrels.train.tsv: md5 " in error.value.found
    assert not {"collection.tsv", "qrels.train.tsv"} & {path.name for path in folder.iterdir()}
    assert not server.requests


def test_a_right_copy_after_a_wrong_one(miniature, tmp_path, folder):
    source = lay_out(tmp_path / "data", miniature, *PLAIN)
    (source / SCORES).write_bytes(b"another file of that name\n")
    lay_out(source / "deeper", miniature, SCORES)
    get(miniature, folder, source=source)
    assert (folder / SCORES).readlink() == source / "deeper" / SCORES


def test_a_wrong_archive(miniature, tmp_path, folder):
    names = ("queries.tar.gz", "qrels.train.tsv", "qrels.dev.tsv", SCORES)
    source = lay_out(tmp_path / "data", miniature, *names)
    damaged = bytearray(miniature.content["collection.tar.gz"])
    damaged[200] ^= 1
    (source / "collection.tar.gz").write_bytes(damaged)
    with pytest.raises(TasbError, match=r"collection\.tar\.gz: md5 "):
        get(miniature, folder, source=source)
    assert not (folder / "collection.tsv").exists()


def test_no_such_folder(miniature, tmp_path, folder):
    with pytest.raises(TasbError, match="check source="):
        get(miniature, folder, source=tmp_path / "nowhere")


def test_the_output_within_the_source(miniature, tmp_path, folder):
    source = lay_out(tmp_path, miniature, *PLAIN)
    get(miniature, folder, source=source)
    (folder / "collection.tsv").unlink()
    get(miniature, folder, source=source)
    assert (folder / "collection.tsv").readlink() == source / "collection.tsv"


def test_a_file_changed_afterwards(miniature, folder, server, internet, caplog):
    """Though it has as many rows: what was verified was another file."""
    get(miniature, folder, internet=internet)
    changed = miniature.content["collection.tsv"].replace(b"CACM", b"cacm", 1)
    (folder / "collection.tsv").write_bytes(changed)
    server.requests.clear()
    get(miniature, folder, internet=internet)
    assert (folder / "collection.tsv.rejected").read_bytes() == changed
    assert "collection.tsv.rejected" in caplog.text
    assert not server.requests  # its archive is still here


def test_a_link_to_a_file_changed_afterwards(miniature, tmp_path, folder, internet):
    source = lay_out(tmp_path / "data", miniature, *PLAIN)
    get(miniature, folder, source=source)
    (source / "queries.train.tsv").write_bytes(b"1\tless\n")
    get(miniature, folder, internet=internet)
    assert (source / "queries.train.tsv").read_bytes() == b"1\tless\n"
    assert not list(folder.rglob("*.rejected"))


def test_a_link_to_a_file_that_is_gone(miniature, tmp_path, folder, internet):
    source = lay_out(tmp_path / "data", miniature, *PLAIN)
    get(miniature, folder, source=source)
    (source / "queries.train.tsv").unlink()
    get(miniature, folder, internet=internet)


def test_a_file_cut_short_under_the_same_date(miniature, folder, server, internet):
    get(miniature, folder, internet=internet)
    state = (folder / SCORES).stat()
    (folder / SCORES).write_bytes(miniature.content[SCORES][:-10])
    os.utime(folder / SCORES, ns=(state.st_atime_ns, state.st_mtime_ns))
    get(miniature, folder, internet=internet)


def test_touched_files_are_read_again_and_kept(miniature, folder, server, internet, capsys):
    get(miniature, folder, internet=internet)
    os.utime(folder / "collection.tsv", ns=(1, 1))
    server.requests.clear()
    capsys.readouterr()
    get(miniature, folder, internet=internet)
    assert not server.requests
    assert "checking collection.tsv" in capsys.readouterr().err
    get(miniature, folder, internet=internet)
    assert "checking collection.tsv" not in capsys.readouterr().err


def test_files_put_there_by_hand(miniature, folder):
    here = get(miniature, lay_out(folder, miniature, *PLAIN))
    assert here.vouched(miniature.files.scores) == "md5; added by hand"


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"collection.tsv": {"size": 1}}'])
def test_a_damaged_ledger(miniature, folder, internet, server, damage):
    get(miniature, folder, internet=internet)
    (folder / "verified.json").write_bytes(damage)
    server.requests.clear()
    get(miniature, folder, internet=internet)
    assert set(server.names_asked()) <= {"collection.tar.gz"}


def test_an_archive_left_by_an_interrupted_run(miniature, folder, server, internet):
    lay_out(folder / "archives", miniature, "collection.tar.gz")
    (folder / "collection.tsv.part").write_bytes(b"0\thalf of")
    (folder / "archives" / "queries.tar.gz").write_bytes(b"not what was published")
    get(miniature, folder, internet=internet)
    assert server.names_asked() == ["queries.tar.gz", "qrels.train.tsv", "qrels.dev.tsv", SCORES]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (packed({"other.tsv": b"0\ttext\n"}, ["other.tsv"]), "no collection.tsv in it"),
        (packed({"collection.tsv": b"0\ttext\n" * 50_000}, ["collection.tsv"])[:300], "unexpected end of data"),
        (packed({"collection.tsv": b""}, [], folders=["collection.tsv"]), "no collection.tsv in it"),
        (gzip.compress(b"no tar archive"), "not.*file could be opened|invalid header|truncated"),
    ],
    ids=["another file", "cut off", "a folder", "no archive"],
)
def test_an_archive_that_is_not_what_was_described(miniature, folder, server, internet, content, found):
    """Its checksum is right: then the description is wrong."""
    server.files["collection.tar.gz"] = Served(content)
    files = with_download(miniature.files, "collection.tar.gz", content)
    with pytest.raises(TasbError, match=found):
        acquire(files, VerifiedFolder(folder), internet=internet)
    assert not (folder / "collection.tsv").exists()


def test_another_number_of_rows_than_described(miniature, folder, server, internet):
    content = packed({"collection.tsv": b"0\ttext\n"}, ["collection.tsv"])
    server.files["collection.tar.gz"] = Served(content)
    with pytest.raises(TasbError, match="found:    1 rows"):
        acquire(with_download(miniature.files, "collection.tar.gz", content), VerifiedFolder(folder), internet=internet)
    assert not (folder / "collection.tsv").exists()


def test_no_room(miniature, folder, server, internet):
    with pytest.raises(TasbError, match="free for downloads, unpacked files and the pair store"):
        acquire(miniature.files, VerifiedFolder(folder), internet=internet, reserve=10**18)
    assert not server.requests


def with_download(files, name, content):
    md5 = md5_of(content)
    downloads = [
        dataclasses.replace(download, md5=md5) if download.name == name else download for download in files.downloads
    ]
    return dataclasses.replace(files, downloads=tuple(downloads))


def test_the_real_description():
    """Facts of the published files that a slip of the hand would break."""
    assert len({download.name for download in MSMARCO.downloads}) == len(MSMARCO.downloads)
    assert {len(download.md5) for download in MSMARCO.downloads} == {32}
    for file in MSMARCO.data_files:
        for name in file.packed_in or (file.name,):
            assert MSMARCO.download_named(name).md5 == (file.md5 or MSMARCO.download_named(name).md5)
    # "Queries, Passages, and Relevance Labels: 10,406,754" (Datasets.md), with 101,092 eval queries, and 6,980 dev and
    # 6,837 eval queries and 7,437 judgments of the small sets.
    rows = MSMARCO.collection.rows + MSMARCO.train_queries.rows + MSMARCO.dev_queries.rows + MSMARCO.train_qrels.rows
    assert rows + 101_092 + 6_980 + 6_837 + 7_437 == 10_406_754
    assert MSMARCO.train_queries.rows + MSMARCO.dev_queries.rows + 101_092 == 1_010_916  # Queries, there


@pytest.mark.parametrize(("content", "rows"), [(b"", 0), (b"a", 1), (b"a\n", 1), (b"a\nb", 2), (b"a\r\n\nb\n", 3)])
def test_rows(tmp_path, content, rows):
    (tmp_path / "file").write_bytes(content)
    contents = check_contents(tmp_path / "file")
    assert (contents.rows, contents.size, contents.md5) == (rows, len(content), md5_of(content))
