"""The optimiser, and the learning rate at each step: a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from pyserini_tasb.errors import TasbError
from pyserini_tasb.registry import Registry, require_callable

if TYPE_CHECKING:
    from pyserini_tasb.training.config import RunConfig
    from pyserini_tasb.training.distributed import Processes


KINDS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class Optimisation:
    """One update of the weights after each step.

    Args:
        parameters: what is trained.
        config: optimiser and schedule.
        fp16: whether the loss has to be scaled up so that fp16 gradients do not vanish (GPUs without bf16).
    """

    def __init__(self, parameters: list[torch.nn.Parameter], config: RunConfig, *, fp16: bool) -> None:
        self._parameters = parameters
        self._clip_norm = config.optimiser.clip_norm
        self._rate = config.optimiser.learning_rate
        self._factor = build_schedule(
            config.schedule.name,
            warmup_steps=config.schedule.warmup_steps,
            max_steps=config.max_steps,
            floor=config.schedule.floor,
        )
        self._optimiser = KINDS[config.optimiser.name](
            parameters,
            lr=self._rate,
            betas=config.optimiser.betas,
            eps=config.optimiser.epsilon,
            weight_decay=config.optimiser.weight_decay,
            fused=True,
        )
        self._scaler = torch.amp.GradScaler(enabled=fp16)

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss to back-propagate."""
        scaled: torch.Tensor = self._scaler.scale(loss)
        return scaled

    def update(self, step: int, processes: Processes) -> tuple[float, float]:
        """Move the weights by their gradients and clear these; return the learning rate and the gradients' norm."""
        rate = self._rate * self._factor(step)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        processes.sum_gradients(self._parameters)
        self._scaler.unscale_(self._optimiser)
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self._clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, self._clip_norm, norm)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._optimiser.zero_grad(set_to_none=True)
        return rate, float(norm)

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """All that an update depends on: tensors `PARAMETER.NAME`, and the loss scale."""
        states = self._optimiser.state_dict()["state"]
        tensors = {
            f"{number}.{name}": torch.as_tensor(value)
            for number, state in states.items()
            for name, value in state.items()
        }
        return tensors, self._scaler.state_dict()

    def restore(self, tensors: dict[str, torch.Tensor], scaler: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        whole = self._optimiser.state_dict()
        whole["state"] = {}
        for key, tensor in tensors.items():
            number, _, name = key.partition(".")
            whole["state"].setdefault(int(number), {})[name] = tensor
        self._optimiser.load_state_dict(whole)
        self._scaler.load_state_dict(scaler)


Factor: TypeAlias = Callable[[int], float]
"""step (from 0) → factor on the base learning rate."""


@dataclass(frozen=True)
class Schedule:
    """The settings of a learning-rate schedule.

    Attributes:
        warmup_steps: the number of steps over which the factor rises to 1.
        max_steps: the most steps of training; None if only early stopping ends it.
        floor: the factor at the end.
    """

    warmup_steps: int
    max_steps: int | None
    floor: float


SCHEDULES: Registry[Callable[[Schedule], Factor]] = Registry(
    "learning-rate schedule", "schedules", takes=("a Schedule",)
)


def build_schedule(name: str, *, warmup_steps: int = 0, max_steps: int | None = None, floor: float = 0.0) -> Factor:
    """The factor of the learning rate by step, from 0.

    Args:
        name: a name of `SCHEDULES`: `constant`, `cosine`, `linear`, `released`, or one of another package.
        warmup_steps: the number of steps over which the factor rises linearly, from 1/warmup_steps at step 0: no step
            has 0.
        max_steps: the last step plus one. `cosine` and `linear` end there.
        floor: the factor at the end, 0 to 1.

    Raises:
        TasbError: the schedule does not exist, or needs more steps.
    """
    factor = SCHEDULES[name](Schedule(warmup_steps, max_steps, floor))
    require_callable("factor of the learning rate", f"what {name} returns", factor, ("the step",))
    return factor


@SCHEDULES.register("constant")
def constant(schedule: Schedule) -> Factor:
    """The full rate after the warm-up, as in the paper (Section 4.2: Adam, 7e-6).

    With early stopping, a decay has no known end.
    """
    return lambda step: _warmup(step, schedule.warmup_steps)


@SCHEDULES.register("cosine")
def cosine(schedule: Schedule) -> Factor:
    """Half a cosine after the warm-up, from the full rate to the floor, where it stays.

    Raises:
        TasbError: no `max_steps`, or the warm-up lasts as long.
    """
    return _decay(schedule, "cosine", lambda progress: (1 + math.cos(math.pi * progress)) / 2)


@SCHEDULES.register("linear")
def linear(schedule: Schedule) -> Factor:
    """A straight line after the warm-up, from the full rate to the floor, where it stays.

    Raises:
        TasbError: no `max_steps`, or the warm-up lasts as long.
    """
    return _decay(schedule, "linear", lambda progress: 1 - progress)


# The released code's settings for MS MARCO, in batches and in its scheduler's steps.
RELEASED_BATCHES_PER_STEP = 100
RELEASED_WARMUP = 1
RELEASED_STEPS = 8_500


@SCHEDULES.register("released")
def released(_schedule: Schedule) -> Factor:
    """The fixed schedule of the authors' matchmaker library: a cosine that changes every 100 batches.

    It ignores all settings. The rate is 0 for the first 101 batches, and rises again after 850,000 batches.
    """

    def factor(step: int) -> float:
        # Stepped at the end of batches 100, 200, …; batch 0 is the one before them all.
        taken = max(0, step - 1) // RELEASED_BATCHES_PER_STEP
        if taken < RELEASED_WARMUP:
            return taken / RELEASED_WARMUP
        return (1 + math.cos(math.pi * (taken - RELEASED_WARMUP) / (RELEASED_STEPS - RELEASED_WARMUP))) / 2

    return factor


def _warmup(step: int, warmup_steps: int) -> float:
    return min(1.0, (step + 1) / max(1, warmup_steps))


def _decay(schedule: Schedule, name: str, shape: Callable[[float], float]) -> Factor:
    if schedule.max_steps is None or schedule.max_steps <= schedule.warmup_steps:
        raise TasbError(
            expected=f"max_steps, above the {schedule.warmup_steps} warm-up steps, for the schedule `{name}`",
            found="none" if schedule.max_steps is None else str(schedule.max_steps),
            do="give max_steps, or use the schedule `constant` and early stopping",
        )
    # The floor is the factor of the last step, which is trained too.
    length = max(1, schedule.max_steps - 1 - schedule.warmup_steps)

    def factor(step: int) -> float:
        if step < schedule.warmup_steps:
            return _warmup(step, schedule.warmup_steps)
        progress = min(1.0, (step - schedule.warmup_steps) / length)
        return schedule.floor + (1 - schedule.floor) * shape(progress)

    return factor
