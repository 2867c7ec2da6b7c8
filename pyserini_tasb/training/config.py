"""The configurations of `tasb train` and `tasb teach`: one YAML file each, every key checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pyserini_tasb.recipes.types import Pooling, Recipe, Strict, name_of
from pyserini_tasb.registry import registry_of

Positive = Annotated[int, Field(ge=1)]
PairwiseLossName = Annotated[str, name_of("pairwise-losses")]


class RunData(Strict):
    """Folders that `tasb pairs` and `tasb validation-set` made."""

    pairs: Path
    validation: Path | None = None
    allow_reversed: bool = False  # train on pairs whose teacher contradicts most labels


class MarginsConfig(Strict):
    """Deviation, and mean if given, that a teacher's margins are brought to. Without a mean, zero stays zero."""

    mean: float | None = None
    deviation: float = Field(gt=0)


class OptimiserConfig(Strict):
    """The paper's optimiser is Adam at 7e-6."""

    name: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(default=7e-6, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = Field(default=1e-8, gt=0)
    clip_norm: float | None = Field(default=None, gt=0)


class ScheduleConfig(Strict):
    """The learning rate's course."""

    name: Annotated[str, name_of("schedules")] = "constant"
    warmup_steps: int = Field(default=1_000, ge=0)
    floor: float = Field(default=0.0, ge=0, le=1)


class ValidationConfig(Strict):
    """Early stopping on approximate retrieval (paper, Section 4.3)."""

    every: Positive = 4_000
    patience: Positive = 30
    measure: str = "nDCG@10"


class CheckpointConfig(Strict):
    """How often the whole state is saved, and how many states are kept beside the best."""

    every: Positive = 1_000
    keep: Positive = 2


class RunConfig(Recipe):
    """All of one training run but the model, what it learns from, and its losses. Paths: from the working directory.

    Attributes:
        RESCALE: the key that rescales teachers' margins.
    """

    RESCALE: ClassVar[str]

    output: Path
    data: RunData
    optimiser: OptimiserConfig = OptimiserConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    validation: ValidationConfig = ValidationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    batch_size: int = Field(default=32, ge=2)
    accumulate: Positive = 1  # batches to one optimiser step
    max_steps: Positive | None = None
    gradient_cache: bool = False
    tokens_per_forward: Positive | None = None  # None: by the device
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    seed: int = Field(default=208_973_249, ge=0, lt=2**63)
    workers: int = Field(default=1, ge=0)
    log_every: Positive = 10

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.max_steps is None and self.data.validation is None:
            raise ValueError("training would never end: give max_steps, or data.validation for early stopping")
        if self.schedule.name in {"cosine", "linear"} and self.max_steps is None:
            raise ValueError(f"schedule.name {self.schedule.name} needs max_steps: else it has no end to go down to")
        return self


class StudentConfig(Strict):
    """Where training starts, and how texts become vectors. Token caps count special tokens."""

    model: str
    pooling: Pooling = "cls"
    normalise: bool = False
    query_prefix: str = ""
    passage_prefix: str = ""
    query_max_length: int = Field(default=30, ge=3)
    passage_max_length: int = Field(default=200, ge=3)
    dropout: float | None = Field(default=None, ge=0, lt=1)  # None: as the model's own config.json says
    attention_dropout: float | None = Field(default=None, ge=0, lt=1)
    allow_bin: bool = False


class DataConfig(RunData):
    """Folders and files that `tasb pairs`, `tasb validation-set` and `tasb cluster` made."""

    clusters: Path | None = None

    @property
    def clusters_file(self) -> Path | None:
        """The clusters, in whose place the folder that `tasb cluster` made may be named."""
        folder = self.clusters is not None and self.clusters.is_dir()
        return self.clusters / "clusters.tsv" if folder and self.clusters else self.clusters


class SamplingConfig(Strict):
    """How a batch is composed (paper, Section 3)."""

    strategy: Annotated[str, name_of("samplings")] = "tas-balanced"
    clusters_per_batch: Positive = 1
    bins: Positive = 10
    binning: Annotated[str, name_of("binnings")] = "equal-width"
    lowest_margin: float | None = None
    highest_margin: float | None = None


class LossConfig(Strict):
    """Pairwise + alpha times in-batch (paper, Eq. 8)."""

    pairwise: PairwiseLossName | None = "margin-mse"
    in_batch: Annotated[str, name_of("in-batch-losses")] | None = "margin-mse"
    alpha: float = Field(default=0.75, ge=0)


class TeacherVectors(Strict):
    """Folders that `tasb encode` made of the pairs' texts, or of more; a side without one is encoded by training."""

    queries: Path | None = None
    passages: Path | None = None

    @property
    def complete(self) -> bool:
        """Whether no model is needed."""
        return self.queries is not None and self.passages is not None


class TeacherConfig(Strict):
    """The in-batch teacher, a bi-encoder or a ColBERT, and the scale that both teachers' margins are brought to."""

    in_batch: str | None = None
    kind: Annotated[str, name_of("in-batch-teachers")] | None = None  # None: by the model
    vectors: TeacherVectors | None = None
    precompute: Literal["auto", "always", "never"] = "auto"  # whether a bi-encoder encodes all texts before the start
    token_cache_gb: float | None = Field(default=None, gt=0)  # disk for a ColBERT's token vectors; None: no cache
    rescale: MarginsConfig | None = None
    allow_bin: bool = False


class TrainConfig(RunConfig):
    """All of one training run of a student."""

    RESCALE: ClassVar[str] = "teacher.rescale"

    student: StudentConfig
    data: DataConfig
    sampling: SamplingConfig = SamplingConfig()
    loss: LossConfig = LossConfig()
    teacher: TeacherConfig = TeacherConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.sampling.strategy in {"tas", "tas-balanced"} and self.data.clusters is None:
            raise ValueError(f"sampling.strategy {self.sampling.strategy} needs data.clusters (see `tasb cluster`)")
        if self.loss.pairwise is None and self.loss.in_batch is None:
            raise ValueError("loss.pairwise and loss.in_batch are both absent")
        vectors = self.teacher.vectors
        if self.loss.in_batch is not None and self.teacher.in_batch is None:
            if vectors is None:
                raise ValueError("loss.in_batch needs teacher.in_batch, an encoder's name; or set `in_batch: null`")
            if not vectors.complete:
                raise ValueError("teacher.vectors needs `queries` and `passages` without teacher.in_batch, the encoder")
        if vectors is not None and not vectors.complete and self.teacher.precompute == "never":
            raise ValueError("teacher.vectors needs `queries` and `passages` with teacher.precompute never")
        return self


class TeacherModel(Strict):
    """Where training starts. Token caps count special tokens, and each side's own."""

    model: str
    query_max_length: int = Field(default=30, ge=3)
    passage_max_length: int = Field(default=200, ge=3)
    dropout: float | None = Field(default=None, ge=0, lt=1)
    attention_dropout: float | None = Field(default=None, ge=0, lt=1)
    allow_bin: bool = False


class ColBertModel(TeacherModel):
    """With what its compressor and its queries look like.

    Unless they are given, a ColBERT that is taught further keeps its own, and a new one has a dimension of 128 and 8
    [MASK] tokens.
    """

    dimension: int | None = Field(default=None, ge=1)
    query_masks: int | None = Field(default=None, ge=0)


class TeachConfig(RunConfig):
    """All of one training run of a teacher. Batches are random: clusters are for the student."""

    RESCALE: ClassVar[str] = "rescale"

    teacher: TeacherModel
    loss: PairwiseLossName
    rescale: MarginsConfig | None = None

    @model_validator(mode="after")
    def _rescales_margins(self) -> Self:
        if self.rescale is not None and not registry_of("pairwise-losses")[self.loss].needs_margins:
            raise ValueError(f"rescale is for the margins of loss margin-mse; {self.loss} learns from labels")
        return self


class TeachCatConfig(TeachConfig):
    """The training of a BERT_CAT: RankNet on triples, as the paper's teachers; or Margin-MSE on a teacher's scores."""

    loss: PairwiseLossName = "ranknet"


class TeachColBertConfig(TeachConfig):
    """The training of a ColBERT: Margin-MSE on BERT_CAT's scores."""

    teacher: ColBertModel
    loss: PairwiseLossName = "margin-mse"
