"""What is downloaded, from a hub on this machine that answers as the real one does."""

from __future__ import annotations

import json
import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import TINY_MODEL
from tests.models.headed_models import BERT_CAT_ID, tiny_bert_cat
from tests.models.test_checkpoint import ask_in_process

COMMIT = "0" * 40


class Hub(SimpleHTTPRequestHandler):
    """The calls of `snapshot_download`: which commit a model is at, what is in it, and one of its files."""

    def translate_path(self, path):
        return super().translate_path(urlsplit(path).path.replace(f"/resolve/{COMMIT}", ""))

    def do_GET(self):
        asked = re.fullmatch(r"/api/models/(\w[\w-]*/[\w-]+)/(revision|tree)/\w+", urlsplit(self.path).path)
        if asked is None:
            super().do_GET()
            return
        files = sorted((Path(self.directory) / asked[1]).iterdir())
        if asked[2] == "tree":
            answer = [{"type": "file", "path": f.name, "oid": f.name, "size": f.stat().st_size} for f in files]
        else:
            answer = {"id": asked[1], "sha": COMMIT, "siblings": [{"rfilename": f.name} for f in files]}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self):
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{urlsplit(self.path).path.rpartition("/")[2]}"')
        super().end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def models(tmp_path):
    """The folder of what the hub has."""
    return tmp_path / "hub"


@pytest.fixture
def hub(models):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, directory=str(models))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def find(hub, tmp_path, *, allow_bin):
    code = f"""
from pyserini_tasb.models.checkpoints import find_checkpoint
folder = find_checkpoint({BERT_CAT_ID!r}, allow_bin={allow_bin})
print(*sorted(path.name for path in folder.iterdir()))
"""
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    return ask_in_process(code, tmp_path / "cache", HF_ENDPOINT=endpoint, HF_HUB_OFFLINE="0", NO_PROXY="127.0.0.1")


def test_safetensors_are_downloaded_and_pickles_are_not(hub, models, tmp_path):
    folder = shutil.copytree(TINY_MODEL, models / BERT_CAT_ID)
    (folder / "pytorch_model.bin").write_text("a pickle")
    done = find(hub, tmp_path, allow_bin=True)
    assert done.stdout.split() == sorted(path.name for path in TINY_MODEL.iterdir()), done.stderr


def test_a_pickle_is_downloaded_only_if_it_is_allowed(hub, models, tmp_path):
    folder = tiny_bert_cat(models / BERT_CAT_ID)
    done = find(hub, tmp_path, allow_bin=False)
    assert done.returncode
    for phrase in (BERT_CAT_ID, "none on the hub", "pytorch_model.bin, a pickle", "--allow-bin", "allow_bin: true"):
        assert phrase in done.stderr
    assert not list((tmp_path / "cache").rglob("*.bin"))
    done = find(hub, tmp_path, allow_bin=True)
    assert done.stdout.split() == sorted(path.name for path in folder.iterdir()), done.stderr


def test_a_cached_pickle_is_refused_as_such_without_network(hub, models, tmp_path):
    tiny_bert_cat(models / BERT_CAT_ID)
    find(hub, tmp_path, allow_bin=True)
    hub.shutdown()
    hub.server_close()
    done = find(hub, tmp_path, allow_bin=False)
    assert "pytorch_model.bin, which is a pickle" in done.stderr
    assert "--allow-bin" in done.stderr
    assert find(hub, tmp_path, allow_bin=True).returncode == 0
