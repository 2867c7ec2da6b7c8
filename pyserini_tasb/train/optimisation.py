"""The optimiser: its kind, its learning rate at each step, and its update."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pyserini_tasb.train.schedules import build_schedule

if TYPE_CHECKING:
    from pyserini_tasb.train.distributed import Processes
    from pyserini_tasb.train.run_config import RunConfig

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
