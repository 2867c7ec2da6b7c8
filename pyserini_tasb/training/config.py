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
    """The pair store that `tasb pairs` made."""
    validation: Path | None = None
    """The folder that `tasb validation-set` made, for early stopping; `null` for none."""
    allow_reversed: bool = False
    """Train on pairs whose teacher contradicts most labels."""


class MarginsConfig(Strict):
    """Deviation, and mean if given, that a teacher's margins are brought to. Without a mean, zero stays zero."""

    mean: float | None = None
    """The mean that margins are moved to. Without one, they are only multiplied, and zero stays zero."""
    deviation: float = Field(gt=0)
    """The standard deviation that margins are brought to."""


class OptimiserConfig(Strict):
    """The paper's optimiser is Adam at 7e-6."""

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
    """The norm that gradients are cut to; `null` does not cut them."""


class ScheduleConfig(Strict):
    """The learning rate's course."""

    name: Annotated[str, name_of("schedules")] = "constant"
    """The course after the warm-up."""
    warmup_steps: int = Field(default=1_000, ge=0)
    """Steps in which the rate grows from 0 to the highest."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """The share of the highest rate at which a decay ends."""


class ValidationConfig(Strict):
    """Early stopping on approximate retrieval (paper, Section 4.3)."""

    every: Positive = 4_000
    """Steps from one evaluation to the next."""
    patience: Positive = 30
    """Evaluations without a new best value after which training stops."""
    measure: str = "nDCG@10"
    """The measure that decides, by ir-measures' name."""


class CheckpointConfig(Strict):
    """How often the whole state is saved, and how many states are kept beside the best."""

    every: Positive = 1_000
    """Steps from one checkpoint to the next."""
    keep: Positive = 2
    """Checkpoints that are kept beside the best one."""


class RunConfig(Recipe):
    """All of one training run but the model, what it learns from, and its losses. Paths: from the working directory.

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
    """The learning rate's course."""
    validation: ValidationConfig = ValidationConfig()
    """Early stopping."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """The states that are saved on the way."""
    batch_size: int = Field(default=32, ge=2)
    """Queries in a batch, each with a positive and a negative."""
    accumulate: Positive = 1
    """Batches that make one step of the optimiser. Their gradients are averaged."""
    max_steps: Positive | None = None
    """Steps after which training ends; `null` leaves that to early stopping."""
    gradient_cache: bool = False
    """Compute a batch in parts, with the gradients of the whole batch: large batches in little memory."""
    tokens_per_forward: Positive | None = None
    """Tokens that go through the model at once; `null` is 2,048 on CPUs and 32,768 on GPUs."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """The number format of training; `auto` is bf16 where the machine multiplies it (fp16 on older GPUs), else fp32."""
    device: str = "auto"
    """The device: `cpu`, `cuda:0`, …; `auto` takes a GPU if there is one."""
    seed: int = Field(default=208_973_249, ge=0, lt=2**63)
    """The seed of all that is random."""
    workers: int = Field(default=1, ge=0)
    """Processes that compose batches ahead; 0 composes them in between."""
    log_every: Positive = 10
    """Steps from one line of `metrics.jsonl` to the next."""

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
    """The model to start from: a folder, a hub id, an encoder card, or `pkg:PACKAGE/FOLDER`."""
    pooling: Pooling = "cls"
    """How the vectors of a text's tokens become the text's vector; causal models need `last`."""
    normalise: bool = False
    """Divide vectors by their length."""
    query_prefix: str = ""
    """Text that is put before each query."""
    passage_prefix: str = ""
    """Text that is put before each passage."""
    query_max_length: int = Field(default=30, ge=3)
    """Tokens of a query that are kept."""
    passage_max_length: int = Field(default=200, ge=3)
    """Tokens of a passage that are kept."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """The model's dropout; `null` leaves it as the model's own config.json says."""
    attention_dropout: float | None = Field(default=None, ge=0, lt=1)
    """The dropout of attention; `null` leaves it as the model's own config.json says."""
    allow_bin: bool = False
    """Accept weights in `pytorch_model.bin`, a pickle. No code in it is run."""


class DataConfig(RunData):
    """Folders and files that `tasb pairs`, `tasb validation-set` and `tasb cluster` made."""

    clusters: Path | None = None
    """The clusters that `tasb cluster` made: the folder, or its file. The strategies `tas` and `tas-balanced` need
    them."""

    @property
    def clusters_file(self) -> Path | None:
        """The clusters, in whose place the folder that `tasb cluster` made may be named."""
        folder = self.clusters is not None and self.clusters.is_dir()
        return self.clusters / "clusters.tsv" if folder and self.clusters else self.clusters


class SamplingConfig(Strict):
    """How a batch is composed (paper, Section 3)."""

    strategy: Annotated[str, name_of("samplings")] = "tas-balanced"
    """The way in which queries and their pairs are chosen."""
    clusters_per_batch: Positive = 1
    """Clusters that a batch's queries come from (the paper's n)."""
    bins: Positive = 10
    """Bins that the margins of a query's pairs are divided into (the paper's h)."""
    binning: Annotated[str, name_of("binnings")] = "equal-width"
    """The way in which margins are divided into bins; the paper's is `equal-width`."""
    lowest_margin: float | None = None
    """The lowest teacher margin that a pair may have."""
    highest_margin: float | None = None
    """The highest teacher margin that a pair may have."""


class LossConfig(Strict):
    """Pairwise + alpha times in-batch (paper, Eq. 8)."""

    pairwise: PairwiseLossName | None = "margin-mse"
    """The loss of a query's own pair; `null` for none. `ranknet` needs only labels, no scores."""
    in_batch: Annotated[str, name_of("in-batch-losses")] | None = "margin-mse"
    """The loss of a query with all passages of the batch; `null` for none. `margin-mse` is a mean, `margin-mse-eq7` the
    paper's sum."""
    alpha: float = Field(default=0.75, ge=0)
    """The factor of the in-batch loss."""


class TeacherVectors(Strict):
    """Folders that `tasb encode` made of the pairs' texts, or of more; a side without one is encoded by training."""

    queries: Path | None = None
    """The folder of the queries' vectors."""
    passages: Path | None = None
    """The folder of the passages' vectors."""

    @property
    def complete(self) -> bool:
        """Whether no model is needed."""
        return self.queries is not None and self.passages is not None


class TeacherConfig(Strict):
    """The in-batch teacher, a bi-encoder or a ColBERT, and the scale that both teachers' margins are brought to."""

    in_batch: str | None = None
    """The teacher of the in-batch loss: an encoder's name, or a ColBERT's folder or hub id."""
    kind: Annotated[str, name_of("in-batch-teachers")] | None = None
    """How the teacher scores a batch; `null` decides by the model."""
    vectors: TeacherVectors | None = None
    """Vectors that the teacher has made already."""
    precompute: Literal["auto", "always", "never"] = "auto"
    """When a bi-encoder teacher encodes: `always` is all texts before the start, `never` is batch by batch, and `auto`
    is the first where that is less work."""
    token_cache_gb: float | None = Field(default=None, gt=0)
    """Disk space in GB for a ColBERT's token vectors; `null` keeps none."""
    rescale: MarginsConfig | None = None
    """The scale that the margins of both teachers are brought to."""
    allow_bin: bool = False
    """Accept weights in `pytorch_model.bin`, a pickle. No code in it is run."""


class TrainConfig(RunConfig):
    """All of one training run of a student."""

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
    """The model to start from: a folder or a hub id."""
    query_max_length: int = Field(default=30, ge=3)
    """Tokens of a query that are kept."""
    passage_max_length: int = Field(default=200, ge=3)
    """Tokens of a passage that are kept."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """The model's dropout; `null` leaves it as the model's own config.json says."""
    attention_dropout: float | None = Field(default=None, ge=0, lt=1)
    """The dropout of attention; `null` leaves it as the model's own config.json says."""
    allow_bin: bool = False
    """Accept weights in `pytorch_model.bin`, a pickle. No code in it is run."""


class ColBertModel(TeacherModel):
    """With what its compressor and its queries look like.

    Unless they are given, a ColBERT that is taught further keeps its own, and a new one has a dimension of 128 and 8
    [MASK] tokens.
    """

    dimension: int | None = Field(default=None, ge=1)
    """Numbers of a token's vector."""
    query_masks: int | None = Field(default=None, ge=0)
    """[MASK] tokens that are put behind a query."""


class TeachConfig(RunConfig):
    """All of one training run of a teacher. Batches are random: clusters are for the student."""

    RESCALE: ClassVar[str] = "rescale"

    teacher: TeacherModel
    """The model that is trained."""
    loss: PairwiseLossName
    """The loss."""
    rescale: MarginsConfig | None = None
    """The scale that the margins of the teacher's own teacher are brought to."""

    @model_validator(mode="after")
    def _rescales_margins(self) -> Self:
        if self.rescale is not None and not registry_of("pairwise-losses")[self.loss].needs_margins:
            raise ValueError(f"rescale is for the margins of loss margin-mse; {self.loss} learns from labels")
        return self


class TeachCatConfig(TeachConfig):
    """The training of a BERT_CAT: RankNet on triples, as the paper's teachers; or Margin-MSE on a teacher's scores."""

    loss: PairwiseLossName = "ranknet"
    """The loss: RankNet learns from labels, Margin-MSE from scores."""


class TeachColBertConfig(TeachConfig):
    """The training of a ColBERT: Margin-MSE on BERT_CAT's scores."""

    teacher: ColBertModel
    """The model that is trained."""
    loss: PairwiseLossName = "margin-mse"
    """The loss: Margin-MSE learns from scores, RankNet from labels."""
