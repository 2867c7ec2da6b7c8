"""A stand-in for the Hugging Face hub on this machine: as much of it as an upload of a model needs."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
from dataclasses import dataclass, field


@dataclass
class Repository:
    """A repository of the hub.

    Args:
        private: whether only its owner sees it.
        files: each path → its content.
        commits: the messages of its commits.
    """

    private: bool = True
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


@dataclass
class Hub:
    """The content of the hub, and its answers.

    Args:
        repositories: by name.
        tokens: each token that it knows → the token's role.
        refuse: a path's part → the status with which requests for it are answered.
        asked: each request, `METHOD path`.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=lambda: {"hf_write": "write", "hf_read": "read"})
    refuse: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    large: dict[str, bytes] = field(default_factory=dict)
    endpoint: str = ""


@contextlib.contextmanager
def running_hub():
    """A hub on a port of the loopback, while the block runs."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hub
        server.shutdown()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self):
        if self._is_refused():
            return
        if self.path == "/api/whoami-v2":
            role = self.hub.tokens[self._token()]
            self._answer({"type": "user", "name": "me", "orgs": [], "auth": {"accessToken": {"role": role}}})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/main)?", self.path):
            self._about(found[1])
        else:
            self._answer({"error": f"no such page: {self.path}"}, status=404)

    def _about(self, name):
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._answer({"error": "Repository not found"}, status=404, error="RepoNotFound")
            return
        siblings = [{"rfilename": path} for path in repository.files]
        self._answer({"_id": "1", "id": name, "sha": "0" * 40, "private": repository.private, "siblings": siblings})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self._is_refused():
            return
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            private = asked.get("visibility") == "private" or bool(asked.get("private"))
            self.hub.repositories[name] = Repository(private=private)
            self._answer({"url": f"{self.hub.endpoint}/{name}", "name": name, "id": "1"})
        elif self.path.startswith("/api/validate-yaml"):
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for file in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                each | {"actions": {"upload": {"href": f"{self.hub.endpoint}/large/{each['oid']}", "header": {}}}}
                for each in json.loads(body)["objects"]
            ]
            self._answer({"transfer": "basic", "objects": objects})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", self.path.partition("?")[0]):
            self._commit(self.hub.repositories[found[1]], map(json.loads, body.splitlines()))
            self._answer({"commitUrl": f"{self.hub.endpoint}/{found[1]}/commit/{'1' * 40}", "commitOid": "1" * 40})
        else:
            self._answer({"error": f"no such page: {self.path}"}, status=404)

    def _commit(self, repository, lines):
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                repository.commits.append(value["summary"])
            elif line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repository.files[value["path"]] = self.hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del repository.files[value["path"]]
            else:
                raise NotImplementedError(line["key"])

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._is_refused(needs_token=False):
            oid = self.path.rpartition("/")[2]
            assert hashlib.sha256(body).hexdigest() == oid
            self.hub.large[oid] = body
            self._answer({})

    def _token(self):
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _is_refused(self, *, needs_token=True):
        self.hub.asked.append(f"{self.command} {self.path}")
        status = next((status for part, status in self.hub.refuse.items() if part in self.path), None)
        if status is None and needs_token and self._token() not in self.hub.tokens:
            status = 401
        if status is not None:
            said = {401: "Invalid credentials in Authorization header", 403: "You don't have the rights"}
            errors = {"errors": [{"message": 'license: "My own" is none'}]} if status == 400 else {}
            self._answer({"error": said.get(status, "Something went wrong")} | errors, status=status)
        return status is not None

    def _answer(self, content, *, status=200, error=None):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
