"""The regressions that ship: every published number is its source's, and each can be planned without a network."""

from __future__ import annotations

import functools
import itertools
import time
from pathlib import Path

import pytest
import yaml

from pyserini_tasb.recipes import lookup
from pyserini_tasb.recipes.loading import load_recipe
from pyserini_tasb.recipes.lookup import own_folder, prebuilt, recipe_files
from pyserini_tasb.recipes.types import Prebuilt, TopicSet
from pyserini_tasb.regression import condition
from pyserini_tasb.regression.two_cr import index_archives, measure_named, two_cr_file
from tests.conftest import explained_keys, run_module

# Reading a file takes a while, and there are many.
regression = functools.cache(lookup.regression)
load_condition = functools.cache(condition.load_condition)

PUBLISHED = yaml.safe_load((Path(__file__).parents[1] / "data" / "published-numbers.yaml").read_text())
COLLECTIONS = {"dl19-passage": "dl19", "dl20-passage": "dl20", "msmarco-passage-dev": "dev"}
SYSTEMS = (
    "bm25", "bm25-tuned", "doct5query", "doct5query-tuned", "margin-mse", "tasb", "tasb-encoded-queries",
    "tasb-avg-prf", "tasb-rocchio-prf", "tasb+bm25", "tasb+doct5query", "ance", "tct+bm25", "tct+doct5query",
    *(f"{first}-{ranker}" for first in ("bm25-tuned", "doct5query", "tasb", "tasb+doct5query")
      for ranker in ("duot5", "monot5-duot5")), "bm25-tuned-monobert",
)  # fmt: skip
# Of these, nobody has published numbers: of the first stages' checkpoints and parameters.
NOT_PUBLISHED = [
    "tasb+bm25", "tasb+doct5query",
    *(f"{first}-{ranker}" for first in ("doct5query", "tasb", "tasb+doct5query")
      for ranker in ("duot5", "monot5-duot5")), "bm25-tuned-monobert",
]  # fmt: skip
NAMES = sorted(path.stem for path in own_folder("regressions").glob("*.yaml"))
MEASURES = {
    ("pyserini-2cr", "dl"): ("AP(rel=2)@1000", "nDCG@10", "R(rel=2)@1000"),
    ("pyserini-2cr", "dev"): ("RR@10", "R@1000"),
    ("paper", "dl"): ("nDCG@10", "RR(rel=2)@10", "R(rel=2)@1000"),
    ("paper", "dev"): ("nDCG@10", "RR@10", "R@1000"),
}


def published(kind: str, reference: str, topics: str) -> dict[str, float]:
    """What the fixture has of one source on one set of topics, by our measures."""
    collection = COLLECTIONS[topics]
    values = PUBLISHED[kind][reference.removeprefix("msmarco-v1-passage: ")][collection]
    measures = MEASURES[kind, "dev" if collection == "dev" else "dl"]
    return {measure: value for measure, value in zip(measures, values, strict=True) if value is not None}


def blocks(name: str):
    about = regression(name)
    return [*(about.expected if about.expected != "measure" else ()), *about.cited]


def test_every_condition_is_there():
    assert {f"{topics}.{system}" for topics in COLLECTIONS for system in SYSTEMS} <= set(NAMES)
    assert {"cacm.bm25", "cacm.tasb-demo", "cacm.hybrid"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_number_is_its_sources(name):
    by_source: dict[tuple[str, str], dict[str, float]] = {}
    for block in blocks(name):  # a source has several where tolerances differ
        by_source.setdefault((block.source.kind, block.source.reference), {}).update(block.values)
    for (kind, reference), values in by_source.items():
        if kind == "anserini":
            assert list(values.values()) == PUBLISHED["anserini"]["cacm"]
        elif kind != "measured":
            expected = published(kind, reference, regression(name).topics)
            assert values == ({"nDCG@10": expected["nDCG@10"]} if name.endswith(".run") else expected)


def test_no_published_number_of_these_systems_is_left_out():
    shipped = {(block.source.kind, block.source.reference.split(": ")[-1]) for name in NAMES for block in blocks(name)}
    assert {reference for kind, reference in shipped if kind == "paper"} == set(PUBLISHED["paper"]) - {"Table 7, TAS-B"}
    for topics in COLLECTIONS:
        measured = [system for system in SYSTEMS if regression(f"{topics}.{system}").expected == "measure"]
        assert measured == NOT_PUBLISHED


def test_no_other_checkpoints_number_judges():
    for name in NAMES:
        about = load_condition(name)
        for block in blocks(name):
            named = set(block.source.checkpoints)
            if block.source.kind == "measured":
                assert not named
            elif block in about.regression.cited:
                assert bool(named) == bool(about.checkpoints), name  # which one it is, is said
            else:
                assert named == set(about.checkpoints), name
    b256 = "sebastian-hofstaetter/distilbert-dot-tas_b-b256-msmarco"
    duot5 = load_condition("dl19-passage.tasb-duot5")
    assert duot5.regression.expected == "measure"
    assert set(duot5.checkpoints) == {b256, "castorini/duot5-3b-msmarco"}
    assert duot5.regression.cited[0].source.checkpoints == ("TAS-B b96 (not published)", "castorini/duot5-3b-msmarco")
    for name in ("tasb", "tasb.run", "tasb-encoded-queries", "tasb+bm25.run"):
        assert load_condition(f"dl19-passage.{name}").checkpoints == (b256,)


def test_numbers_of_pyserini_are_of_the_checkpoint_that_its_command_names():
    commands = {their.name: their.command.split() for their in two_cr_file("msmarco-v1-passage").conditions}
    for name in NAMES:
        for block in blocks(name):
            if block.source.kind == "pyserini-2cr":
                command = commands[block.source.reference.removeprefix("msmarco-v1-passage: ")]
                encoders = {value for option, value in itertools.pairwise(command) if option == "--encoder"}
                assert encoders == set(block.source.checkpoints), name


def test_the_fixture_is_what_the_installed_pyserini_has():
    theirs = {
        (their.name, scores.topic_key): [value for block in scores.scores for value in block.values()]
        for their in two_cr_file("msmarco-v1-passage").conditions
        for scores in their.topics
    }
    keys = {"dl19": "dl19-passage", "dl20": "dl20-passage", "dev": "msmarco-v1-passage.dev"}
    for name, values in PUBLISHED["pyserini-2cr"].items():
        for collection, numbers in values.items():
            assert theirs[name, keys[collection]] == numbers, name


@pytest.mark.parametrize("kind", ["regressions/topics", "regressions/prebuilt"])
def test_what_they_name_is_valid_and_explained(kind):
    schema = TopicSet if kind.endswith("topics") else Prebuilt
    for path in own_folder(kind).glob("*.yaml"):
        assert load_recipe(path, schema).name == path.stem
    readme = (own_folder("regressions") / "README.md").read_text()
    assert f"types.py#{schema.__name__})" in readme
    assert set(schema.model_fields) - explained_keys(schema) == set()


def test_measures_are_what_their_trec_eval_arguments_print():
    for name in recipe_files("regressions/topics"):
        for known in lookup.topic_set(name).measures:
            # Without a cutoff trec_eval's MAP looks at all of a run, here 1,000 hits.
            assert measure_named(known.trec_eval) in (known.measure, known.measure.removesuffix("@1000"))


@pytest.fixture(scope="module")
def pyserinis_archives(suitable_java):
    names = [name for name in recipe_files("regressions/prebuilt") if prebuilt(name).kind != "queries"]
    return {archive.name: archive for archive in index_archives(names)}


def test_pre_built_indexes_are_as_pyserini_has_them(pyserinis_archives):
    ours = {name: prebuilt(name) for name in pyserinis_archives}
    assert len(ours) == 6
    assert {
        name: archive.model_copy(update={"description": ""}) for name, archive in ours.items()
    } == pyserinis_archives


def test_encoded_queries_are_as_pyserini_has_them():
    code = "from pyserini.encoded_query_info import QUERY_INFO as known; import json; print(json.dumps(known))"
    known = yaml.safe_load(run_module("timeit", "-n1", "-r1", code).stdout.splitlines()[0])
    ours = [prebuilt(name) for name in recipe_files("regressions/prebuilt") if prebuilt(name).kind == "queries"]
    assert len(ours) == 3
    for archive in ours:
        entry = known[archive.name]
        assert (archive.md5, archive.bytes, archive.records) == (
            entry["md5"], entry["size (bytes)"], entry["total_queries"],
        )  # fmt: skip
        assert entry["urls"][0].endswith(f"/{archive.archive}")


def test_stages_of_one_name_are_one_command():
    commands: dict[str, tuple[str, ...]] = {}
    for name in NAMES:
        for stage in load_condition(name).stages:
            assert commands.setdefault(stage.step.name, stage.step.arguments) == stage.step.arguments


@pytest.mark.parametrize("name", NAMES)
def test_the_disk_has_room_for_archives_and_what_is_in_them(name):
    loaded = load_condition(name)
    assert loaded.regression.resources.disk_gb >= 2 * sum(archive.bytes for archive in loaded.prebuilt) / 1e9


def test_every_one_can_be_planned_offline(regress, tmp_path):
    start = time.monotonic()
    done = regress("--all", "--dry-run")
    assert time.monotonic() - start < 60
    assert done.status == 0
    for name in NAMES:
        assert f"\n{name}: " in f"\n{done.stdout}"
    assert not done.output.exists()
    assert not (tmp_path / "cache").exists()
    tasb = done.stdout.partition("\ndl19-passage.tasb: ")[2].partition("\n\n")[0]
    assert "faiss msmarco-v1-passage.distilbert-dot-tas_b-b256: 25.2 GB, 8,841,823 records, not here" in tasb
    assert "search: python -m pyserini.search.faiss " in tasb
    assert "AP(rel=2)@1000 0.4590, nDCG@10 0.7210, R(rel=2)@1000 0.8406 ± 0.0005 (pyserini-2cr" in tasb


def test_listing(regress):
    done = regress("--list")
    assert [line.split()[0] for line in done.stdout.splitlines()] == NAMES
    assert len(regress("--list", "--match", "dl19*", "--match", "cacm*").stdout.splitlines()) == len(
        [name for name in NAMES if name.startswith(("dl19", "cacm"))]
    )
