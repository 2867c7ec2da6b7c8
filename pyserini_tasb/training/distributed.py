"""The processes that train together: `torchrun` starts them, each encodes its share of every batch."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.workers import stop_with_launcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True)
class Processes:
    """This process among all that train together.

    Every process computes the whole batch's loss from vectors it gathered, and back-propagates through its own share
    only; the sum of all gradients is then the gradient of the whole batch, in-batch negatives included.
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """True if this is the process that writes files."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of `count` things in order."""
        return slice(self.rank * count // self.world, (self.rank + 1) * count // self.world)

    def gather(self, own: torch.Tensor, count: int) -> torch.Tensor:
        """Rows [count, columns] of all processes in order, of which this one's keep their gradient.

        Args:
            own: this process's rows, those of `share(count)`.
            count: rows of all processes together.
        """
        if self.world == 1:
            return own
        shares = [Processes(rank, self.world).share(count) for rank in range(self.world)]
        longest = max(share.stop - share.start for share in shares)  # gathered parts must be of one size
        part = own.new_zeros((longest, *own.shape[1:]))
        part[: len(own)] = own.detach()
        parts = [torch.empty_like(part) for _ in shares]
        dist.all_gather(parts, part)
        rows = [part[: share.stop - share.start] for part, share in zip(parts, shares, strict=True)]
        rows[self.rank] = own
        return torch.cat(rows)

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by the sum over all processes."""
        if self.world == 1:
            return
        gradients = []
        for parameter in parameters:
            # A parameter without a part in this process's share may have one in another's.
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        sizes = [gradient.numel() for gradient in gradients]
        together = torch.cat([gradient.reshape(-1) for gradient in gradients])  # one message, not a hundred
        dist.all_reduce(together)
        for gradient, summed in zip(gradients, torch.split(together, sizes), strict=True):
            gradient.copy_(summed.view_as(gradient))

    def any(self, condition: bool) -> bool:
        """True if `condition` holds in some process."""
        if self.world == 1:
            return condition
        flag = torch.tensor([float(condition)], device=self._device())
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag.item())

    def from_first(self, value: float) -> float:
        """The first process's `value`, in all processes."""
        if self.world == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self._device())
        dist.broadcast(tensor, src=0)
        return float(tensor.item())

    def wait_for_all(self) -> None:
        """Return when every process has come here."""
        if self.world > 1:
            dist.barrier()

    @staticmethod
    def _device() -> str:
        return "cuda" if dist.get_backend() == "nccl" else "cpu"


@contextmanager
def joined_processes(device: str) -> Iterator[Processes]:
    """Join the processes that `torchrun` started; a process that was started without it trains by itself.

    Args:
        device: the configured device. `auto` gives each process a GPU of its own, if there are any.

    Raises:
        TasbError: more processes than GPUs, or one GPU for all.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ and "WORLD_SIZE" not in os.environ:
        yield Processes()
        return
    stop_with_launcher()
    if device == "cpu" or not torch.cuda.is_available():
        dist.init_process_group("gloo")
    else:
        own = torch.device("cuda", _own_gpu(device))
        torch.cuda.set_device(own)
        dist.init_process_group("nccl", device_id=own)  # two GPUs have not been at hand yet
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def _own_gpu(device: str) -> int:
    """The number of this process's GPU."""
    number, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", number + 1))  # torchrun says it, other launchers may not
    if device != "auto" and processes > 1:
        raise TasbError(
            expected="`device: auto`, so that each process has a GPU of its own, or `device: cpu`",
            found=f"`device: {device}` for {processes} processes",
            do="change it, or start one process, without torchrun",
        )
    if processes > gpus:
        raise TasbError(
            expected="a GPU for each process",
            found=f"{processes} processes on a machine with {gpus} GPU{'s' * (gpus > 1)}",
            do=f"start {gpus} (`torchrun --nproc-per-node {gpus}`), or train on the CPU "
            f"(`{argument('settings', ['device=cpu'])}`)",
        )
    return number
