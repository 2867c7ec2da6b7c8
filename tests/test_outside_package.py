"""A package of somebody else adds an entry to each axis; it is used from the command line, from YAML and from Python.

It is installed in an environment of its own, which sees all that this one has.
"""

from __future__ import annotations

import json
import re
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import faiss
import numpy as np
import pytest
import yaml

from pyserini_tasb.registry import HOMES
from tests.conftest import TINY_MODEL
from tests.processes import run_module
from tests.training.conftest import training_set  # noqa: F401 - a fixture

PACKAGE = Path(__file__).parent / "outside_package"
DOCUMENTS = """\
<DOC> <DOCNO> d1 </DOCNO> <TEXT> red apples and
green pears </TEXT> </DOC>
<DOC> <DOCNO> d2 </DOCNO> <TEXT> grey stones </TEXT> </DOC>
<DOC> <DOCNO> d3 </DOCNO> <TEXT> green stones and red stones </TEXT> </DOC>
"""
TOPICS = """\
<top> <num> Number: 301 <title> green apples <desc> Which? </top>
<top> <num> Number: 302 <title> red stones <desc> Which? </top>
"""
OUTSIDE = {
    "pairwise-losses": "hinge",
    "in-batch-losses": "contrastive",
    "samplings": "hardest",
    "binnings": "halves",
    "schedules": "flat",
    "in-batch-teachers": "shared-words",
    "poolings": "maximum",
    "back-ends": "doubling",
    "pair-scorers": "shared-words",
    "index-kinds": "pca",
    "fusion-methods": "squares",
    "normalizations": "shares",
    "corpus-readers": "trec",
    "topic-readers": "trec",
}


@pytest.fixture(scope="session")
def python(tmp_path_factory):
    """A Python that has the package, and runs in a folder."""
    folder = tmp_path_factory.mktemp("outside")
    venv.create(folder / "venv", symlinks=True)
    program = folder / "venv" / "bin" / "python"
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    here = [*site.getsitepackages(), str(Path(__file__).parents[1])]
    (packages / "these.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in here))
    # A copy: setuptools builds beside the source.
    shutil.copytree(PACKAGE, folder / "source")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet")
    run_module("pip", "--python", program, "install", *options, folder / "source")

    def run(folder, *arguments, check=True):
        done = subprocess.run(
            [program, *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False, timeout=300
        )
        if check and done.returncode:
            pytest.fail(f"{arguments}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    return run


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The user's folder, empty."""
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def tasb(python, home, tmp_path):
    """`tasb …` where the package is, in the test's folder: what it prints."""
    return lambda *arguments, **options: python(tmp_path, "-m", "pyserini_tasb", *arguments, **options)


@pytest.fixture
def config(training_set, tmp_path):  # noqa: F811 - that fixture
    """The path of a configuration in which all names are the package's."""
    return training_set.config(
        tmp_path,
        name="outside",
        workers=1,
        student={"model": str(TINY_MODEL), "passage_max_length": 40, "pooling": "maximum"},
        sampling={"strategy": "hardest", "binning": "halves"},
        schedule={"name": "flat"},
        loss={"pairwise": "hinge", "in_batch": "contrastive"},
        teacher={"in_batch": "words", "kind": "shared-words"},
    )


@pytest.fixture
def files(tmp_path):
    (tmp_path / "documents.trec").write_text(DOCUMENTS)
    (tmp_path / "topics.trec").write_text(TOPICS)
    return tmp_path


def test_every_axis_is_covered():
    assert OUTSIDE.keys() == HOMES.keys()


def test_the_lists_show_them_with_their_package(python, tmp_path):
    script = (
        "import json\nfrom pyserini_tasb.cli.listing import listing\n"
        f"print(json.dumps({{axis: listing(axis).rows for axis in {list(OUTSIDE)}}}))"
    )
    lists = json.loads(python(tmp_path, "-c", script).stdout)
    for axis, name in OUTSIDE.items():
        (row,) = [row for row in lists[axis] if row["name"] == name]
        assert row["origin"] == "tasb-outside"
        assert row["description"]
        assert all(row["origin"] == "pyserini-tasb" for row in lists[axis] if row["name"] != name)


def test_training_from_yaml_by_entry_points(tasb, config, home, tmp_path):
    tasb("train", config)
    card = yaml.safe_load((home / "encoders" / "outside.yaml").read_text())
    assert card["pooling"] == "tasb_outside.models:maximum"  # which another process finds
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["sampling"]["strategy"] == "tasb_outside.training:hardest"
    assert written["loss"]["pairwise"] == "tasb_outside.training:hinge"
    assert written["loss"]["in_batch"] == "tasb_outside.training:Contrastive"
    assert not (tmp_path / "run" / "model" / "modules.json").exists()  # sentence-transformers has no such pooling
    about = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "from tasb_outside.models import maximum" in about
    assert "## Not with sentence-transformers" in about
    logged = map(json.loads, (tmp_path / "run" / "metrics.jsonl").open())
    assert {line["learning_rate"] for line in logged if "step" in line} == {1e-3}


def test_named_by_module_it_is_the_same_training(tasb, config, tmp_path):
    tasb("train", config, "--set", "output=first")
    values = yaml.safe_load(config.read_text())
    values["loss"] = {"pairwise": "tasb_outside.training:hinge", "in_batch": "tasb_outside.training:Contrastive"}
    values["sampling"]["strategy"] = "tasb_outside.training:hardest"
    values["teacher"]["kind"] = "tasb_outside.training:SharedWords"
    config.write_text(yaml.safe_dump(values))
    tasb("train", config, "--set", "output=second", "name=second")
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("first", "second")]
    assert weights[0] == weights[1]


def test_two_processes_and_a_resumed_run_find_it(tasb, python, config, tmp_path):
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", 2)
    python(tmp_path, *torchrun, "-m", "pyserini_tasb", "train", config, "--set", "max_steps=4", "checkpoint.every=2")
    resumed = tasb("train", tmp_path / "run" / "config.yaml", "--set", "max_steps=8")
    assert "8 steps" in resumed.stdout
    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert [line["step"] for line in steps if "loss" in line] == list(range(1, 9))


def test_where_the_package_is_missing_its_name_is_said(tasb, config, home, tmp_path):
    tasb("train", config)
    for arguments in (("train", tmp_path / "run" / "config.yaml"), ("encode", *encoding("tasb:outside"))):
        done = run_module("pyserini_tasb", *arguments, check=False, cwd=tmp_path)
        assert done.returncode == 2
        assert "No module named 'tasb_outside'" in done.stderr
        assert "install its package" in done.stderr


def encoding(encoder):
    return ("--encoder", encoder, "--corpus", "trec:documents.trec", "--output", "vectors")


def test_from_a_corpus_to_a_fused_run(tasb, files):
    tasb("encode", *encoding(TINY_MODEL), "--backend", "doubling", "--processes", 2, "--unit-size", 2)
    tasb("encode", "--encoder", TINY_MODEL, "--corpus", "trec:documents.trec", "--output", "once")
    paths = [sorted((files / name).rglob("*.npy")) for name in ("vectors", "once")]
    twice, once = (np.concatenate([np.load(path) for path in of_one]) for of_one in paths)
    np.testing.assert_allclose(twice, 2 * once, atol=1e-5)
    tasb("index", "--vectors", "once", "--output", "flat")
    reader = "tasb_outside.retrieval:trec_topics:topics.trec"  # by module, beside the names of entry points
    tasb("search", "--index", "flat", "--topics", reader, "--output", "dense.txt")
    scored = ("--topics", "trec:topics.trec", "--corpus", "trec:documents.trec", "--model", "words")
    tasb("rerank", "--run", "dense.txt", *scored, "--scorer", "shared-words", "--output", "words.txt")
    best = {qid: docid for qid, _, docid, rank, *_ in map(str.split, (files / "words.txt").open()) if rank == "1"}
    assert best == {"301": "d1", "302": "d3"}
    fusing = ("--runs", "dense.txt", "words.txt", "--method", "squares", "--normalization", "shares")
    tasb("fuse", *fusing, "--output", "fused.txt")
    assert len((files / "fused.txt").read_text().splitlines()) == 6


def test_a_kind_of_index(tasb, collection, tmp_path):
    texts = [text for text in collection.texts if text]
    (tmp_path / "texts.tsv").write_text("".join(f"{number}\t{text}\n" for number, text in enumerate(texts)))
    tasb("encode", "--encoder", TINY_MODEL, "--corpus", "texts.tsv", "--output", "vectors")
    tasb("index", "--vectors", "vectors", "--kind", "pca", "--output", "index")
    assert faiss.downcast_index(faiss.read_index(str(tmp_path / "index" / "index"))).chain.at(0).d_out == 16


SCRIPT = """\
import numpy as np
import pyserini_tasb as tasb
from pyserini_tasb.training.losses import margin_mse
from tasb_outside.training import HardestPairs

@tasb.register("pairwise-losses", "half")
def half(positives, negatives, margins):
    \"\"\"Half of Margin-MSE.\"\"\"
    return margin_mse(positives, negatives, margins) / 2

class First:
    def choose(self, queries, uniforms):
        return self.pairs.offsets[queries]

@tasb.register("samplings", "first")
def first(sampling):
    \"\"\"Any queries, and the first pair of each.\"\"\"
    choice = First()
    choice.pairs = sampling.pairs
    return sampling.sampler(sampling.uniform_queries(), choice)

import yaml
config = yaml.safe_load(open("config.yaml"))
config["loss"], config["sampling"] = {"pairwise": "half", "in_batch": None}, {"strategy": "first"}
result = tasb.train(config)
print(result.steps, result.encoder)
vectors = tasb.encode(texts=["green apples"], encoder=result.encoder, backend="doubling")
print(vectors.shape)
"""


def test_from_a_script_without_a_guard(python, config, home, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = python(tmp_path, "script.py")
    assert done.stdout == "8 tasb:outside\n(1, 32)\n"


def test_cards_beside_weights_run_code_of_trusted_packages_only(tasb, files, tmp_path):
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / "model").symlink_to(TINY_MODEL)
    card = tmp_path / "sent" / "card.yaml"
    card.write_text("name: sent\nmodel: ./model\npooling: tasb_outside.models:maximum\n")
    done = tasb("encode", *encoding(card), check=False)
    assert done.returncode == 2
    assert re.search(r"card\.yaml[\s\S]*code of the package tasb_outside[\s\S]*--trust tasb_outside", done.stderr)
    tasb("encode", *encoding(card), "--trust", "tasb_outside", "--processes", 2, "--unit-size", 2)
    (encoder,) = json.loads((tmp_path / "vectors" / "manifest.json").read_text())["about"]["encoders"]
    assert encoder["pooling"] == "tasb_outside.models:maximum"
    own = tmp_path / "own" / "card.yaml"
    own.parent.mkdir()
    own.write_text(f"name: own\nmodel: {TINY_MODEL}\npooling: maximum\n")
    tasb("encode", "--encoder", own, "--corpus", "trec:documents.trec", "--output", "own-vectors")


def test_regressions_of_others_run_code_of_trusted_packages_only(tasb, files):
    fuse = ["pyserini_tasb", "fuse", "--runs", "a", "b", "--method", "tasb_outside.retrieval:squares", "--output", "x"]
    values = {
        "name": "sent",
        "topics": "dl19-passage",
        "resources": {"disk_gb": 0, "memory_gb": 0},
        "stages": [{"stage": "fuse", "command": fuse, "outputs": ["x"]}],
        "run": "x",
        "expected": "measure",
    }
    (files / "sent.yaml").write_text(yaml.safe_dump(values))
    regress = ("regress", "sent.yaml", "--output", "results")
    done = tasb(*regress, check=False)
    assert done.returncode == 2
    assert "names code of tasb_outside, a package that you do not trust yet" in done.stderr
    assert not (files / "results").exists()
    assert "REFUSED" not in tasb(*regress, "--dry-run", "--trust", "tasb_outside").stdout


def test_faults_of_a_reader_are_told_with_the_record(tasb, files):
    (files / "documents.trec").write_text(DOCUMENTS + "<DOC> <DOCNO> d4 </DOCNO> </DOC>\n")
    done = tasb("encode", *encoding(TINY_MODEL), check=False)
    assert done.returncode == 2
    assert "documents.trec, after record 3" in done.stderr
    assert "TypeError" in done.stderr
    assert sys.executable not in done.stderr
