"""The configurations of `tasb train` and `tasb teach`, each a YAML file whose keys are all checked."""

from __future__ import annotations

import bisect
import itertools
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pyserini_tasb.recipes.types import Extended, Pooling, Recipe, Strict, name_of
from pyserini_tasb.registry import registry_of

Positive = Annotated[int, Field(ge=1)]
PairwiseLossName = Annotated[str, name_of("pairwise-losses")]


class RunData(Strict):
    """Folders that `tasb pairs` and `tasb validation-set` made."""

    pairs: Path
    """The pair store that `tasb pairs` made."""
    validation: Path | None = None
    """The folder that `tasb validation-set` made, for early stopping."""
    allow_reversed: bool = False
    """Train even if the teacher contradicts most labels."""


class MarginsConfig(Strict):
    """The standard deviation, and optionally the mean, to which a teacher's margins are scaled."""

    mean: float | None = None
    """The mean to which margins are shifted. Without one, they are only scaled, and zero stays zero."""
    deviation: float = Field(gt=0)
    """The standard deviation to which margins are scaled."""


class OptimiserConfig(Strict):
    """The optimiser. The paper's is Adam with a learning rate of 7e-6."""

    name: Literal["adam", "adamw"] = "adam"
    """The optimiser."""
    learning_rate: float = Field(default=7e-6, gt=0)
    """The highest learning rate."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates of both moments."""
    epsilon: float = Field(default=1e-8, gt=0)
    """Adam's epsilon."""
    clip_norm: float | None = Field(default=None, gt=0)
    """The largest norm of the gradients, which are clipped to it; `null` does not clip."""


class ScheduleConfig(Strict):
    """The schedule of the learning rate."""

    name: Annotated[str, name_of("schedules")] = "constant"
    """The schedule after the warm-up."""
    warmup_steps: int = Field(default=1_000, ge=0)
    """The number of warm-up steps, in which the rate grows from 0 to the highest."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """The end of a decay, as a share of the highest rate."""


class ValidationConfig(Strict):
    """Early stopping on approximate retrieval (paper, Section 4.3)."""

    every: Positive = 4_000
    """The number of steps between evaluations."""
    patience: Positive = 30
    """Training stops after this number of evaluations without a new best value."""
    measure: str = "nDCG@10"
    """The measure that decides when to stop, by ir-measures' name."""


class CheckpointConfig(Strict):
    """How often the complete state is saved, and how many states are kept besides the best one."""

    every: Positive = 1_000
    """The number of steps between checkpoints."""
    keep: Positive = 2
    """The number of checkpoints to keep, besides the best one."""


class RunConfig(Recipe):
    """The settings that all training runs have. Relative paths begin at the working directory.

    Attributes:
        RESCALE: the key that rescales teachers' margins.
    """

    RESCALE: ClassVar[str]

    output: Path
    """The folder of the run."""
    data: RunData
    """The texts and scores to train on."""
    optimiser: OptimiserConfig = OptimiserConfig()
    """The optimiser."""
    schedule: ScheduleConfig = ScheduleConfig()
    """The schedule of the learning rate."""
    validation: ValidationConfig = ValidationConfig()
    """Early stopping."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """The checkpoints."""
    batch_size: int = Field(default=32, ge=2)
    """The number of queries in a batch, each with a positive and a negative."""
    accumulate: Positive = 1
    """The number of batches in one step of the optimiser. Their gradients are averaged."""
    max_steps: Positive | None = None
    """The number of steps after which training ends; with `null`, early stopping decides."""
    gradient_cache: bool = False
    """Compute a batch in parts, with the same gradients as for the whole batch. This allows large batches in little
    memory."""
    tokens_per_forward: Positive | None = None
    """The number of tokens that the model computes at once; `null` is 2,048 on CPUs and 32,768 on GPUs."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """The number format of training; `auto` is bf16 if the hardware supports it (fp16 on older GPUs), else fp32."""
    device: str = "auto"
    """The device: `cpu`, `cuda:0`, …; `auto` is a GPU if one exists, or else the CPU."""
    seed: int = Field(default=208_973_249, ge=0, lt=2**63)
    """The random seed."""
    workers: int = Field(default=1, ge=0)
    """The number of processes that prepare batches in advance; with 0, training prepares each itself."""
    log_every: Positive = 10
    """The number of steps between lines of `metrics.jsonl`."""

    @property
    def pairs_per_step(self) -> int:
        """The pairs of a positive and a negative that a step of the optimiser trains on."""
        return self.batch_size * self.accumulate

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.max_steps is None and self.data.validation is None:
            raise ValueError("training would never end: give max_steps, or data.validation for early stopping")
        if self.schedule.name in {"cosine", "linear"} and self.max_steps is None:
            raise ValueError(f"schedule.name {self.schedule.name} needs max_steps: its decay must have an end")
        return self


class StudentConfig(Strict):
    """The student's start, and how its texts become vectors. Token limits count special tokens."""

    model: str
    """The model to start from: a folder, a hub id, an encoder card, or `pkg:PACKAGE/FOLDER`."""
    pooling: Pooling = "cls"
    """How the vectors of a text's tokens become the text's vector. Causal models need `last`."""
    normalise: bool = False
    """Divide vectors by their length."""
    query_prefix: str = ""
    """Text that comes before each query."""
    passage_prefix: str = ""
    """Text that comes before each passage."""
    query_max_length: int = Field(default=30, ge=3)
    """The most tokens of a query."""
    passage_max_length: int = Field(default=200, ge=3)
    """The most tokens of a passage."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """The dropout rate; `null` is the one in the model's config.json."""
    attention_dropout: float | None = Field(default=None, ge=0, lt=1)
    """The dropout rate of attention; `null` is the one in the model's config.json."""
    allow_bin: bool = False
    """Accept weights in `pytorch_model.bin`, a pickle file. Its code is not run."""


class DataConfig(RunData):
    """Folders and files that `tasb pairs`, `tasb validation-set` and `tasb cluster` made."""

    clusters: Path | None = None
    """The clusters that `tasb cluster` made: the folder, or its file. The strategies `tas` and `tas-balanced` need
    them."""

    @property
    def clusters_file(self) -> Path | None:
        """The file of the clusters; `clusters` may also name its folder."""
        folder = self.clusters is not None and self.clusters.is_dir()
        return self.clusters / "clusters.tsv" if folder and self.clusters else self.clusters


class SamplingConfig(Extended):
    """How a batch is composed (paper, Section 3)."""

    LATER: ClassVar[frozenset[str]] = frozenset({"negatives"})

    strategy: Annotated[str, name_of("samplings")] = "tas-balanced"
    """The way in which queries and their pairs are chosen."""
    clusters_per_batch: Positive = 1
    """The number of clusters that a batch's queries come from (the paper's n)."""
    bins: Positive = 10
    """The number of bins for the margins of a query's pairs (the paper's h)."""
    binning: Annotated[str, name_of("binnings")] = "equal-width"
    """The way in which margins are divided into bins; the paper's is `equal-width`."""
    lowest_margin: float | None = None
    """The lowest teacher margin that a pair may have."""
    highest_margin: float | None = None
    """The highest teacher margin that a pair may have."""
    negatives: Positive = 1
    """The number of negatives of each query, which share a positive. With `tas-balanced` and `balanced`, they are drawn
    evenly over the bins; else uniformly. A positive with fewer has some of them several times."""


class MatryoshkaConfig(Strict):
    """Lengths to which vectors can be cut after the training. The loss is the sum over them.

    Kusupati et al., NeurIPS 2022, arXiv:2205.13147.
    """

    dimensions: tuple[Positive, ...] = Field(min_length=1)
    """The lengths: the student's own, and shorter ones."""
    weights: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] | None = None
    """The factor of the loss at each length, in the same order; `null` is 1 for each."""

    @model_validator(mode="after")
    def _one_weight_each(self) -> Self:
        if len(set(self.dimensions)) < len(self.dimensions):
            raise ValueError("matryoshka.dimensions has a length twice")
        if self.weights is not None and len(self.weights) != len(self.dimensions):
            raise ValueError(
                f"matryoshka.weights needs a factor for each of the {len(self.dimensions)} dimensions, and has "
                f"{len(self.weights)}"
            )
        return self

    @property
    def factors(self) -> dict[int, float]:
        """The factor of the loss at each length."""
        return dict(zip(self.dimensions, self.weights or [1.0] * len(self.dimensions), strict=True))


class CurriculumConfig(Strict):
    """Lists that become harder: stage by stage, the student learns more of the teacher's ranks.

    CL-DRD (Zeng et al., SIGIR 2022, arXiv:2204.13679).
    """

    ranks: tuple[Positive, ...] = Field(min_length=1)
    """The number of the teacher's first ranks to learn in each stage; each more than the one before."""
    steps: tuple[Positive, ...] = ()
    """The number of steps after which each further stage begins."""

    @model_validator(mode="after")
    def _stages(self) -> Self:
        if len(self.steps) != len(self.ranks) - 1:
            raise ValueError(
                f"curriculum.steps needs a number for each of the {len(self.ranks)} stages but the first, and has "
                f"{len(self.steps)}"
            )
        for name, numbers in (("ranks", self.ranks), ("steps", self.steps)):
            if any(number >= following for number, following in itertools.pairwise(numbers)):
                raise ValueError(f"curriculum.{name} must rise: {', '.join(map(str, numbers))}")
        return self

    def ranks_at(self, step: int) -> int:
        """The number of ranks to learn after `step` steps."""
        return self.ranks[bisect.bisect_right(self.steps, step)]


class LossConfig(Extended):
    """The loss: pairwise loss + alpha times in-batch loss (paper, Eq. 8)."""

    LATER: ClassVar[frozenset[str]] = frozenset({"temperature", "matryoshka", "curriculum"})

    pairwise: PairwiseLossName | None = "margin-mse"
    """The loss on each query's own pairs; `null` for none. `ranknet` needs only labels, and no scores. `kldiv` compares
    lists, and `lambda-mrr` ranks them: both are for `sampling.negatives` above 1."""
    in_batch: Annotated[str, name_of("in-batch-losses")] | None = "margin-mse"
    """The loss on each query with all passages of the batch; `null` for none. `margin-mse` is a mean, `margin-mse-eq7`
    the paper's sum. `infonce` needs no teacher."""
    alpha: float = Field(default=0.75, ge=0)
    """The factor of the in-batch loss."""
    temperature: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The temperature of an in-batch loss that has one, such as `infonce`: the scores are divided by it. `null` is the
    loss's own, which is 1 for `infonce`. A student with `normalise` needs one; 0.05 is usual."""
    matryoshka: MatryoshkaConfig | None = None
    """Train several lengths of the vectors at once, so that they can be cut; `null` trains only whole vectors."""
    curriculum: CurriculumConfig | None = None
    """Stages of the pairwise loss `lambda-mrr`; with `null` it learns all of the teacher's ranks from the start."""

    @model_validator(mode="after")
    def _options_of_a_loss(self) -> Self:
        if self.curriculum is not None and not (
            self.pairwise is not None and registry_of("pairwise-losses")[self.pairwise].takes_ranks
        ):
            raise ValueError(
                f"curriculum is for a pairwise loss that takes ranks, such as lambda-mrr; not {self.pairwise}"
            )
        if self.temperature is not None and not self.takes_temperature:
            raise ValueError(f"temperature is for an in-batch loss that has one, such as infonce; not {self.in_batch}")
        return self

    @property
    def needs_teacher(self) -> bool:
        """True if the in-batch loss compares the student with a teacher."""
        return self.in_batch is not None and bool(registry_of("in-batch-losses")[self.in_batch].needs_teacher)

    @property
    def takes_temperature(self) -> bool:
        """True if the in-batch loss has a temperature."""
        return self.in_batch is not None and bool(registry_of("in-batch-losses")[self.in_batch].takes_temperature)


class TeacherVectors(Strict):
    """Folders of the teacher's vectors, from `tasb encode`. Training encodes a side without a folder."""

    queries: Path | None = None
    """The folder of the queries' vectors."""
    passages: Path | None = None
    """The folder of the passages' vectors."""

    @property
    def complete(self) -> bool:
        """True if no model is needed."""
        return self.queries is not None and self.passages is not None


class TeacherConfig(Strict):
    """The in-batch teacher, a bi-encoder or a ColBERT, and the scale of both teachers' margins."""

    in_batch: str | None = None
    """The teacher of the in-batch loss: an encoder's name, or a ColBERT's folder or hub id."""
    kind: Annotated[str, name_of("in-batch-teachers")] | None = None
    """How the teacher scores a batch; `null` chooses by the model."""
    vectors: TeacherVectors | None = None
    """Vectors that the teacher made before."""
    precompute: Literal["auto", "always", "never"] = "auto"
    """When a bi-encoder teacher encodes: `always` encodes all texts before training, `never` encodes batch by batch,
    and `auto` chooses the one with less work."""
    token_cache_gb: float | None = Field(default=None, gt=0)
    """Disk space in GB for a ColBERT's token vectors; `null` keeps none."""
    rescale: MarginsConfig | None = None
    """The scale of both teachers' margins."""
    allow_bin: bool = False
    """Accept weights in `pytorch_model.bin`, a pickle file. Its code is not run."""


class TrainConfig(RunConfig):
    """The configuration of `tasb train`."""

    RESCALE: ClassVar[str] = "teacher.rescale"

    student: StudentConfig
    """The model that is trained."""
    data: DataConfig
    """The texts and scores to train on."""
    sampling: SamplingConfig = SamplingConfig()
    """How batches are composed."""
    loss: LossConfig = LossConfig()
    """The losses."""
    teacher: TeacherConfig = TeacherConfig()
    """The in-batch teacher."""

    @property
    def pairs_per_step(self) -> int:
        """The pairs of a positive and a negative that a step of the optimiser trains on."""
        return super().pairs_per_step * self.sampling.negatives

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.sampling.strategy in {"tas", "tas-balanced"} and self.data.clusters is None:
            raise ValueError(f"sampling.strategy {self.sampling.strategy} needs data.clusters (see `tasb cluster`)")
        if self.loss.pairwise is None and self.loss.in_batch is None:
            raise ValueError("loss.pairwise and loss.in_batch are both absent")
        vectors = self.teacher.vectors
        if self.loss.needs_teacher and self.teacher.in_batch is None:
            if vectors is None:
                raise ValueError(
                    "loss.in_batch needs teacher.in_batch, an encoder's name; or set loss.in_batch to `infonce`, which "
                    "needs no teacher, or to `null`"
                )
            if not vectors.complete:
                raise ValueError("teacher.vectors needs `queries` and `passages` without teacher.in_batch, the encoder")
        if vectors is not None and not vectors.complete and self.teacher.precompute == "never":
            raise ValueError("teacher.vectors needs `queries` and `passages` with teacher.precompute never")
        if self.loss.in_batch is not None and not self.loss.needs_teacher and (self.teacher.in_batch or vectors):
            raise ValueError(
                f"loss.in_batch {self.loss.in_batch} learns from no teacher: remove teacher.in_batch and "
                "teacher.vectors"
            )
        curriculum, passages = self.loss.curriculum, 1 + self.sampling.negatives
        if curriculum is not None and curriculum.ranks[-1] > passages:
            raise ValueError(
                f"loss.curriculum.ranks goes up to {curriculum.ranks[-1]}, and a query has {passages} passages with "
                f"sampling.negatives {self.sampling.negatives}"
            )
        if self.student.normalise and self.loss.takes_temperature and self.loss.temperature is None:
            raise ValueError(
                f"loss.in_batch {self.loss.in_batch} needs loss.temperature with student.normalise, because cosines "
                "lie between -1 and 1: 0.05 is usual"
            )
        return self


class TeacherModel(Strict):
    """The model where a teacher's training starts. Token limits count special tokens, for each side by itself."""

    model: str
    """The model to start from: a folder or a hub id."""
    query_max_length: int = Field(default=30, ge=3)
    """The most tokens of a query."""
    passage_max_length: int = Field(default=200, ge=3)
    """The most tokens of a passage."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """The dropout rate; `null` is the one in the model's config.json."""
    attention_dropout: float | None = Field(default=None, ge=0, lt=1)
    """The dropout rate of attention; `null` is the one in the model's config.json."""
    allow_bin: bool = False
    """Accept weights in `pytorch_model.bin`, a pickle file. Its code is not run."""


class ColBertModel(TeacherModel):
    """A ColBERT, with its vectors' length and its queries' [MASK] tokens.

    By default, a ColBERT that is trained further keeps its own, and a new one has a dimension of 128 and 8 [MASK]
    tokens.
    """

    dimension: int | None = Field(default=None, ge=1)
    """The length of a token's vector."""
    query_masks: int | None = Field(default=None, ge=0)
    """The number of [MASK] tokens after a query."""


class TeachConfig(RunConfig):
    """The configuration of `tasb teach`. Batches are random, because clusters are for the student."""

    RESCALE: ClassVar[str] = "rescale"

    teacher: TeacherModel
    """The model that is trained."""
    loss: PairwiseLossName
    """The loss."""
    rescale: MarginsConfig | None = None
    """The scale of the margins of the teacher's own teacher."""

    @model_validator(mode="after")
    def _rescales_margins(self) -> Self:
        if self.rescale is not None and not registry_of("pairwise-losses")[self.loss].needs_margins:
            raise ValueError(f"rescale is for the margins of loss margin-mse; {self.loss} learns from labels")
        return self


class TeachCatConfig(TeachConfig):
    """The training of a BERT_CAT: RankNet on triples, as in the paper, or Margin-MSE on scores."""

    loss: PairwiseLossName = "ranknet"
    """The loss: RankNet learns from labels, Margin-MSE from scores."""


class TeachColBertConfig(TeachConfig):
    """The training of a ColBERT: Margin-MSE on BERT_CAT's scores."""

    teacher: ColBertModel
    """The model that is trained."""
    loss: PairwiseLossName = "margin-mse"
    """The loss: Margin-MSE learns from scores, RankNet from labels."""
