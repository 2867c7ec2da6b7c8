"""A training configuration: every key is checked, every fault says what was meant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes.loading import as_recipe, load_recipe
from pyserini_tasb.recipes.types import EncoderCard
from pyserini_tasb.results import FileResult
from pyserini_tasb.training.config import TrainConfig

LEAST = {
    "name": "mine",
    "output": "run",
    "student": {"model": "m"},
    "data": {"pairs": "p", "clusters": "c"},
    "teacher": {"in_batch": "tasb:minilm"},
    "max_steps": 10,
}


@pytest.fixture
def load(tmp_path):
    def load(*overrides: str, **sections: object) -> TrainConfig:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(LEAST | sections, sort_keys=False))
        return load_recipe(path, TrainConfig, overrides)

    return load


def test_defaults_are_the_papers(load):
    config = load()
    assert (config.batch_size, config.loss.alpha, config.optimiser.name, config.optimiser.learning_rate) == (
        32, 0.75, "adam", 7e-6,
    )  # fmt: skip
    assert (config.sampling.strategy, config.sampling.clusters_per_batch, config.sampling.bins) == (
        "tas-balanced",
        1,
        10,
    )
    assert (config.student.query_max_length, config.student.passage_max_length) == (30, 200)
    assert (config.validation.every, config.validation.patience, config.validation.measure) == (4000, 30, "nDCG@10")


def test_overrides_are_yaml_and_win(load):
    config = load("batch_size=96", "optimiser.learning_rate=2e-5", "teacher.rescale={mean: 5, deviation: 2.5}")
    assert config.batch_size == 96
    assert config.optimiser.learning_rate == 2e-5
    assert config.teacher.rescale.deviation == 2.5


@pytest.mark.parametrize("override", ["batch_size", "=3", "loss..alpha=1", "a.=2", "seed=[1"])
def test_what_is_no_override(load, override):
    with pytest.raises(TasbError, match=r"key=value or section\.key=value"):
        load(override)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"batchsize": 3}, "did you mean `batch_size`"),
        ({"learning_rate": 3}, "did you mean `optimiser.learning_rate`"),
        ({"optimiser": {"learning_rte": 3}}, "did you mean `optimiser.learning_rate`"),
        ({"optimiser": {"warmup_steps": 3}}, "did you mean `schedule.warmup_steps`"),
        ({"colour": 3}, "remove `colour`"),
    ],
)
def test_an_unknown_key_is_refused_with_a_suggestion(load, sections, said):
    with pytest.raises(TasbError) as error:
        load(**sections)
    assert "unknown key" in error.value.found
    assert said in error.value.do


def test_a_fault_inside_a_section_is_named_with_its_line(load, tmp_path):
    with pytest.raises(TasbError) as error:
        load(optimiser={"name": "adam", "learning_rate": -1})
    lines = (tmp_path / "config.yaml").read_text().splitlines()
    line = 1 + lines.index("  learning_rate: -1")
    assert f"line {line}: `optimiser.learning_rate`" in error.value.found


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"max_steps": None}, "training would never end"),
        ({"data": {"pairs": "p"}}, "needs data.clusters"),
        ({"teacher": {}}, "loss.in_batch needs teacher.in_batch"),
        ({"teacher": {"vectors": {"queries": "q"}}}, "needs `queries` and `passages` without teacher.in_batch"),
        (
            {"teacher": {"in_batch": "t", "vectors": {"passages": "p"}, "precompute": "never"}},
            "with teacher.precompute never",
        ),
        ({"loss": {"pairwise": None, "in_batch": None}}, "both absent"),
        ({"loss": {"temperature": 0.1}}, "temperature is for an in-batch loss that has one, such as infonce"),
        ({"loss": {"in_batch": "infonce"}}, "learns from no teacher: remove teacher.in_batch"),
        ({"loss": {"matryoshka": {"dimensions": [8, 4, 8]}}}, "has a length twice"),
        ({"loss": {"matryoshka": {"dimensions": [8, 4], "weights": [1]}}}, "a factor for each of the 2 dimensions"),
        ({"loss": {"curriculum": {"ranks": [1]}}}, "for a pairwise loss that takes ranks, such as lambda-mrr"),
        ({"loss": {"pairwise": "lambda-mrr", "curriculum": {"ranks": [1, 2]}}}, "each of the 2 stages but the first"),
        ({"loss": {"pairwise": "lambda-mrr", "curriculum": {"ranks": [2, 2], "steps": [5]}}}, "ranks must rise: 2, 2"),
        (
            {"loss": {"pairwise": "lambda-mrr", "curriculum": {"ranks": [1, 3], "steps": [5]}}},
            "goes up to 3, and a query has 2 passages",
        ),
        (
            {"loss": {"in_batch": "infonce"}, "teacher": {}, "student": {"model": "m", "normalise": True}},
            "needs loss.temperature with student.normalise",
        ),
        (
            {"max_steps": None, "schedule": {"name": "cosine"}, "data": LEAST["data"] | {"validation": "v"}},
            "needs max_steps",
        ),
    ],
)  # fmt: skip
def test_what_does_not_go_together(load, sections, said):
    with pytest.raises(TasbError, match=said):
        load(**sections)


def test_later_keys_are_written_only_where_they_are_set(load):
    written = load().model_dump(mode="json")
    assert not {"temperature", "matryoshka", "curriculum"} & written["loss"].keys()
    assert "negatives" not in written["sampling"]
    settings = load("loss.matryoshka={dimensions: [8, 4]}", "sampling.negatives=2")
    written = settings.model_dump(mode="json")
    assert written["loss"]["matryoshka"] == {"dimensions": [8, 4], "weights": None}
    assert written["sampling"]["negatives"] == 2
    assert as_recipe(written, TrainConfig) == settings


def test_a_curriculum_has_stages(load):
    loss = {"pairwise": "lambda-mrr", "curriculum": {"ranks": [1, 2, 5], "steps": [10, 20]}}
    curriculum = load(loss=loss, sampling={"negatives": 4}).loss.curriculum
    assert [curriculum.ranks_at(step) for step in (0, 9, 10, 19, 20, 10_000)] == [1, 1, 2, 2, 5, 5]


def test_the_examples_of_later_options_are_configurations(load):
    page = (Path(__file__).parents[2] / "docs" / "train.md").read_text()
    section = page[page.index("## What later work adds") : page.index("## From Python")]
    examples = [yaml.safe_load(example) for example in re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)]
    cards = [example for example in examples if "model" in example]
    assert [EncoderCard(**card).dimension for card in cards] == [128]
    for example in (example for example in examples if example not in cards):
        without_teacher = example.get("loss", {}).get("in_batch") == "infonce"
        load(**example, **({"teacher": {}} if without_teacher else {}))
    assert len(examples) == 6


def test_a_file_a_dict_and_a_configuration_are_the_same(load, tmp_path):
    config = load(data={"pairs": "somewhere/pairs", "clusters": "c"})
    pairs = FileResult(Path("somewhere/pairs"))
    assert as_recipe(LEAST | {"data": {"pairs": pairs, "clusters": Path("c")}}, TrainConfig) == config
    assert as_recipe(tmp_path / "config.yaml", TrainConfig) == config
    assert as_recipe(config, TrainConfig) is config
    assert as_recipe(config, TrainConfig, ["max_steps=3"]) == config.model_copy(update={"max_steps": 3})
    assert config.max_steps == 10


def test_faults_of_a_dict_are_named():
    with pytest.raises(TasbError, match=r"unknown key `max_stesp`\n.*did you mean `max_steps`") as raised:
        as_recipe(LEAST | {"max_stesp": 3}, TrainConfig)
    assert raised.value.where is None
    with pytest.raises(TasbError, match="write it like `batch_size=96`"):
        as_recipe(LEAST, TrainConfig, ["batch_size"])


def test_the_folder_of_the_clusters_will_do(load, tmp_path):
    folder = tmp_path / "clusters"
    assert load(data={"pairs": "p", "clusters": str(folder)}).data.clusters_file == folder
    folder.mkdir()
    assert load(data={"pairs": "p", "clusters": str(folder)}).data.clusters_file == folder / "clusters.tsv"
