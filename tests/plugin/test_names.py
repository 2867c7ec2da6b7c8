"""TAS-B names become TAS-B encoders; every other name gets what Pyserini without us gives it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyserini_tasb.plugin.commands import names_tasb

OURS = [
    "tasb",
    "TASB",
    "tasb:minilm",
    "tasb:/data/performance/model",
    "tasb:org/model",
    "sebastian-hofstaetter/distilbert-dot-tas_b-b256-msmarco",
    "sentence-transformers/msmarco-distilbert-base-tas-b",
    "/data/performance/tasb",
    "/models/dpr/my-tas-b/",
    r"C:\models\tinytasb",
]
ACCIDENTS = [
    "/data/tasb-study/contriever",
    "/data/tasb-study/bert-base-uncased",
    "/data/tas-b/castorini/tct_colbert-v2-hnp-msmarco",
    "/data/TASB/Contriever",
    "tas_b-group/sentence-transformers-model",
    "tasb-lab/e5",
]


@pytest.mark.parametrize("name", OURS)
def test_ours(name):
    assert names_tasb(name)


@pytest.mark.parametrize("name", ACCIDENTS)
def test_not_ours(name):
    assert not names_tasb(name)


def pyserinis_own_names():
    """Every key of Pyserini's maps, and every encoder named in the commands of its reproduction pages."""
    folder = Path(importlib.util.find_spec("pyserini").origin).parent
    pages = "\n".join(path.read_text() for path in sorted((folder / "2cr").glob("*.yaml")))
    documented = set(re.findall(r"--encoder\s+([^\s'\"]+)", pages))
    keys = set(re.findall(r'^    "([a-z0-9_-]+)":', (folder / "encode" / "__init__.py").read_text(), re.MULTILINE))
    assert len(documented) > 15
    assert {"tct_colbert", "contriever"} <= keys
    return sorted(documented | keys | {f"org/{key}-model" for key in keys})


def resolve(questions, autoload):
    script = Path(__file__).with_name("resolve_names.py")
    done = subprocess.run(
        [sys.executable, script], input=json.dumps(questions), capture_output=True, text=True, check=False,
        env=os.environ | {"PYSERINI_TASB_AUTOLOAD": autoload},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_other_encoder_behaves_differently(suitable_java):
    names = [name for name in pyserinis_own_names() if not names_tasb(name)] + ACCIDENTS
    questions = [(name, None) for name in names]
    questions += [(name, kind) for name in OURS + ACCIDENTS for kind in ("auto", "contriever", "ance")]
    stock, ours = resolve(questions, "0"), resolve(questions, "1")
    for (name, kind), before, after in zip(questions, stock, ours, strict=True):
        # Two places have no --encoder-class: with one in hand, only the other two are asked.
        for place in before if kind is None else ("search", "encode"):
            assert after[place] == before[place], (place, name, kind)


def test_ours_become_tasb_everywhere(suitable_java):
    questions = [(name, None) for name in OURS] + [("/data/contriever", "tasb")]
    for question, answer in zip(questions, resolve(questions, "1"), strict=True):
        assert answer["search"]["class"] == "TasbQueryEncoder", question
        assert answer["search"]["options"] == {
            "tokenizer_name": "tok", "device": "cpu", "prefix": "pre", "fp16": False
        }  # fmt: skip
        assert answer["encode"]["class"] == "TasbDocumentEncoder", question
        if question[1] is None:
            assert answer["encode.query"]["class"] == "TasbQueryEncoder", question
            assert answer["FaissSearcher"]["class"] == "TasbQueryEncoder", question
