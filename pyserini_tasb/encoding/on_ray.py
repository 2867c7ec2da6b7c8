"""Encoding on a Ray cluster: actors that encode units as one process does, and the handing out of units.

An actor gets neighbouring units, fewer each time: half of what is left, divided among all (guided self-scheduling,
Polychronopoulos and Kuck, 1987). So a compressed corpus is read from its beginning a few times only, and at the end all
actors finish at about the same time. An actor that is lost loses its unfinished units, which others get.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import traceback
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pyserini_tasb.encoding.job import folder_manifest
from pyserini_tasb.encoding.units import EncodedBatch, Supervisor, unit_encoder
from pyserini_tasb.encoding.vectors import VectorUnit
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.ray_cluster.actors import SECONDS_OF_SILENCE, Setting, log_free
from pyserini_tasb.ray_cluster.nodes import node_name, nodes, require_alike
from pyserini_tasb.registry import registry_of
from pyserini_tasb.workers import LogOfOthers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pyserini_tasb.encoding.job import EncodeJob
    from pyserini_tasb.encoding.plan import CorpusPlan
    from pyserini_tasb.ray_cluster.nodes import Needs, OnRay

LOG = logging.getLogger(__name__)

MOST_LOSSES = 3
SECONDS_BETWEEN_ROUNDS = 0.5
SECONDS_BETWEEN_REPORTS = 0.2


class EncodingCluster:
    """The Ray cluster that this process is connected to, for one job.

    Args:
        on_ray: what is asked of it.
        job: the job.

    Raises:
        TasbError: it has no room, or its nodes differ from this machine or do not see the job's files.
    """

    def __init__(self, on_ray: OnRay, job: EncodeJob) -> None:
        registry_of("poolings").portable(job.card.pooling)
        self._job, self._on_ray = job, on_ray
        self._needs, self._actors = on_ray.sized(may_use_gpus=job.device is None or job.device.startswith("cuda"))
        files = [path for path in map(Path, (*job.corpus, str(job.card.model))) if path.exists()]
        require_alike(self._needs, [job.output], files)

    def encode(self, plan: CorpusPlan, numbers: Sequence[int], supervisor: Supervisor) -> None:
        """Encode units as `encode_units` does, in actors.

        Args:
            plan: the plan of the corpus.
            numbers: the numbers of the units.
            supervisor: hears of every batch, and can stop the work.

        Raises:
            TasbError: what an actor raised; or several were lost at the same unit, or no node has room any more.
        """
        actors = min(self._actors, len(numbers))
        LOG.info("Ray: actors: %s, each with %s and as many threads; nodes: %s", actors, self._needs, len(nodes()))
        with _Pool(self._job, plan, self._needs, actors) as pool:
            pool.run(numbers, supervisor)


class EncodingActor:
    """A process on a node that keeps the encoder of a job loaded.

    Args:
        setting: what it takes over from the driver.
        job: the job.
        plan: the plan of its corpus.
    """

    def __init__(self, setting: Setting, job: EncodeJob, plan: CorpusPlan) -> None:
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        setting.take_over(self._events.put)
        self._job, self._plan = job, plan
        self._orders: queue.SimpleQueue[Sequence[int]] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def node(self) -> str:
        """Ray's id of the node that it is on."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def encode(self, numbers: Sequence[int]) -> Iterator[list[EncodedBatch | logging.LogRecord | Exception]]:
        """Encode units; give what happens meanwhile, a few times a second. An exception is the last.

        Args:
            numbers: the numbers of the units.
        """
        self._orders.put(numbers)
        while True:
            events, end = [self._events.get()], time.monotonic() + SECONDS_BETWEEN_REPORTS
            try:
                while events[-1] is not None:
                    events.append(self._events.get(timeout=max(0.0, end - time.monotonic())))
            except queue.Empty:
                yield events
                continue
            yield events[:-1]
            return

    def _work(self) -> None:
        """Encode whatever is ordered, always in this one thread: each thread of torch's has threads of its own."""
        with ExitStack() as loaded:
            encode = None
            while True:
                numbers = self._orders.get()
                try:
                    encode = encode or loaded.enter_context(unit_encoder(self._job, self._plan))
                    encode(numbers, Supervisor(self._events.put, lambda: False))
                except TasbError as error:
                    self._events.put(error)
                except Exception:  # noqa: BLE001 - raised again by the driver
                    self._events.put(RuntimeError(traceback.format_exc()))
                self._events.put(None)


@dataclass
class _Actor:
    handle: Any
    node: str = ""  # Ray's id, once it has started
    units: Sequence[int] = ()
    reported: list[EncodedBatch] = field(default_factory=list)  # of these units


class _Pool:
    """Actors, and the units that they are at; a context manager that ends them.

    Args:
        job: the job.
        plan: the plan of its corpus.
        needs: what an actor takes.
        actors: how many there are to be.
    """

    def __init__(self, job: EncodeJob, plan: CorpusPlan, needs: Needs, actors: int) -> None:
        import ray

        self._job, self._plan, self._needs, self._wanted = job, plan, needs, actors
        self._class = ray.remote(EncodingActor).options(**needs.options, max_restarts=0, max_task_retries=0)
        self._given = Setting.here(needs.cpus), job, ray.put(plan)
        self._starting: dict[Any, _Actor] = {}  # by the reference of its first answer
        self._working: dict[Any, _Actor] = {}  # by the stream of its reports
        self._idle: list[_Actor] = []
        self._left: list[int] = []
        self._losses: Counter[int] = Counter()
        self._log = LogOfOthers()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        for actor in (*self._starting.values(), *self._working.values(), *self._idle):
            ray.kill(actor.handle)

    def run(self, numbers: Sequence[int], supervisor: Supervisor) -> None:
        """Encode units. See `EncodingCluster.encode`."""
        self._left = sorted(numbers)
        silent_since: float | None = time.monotonic()
        while (self._left or self._working) and not supervisor.stopped():
            self._start()
            self._hand_out()
            self._listen(supervisor)
            if self._working:
                silent_since = None
            elif silent_since is None:
                silent_since = time.monotonic()
            elif time.monotonic() - silent_since > SECONDS_OF_SILENCE:
                log_free(self._needs)
                silent_since = float("inf")  # said once

    def _start(self) -> None:
        """Start actors, as many as are wanted and useful, in place of lost ones, too."""
        there = len(self._starting) + len(self._working) + len(self._idle)
        wanted = min(self._wanted, len(self._left) + len(self._working))
        if there >= wanted:
            return
        places = sum(node.places(self._needs) for node in nodes())
        if not there and not places:
            raise TasbError(
                expected=f"a node with room for an actor of {self._needs}",
                found="none: nodes of the cluster were lost",
                do="start Ray there again; the same command continues after the last finished unit",
            )
        for _ in range(min(wanted, places) - there):
            handle = self._class.remote(*self._given)
            self._starting[handle.node.remote()] = _Actor(handle)

    def _hand_out(self) -> None:
        while self._idle and self._left:
            actor = self._idle.pop(0)
            count = -(-len(self._left) // (2 * self._wanted))
            actor.units, self._left, actor.reported = self._left[:count], self._left[count:], []
            self._working[actor.handle.encode.remote(actor.units)] = actor

    def _listen(self, supervisor: Supervisor) -> None:
        import ray

        waiting = [*self._starting, *self._working]
        ready, _ = ray.wait(waiting, num_returns=1, timeout=SECONDS_BETWEEN_ROUNDS, fetch_local=False)
        for each in ready:
            starts = each in self._starting
            actor = self._starting.pop(each) if starts else self._working[each]
            try:
                if starts:
                    actor.node = ray.get(each)
                    self._idle.append(actor)
                else:
                    self._report(ray.get(next(each)), actor, supervisor)
            except StopIteration:
                self._idle.append(self._working.pop(each))
                actor.units = ()
            except (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError) as error:
                self._working.pop(each, None)
                self._lose(actor, _reason(error), supervisor)

    def _report(self, events: Sequence[Any], actor: _Actor, supervisor: Supervisor) -> None:
        for event in events:
            if isinstance(event, logging.LogRecord):
                self._log.show(event)
            elif isinstance(event, EncodedBatch):
                actor.reported.append(event)
                supervisor.report(event)
            else:
                LOG.error("Ray: an actor on node %s failed", node_name(actor.node))
                raise event

    def _lose(self, actor: _Actor, why: str, supervisor: Supervisor) -> None:
        """Take back the unfinished units of an actor that was lost."""
        import ray

        ray.kill(actor.handle)
        manifest = folder_manifest(self._job.output)
        unfinished = [
            number
            for number in actor.units
            if manifest is None or not VectorUnit(self._job.output, number, manifest.digest).finished
        ]
        node = node_name(actor.node) if actor.node else "where it was to start"
        blamed = unfinished[0] if unfinished else -1  # -1: it had none
        self._losses[blamed] += 1
        if self._losses[blamed] >= MOST_LOSSES:
            at = f"unit {blamed} of {self._job.output}" if unfinished else "no unit"
            raise TasbError(
                expected=f"Ray's actors to live, also the one at {at}",
                found=f"{self._losses[blamed]} were lost there, the last on node {node}: {why}",
                do="read Ray's logs on that node; if memory ran out, use fewer "
                f"{argument('processes')}. The same command continues after the last finished unit",
            )
        LOG.warning("Ray: an actor on node %s was lost (%s); units given to others: %s", node, why, len(unfinished))
        self._left = sorted([*self._left, *unfinished])
        _take_back(actor.reported, self._passages(set(actor.units) - set(unfinished)), supervisor)

    def _passages(self, units: Iterable[int]) -> int:
        plan = self._plan
        return sum(min(plan.unit_size, plan.records - number * plan.unit_size) for number in units)


def _reason(error: Exception) -> str:
    """The line of Ray's text that says why an actor was lost."""
    lines = str(error).strip().splitlines()
    return lines[-1 if "creation task" in lines[0] else 0].strip() if lines else type(error).__name__


def _take_back(reported: Sequence[EncodedBatch], finished: int, supervisor: Supervisor) -> None:
    """Report that what an actor has reported is lost, but for so many passages in finished units."""
    passages = sum(batch.passages for batch in reported)
    if passages > finished:
        share = (passages - finished) / passages
        tokens, padded, average = (
            share * sum(getattr(batch, name) for batch in reported)
            for name in ("tokens", "tokens_with_padding", "average_passages")
        )
        supervisor.report(EncodedBatch(finished - passages, -round(tokens), -round(padded), -average))
