"""Downloads over a real connection: resumed, never spliced, verified."""

from __future__ import annotations

import random
import resource
import signal
import socket
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pyserini_tasb.data.downloads import Download, Internet, Patience, transfer
from pyserini_tasb.errors import TasbError
from tests.training_data.msmarco_miniature import md5_of
from tests.training_data.msmarco_server import Drop, Served, Server, Status, running_server

IMPATIENT = Patience(tries=3, first_pause=0.001, longest_pause=0.002, silence=5)
ONE_TRY = Patience(tries=1, first_pause=0.001, longest_pause=0.001, silence=5)
CONTENT = random.Random(3).randbytes(200_000)
OTHER = random.Random(4).randbytes(200_000)


@pytest.fixture
def server():
    with running_server() as server:
        yield server


@pytest.fixture
def part(tmp_path):
    return tmp_path / "scores.tsv.part"


def get(server: Server, part, patience=IMPATIENT):
    transfer(f"{server.address}/scores.tsv", part, {}, patience)
    return part.read_bytes()


def begin(server: Server, part, after: int = 70_000) -> None:
    """A download that breaks off, as the one before this process was killed."""
    server.script[:] = [Drop(after), Status(503)]
    with pytest.raises(TasbError, match="after 70 kB"):
        get(server, part, ONE_TRY)
    assert part.stat().st_size == after
    server.requests.clear()


@example(60_000, [30_000, 20_000], True, '"v1"', None)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(0, 60_000),
    drops=st.lists(st.integers(0, 30_000), max_size=2),
    ranges=st.booleans(),
    etag=st.sampled_from(['"v1"', 'W/"v1"', None]),
    date=st.sampled_from(["Wed, 01 Jan 2020 00:00:00 GMT", None]),
)
def test_whole_file_whatever_breaks(server, tmp_path_factory, size, drops, ranges, etag, date):
    content = CONTENT[:size]
    server.files["scores.tsv"] = Served(content, etag=etag, date=date, ranges=ranges)
    server.script[:] = [Drop(after) for after in drops]
    server.requests.clear()
    assert get(server, tmp_path_factory.mktemp("download") / "scores.tsv.part") == content
    asked = [int(value.removeprefix("bytes=").removesuffix("-")) for value in server.ranges_asked() if value]
    if ranges:
        assert asked == sorted(asked), "went back in the file"
    if asked:
        assert etag == '"v1"' or date, "a range of a version that nothing tells apart"


def test_goes_on_where_it_stopped(server, part):
    server.files["scores.tsv"] = Served(CONTENT)
    begin(server, part)
    assert get(server, part) == CONTENT
    assert server.ranges_asked() == ["bytes=70000-"]
    assert server.requests[0][1]["If-Range"] == '"v1"'
    assert [path.name for path in part.parent.iterdir()] == [part.name]


def test_goes_on_by_date(server, part):
    date = "Wed, 01 Jan 2020 00:00:00 GMT"
    server.files["scores.tsv"] = Served(CONTENT, etag='W/"v1"', date=date)
    begin(server, part)
    assert get(server, part) == CONTENT
    assert server.requests[0][1]["If-Range"] == date


@pytest.mark.parametrize("heeds_if_range", [True, False])
def test_a_changed_file_is_not_spliced(server, part, heeds_if_range):
    server.files["scores.tsv"] = Served(CONTENT)
    begin(server, part)
    server.files["scores.tsv"] = Served(OTHER, etag='"v2"', heeds_if_range=heeds_if_range)
    assert get(server, part) == OTHER
    assert server.ranges_asked()[0] == "bytes=70000-"


def test_a_shorter_file_is_not_spliced(server, part):
    server.files["scores.tsv"] = Served(CONTENT)
    begin(server, part)
    server.files["scores.tsv"] = Served(OTHER[:60_000], etag='"v2"', heeds_if_range=False)
    assert get(server, part) == OTHER[:60_000]


def test_another_range_than_asked_for(server, part):
    server.files["scores.tsv"] = Served(CONTENT)
    begin(server, part)
    server.files["scores.tsv"].ranges_from_zero = True
    assert get(server, part) == CONTENT


def test_begins_anew_without_ranges(server, part):
    server.files["scores.tsv"] = Served(CONTENT, ranges=False)
    begin(server, part)
    assert get(server, part) == CONTENT
    assert server.ranges_asked() == ["bytes=70000-"]


def test_begins_anew_when_nothing_tells_versions_apart(server, part):
    server.files["scores.tsv"] = Served(CONTENT, etag=None)
    begin(server, part)
    assert get(server, part) == CONTENT
    assert server.ranges_asked() == [None]


def test_begins_anew_from_another_address(server, part):
    server.files["scores.tsv"] = Served(CONTENT)
    begin(server, part)
    transfer(f"{server.address}/elsewhere/scores.tsv", part, {}, IMPATIENT)
    assert part.read_bytes() == CONTENT
    assert server.ranges_asked() == [None]


def test_a_length_that_the_server_does_not_tell(server, part):
    server.files["scores.tsv"] = Served(CONTENT, sends_length=False)
    assert get(server, part) == CONTENT


def test_whole_before_it_was_said(server, part):
    server.files["scores.tsv"] = Served(CONTENT)
    begin(server, part)
    part.write_bytes(CONTENT)
    assert get(server, part) == CONTENT
    assert not server.requests


def test_refused(server, part):
    with pytest.raises(TasbError, match="HTTP 404 Not Found") as error:
        get(server, part)
    assert error.value.where == f"{server.address}/scores.tsv"
    assert len(server.requests) == 1


def test_busy_servers_are_asked_again(server, part, caplog):
    server.files["scores.tsv"] = Served(CONTENT)
    server.script[:] = [Status(503), Status(429, {"Retry-After": "1"}), None]
    start = time.monotonic()
    assert get(server, part, Patience(tries=3, first_pause=0.001, longest_pause=5, silence=5)) == CONTENT
    assert time.monotonic() - start >= 1
    assert "HTTP 503 Service Unavailable; trying again" in caplog.text


def test_a_busy_server_for_good(server, part):
    server.files["scores.tsv"] = Served(CONTENT)
    server.script[:] = [Status(503)] * 9
    with pytest.raises(TasbError, match="HTTP 503 Service Unavailable, after 0 bytes"):
        get(server, part)
    assert len(server.requests) == IMPATIENT.tries


def test_nobody_answers(part):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(TasbError, match="Connection refused"):
        transfer(f"http://127.0.0.1:{port}/scores.tsv", part, {}, IMPATIENT)


def test_silence(part):
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections, says nothing
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/scores.tsv"
        with pytest.raises(TasbError, match="timed out"):
            transfer(url, part, {}, Patience(tries=2, first_pause=0.001, longest_pause=0.001, silence=0.1))


def test_no_room_for_it(server, part):
    server.files["scores.tsv"] = Served(CONTENT, claims_length=10**18)
    with pytest.raises(TasbError, match=r"expected: 1,000,000,000\.00 GB free for the rest of scores\.tsv"):
        get(server, part)
    assert not part.exists()


def test_the_disk_refuses_midway(server, part):
    server.files["scores.tsv"] = Served(CONTENT)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(TasbError, match="File too large") as error:
            get(server, part)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.where == str(part)
    assert get(server, part) == CONTENT
    assert server.ranges_asked() == [None, "bytes=100000-"]


def test_something_else_is_in_the_way(server, part):
    server.files["scores.tsv"] = Served(CONTENT)
    part.mkdir()
    with pytest.raises(TasbError, match="Is a directory"):
        get(server, part)
    assert len(server.requests) == 1  # another try would not help


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted(server, part, number):
    server.files["scores.tsv"] = Served(CONTENT, seconds_per_block=0.02)  # 1 s in all
    program = (
        "import signal, sys; from pathlib import Path\n"
        "from pyserini_tasb.data.downloads import Patience, transfer\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # even where the parent ignores it
        "transfer(sys.argv[1], Path(sys.argv[2]), {}, Patience())\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, f"{server.address}/scores.tsv", part], stderr=subprocess.DEVNULL
    )
    while not (part.exists() and part.stat().st_size > 20_000):
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(number)
    child.wait()
    here = part.stat().st_size
    assert 20_000 < here < len(CONTENT)
    server.files["scores.tsv"].seconds_per_block = 0
    assert get(server, part) == CONTENT
    assert server.ranges_asked() == [None, f"bytes={here}-"]


def download_of(content: bytes) -> Download:
    return Download("scores.tsv", "http://127.0.0.1:9/unused", md5_of(content), len(content))


def test_a_wrong_checksum_is_kept_aside(server, tmp_path):
    server.files["scores.tsv"] = Served(OTHER)
    internet, target = Internet(f"{server.address}/", IMPATIENT), tmp_path / "scores.tsv"
    with pytest.raises(TasbError) as error:
        internet.fetch(download_of(CONTENT), target)
    assert error.value.expected == f"md5 {md5_of(CONTENT)}"
    assert md5_of(OTHER) in error.value.found
    assert not target.exists()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"scores.tsv.rejected": OTHER}
    server.files["scores.tsv"] = Served(CONTENT)
    contents = internet.fetch(download_of(CONTENT), target)
    assert target.read_bytes() == CONTENT
    assert contents.size == len(CONTENT)


def test_damage_between_two_tries_is_found(server, tmp_path):
    server.files["scores.tsv"] = Served(CONTENT)
    part, target = tmp_path / "scores.tsv.part", tmp_path / "scores.tsv"
    begin(server, part)
    part.write_bytes(b"\0" * 70_000)  # what a power cut may leave
    with pytest.raises(TasbError, match="md5"):
        Internet(server.address, IMPATIENT).fetch(download_of(CONTENT), target)
    assert not target.exists()


def test_publishers_headers_are_sent(server, tmp_path):
    server.files["scores.tsv"] = Served(CONTENT)
    download = Download(
        "scores.tsv", f"{server.address}/scores.tsv?download=1", download_of(CONTENT).md5, 1, {"X-Ms-Version": "2019"}
    )
    Internet(patience=IMPATIENT).fetch(download, tmp_path / "scores.tsv")
    headers = server.requests[0][1]
    assert headers["X-Ms-Version"] == "2019"
    assert headers["Accept-Encoding"] == "identity"
    assert headers["User-Agent"].startswith("pyserini-tasb/")


@pytest.mark.parametrize("mirror", ["/data/msmarco", "file:///data/msmarco", "https://", "ftp://host/msmarco"])
def test_a_mirror_is_an_http_address(mirror):
    with pytest.raises(TasbError, match="base_url="):
        Internet(mirror)
