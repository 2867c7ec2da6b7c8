"""Which units of a corpus this command does, where several commands share them out."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pyserini_tasb.errors import TasbError


@dataclass(frozen=True)
class Share:
    """Every `of`-th unit, from `index` on.

    Args:
        index: from 0.
        of: how many shares there are.
        waits: whether the command waits for the other shares, to make the outputs.
        makes_outputs: whether this command is the one that makes them.
    """

    index: int = 0
    of: int = 1
    waits: bool = False
    makes_outputs: bool = True

    def numbers(self, units: int) -> range:
        """Its units, of so many."""
        return range(self.index, units, self.of)


def share_of(shard: str | None) -> Share:
    """The share that `--shard i/n` names, or the one of a process that `torchrun` started.

    Raises:
        TasbError: no such share, or both.
    """
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if shard is None:
        rank = int(os.environ.get("RANK", "0"))
        return Share(rank, ranks, waits=ranks > 1, makes_outputs=rank == 0)
    if ranks > 1:
        raise TasbError(
            expected="units shared out by --shard or by torchrun",
            found=f"--shard {shard} and {ranks} processes of torchrun",
            do="leave out one of them",
        )
    index, slash, of = shard.partition("/")
    if not (slash and index.isdecimal() and of.isdecimal() and int(index) < int(of)):
        raise TasbError(
            expected="--shard i/n with 0 ≤ i < n, e.g. 0/4 to 3/4 on four machines", found=shard, do="count from 0"
        )
    return Share(int(index), int(of))
