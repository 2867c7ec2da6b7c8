"""The processes that train together: `torchrun` starts them, each encodes its share of every batch.

They agree on everything before they train, and end together. A process that fails closes its connections; the others,
whose next message then fails, end too. In torchrun's store it leaves a note, so that an error is printed only once.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
import uuid
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from pyserini_tasb.artifacts import LOCK
from pyserini_tasb.errors import FailedError, TasbError, argument, shown
from pyserini_tasb.training.checkpoints import claimed, flattened, resolved, versions
from pyserini_tasb.workers import stop_with_launcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from pyserini_tasb.training.config import RunConfig


T = TypeVar("T")
# torchrun itself waits as long for the other nodes.
SECONDS_TO_COME = 600
# A network file system may show a new file later to other nodes.
SECONDS_TO_APPEAR = 20
SECONDS_BETWEEN_LOOKS = 0.1
# One process may encode a teacher's vectors for hours while the others wait. A step's messages have torch's limits.
LONGEST_WAIT = timedelta(days=7)


class OtherProcessEndedError(FailedError):
    """Another of the processes that train together has ended or does not answer, so this one cannot go on."""


@dataclass(frozen=True)
class Processes:
    """This process among all that train together.

    Every process computes the whole batch's loss from vectors it gathered, and back-propagates through its own share
    only; the sum of all gradients is then the gradient of the whole batch, in-batch negatives included.

    Attributes:
        rank: its number, from 0.
        world: how many they are.
        of_tensors: the group for vectors and gradients: NCCL's on GPUs; None is the default group, Gloo's.
        of_waits: the group in which a process may wait long.
    """

    rank: int = 0
    world: int = 1
    of_tensors: Any = field(default=None, repr=False)
    of_waits: Any = field(default=None, repr=False)

    @property
    def first(self) -> bool:
        """True if this is the process that writes files."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of `count` things in order."""
        return slice(self.rank * count // self.world, (self.rank + 1) * count // self.world)

    def gather(self, own: torch.Tensor, count: int, *, each: int = 1) -> torch.Tensor:
        """Rows [count · each, columns] of all processes in order, of which this one's keep their gradient.

        Args:
            own: this process's rows, those of `share(count)`.
            count: the queries of all processes together.
            each: rows of each query.

        Raises:
            OtherProcessEndedError: another process did not answer. All methods below raise it, too.
        """
        if self.world == 1:
            return own
        if each > 1:
            return self.gather(own.view(-1, each, *own.shape[1:]), count).flatten(0, 1)
        shares = [Processes(rank, self.world).share(count) for rank in range(self.world)]
        longest = max(share.stop - share.start for share in shares)  # gathered parts must be of one size
        part = own.new_zeros((longest, *own.shape[1:]))
        part[: len(own)] = own.detach()
        parts = [torch.empty_like(part) for _ in shares]
        with _answered():
            dist.all_gather(parts, part, group=self.of_tensors)
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
        with _answered():
            dist.all_reduce(together, group=self.of_tensors)
        for gradient, summed in zip(gradients, torch.split(together, sizes), strict=True):
            gradient.copy_(summed.view_as(gradient))

    def any(self, condition: bool) -> bool:
        """True if `condition` holds in some process."""
        if self.world == 1:
            return condition
        flag = torch.tensor([float(condition)])
        with _answered():
            dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag.item())

    def from_first(self, compute: Callable[[], T]) -> T:
        """The result of `compute`, which only the first process calls, in all processes: anything that JSON holds."""
        if self.world == 1:
            return compute()
        found: T = json.loads(self.texts(json.dumps(compute()) if self.first else "")[0])
        return found

    def texts(self, own: str) -> list[str]:
        """Every process's text, in the order of their ranks."""
        if self.world == 1:
            return [own]
        content = torch.tensor(list(own.encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world)]
        with _answered():
            dist.all_gather(sizes, torch.tensor([len(content)]))
            padded = torch.zeros(max(int(size) for size in sizes), dtype=torch.uint8)
            padded[: len(content)] = content
            parts = [torch.empty_like(padded) for _ in sizes]
            dist.all_gather(parts, padded)
        return [bytes(part[: int(size)].tolist()).decode() for part, size in zip(parts, sizes, strict=True)]

    def require_same(self, facts: Mapping[str, object], *, expected: str, do: str) -> None:
        """Compare facts, name → value, between all processes.

        Raises:
            TasbError: some differ; the same error in every process.
        """
        own = {name: json.dumps(value) for name, value in facts.items()}
        every = [json.loads(text) for text in self.texts(json.dumps([platform.node(), own]))]
        differing = [name for name in own if len({of_one[name] for _, of_one in every}) > 1]
        if differing:
            raise TasbError(
                expected=f"{expected} in all {self.world} processes",
                found="; ".join(f"{name}: {_by_value(name, every)}" for name in differing),
                do=do,
            )

    def require_shared(self, folder: Path) -> None:
        """Make sure that all processes see one folder, which the first one has locked.

        Raises:
            TasbError: some process sees another folder, or none; the same error in every process.
        """
        if self.world == 1:
            return
        lock = folder / LOCK
        holder = self.from_first(lock.read_text)
        end = time.monotonic() + SECONDS_TO_APPEAR
        while not (seen := _is_the_lock(lock, holder)) and time.monotonic() < end:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        every = [json.loads(text) for text in self.texts(json.dumps([platform.node(), seen]))]
        if blind := [(rank, node) for rank, (node, sees) in enumerate(every) if not sees]:
            raise TasbError(
                where=str(folder),
                expected="an `output` that all processes share",
                found=f"{_named(blind)} cannot see what {_named([(0, every[0][0])])} writes there",
                do="choose a folder on a disk that all nodes have, by its absolute path",
            )

    def wait_for_all(self) -> None:
        """Return when every process has come here, however long that takes."""
        if self.world > 1:
            with _answered():
                dist.all_reduce(torch.zeros(1), group=self.of_waits)

    def on(self, device: str) -> Processes:
        """The same processes, each with its GPU if they compute on GPUs.

        Args:
            device: the configured device. `auto` gives each process a GPU of its own, if there are any.

        Raises:
            TasbError: more processes than GPUs, one GPU for all, or GPUs for some of the processes only.
        """
        gpu = device != "cpu" and torch.cuda.is_available()
        if not (_launched() and (gpu or self.world > 1)):
            return self
        own = torch.device("cuda", _own_gpu(device)) if gpu else None
        self.require_same(
            {"device": "a GPU" if gpu else "the CPU"},
            expected="the same kind of device",
            do=f"use nodes of one kind (`tasb doctor` shows what torch finds), or train on the CPU "
            f"(`{argument('settings', ['device=cpu'])}`)",
        )
        if own is None:
            return self
        torch.cuda.set_device(own)
        if self.world == 1:
            return self
        return replace(self, of_tensors=dist.new_group(backend="nccl", device_id=own))  # two GPUs were not at hand yet


@contextmanager
def _answered() -> Iterator[None]:
    """Say what it means if a message to the other processes fails."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).partition("] ")[2].partition(". This is typically")[0] or str(error)
        raise OtherProcessEndedError(
            f"another process of this training ended or does not answer ({reason}), so this one ends, too. If it "
            "printed nothing, it was killed: `dmesg` tells if memory ran out. The same torchrun command continues "
            "after the last checkpoint"
        ) from error


def _by_value(name: str, every: list[tuple[str, dict[str, str]]]) -> str:
    """Each value of a fact, with the processes that have it."""
    holders: dict[str, list[tuple[int, str]]] = {}
    for rank, (node, facts) in enumerate(every):
        holders.setdefault(facts[name], []).append((rank, node))
    return ", ".join(f"{shown(json.loads(value))} in {_named(ranks)}" for value, ranks in holders.items())


PROCESSES_NAMED = 3


def _named(ranks: list[tuple[int, str]]) -> str:
    """`processes 0, 1 (node a)`."""
    numbers = ", ".join(str(rank) for rank, _ in ranks[:PROCESSES_NAMED])
    nodes = ", ".join(dict.fromkeys(node for _, node in ranks[:PROCESSES_NAMED]))
    more = f", … ({len(ranks)} in all)" if len(ranks) > PROCESSES_NAMED else ""
    return f"process{'es' * (len(ranks) > 1)} {numbers}{more} on {nodes}"


def _is_the_lock(lock: Path, holder: str) -> bool:
    """True if `lock` is the file that the first process holds: over a network its content may be late."""
    try:
        return lock.read_text() in {"", holder}
    except OSError:
        return False


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """Join the processes that `torchrun` started; a process that was started without it trains by itself.

    Raises:
        TasbError: not all of them come.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if _launched():
        stop_with_launcher()
    if world == 1:
        yield Processes()
        return
    store = _met(rank, world)
    try:
        with _answered():
            dist.init_process_group("gloo", store=PrefixStore("group", store), rank=rank, world_size=world)
            of_waits = dist.new_group(backend="gloo", timeout=LONGEST_WAIT)
        yield Processes(rank, world, of_waits=of_waits)
    except BaseException as error:
        lost = _loss_before(error)
        if lost is None:
            _tell(store, error)
            raise
        # Also where torchrun's SIGTERM has come meanwhile.
        lost.told_elsewhere = _was_told(store)
        raise lost from lost.__cause__
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _launched() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ or "WORLD_SIZE" in os.environ


def _met(rank: int, world: int) -> Store:
    """A store that these processes have for themselves, once all of them have come.

    Raises:
        TasbError: some do not.
    """
    limit = timedelta(seconds=SECONDS_TO_COME)
    store, _, _ = next(iter(rendezvous("env://", rank, world, timeout=limit)))
    return _called_together(store, world) if rank == 0 else _answering(store, rank)


def _called_together(store: Store, world: int) -> Store:
    """The first process's part: its call has a name, and the answers to this call are of processes that live.

    torchrun keeps one store when it starts processes again, and a script may train twice: the store has calls and
    answers of processes that have ended, and the addresses that they had.
    """
    call, end, answers = uuid.uuid4().hex, time.monotonic() + SECONDS_TO_COME, {}
    store.set("call", call)
    while missing := [rank for rank in range(1, world) if rank not in answers]:
        for rank in missing:
            answered, _, name = _said(store, f"answer of {rank}").partition(" ")
            if answered == call:
                answers[rank] = name
        if time.monotonic() > end:
            numbers = ", ".join(map(str, missing))
            raise TasbError(
                expected=f"all {world} processes within {SECONDS_TO_COME:,} seconds",
                found=f"none of the rank{'s' * (len(missing) > 1)} {numbers}",
                do="read what their nodes printed, then repeat the command on all nodes",
            )
        time.sleep(SECONDS_BETWEEN_LOOKS)
    store.set("all here", " ".join([call, *answers.values()]))
    return PrefixStore(call, store)


def _answering(store: Store, rank: int) -> Store:
    """The part of another process, whose name is in the call that all have answered."""
    name, answered, end = uuid.uuid4().hex, "", time.monotonic() + 2 * SECONDS_TO_COME
    while name not in (here := _said(store, "all here").split()):
        call = _said(store, "call")
        if call != answered:
            store.set(f"answer of {rank}", f"{call} {name}")
            answered = call
        if time.monotonic() > end:
            raise TasbError(
                expected="all processes, called together by the one of rank 0",
                found=f"only silence, for {2 * SECONDS_TO_COME:,} seconds",
                do="read what the other nodes printed, then repeat the command on all nodes",
            )
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return PrefixStore(here[0], store)


def _said(store: Store, key: str) -> str:
    return store.get(key).decode() if store.check([key]) else ""


def _loss_before(error: BaseException | None) -> OtherProcessEndedError | None:
    """The error, or the one that was being handled when it came, if that says that another process is lost."""
    while error is not None and not isinstance(error, OtherProcessEndedError):
        error = error.__context__
    return error


FAILED, LOST = "failed", "lost"


def _tell(store: Store, error: BaseException) -> None:
    """Note that this process prints its reason to end; of several with the same reason one prints it."""
    with suppress(RuntimeError):  # the store may be gone with the process that kept it
        store.add(FAILED, 1)
        if isinstance(error, TasbError):
            error.told_elsewhere = store.add(hashlib.sha256(str(error).encode()).hexdigest(), 1) > 1


def _was_told(store: Store) -> bool:
    """True if a process that failed prints the reason, or another one that it was lost."""
    with suppress(RuntimeError):
        return bool(store.check([FAILED]) or store.add(LOST, 1) > 1)
    return False


# Versions that may differ between processes.
WITHOUT_EFFECT = {"python", "pyserini", "threads", "processes"}


@contextmanager
def agreed(run: RunConfig, processes: Processes) -> Iterator[Processes]:
    """The processes on their devices, while the first one holds the run's folder.

    Raises:
        TasbError: the processes differ in versions, configuration or kind of device; they do not share the run's
            folder; or it cannot be held (see `claimed`).
    """
    if processes.world > 1:
        found = {name: version for name, version in versions().items() if name not in WITHOUT_EFFECT}
        processes.require_same(found, expected="the same versions", do="install the same packages on every node")
        processes.require_same(
            {f"`{key}`": value for key, value in flattened(resolved(run)).items()},
            expected="the same configuration",
            do="give the same command and the same file on every node",
        )
    on = processes.on(run.device)
    with claimed(run) if processes.first else nullcontext():
        processes.require_shared(run.output)
        yield on


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
