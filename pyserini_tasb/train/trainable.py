"""What the loop trains: a dual encoder, or one of its teachers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from pyserini_tasb.train.distributed import Processes
    from pyserini_tasb.train.margin_scale import MarginScale
    from pyserini_tasb.train.optimisation import Optimisation
    from pyserini_tasb.train.run_config import RunConfig
    from pyserini_tasb.train.sampling import Sampler, Tokenising
    from pyserini_tasb.train.step import Forward
    from pyserini_tasb.train.store import PairStore


class Measured(Protocol):
    """A model's value on the validation set."""

    measure: str

    def value(self) -> float:
        """The measure now; the same in every process."""


class Trainable(Protocol):
    """All that takes part in a run, in one process."""

    @property
    def config(self) -> RunConfig:
        """Of the run."""

    @property
    def processes(self) -> Processes:
        """All that train together."""

    @property
    def store(self) -> PairStore:
        """The pairs."""

    @property
    def sampler(self) -> Sampler:
        """Which of them make a batch."""

    @property
    def tokenising(self) -> Tokenising:
        """How their texts become tokens."""

    @property
    def model(self) -> torch.nn.Module:
        """What is trained."""

    @property
    def validator(self) -> Measured | None:
        """What measures it."""

    @property
    def optimisation(self) -> Optimisation:
        """What moves its weights."""

    def margin_scale(self) -> MarginScale:
        """The teachers' margins, measured."""

    def forward(self, margins: MarginScale) -> Forward:
        """From batches to losses."""
