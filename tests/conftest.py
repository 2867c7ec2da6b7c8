"""Fixtures shared by all tests: a tiny real collection, a tiny model, and stock Pyserini as a subprocess."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import json
import os
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pyserini_tasb.environment.processor import copied_to, request_reproducibility
from tests.chromium import browser  # noqa: F401 - a fixture
from tests.processes import run_module
from tests.ray_nodes import all_nodes, ray_nodes, s3  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

DATA = Path(__file__).parent / "data"
TINY_MODEL = DATA / "tiny-tasb"
# Not "cacm" in its name: Pyserini takes any topics path that contains it for Anserini's CACM topics.
TINY = DATA / "tiny"
DIMENSION = 32

# As `tasb` does, before torch multiplies anything here: many tests compare bytes.
request_reproducibility()

# Tests with the marker `bare` do without it.
with contextlib.suppress(ModuleNotFoundError):
    import hypothesis

    # By the clock of a shared machine any example can be late.
    hypothesis.settings.register_profile("no deadline", deadline=None)
    hypothesis.settings.load_profile("no deadline")


@pytest.fixture(autouse=True, scope="session")
def own_recipes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Trained models' cards go into a folder of the tests' own, and nobody's own cards disturb them."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYSERINI_TASB_HOME", str(tmp_path_factory.mktemp("home")))
        # Shipped cards say `auto`, which exports models; tests of back ends take this away again.
        environment.setenv("PYSERINI_TASB_BACKEND", "torch")
        yield


@pytest.fixture(autouse=True)
def own_modules(request: pytest.FixtureRequest) -> Iterator[None]:
    """Forget what a test has imported from its own folder: another test's module may have the same name."""
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    before = set(sys.modules)
    yield
    if folder:
        for name in sys.modules.keys() - before:
            if any(Path(place).is_relative_to(folder) for place in places_of(sys.modules[name])):
                del sys.modules[name]


def places_of(module: ModuleType) -> list[str]:
    """The file of a module, or the folders of a package without one."""
    file = getattr(module, "__file__", None)
    return [file] if file else [*getattr(module, "__path__", [])]


@pytest.fixture
def benchmark_module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a script of benchmarks/ by its name."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def gpu_module(
    benchmark_module: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], ModuleType]:
    """Imports a script of benchmarks/gpu by its name."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks" / "gpu"))
    # What the scripts set, for themselves and for what they start.
    for variable in ("PYTHONPATH", "HF_HUB_OFFLINE", "TQDM_DISABLE", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(variable, os.environ.get(variable, ""))
    return benchmark_module


def explained_keys(model: type) -> set[str]:
    """The keys of a pydantic model that have a docstring below them."""
    found = set()
    for owner in model.__mro__:
        if "model_fields" in dir(owner) and owner.__module__.startswith("pyserini_tasb"):
            (body,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
            for field, below in zip(body.body, body.body[1:], strict=False):
                match field, below:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str())):
                        found.add(name)
    return found


@dataclass(frozen=True)
class Collection:
    """The tiny collection in memory."""

    docids: list[str]
    titles: list[str]
    texts: list[str]
    topics: dict[str, str]


@pytest.fixture(scope="session")
def collection() -> Collection:
    documents = [json.loads(line) for line in (TINY / "corpus.jsonl").open()]
    topics = dict(line.rstrip("\n").split("\t") for line in (TINY / "topics.tsv").open())
    columns = ([document[key] for document in documents] for key in ("id", "title", "text"))
    return Collection(*columns, topics)


def plain_vectors(model: Path, texts: list[str], max_length: int = 512) -> np.ndarray:
    """What a TAS-B model is: the first token's last hidden state, text by text, nothing batched."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    transformer = AutoModel.from_pretrained(model).eval()
    with torch.no_grad():
        return np.stack(
            [
                transformer(**tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt"))[0][0, 0]
                for text in texts
            ]
        )


@pytest.fixture(scope="session")
def expected_scores(collection: Collection) -> dict[str, dict[str, float]]:
    """The dot product of every topic with every document, as `--fields title text` joins them."""
    passages = [f"{title} {text}" for title, text in zip(collection.titles, collection.texts, strict=True)]
    scores = plain_vectors(TINY_MODEL, list(collection.topics.values())) @ plain_vectors(TINY_MODEL, passages, 256).T
    return {
        qid: dict(zip(collection.docids, row.tolist(), strict=True))
        for qid, row in zip(collection.topics, scores, strict=True)
    }


def encode_corpus(corpus: Path, output: Path, *options: str, encoder: object = TINY_MODEL) -> None:
    """Stock `pyserini.encode` over title and text."""
    fields = ["--fields", "title", "text"]
    where = ["--embeddings", output, *[option for option in options if option == "--to-faiss"]]
    rest = [option for option in options if option != "--to-faiss"]
    encode = ["encoder", "--encoder", encoder, *fields, "--device", "cpu", *rest]
    run_module("pyserini.encode", "input", "--corpus", corpus, *fields, "output", *where, *encode)


@pytest.fixture(scope="session")
def faiss_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("faiss") / "index"
    encode_corpus(TINY / "corpus.jsonl", output, "--to-faiss", "--dimension", str(DIMENSION))
    return output


@pytest.fixture(scope="session")
def lucene_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stock BM25 index."""
    folder = tmp_path_factory.mktemp("lucene")
    (folder / "corpus").mkdir()
    with (folder / "corpus" / "documents.jsonl").open("w") as out:
        for line in (TINY / "corpus.jsonl").open():
            document = json.loads(line)
            contents = f"{document['title']} {document['text']}"
            out.write(json.dumps({"id": document["id"], "contents": contents}) + "\n")
    run_module(
        "pyserini.index.lucene", "--collection", "JsonCollection", "--input", folder / "corpus", "--index",
        folder / "index", "--generator", "DefaultLuceneDocumentGenerator", "--threads", 1, "--storeRaw",
    )  # fmt: skip
    return folder / "index"


def read_scores(run: Path) -> dict[str, dict[str, float]]:
    """A TREC run as Pyserini wrote it."""
    scores: dict[str, dict[str, float]] = {}
    for line in run.open():
        qid, _, docid, _, score, _ = line.split()
        scores.setdefault(qid, {})[docid] = float(score)
    return scores


def assert_top_hits(run: Path, expected: dict[str, dict[str, float]], depth: int, tolerance: float = 1e-3) -> None:
    """Every topic has its `depth` best documents, each with its dot product."""
    scores = read_scores(run)
    assert scores.keys() == expected.keys()
    for qid, hits in scores.items():
        assert len(hits) == depth, qid
        assert hits == pytest.approx({docid: expected[qid][docid] for docid in hits}, abs=tolerance)
        worst_needed = sorted(expected[qid].values(), reverse=True)[depth - 1]
        assert min(hits.values()) >= worst_needed - tolerance


@pytest.fixture
def weights_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Give models that are loaded from now on weights at other addresses: so many bytes after multiples of 64."""
    from pyserini_tasb.models.backends import TorchModel

    init = TorchModel.__init__

    def move(offset: int) -> None:
        def moved(self, folder, module, device):
            for place, parameter in enumerate(module.parameters()):
                parameter.data = copied_to((offset + 4 * place) % 64, parameter.data)
            init(self, folder, module, device)

        monkeypatch.setattr(TorchModel, "__init__", moved)

    return move


@pytest.fixture(scope="session")
def suitable_java() -> None:
    """For processes without our hook: choose Java as it would."""
    from pyserini_tasb.environment.java import ensure_java

    ensure_java(needs_path_java=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The demo and the tutorials first: they take longest, and at the end the other processes would wait for them."""
    first = ["test_demo.py", "test_notebooks.py"]
    items.sort(key=lambda item: first.index(item.path.name) if item.path.name in first else len(first))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=1, help="How often tests/test_outputs.py kills each verb.")


def write_tsv(path: Path, texts: dict[str, str]) -> Path:
    """A corpus, or topics: lines of an id, a tab and a text."""
    path.write_text("".join(f"{each}\t{text}\n" for each, text in texts.items()))
    return path
