"""Whatever we read may be broken: each kind of file is mutated, and reading it works or says what is wrong.

100 mutations of each kind here, the same ones each time; `make fuzz` tries 3,000 others.
"""

from __future__ import annotations

import gzip
import importlib
import json
import logging
import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pyserini_tasb.errors import LONGEST_PART, TasbError, printable
from pyserini_tasb.models.bert_cat import new_bert_cat, save_bert_cat
from pyserini_tasb.models.colbert import new_colbert, save_colbert
from tests.command_line_folder import make_outputs, write_inputs
from tests.conftest import DIMENSION, TINY_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from random import Random

ASKED = int(os.environ.get("TASB_FUZZ_EXAMPLES", "0"))
SECONDS = 10.0  # of processor time for one reading, which takes milliseconds unless something runs away

CARD = {
    "name": "mine",
    "model": str(TINY_MODEL),
    "aliases": ["org/mine"],
    "pooling": "mean",
    "query_max_length": 64,
    "published": [{"collection": "c", "measure": "nDCG@10", "value": 0.5, "source": "s"}],
}
FUSION = {
    "name": "mine",
    "inputs": [{"kind": "dense", "encoder": "tasb:tasb", "weight": 0.3}, {"kind": "bm25", "k1": 0.82, "b": 0.68}],
    "method": "convex",
    "normalization": "min-max",
    "provenance": {"tuned": False, "source": "nowhere"},
}
REGRESSION = {
    "name": "mine",
    "topics": "dl19-passage",
    "resources": {"disk_gb": 1, "memory_gb": 1},
    "stages": [{"stage": "search", "command": ["pyserini_tasb", "search", "--output", "r"], "outputs": ["r"]}],
    "run": "r",
    "expected": [
        {"source": {"kind": "measured", "reference": "here", "date": "2026-02-28"}, "values": {"nDCG@10": 0.5}}
    ],
}
TWO_CR = {
    "conditions": [
        {
            "name": "one",
            "display": "One",
            "command": "python -m pyserini.search.lucene --output $output",
            "topics": [{"topic_key": "dl19-passage", "eval_key": "dl19-passage", "scores": [{"nDCG@10": 0.5}]}],
        }
    ]
}
COMMANDS = (
    "encode --encoder model --corpus corpus.jsonl --output vectors --device cpu --max-length 64 -q",
    "index --vectors vectors --output index --threads 1 -q",
    "export --encoder model --output exported --sample corpus.jsonl topics.tsv -q",
    "pairs --scored-pairs scored.tsv --corpus corpus.jsonl --topics topics.tsv --output pairs -q",
    "validation-set --topics topics.tsv --qrels qrels.txt --run bm25.run --corpus corpus.jsonl --output validation -q",
    "cluster --topics topics.tsv --encoder model --output clusters --batch-size 4 -q",
    "train train.yaml -q",
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sound file of every kind."""
    folder = tmp_path_factory.mktemp("sound")
    write_inputs(folder)
    documents = [json.loads(line) for line in (folder / "corpus.jsonl").open()]
    texts = {each["id"]: f"{each['title']} {each['text']}" for each in documents}
    recipes = {
        "card": CARD,
        "fusion": FUSION,
        "provenance": FUSION["provenance"],
        "regression": REGRESSION,
        "two-cr": TWO_CR,
    }
    lines: dict[str, Iterable[str]] = {
        "corpus.tsv": (f"{docid}\t{text}" for docid, text in texts.items()),
        "topics.jsonl": (json.dumps({"id": f"q{number}", "text": f"text {number}"}) for number in range(9)),
        "three-columns.run": (f"{number % 4}\td{number}\t{number // 4 + 1}" for number in range(40)),
        "predictions.jsonl": (json.dumps({"id": docid, "predicted_queries": ["a", "b"]}) for docid in texts),
        "triples.tsv": (f"query {number}\tgood {number}\tbad {number}" for number in range(30)),
        "metrics.jsonl": (json.dumps({"step": number, "kind": "step", "loss": 0.5}) for number in range(9)),
    }
    for name, content in recipes.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    for name, each in lines.items():
        (folder / name).write_text("".join(f"{line}\n" for line in each))
    (folder / "training.json").write_text(json.dumps(ORIGIN))
    (folder / "gzip.run").write_bytes(gzip.compress((folder / "bm25.run").read_bytes()))
    for name, start, save in (("cat", new_bert_cat, save_bert_cat), ("colbert", new_colbert, save_colbert)):
        shutil.copytree(TINY_MODEL, folder / name, ignore=shutil.ignore_patterns("config.json", "*.safetensors"))
        save(folder / name, start(TINY_MODEL, seed=0))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_outputs(COMMANDS)
    return folder


@dataclass(frozen=True)
class Kind:
    """A kind of file, alone or in a folder.

    Args:
        name: of the file or folder.
        read: reads it.
        files: patterns of the files of the folder that are mutated.
    """

    name: str
    read: Callable[[Path], object]
    files: Sequence[str] = ()


ORIGIN = {
    "base_model": "organisation/base",
    "data": {"pair store": {"queries": 9}},
    "parameters": {
        "loss": {"pairwise": "margin-mse", "in_batch": "margin-mse"},
        "teacher": {"in_batch": "tasb:minilm"},
    },
    "numbers": [{"of": "this model", "on": "validation set", "measure": "nDCG@10", "value": 0.5}],
    "licence": None,
    "curves": "curves.png",
    "version": "0.2.0",
}


def exhaust(records: Iterable[object]) -> None:
    for _ in records:
        pass


def named(place: str) -> Any:
    """What is called `module:name` in the package."""
    module, name = place.split(":")
    return getattr(importlib.import_module(f"pyserini_tasb.{module}"), name)


def reader(place: str) -> Callable[[Path], object]:
    """Reads with the function `module:name`."""

    def read(path: Path) -> object:
        return named(place)(path)

    return read


def recipe(place: str) -> Callable[[Path], object]:
    """Reads YAML of the schema `module:name`."""
    return lambda path: named("recipes.loading:load_recipe")(path, named(place))


def read_card(path: Path) -> None:
    from pyserini_tasb.recipes.lookup import encoder_card

    encoder_card(f"tasb:{path}")


def read_setting(path: Path) -> None:
    from pyserini_tasb.recipes.lookup import fusion_recipe

    fusion_recipe("rrf", [f"provenance={path.read_bytes().decode(errors='surrogateescape')}"])


def read_regression(path: Path) -> None:
    from pyserini_tasb.regression.condition import load_condition

    load_condition(str(path))


def read_two_cr(path: Path) -> None:
    from pyserini_tasb.regression import two_cr

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(two_cr, "_folder", lambda: path.parent)
        two_cr.two_cr_file(path.stem)


def read_corpus(path: Path) -> None:
    from pyserini_tasb.formats.collections import Corpus, documents_of, open_collection

    exhaust(Corpus([str(path)]).marked())
    exhaust(documents_of(open_collection(path)))


def read_predictions(path: Path) -> None:
    from pyserini_tasb.expansion.expand import read_predictions

    exhaust(read_predictions([path]))


def read_scored_pairs(path: Path) -> None:
    from pyserini_tasb import pairs

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path.parent)
        pairs(triples=path, output=path.parent / "made") if path.name == "triples.tsv" else pairs(
            scored_pairs=path, corpus=path.parent / "corpus.jsonl", topics=path.parent / "topics.tsv", output="made"
        )


def encode_query(model: Path) -> None:
    from pyserini_tasb import TasbQueryEncoder

    TasbQueryEncoder(str(model), device="cpu").encode("a query")


def score_pair(model: Path) -> None:
    from pyserini_tasb.formats.text_store import ListedTexts
    from pyserini_tasb.reranking.scorers import ScoringOptions, load_scorer

    row = np.zeros(1, np.int64)
    load_scorer(str(model), ScoringOptions("cpu")).score_pairs(ListedTexts(["q"]), ListedTexts(["passage"]), row, row)


def load_teacher(model: Path) -> None:
    from pyserini_tasb.models.checkpoints import model_digest

    model_digest(str(model))


def read_vectors(folder: Path) -> None:
    from pyserini_tasb.encoding.vectors import VectorFolder

    vectors = VectorFolder(folder)
    vectors.verify()
    assert len(vectors.encoders) <= 1


def search(folder: Path) -> None:
    from pyserini_tasb.indexes.search import ShardedIndex

    ShardedIndex([folder]).search(np.ones((1, DIMENSION), np.float32), 10, batch_size=1)


def read_pair_store(folder: Path) -> None:
    from pyserini_tasb.data.pair_store import open_pair_store

    store = open_pair_store(folder)
    store.margins(slice(None))
    exhaust(store.queries)
    exhaust(store.passages)


def read_validation_set(folder: Path) -> None:
    from pyserini_tasb.data.validation_set import ValidationSet

    opened = ValidationSet(folder)
    exhaust(opened.passages)
    assert opened.summary


def read_cluster_file(folder: Path) -> None:
    from pyserini_tasb.data.cluster_file import read_clusters

    read_clusters(folder / "clusters.tsv")


def read_all_metrics(path: Path) -> None:
    from pyserini_tasb.training.journal import read_metrics

    exhaust(read_metrics(path))


def read_origin(path: Path) -> None:
    from pyserini_tasb.recipes.types import EncoderCard
    from pyserini_tasb.training.model_card import encoder_model_card, read_provenance

    card = EncoderCard(name="mine", model=".")
    encoder_model_card(card, read_provenance(path.parent), dimension=32, repo="me/mine").encode()


def read_trained(folder: Path) -> None:
    from pyserini_tasb import train

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)
        patch.setenv("PYSERINI_TASB_HOME", str(folder.parent / "home"))
        train("train.yaml")
        (folder / "outcome.json").unlink(missing_ok=True)  # with it, nothing else of a finished run is looked at
        train("train.yaml")


KINDS = {
    "encoder card": Kind("card.yaml", read_card),
    "fusion recipe": Kind("fusion.yaml", recipe("recipes.types:FusionRecipe")),
    "setting": Kind("provenance.yaml", read_setting),
    "regression": Kind("regression.yaml", read_regression),
    "conditions of Pyserini": Kind("two-cr.yaml", read_two_cr),
    "training configuration": Kind("train.yaml", recipe("training.config:TrainConfig")),
    "study": Kind("study.yaml", recipe("training.study_config:StudyConfig")),
    "run": Kind("bm25.run", reader("formats.run_files:read_run_table")),
    "run as a dict": Kind("bm25.run", reader("formats.run_files:read_run")),
    "compressed run": Kind("gzip.run", reader("formats.run_files:read_run_table")),
    "run of three columns": Kind("three-columns.run", reader("formats.run_files:read_run_table")),
    "qrels": Kind("qrels.txt", reader("formats.qrels:read_qrels")),
    "topics in TSV": Kind("topics.tsv", reader("formats.topics:read_topics")),
    "topics in JSONL": Kind("topics.jsonl", reader("formats.topics:read_topics")),
    "corpus in JSONL": Kind("corpus.jsonl", read_corpus),
    "corpus in TSV": Kind("corpus.tsv", read_corpus),
    "predictions": Kind("predictions.jsonl", read_predictions),
    "predictions as text": Kind("predictions.txt", read_predictions),
    "scored pairs": Kind("scored.tsv", read_scored_pairs),
    "text triples": Kind("triples.tsv", read_scored_pairs),
    "clusters": Kind("clusters", read_cluster_file, ("clusters.tsv",)),
    "origin of a model": Kind("training.json", read_origin),
    "metrics": Kind("metrics.jsonl", read_all_metrics),
    "model": Kind("model", encode_query, ("*.json", "*.safetensors")),
    "model's digest": Kind("model", load_teacher, ("*.json", "*.safetensors")),
    "BERT_CAT": Kind("cat", score_pair, ("*.json", "*.safetensors")),
    "ColBERT": Kind("colbert", score_pair, ("*.json", "*.safetensors")),
    "exported model": Kind("exported", encode_query, ("*",)),
    "vector folder": Kind("vectors", read_vectors, ("*.json", "units/*")),
    "index": Kind("index", search, ("*",)),
    "pair store": Kind("pairs", read_pair_store, ("**/*",)),
    "validation set": Kind("validation", read_validation_set, ("**/*",)),
    "training run": Kind("trained", read_trained, ("*.yaml", "*.json", "*.jsonl", "checkpoints/*/*")),
}
PATTERNS_OF_TEXT = {".json", ".yaml", ".jsonl"}

# What parsers stumble over.
TOKENS = (
    b"",
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\x1b[2J",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n",
    b"\t",
    b" ",
    b"-1",
    b"1e999",
    b"nan",
    b"7" * 6000,
    b"[" * 3000,
    b'{"a":' * 3000,
    b"&a [*a]",
    b'"\\ud800"',
    b'"\\u001b[2J"',
    b"2026-02-30",
    b"../../..",
    b"x" * 100_000,
    "\u202e\u2028".encode(),
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**30,
    1e308,
    float("nan"),
    "",
    "x",
    "x" * 50_000,
    "\x1b[2J",
    "\ud800",
    "\x00",
    "../..",
    [],
    {},
    [[[]]],
    {"": None},
)


def mutated(content: bytes, suffix: str, random: Random) -> bytes:
    """The content with one to three changes: of bytes, or, in half of the files of values, of values."""
    if suffix in PATTERNS_OF_TEXT and random.random() < 0.5:
        return with_other_value(content, suffix, random)
    for _ in range(random.randint(1, 3)):
        start = random.randrange(len(content) + 1)
        end = min(len(content), start + random.choice((0, 1, 1, 8, 64)))
        change = random.randrange(4)
        if change == 0:
            content = content[:start]
        elif change == 1:
            content = (
                content[:start] + bytes(byte ^ random.randrange(1, 256) for byte in content[start:end]) + content[end:]
            )
        elif change == 2:
            content = content[:start] + content[start:end] * 2 + content[end:]
        else:
            content = content[:start] + random.choice(TOKENS) + content[end:]
    return content


def with_other_value(content: bytes, suffix: str, random: Random) -> bytes:
    """JSON or YAML with one value replaced, or one key left out or renamed; of JSONL, in one line."""
    if suffix == ".jsonl":
        lines = content.splitlines(keepends=True)
        number = random.randrange(len(lines))
        lines[number] = with_other_value(lines[number], ".json", random) + b"\n"
        return b"".join(lines)
    root = yaml.safe_load(content)
    value = root
    while isinstance(value, dict | list) and value:
        parent, key = value, random.choice([*value] if isinstance(value, dict) else [*range(len(value))])
        value = parent[key]
        if random.random() < 0.2:
            break
    if isinstance(parent, dict) and random.random() < 0.2:
        parent[f"{key}s"] = parent.pop(key)
    elif random.random() < 0.1:
        del parent[key]
    else:
        parent[key] = random.choice(VALUES)
    return json.dumps(root, default=str).encode()  # which is YAML as well


@pytest.mark.parametrize("name", KINDS)
def test_a_broken_file(name: str, sound: Path, tmp_path: Path) -> None:
    kind = KINDS[name]
    folder = tmp_path / "copy"
    shutil.copytree(sound, folder, ignore=lambda *_: {"bm25"})
    target = folder / kind.name
    files = sorted({path for pattern in kind.files for path in target.glob(pattern) if path.is_file()}) or [target]
    kind.read(target)
    whole = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    times = {path: path.stat().st_mtime_ns for path in whole}

    @settings(
        max_examples=ASKED or 100,
        derandomize=not ASKED,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=True))
    def survives(random: Random) -> None:
        path = random.choice(files)
        path.write_bytes(mutated(whole[path], path.suffix, random))
        before = time.process_time()
        try:
            kind.read(target)
        except TasbError as error:
            said = str(error)
            assert len(said) < 5 * LONGEST_PART
            assert said == printable(said)
            assert all(word in said for word in ("expected: ", "found: ", "do this: "))
        finally:
            spent = time.process_time() - before
            restore(folder, whole, times)
        assert spent < SECONDS

    logging.disable(logging.CRITICAL)
    try:
        survives()
    finally:
        logging.disable(logging.NOTSET)


def restore(folder: Path, whole: dict[Path, bytes], times: dict[Path, int]) -> None:
    """Undo what a mutation and its reading changed."""
    here = {path for path in folder.rglob("*") if path.is_file()}
    for path in here - whole.keys():
        path.unlink()
    for path, content in whole.items():
        if path not in here or path.stat().st_mtime_ns != times[path]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            os.utime(path, ns=(times[path], times[path]))
