"""The choices of an adaptation: its models, its numbers, and the configuration of its training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.folders import is_folder
from pyserini_tasb.models.checkpoints import find_checkpoint, kind_of, model_digest
from pyserini_tasb.recipes.loading import as_recipe
from pyserini_tasb.recipes.lookup import default_tag, encoder_card
from pyserini_tasb.training.config import StudentConfig, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyserini_tasb.models.checkpoints import Kind
    from pyserini_tasb.recipes.types import EncoderCard

DOCUMENTS = "documents"
# Documents from which queries were made, without the words of the queries.
WITHOUT_QUERIES = "queries/collection"
PAIRS, CLUSTERS, RUN = "pairs", "clusters", "training"


@dataclass(frozen=True)
class Model:
    """A model that an adaptation starts from, or learns from.

    Args:
        name: an encoder, or the folder or hub id of a cross-encoder or ColBERT, as verbs take it.
        card: its encoder card.
        kind: its kind.
        size: the bytes of its weights, for estimates.
    """

    name: str
    card: EncoderCard
    kind: Kind
    size: int

    @classmethod
    def named(cls, name: str, *, allow_bin: bool) -> Model:
        """The model of that name, which is downloaded if it has to be.

        Raises:
            TasbError: no such model.
        """
        card = encoder_card(name)
        folder = find_checkpoint(card.model, allow_bin=allow_bin or card.allow_bin)
        if is_folder(Path(card.model)):  # steps run in another folder
            card = card.model_copy(update={"model": str(folder.absolute())})
        weights = [file for file in folder.iterdir() if file.suffix in {".safetensors", ".bin"}]
        kind = kind_of(folder, pooling=card.pooling)
        return cls(name, card, kind, sum(file.stat().st_size for file in weights))

    @property
    def encodes(self) -> bool:
        """True if it makes one vector of a text."""
        return self.kind == "bert-dot"

    @property
    def scores_cosines(self) -> bool:
        """True if its scores are cosines."""
        return self.encodes and self.card.normalise


@dataclass(frozen=True)
class Choices:
    """Everything that decides what the steps do.

    Args:
        name: the name of the trained encoder.
        student: the model that training starts from.
        teacher: the model that scores pairs.
        in_batch_teacher: the model that teaches within batches; None if none does.
        source: the part of a document that becomes its query: `title`, `sentence` or `auto`.
        query_model: the model that predicts queries instead; None without one.
        queries_per_document: the number of predicted queries of a document.
        queries: the most training queries.
        mine_with: the searches that find negatives: `bm25`, `student` or both.
        negatives: the number of negatives of a query from each search.
        sampling: the strategy of batches.
        batch_size: the number of queries in a batch.
        max_steps: the number of training steps.
        max_length: the most tokens of a passage.
        allow_reversed: true to go on if the teacher contradicts the queries' own documents.
        allow_bin: true to accept pickled weights.
        seed: the seed of everything that is drawn.
        precision: the number format in which vectors are computed; None for each card's.
        device: the device; None for a GPU, or else the CPU.
        trust: the packages whose code model folders may name.
    """

    name: str
    student: Model
    teacher: Model
    in_batch_teacher: Model | None
    source: str
    query_model: str | None
    queries_per_document: int
    queries: int
    mine_with: tuple[str, ...]
    negatives: int
    sampling: str
    batch_size: int
    max_steps: int
    max_length: int
    allow_reversed: bool
    allow_bin: bool
    seed: int
    precision: str | None
    device: str | None
    trust: tuple[str, ...]

    @property
    def clustered(self) -> bool:
        """True if batches are drawn from clusters."""
        return self.sampling != "random"

    @property
    def passages(self) -> str:
        """The folder of passages that training reads: a passage never has the words that its query was made of."""
        return DOCUMENTS if self.query_model else WITHOUT_QUERIES

    @property
    def clusters_by(self) -> Model:
        """The encoder whose vectors are clustered."""
        teacher = self.in_batch_teacher
        return teacher if teacher is not None and teacher.encodes else self.student


def expected_queries(documents: int, predicted_per_document: int | None, most: int) -> int:
    """How many training queries to expect at most: one for a document, or so many as are predicted."""
    return min(most, documents * (predicted_per_document or 1))


# Three passes over the queries; no more steps than GPL takes for 250,000 queries, and enough to leave the warm-up.
PASSES, FEWEST_STEPS, MOST_STEPS = 3, 60, 140_000


def default_steps(queries: int, batch_size: int) -> int:
    """The number of training steps for so many queries."""
    return min(MOST_STEPS, max(FEWEST_STEPS, round(PASSES * queries / batch_size)))


# The deviation of a teacher's margins that the student's scores can follow. Dot products: that of BERT_CAT, which the
# paper's learning rate was chosen with. Cosines: what margins of cosines usually have (see `training/margins.py`).
DOT_PRODUCTS, COSINES = 5.4, 0.15
TRAINED_QUERY_TOKENS = StudentConfig.model_fields["query_max_length"].default


def training_values(choices: Choices) -> dict[str, Any]:
    """The configuration of `tasb train`, as the keys of its YAML."""
    card, teacher = choices.student.card, choices.in_batch_teacher
    student: dict[str, Any] = {
        "model": card.model,
        "pooling": card.pooling,
        "normalise": card.normalise,
        "query_prefix": card.query_prefix,
        "passage_prefix": card.passage_prefix,
        "query_max_length": min(TRAINED_QUERY_TOKENS, card.query_max_length),
        "passage_max_length": min(choices.max_length, card.passage_max_length),
        "dropout": 0,
        "attention_dropout": 0,
        "allow_bin": card.allow_bin or choices.allow_bin,
    }
    values: dict[str, Any] = {
        "name": choices.name,
        "description": f"{default_tag(choices.student.name)} adapted to documents without judgments",
        "output": RUN,
        "student": student,
        "data": {"pairs": PAIRS, "allow_reversed": choices.allow_reversed},
        "sampling": {"strategy": choices.sampling},
        "optimiser": {"learning_rate": 2e-5},  # GPL's
        "schedule": {"name": "cosine", "warmup_steps": min(1_000, choices.max_steps // 10)},
        "checkpoint": {"every": min(1_000, max(25, choices.max_steps // 10))},
        "batch_size": choices.batch_size,
        "max_steps": choices.max_steps,
        "seed": choices.seed,
        "device": choices.device or "auto",
    }
    if choices.clustered:
        values["data"]["clusters"] = CLUSTERS
    teachers = [choices.teacher, *([teacher] if teacher is not None else [])]
    if not (card.normalise and all(each.scores_cosines for each in teachers)):
        values["teacher"] = {"rescale": {"deviation": COSINES if card.normalise else DOT_PRODUCTS}}
    if teacher is None:
        values["loss"] = {"in_batch": None}
        return values
    taught = values.setdefault("teacher", {})
    taught["in_batch"] = teacher.name
    if teacher.encodes:
        taught["vectors"] = {"passages": vectors_of(choices, teacher, choices.passages)}
    else:
        taught["allow_bin"] = choices.allow_bin
    return values


def vectors_of(choices: Choices, model: Model, corpus: str) -> str:
    """The folder of a model's vectors. A model that has two parts has one folder."""
    role = next(
        role
        for role, of_role in (("student", choices.student), ("teacher", choices.teacher), ("in-batch", model))
        if of_role.name == model.name
    )
    return f"vectors/{role}/{'documents' if corpus == DOCUMENTS else 'passages'}"


TEACH_IN_BATCHES = ("bert-dot", "colbert")


@dataclass(frozen=True)
class Models:
    """The models of an adaptation, each by the option that names it."""

    student: Model
    teacher: Model
    in_batch_teacher: Model | None

    @classmethod
    def named(cls, options: Mapping[str, Any]) -> Models:
        """The models that the options name; what scores pairs also teaches within batches, if it can.

        Raises:
            TasbError: a model does not exist, or cannot do its part.
        """
        allow_bin = bool(options["allow_bin"])
        student, teacher = (Model.named(options[role], allow_bin=allow_bin) for role in ("student", "teacher"))
        in_batch = teacher if teacher.kind in TEACH_IN_BATCHES else None
        if options["in_batch_teacher"]:
            in_batch = Model.named(options["in_batch_teacher"], allow_bin=allow_bin)
        if not student.encodes:
            raise _unfit("student", student, "an encoder, which makes one vector of a text")
        if in_batch and in_batch.kind not in TEACH_IN_BATCHES:
            raise _unfit("in_batch_teacher", in_batch, "an encoder or a ColBERT, which reads passages without a query")
        return cls(student, teacher, in_batch)

    def digests(self, options: Mapping[str, Any]) -> dict[str, str | None]:
        """Option → a digest of the model's weights, tokenizer and card; None without a model."""
        named = {"student": self.student.name, "teacher": self.teacher.name, "query_model": options["query_model"]}
        named["in_batch_teacher"] = self.in_batch_teacher and self.in_batch_teacher.name
        return {
            option: name and model_digest(name, allow_bin=bool(options["allow_bin"])) for option, name in named.items()
        }

    def choices(self, options: Mapping[str, Any], documents: int) -> Choices:
        """The choices, for so many documents."""
        per_document = options["queries_per_document"] if options["query_model"] else None
        queries = expected_queries(documents, per_document, options["queries"])
        given = {name: options[name] for name in options if name in Choices.__dataclass_fields__}
        computed: dict[str, Any] = {
            "student": self.student,
            "teacher": self.teacher,
            "in_batch_teacher": self.in_batch_teacher,
            "mine_with": tuple(options["mine_with"]),
            "max_steps": options["max_steps"] or default_steps(queries, options["batch_size"]),
            "trust": tuple(options["trust"]),
        }
        return Choices(**{**given, **computed})


def _unfit(option: str, model: Model, expected: str) -> TasbError:
    return TasbError(
        where=f"{argument(option, model.name)}",
        expected=expected,
        found=f"a model of the kind `{model.kind}`",
        do=f"choose another {argument(option)}",
    )


# Keys of the training that have an option here, or that say where the parts are.
OWN_KEYS = {
    "name": "name",
    "batch_size": "batch_size",
    "max_steps": "max_steps",
    "seed": "seed",
    "device": "device",
    "sampling.strategy": "sampling",
    "student.model": "student",
    "teacher.in_batch": "in_batch_teacher",
}


def training_yaml(choices: Choices, settings: Sequence[str]) -> str:
    """The configuration of the training, as YAML.

    Raises:
        TasbError: a setting is faulty, or has an option of its own.
    """
    for setting in settings:
        key = setting.partition("=")[0]
        if key in OWN_KEYS:
            raise TasbError(
                where=f"{argument('settings', setting)}",
                expected="a key of the training that has no option of its own",
                found=f"`{key}`",
                do=f"use {argument(OWN_KEYS[key])}",
            )
    config = as_recipe(training_values(choices), TrainConfig, settings)
    return yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True), sort_keys=False, allow_unicode=True)
