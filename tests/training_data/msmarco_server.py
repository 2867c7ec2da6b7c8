"""A real HTTP server on the loopback interface, with the faults that servers of large files have."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Served:
    """One file as the server has it now."""

    content: bytes
    etag: str | None = '"v1"'
    date: str | None = None
    ranges: bool = True
    heeds_if_range: bool = True
    ranges_from_zero: bool = False
    claims_length: int | None = None
    sends_length: bool = True
    block: int = 4096
    seconds_per_block: float = 0.0


@dataclass(frozen=True)
class Drop:
    """Close the connection after so many bytes of the body."""

    after: int


@dataclass(frozen=True)
class Status:
    """Answer with an error."""

    code: int
    headers: dict[str, str] = field(default_factory=dict)


class Server:
    """Files by name; `script` says what happens to the next requests, `requests` what was asked."""

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.script: list[Drop | Status | None] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.address = ""

    def ranges_asked(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.requests]

    def names_asked(self) -> list[str]:
        return [name for name, _ in self.requests]


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments) -> None:
            pass

        def do_GET(self) -> None:
            _answer(server, self)

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address) -> None:
            """A client that went away is part of these tests."""

    http = Quiet(("127.0.0.1", 0), Handler)
    server.address = f"http://127.0.0.1:{http.server_port}/msmarcoranking"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def _answer(server: Server, handler: BaseHTTPRequestHandler) -> None:
    name = handler.path.rpartition("/")[2].partition("?")[0]
    server.requests.append((name, dict(handler.headers)))
    event = server.script.pop(0) if server.script else None
    served = server.files.get(name)
    if isinstance(event, Status) or served is None:
        status = event if isinstance(event, Status) else Status(404)
        handler.send_response(status.code)
        for header, value in status.headers.items():
            handler.send_header(header, value)
        handler.end_headers()
        return
    start = _start_of_range(served, handler)
    if start is not None and start >= len(served.content):
        handler.send_response(416)
        handler.end_headers()
        return
    _send(served, handler, start, event.after if isinstance(event, Drop) else None)


def _start_of_range(served: Served, handler: BaseHTTPRequestHandler) -> int | None:
    match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    condition = handler.headers.get("If-Range")
    if not match or not served.ranges:
        return None
    if condition and served.heeds_if_range and condition not in (served.etag, served.date):
        return None
    return 0 if served.ranges_from_zero else int(match[1])


def _send(served: Served, handler: BaseHTTPRequestHandler, start: int | None, drop_after: int | None) -> None:
    total = len(served.content)
    handler.send_response(200 if start is None else 206)
    for header, value in (("ETag", served.etag), ("Last-Modified", served.date)):
        if value:
            handler.send_header(header, value)
    if start is not None:
        handler.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
    body = served.content[start or 0 :]
    if served.sends_length:
        handler.send_header("Content-Length", str(served.claims_length or len(body)))
    handler.end_headers()
    body = body if drop_after is None else body[:drop_after]
    for start_of_block in range(0, len(body), served.block):
        handler.wfile.write(body[start_of_block : start_of_block + served.block])
        time.sleep(served.seconds_per_block)
