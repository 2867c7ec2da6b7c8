from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pyserini_tasb.environment import checks

constants = pytest.importorskip("huggingface_hub.constants")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


class _NotFound(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_error(404)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with HTTPServer(("127.0.0.1", 0), _NotFound) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


@pytest.fixture
def silent():
    """A port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_any_answer_counts(server: str):
    assert checks.answers(server)


def test_a_silent_server_does_not_hold_us(silent: str):
    start = time.monotonic()
    assert not checks.answers(silent, patience=0.3)
    assert time.monotonic() - start < 10


def test_a_slow_resolver_does_not_hold_us(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: time.sleep(5) or [])
    start = time.monotonic()
    assert not checks.answers("http://hub.test", patience=0.2)
    assert time.monotonic() - start < 4


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as closing:
        port = closing.getsockname()[1]
    assert not checks.answers(f"http://127.0.0.1:{port}")


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_no_address_at_all():
    assert not checks.answers("huggingface")


def test_hub(monkeypatch: pytest.MonkeyPatch, server: str):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", server)
    (finding,) = checks.check_hub()
    assert finding.status == "ok"
    monkeypatch.setattr(checks, "answers", lambda _: False)
    (finding,) = checks.check_hub()
    assert (finding.status, finding.remedy) == ("warning", "export HF_HUB_OFFLINE=1")


def test_offline_on_purpose_asks_nobody(monkeypatch: pytest.MonkeyPatch):
    def refuse(_: str):
        raise AssertionError("asked")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(checks, "answers", refuse)
    (finding,) = checks.check_hub()
    assert finding.status == "ok"
