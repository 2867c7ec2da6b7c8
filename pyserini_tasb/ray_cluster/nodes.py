"""The nodes of a Ray cluster: what each has, what an actor needs, and whether they can do a job."""

from __future__ import annotations

import contextlib
import os
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyserini_tasb.artifacts import installed_versions
from pyserini_tasb.errors import TasbError, argument, os_errors_explained
from pyserini_tasb.ray_cluster.joining import AUTO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

SECONDS_TO_ANSWER = 60.0  # a node starts a process for it, maybe from a shared disk
SECONDS_TO_SEE_A_FILE = 5.0  # network file systems show a new file late


@dataclass(frozen=True)
class Needs:
    """The resources that Ray reserves for one actor.

    Args:
        cpus: CPUs; an actor computes with as many threads.
        gpus: GPUs; a fraction shares one.
        memory: bytes of main memory.
    """

    cpus: int = 1
    gpus: float = 0
    memory: int = 0

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of Ray's `options`."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "memory": self.memory or None}

    def __str__(self) -> str:
        parts = [f"{self.cpus} CPU{'s' if self.cpus != 1 else ''}"]
        parts += [f"{self.gpus:g} GPU{'s' if self.gpus != 1 else ''}"] if self.gpus else []
        parts += [f"{self.memory / (1 << 30):,.2f} GiB of memory"] if self.memory else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Node:
    """A node of the cluster that is alive.

    Args:
        id: Ray's id of it.
        name: its name or host, and its address.
        cpus: its CPUs, also those in use.
        gpus: its GPUs.
        memory: the bytes that actors may reserve.
    """

    id: str
    name: str
    cpus: int
    gpus: float
    memory: int

    def places(self, needs: Needs) -> int:
        """How many actors with these needs it holds, if nothing else runs there."""
        pairs = ((self.cpus, needs.cpus), (self.gpus, needs.gpus), (self.memory, needs.memory))
        return min((int(has / needed + 1e-9) for has, needed in pairs if needed), default=self.cpus)

    def __str__(self) -> str:
        return f"{self.name}: {Needs(self.cpus, self.gpus, self.memory)}"


def nodes() -> list[Node]:
    """The nodes that are alive, in the order of their names."""
    import ray

    found = []
    for node in ray.nodes():
        if node["Alive"]:
            cpus, gpus, memory = (node["Resources"].get(key, 0) for key in ("CPU", "GPU", "memory"))
            found.append(Node(node["NodeID"], _name(node), int(cpus), gpus, int(memory)))
    return sorted(found, key=lambda node: (node.name, node.id))


def node_name(node_id: str) -> str:
    """The name of a node, alive or lost, for messages."""
    import ray

    return next((_name(node) for node in ray.nodes() if node["NodeID"] == node_id), node_id)


def _name(node: dict[str, Any]) -> str:
    address = node["NodeManagerAddress"]
    called = node.get("NodeName") or address
    return f"{called if called != address else node['NodeManagerHostname']} ({address})"


def require_places(needs: Needs, actors: int = 1) -> int:
    """The number of actors with these needs that the cluster holds, if nothing else runs there.

    Args:
        needs: what each one takes.
        actors: the least number.

    Raises:
        TasbError: it holds fewer; Ray itself would wait for more nodes, without a word.
    """
    there = nodes()
    places = sum(node.places(needs) for node in there)
    if places < actors:
        raise TasbError(
            expected=f"a Ray cluster with room for {actors} actor{'s' if actors > 1 else ''} of {needs} each",
            found=f"room for {places}:\n    " + "\n    ".join(map(str, there)),
            do="ask for less for each, for fewer actors, or add nodes",
        )
    return places


@dataclass(frozen=True)
class OnRay:
    """A user's wishes for a job on Ray.

    Args:
        address: an address that `connected` takes.
        actors: the number of actors; by default as many as there is room for.
        cpus: CPUs of each, and its threads.
        gpus: GPUs of each.
    """

    address: str
    actors: int | None = None
    cpus: int | None = None
    gpus: float | None = None

    @classmethod
    def asked(
        cls, address: str | None, cpus: int | None, gpus: float | None, *, actors: int | None = None
    ) -> OnRay | None:
        """The wishes that the arguments `ray`, `ray_cpus` and `ray_gpus` of a verb tell; None without `ray`.

        Raises:
            TasbError: they contradict each other, or are too small.
        """
        given = {name: value for name, value in (("ray_cpus", cpus), ("ray_gpus", gpus)) if value is not None}
        if address is None and given:
            raise TasbError(
                expected=f"{argument('ray')} with {argument(next(iter(given)))}",
                found=f"no {argument('ray')}",
                do=f"give {argument('ray', AUTO)}, or leave out {argument(next(iter(given)))}",
            )
        for name, value in given.items():
            least = 1 if name == "ray_cpus" else 0
            if value < least:
                raise TasbError(
                    expected=f"{argument(name)} of at least {least}", found=f"{value:g}", do=f"raise {argument(name)}"
                )
        return None if address is None else cls(address, actors, cpus, gpus)

    def sized(self, *, may_use_gpus: bool) -> tuple[Needs, int]:
        """The needs of an actor, and the number of actors.

        By default each actor has a GPU if the cluster has any, and as many CPUs as OMP_NUM_THREADS says. Without that
        variable, the CPUs of the nodes are divided among the requested actors; by default there is one for each node.

        Args:
            may_use_gpus: whether the job computes on GPUs if there are any.

        Raises:
            TasbError: there is no room for them.
        """
        there = nodes()
        gpus = self.gpus
        if gpus is None:
            gpus = 1 if may_use_gpus and any(node.gpus for node in there) else 0
        cpus, actors = self.cpus or _threads_by_variable(), self.actors
        if cpus is None:
            actors = actors or max(1, sum(min(1, node.cpus) if not gpus else int(node.gpus / gpus) for node in there))
            most = max((node.cpus for node in there), default=1)
            # The most CPUs with which there is room for so many.
            cpus = next(
                (each for each in range(most, 1, -1) if sum(n.places(Needs(each, gpus)) for n in there) >= actors), 1
            )
        needs = Needs(cpus, gpus)
        places = require_places(needs, actors or 1)
        return needs, actors or places


def _threads_by_variable() -> int | None:
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(wanted) if wanted.isdecimal() and int(wanted) else None


def require_alike(needs: Needs, folders: Sequence[Path], paths: Sequence[Path] = ()) -> None:
    """Refuse a cluster whose nodes would not do this work: each that has room for an actor is asked.

    Args:
        needs: what an actor takes.
        folders: the folders that all nodes must share. A file is written to each for a moment; to the nearest folder
            above one that does not exist yet.
        paths: other files and folders that all nodes must see.

    Raises:
        TasbError: naming the nodes with another version of Python, Ray or this package, those that do not see a
            folder or a file, and those that do not answer within a minute.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(_look_around())
    with contextlib.ExitStack() as marks:
        files = [marks.enter_context(_mark(folder.absolute())) for folder in folders]
        files += [path.absolute() for path in paths]
        seen = [file.parent if number < len(folders) else file for number, file in enumerate(files)]
        asked = {
            node: remote.options(
                num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False), max_retries=0
            ).remote([str(file) for file in files], SECONDS_TO_SEE_A_FILE)
            for node in nodes()
            if node.places(needs)
        }
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=SECONDS_TO_ANSWER)
        here = installed_versions(["ray"])
        versions, unseen = [], []
        for node, answer in asked.items():
            try:
                there, missing = ray.get(answer, timeout=0)
            except Exception as error:  # noqa: BLE001 - whatever it is, the node cannot do the work
                lines = str(error).strip().splitlines()
                versions.append(f"{node.name}: no answer ({type(error).__name__}: {lines[-1] if lines else ''})")
                continue
            others = [f"{name} {there[name] or 'is not installed'}" for name in here if there[name] != here[name]]
            versions += [f"{node.name}: {', '.join(others)}"] if others else []
            unseen += [f"{node.name}: not {seen[number]}" for number in missing]
    if versions:
        raise TasbError(
            expected="the versions of this machine on every node: " + ", ".join(f"{n} {v}" for n, v in here.items()),
            found="others:\n    " + "\n    ".join(versions),
            do="install the same versions on every node, and start Ray there again",
        )
    if unseen:
        raise TasbError(
            expected="files and folders that every node sees, with what this machine writes there",
            found="some that nodes do not see:\n    " + "\n    ".join(unseen),
            do="put them on a disk that all nodes mount at the same path, such as NFS",
        )


@contextlib.contextmanager
def _mark(folder: Path) -> Iterator[Path]:
    while not folder.exists():
        folder = folder.parent
    path = folder / f".seen-by-all-{uuid.uuid4().hex}.part"
    with os_errors_explained(folder, expected="a folder that can be written to", do="check its permissions"):
        path.write_bytes(b"")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _look_around() -> Callable[[list[str], float], tuple[dict[str, str], list[int]]]:
    """A function for nodes that may lack this package: Ray sends an inner function's code, not its name."""

    def look(files: list[str], seconds: float) -> tuple[dict[str, str], list[int]]:
        import importlib
        import sys
        import time
        from pathlib import Path

        versions = {"python": sys.version.split()[0]}
        for name, module in {"pyserini-tasb": "pyserini_tasb", "ray": "ray"}.items():
            try:
                versions[name] = importlib.import_module(module).__version__
            except ImportError:
                versions[name] = ""
        end = time.monotonic() + seconds
        while missing := [number for number, file in enumerate(files) if not Path(file).exists()]:
            if time.monotonic() > end:
                break
            time.sleep(0.2)
        return versions, missing

    return look
