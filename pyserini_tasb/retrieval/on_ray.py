"""An index's shards in the processes of a Ray cluster: placed by memory, asked together, reloaded where one is lost."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import FailedError, TasbError, argument
from pyserini_tasb.folders import FAISS
from pyserini_tasb.indexes.bm25 import Bm25
from pyserini_tasb.indexes.opening import DenseSearch
from pyserini_tasb.indexes.rankings import merged
from pyserini_tasb.indexes.shards import PROCESS_BYTES, TORCH, LuceneShards, VectorShards, memory_needed
from pyserini_tasb.ray_cluster.actors import Setting, answer_of
from pyserini_tasb.ray_cluster.nodes import Needs, nodes, require_alike

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from pyserini_tasb.indexes.rankings import Ranking
    from pyserini_tasb.indexes.shards import Shards
    from pyserini_tasb.ray_cluster.nodes import Node


# Ray starts a lost group again so often.
RELOADS = 3
# The batches of queries that every group has before it. While one is merged here, the groups search the next.
BATCHES_AHEAD = 3
# A process of Python starts in some seconds. One that has not after so many has no place in the cluster.
START_SECONDS = 120
LOOK_SECONDS = 2
BESIDE = "beside"
NAMES_SHOWN = 3


class RayShards:
    """An index whose shards are in actors, one for each group of shards.

    Each actor asks Ray for the memory that its shards need, and Ray places it. Where an actor is lost, Ray starts
    another one, up to `RELOADS` times, which opens the shards and is asked again what the lost one was asked.

    Args:
        paths: the shards, in folders that every node sees under this path.
        kind: `FAISS` or `LUCENE`.
        dimension: the dimension of the queries' vectors; 0 for Lucene.
        how: what searches vectors. It is chosen for each shard here, so that it does not depend on the nodes. With a
            GPU for a device, each actor in which torch searches has one.
        threads: the threads in which each actor searches vectors; by default 1. Terms are searched in one. There are
            no more actors than the cluster has CPUs for them, but none is reserved: where a node is lost, its shards go
            to the others.
        bm25: the parameters of BM25.
        for_ever: start actors again however often they are lost, for a service; a question is not asked again for
            ever.

    Attributes:
        kind: `FAISS` or `LUCENE`.
        groups: the numbers of the shards of each actor.
        actors: Ray's.

    Raises:
        TasbError: a shard needs more memory than any node has, or all together more than the cluster has free; there
            are too few GPUs; or the nodes have other versions of Python, Ray or this package.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        kind: str,
        *,
        dimension: int = 0,
        how: DenseSearch = DenseSearch(),  # noqa: B008 - immutable
        threads: int | None = None,
        bm25: Bm25 = Bm25(),  # noqa: B008 - immutable
        for_ever: bool = False,
    ) -> None:
        import ray

        self.kind = kind
        self._paths = [path.absolute() for path in paths]
        sizes = [memory_needed(path, kind, how) for path in paths]
        threads = threads or 1 if kind == FAISS else 1  # pyjnius is safe in one thread only
        cluster = nodes()
        # Without a GPU, `auto` searches as on CPUs; what only torch searches is refused below.
        there = how if any(node.gpus for node in cluster) else replace(how, device="cpu")
        ways = [replace(how, search_with=there.chosen(path)) for path in paths] if kind == FAISS else []
        in_torch = any(way.search_with == TORCH for way in ways)
        process = PROCESS_BYTES[TORCH if in_torch else kind]
        gpus = int(in_torch and how.device.startswith("cuda"))
        if gpus:  # Ray shows an actor only its own one
            ways = [replace(way, device="cuda") for way in ways]
        self.groups = grouped(
            self._paths, sizes, cluster, process=process, free=_free_memory(), threads=threads, gpus=gpus
        )
        self._needs = [Needs(0, gpus, memory=process + sum(sizes[shard] for shard in group)) for group in self.groups]
        require_alike(Needs(0), [])
        actor = ray.remote(concurrency_groups={BESIDE: 1})(ShardGroup)
        self.actors = [
            actor.options(
                **needs.options,
                max_restarts=-1 if for_ever else RELOADS,
                # Until Ray knows that a node is gone, each second is one more try. What counts is how often it starts.
                max_task_retries=RELOADS if for_ever else -1,
                scheduling_strategy="SPREAD",
            ).remote(Part(self._paths, group, kind, dimension, ways, bm25), Setting.here(threads))
            for group, needs in zip(self.groups, self._needs, strict=True)
        ]

    def load(self) -> None:
        """Open all shards, each where it is.

        Raises:
            TasbError: a shard is damaged or of another kind or dimension, or its node does not see its folder.
            FailedError: an actor got no place, or was lost too often.
        """
        self._answers([actor.load.remote() for actor in self.actors])

    def search(self, batches: Iterable[Any], depth: int) -> Iterator[list[Ranking]]:
        """Each query's best `depth` documents of all shards, batch by batch.

        Args:
            batches: vectors or texts; each batch is put into the object store once.
            depth: how many documents.

        Raises:
            TasbError: a shard cannot answer.
            FailedError: an actor was lost too often.
        """
        import ray

        asked: deque[list[Any]] = deque()
        waiting = iter(batches)
        while True:
            while len(asked) < BATCHES_AHEAD and (batch := next(waiting, None)) is not None:
                asked.append(self.ask(ray.put(batch), depth))
            if not asked:
                return
            yield self.merge(self._answers(asked.popleft()), depth)

    def ask(self, queries: Any, depth: int, bm25: Bm25 | None = None) -> list[Any]:
        """Ray's reference to each actor's answer.

        Args:
            queries: vectors or texts, or Ray's reference to them.
            depth: how many documents.
            bm25: other parameters than the index's.
        """
        return [actor.search.remote(queries, depth, bm25) for actor in self.actors]

    def merge(self, answers: Sequence[Sequence[Ranking]], depth: int) -> list[Ranking]:
        """The rankings of each query, out of the answers of all actors."""
        return [merged(each, depth, descending_docids=self.kind == FAISS) for each in zip(*answers, strict=True)]

    def places(self) -> list[tuple[str, int]]:
        """The id of the node and of the process of each actor."""
        return self._answers([self._place(number) for number in range(len(self.actors))])

    def close(self) -> None:
        """End the actors."""
        import ray

        for actor in self.actors:
            ray.kill(actor)

    def names(self, number: int) -> str:
        """The shards of an actor, for messages."""
        return _names([self._paths[shard] for shard in self.groups[number]])

    def _answers(self, references: Sequence[Any]) -> list[Any]:
        """The answers of all actors, in their order; or an error."""
        import ray

        answers: dict[int, Any] = {}
        since: dict[int, tuple[Any, float]] = {}
        left = list(references)
        while left:
            done, left = ray.wait(left, num_returns=len(left), timeout=LOOK_SECONDS)
            for reference in done:
                number = references.index(reference)
                try:
                    answers[number] = answer_of(reference, self.names(number))
                except ray.exceptions.RayError as error:
                    raise FailedError(self._lost(number, error)) from error
            self._require_places([references.index(reference) for reference in left], since)
        return [answers[number] for number in range(len(references))]

    def _require_places(self, numbers: Sequence[int], since: dict[int, tuple[Any, float]]) -> None:
        """End the wait for actors that no node has a place for: Ray would wait for ever."""
        import ray

        for number in numbers:
            # An actor answers this beside a search, but not before its process has started.
            if number not in since:
                since[number] = self._place(number), time.monotonic()
            reference, begin = since[number]
            if ray.wait([reference], timeout=0)[0]:
                del since[number]
            elif time.monotonic() - begin > START_SECONDS:
                wanted = f"{_gib(self._needs[number].memory)} in {START_SECONDS} seconds"
                raise FailedError(
                    f"{self.names(number)}: Ray found no place for {wanted}, in a cluster of:{_listed(nodes())}\n"
                    "Start a node, or wait until other work has ended (`ray status` shows it)"
                )

    def _place(self, number: int) -> Any:
        return self.actors[number].place.options(concurrency_group=BESIDE).remote()

    def _lost(self, number: int, error: Exception) -> str:
        shards = "this shard" if len(self.groups[number]) == 1 else "these shards"
        said = str(error).partition("\n")[0]
        return (
            f"{self.names(number)}: the process with {shards} was lost {RELOADS + 1} times, so that hits would be "
            f"missing; Ray says: {said}"
        )


@dataclass(frozen=True)
class Part:
    """Some shards of an index, and how they are searched.

    Args:
        paths: all shards.
        own: the numbers of those in this part.
        kind: `FAISS` or `LUCENE`; this and others are arguments of `RayShards`.
        ways: what searches each shard of vectors.
    """

    paths: list[Path]
    own: list[int]
    kind: str
    dimension: int
    ways: list[DenseSearch]
    bm25: Bm25


class ShardGroup:
    """The actor: some shards of an index, opened with the first question.

    Ray calls what it searches from one thread, which is all that pyjnius is safe in.
    """

    def __init__(self, part: Part, setting: Setting) -> None:
        setting.take_over(lambda _: None)  # what a library notes while it opens an index is of no interest
        self._part, self._threads = part, setting.threads

    @cached_property
    def _shards(self) -> Shards:
        part = self._part
        for path in part.paths:
            if not path.is_dir():
                raise _not_shared(path)
        if part.kind == FAISS:
            own = [part.paths[shard] for shard in part.own]
            ways = [part.ways[shard] for shard in part.own]
            return VectorShards(own, part.dimension, ways, threads=self._threads)
        return LuceneShards(part.paths, part.own, bm25=part.bm25)

    def load(self) -> None:
        """Open the shards now."""
        _ = self._shards

    def search(self, queries: Any, depth: int, bm25: Bm25 | None = None) -> list[Ranking]:
        """Each query's best `depth` documents of these shards."""
        return self._shards.search(queries, depth, bm25)

    def documents(self, docids: Sequence[str]) -> dict[str, str | None]:
        """Docid → what is stored of the document, of those that these Lucene indexes have."""
        assert isinstance(self._shards, LuceneShards)  # noqa: S101 - nobody asks others
        return self._shards.documents(docids)

    def place(self) -> tuple[str, int]:
        """The id of the node and of this process."""
        import ray

        return ray.get_runtime_context().get_node_id(), os.getpid()


def _not_shared(path: Path) -> TasbError:
    return TasbError(
        where=str(path),
        expected="a folder that every node of the Ray cluster sees under this path",
        found=f"no such folder on {socket.gethostname()}",
        do="use a folder on a disk that all nodes mount at the same path, such as NFS",
    )


def grouped(
    paths: Sequence[Path],
    sizes: Sequence[int],
    cluster: Sequence[Node],
    *,
    process: int,
    free: int,
    threads: int,
    gpus: int = 0,
) -> list[list[int]]:
    """The numbers of the shards of each group, about equal in memory: as many groups as the cluster has CPUs for.

    Args:
        paths: the shards, for messages.
        sizes: the bytes of memory of each shard.
        cluster: its nodes.
        process: the bytes of memory of a process without shards.
        free: the bytes of memory that are free in the whole cluster.
        threads: the CPUs of a group.
        gpus: the GPUs of a group: 1, or none. With GPUs, there are as many groups as the cluster has of them.

    Raises:
        TasbError: a shard needs more memory than a node has, all need more than is free, or there are too few GPUs.
    """
    most = sum(int(node.gpus // gpus) for node in cluster) if gpus else len(paths)
    if not most:
        raise TasbError(
            expected=f"a Ray cluster with GPUs, for {argument('device', 'cuda')}",
            found=f"none in:{_listed(cluster)}",
            do=f"start a node with a GPU, or search with {argument('device', 'cpu')}",
        )
    largest = max((node.memory for node in cluster), default=0)
    for path, size in zip(paths, sizes, strict=True):
        if process + size > largest:
            raise TasbError(
                where=str(path),
                expected=f"a node with {_gib(process + size)} for this shard",
                found=f"a Ray cluster of:{_listed(cluster)}",
                do="start a larger node (`ray start --memory BYTES`), or make smaller shards",
            )
    at_once = most if gpus else max(1, sum(node.cpus // threads for node in cluster))
    for count in range(min(len(paths), at_once), min(len(paths), most) + 1):
        groups = _equal_groups(sizes, count)
        needed = max(process + sum(sizes[shard] for shard in group) for group in groups)
        if needed <= largest:
            break
    else:
        raise TasbError(
            expected=f"a node with {_gib(needed)}, for the shards of one of {len(groups)} GPUs",
            found=f"a Ray cluster of:{_listed(cluster)}",
            do=f"start more nodes with GPUs, or search with {argument('device', 'cpu')}",
        )
    taken = 0
    for group in groups:
        taken += process + sum(sizes[shard] for shard in group)
        if taken > free:
            raise TasbError(
                where=_names([paths[shard] for shard in group]),
                expected=f"{_gib(process * len(groups) + sum(sizes))} for all {len(paths)} shards",
                found=f"{_gib(free)} that nothing else has reserved, in a Ray cluster of:{_listed(cluster)}",
                do="start more nodes, or wait until other work has ended (`ray status` shows it)",
            )
    return groups


def _equal_groups(sizes: Sequence[int], count: int) -> list[list[int]]:
    """Numbers in groups of about the same size: each, from the largest on, into the group that is smallest then."""
    groups: list[list[int]] = [[] for _ in range(count)]
    totals = [0] * count
    for number in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        smallest = min(range(count), key=lambda group: (totals[group], len(groups[group])))
        groups[smallest].append(number)
        totals[smallest] += sizes[number]
    return [sorted(group) for group in groups]


def _free_memory() -> int:
    import ray

    return int(ray.available_resources().get("memory", 0))


def _gib(count: int) -> str:
    return f"{count / (1 << 30):,.2f} GiB of memory"


def _listed(cluster: Sequence[Node]) -> str:
    return "".join(f"\n    {node}" for node in cluster) or " no nodes"


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths[:NAMES_SHOWN])) + (", …" if len(paths) > NAMES_SHOWN else "")
