"""A Ray cluster: joining or starting one, the nodes that can do the work, and what an actor takes over from the driver.

The driver is this process. Ray (the extra `ray`) places actors on the nodes: processes that keep a loaded model or
index. It tells us when one of them or a whole node is lost. Nothing here schedules: Ray does.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import re
import signal
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pyserini_tasb.artifacts import installed_versions
from pyserini_tasb.errors import TasbError, argument, os_errors_explained
from pyserini_tasb.workers import Extensions, ForwardedLog, starting_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LOG = logging.getLogger(__name__)

LOCAL, AUTO = "local", "auto"
SECONDS_TO_CONNECT = 5.0
SECONDS_TO_ANSWER = 60.0  # a node starts a process for it, maybe from a shared disk
SECONDS_TO_SEE_A_FILE = 5.0  # network file systems show a new file late
SECONDS_OF_SILENCE = 15.0
MULTIPLYING = ("MKL_CBWR", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT)
BYTES_OF_A_SIGACTION = 256  # or fewer
STORE_BYTES = 200 << 20  # few bytes go from process to process: results are written to folders


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Be the driver of a Ray cluster in the block.

    Args:
        address: `local` starts Ray on this machine, with as many CPUs as this process may use, and ends it with the
            block. `auto` joins the cluster that this machine is a node of, or the one that $RAY_ADDRESS names.
            `HOST:PORT` joins that one; this machine must be a node of it. If this process has called `ray.init`
            before, that cluster is used, and lives on.

    Raises:
        TasbError: Ray is not installed, no cluster answers there, or it runs another version of Ray or Python.
    """
    try:
        import ray
    except ImportError as error:
        raise TasbError(
            expected=f"Ray, for {argument('ray', address)}",
            found="it is not installed",
            do="pip install 'pyserini-tasb[ray]', on every node",
        ) from error
    if ray.is_initialized():
        yield
        return
    joined = _address(address)
    options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    if joined == LOCAL:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to Ray's makers
        options |= {"num_cpus": cpus_here(), "include_dashboard": False, "object_store_memory": STORE_BYTES}
    else:
        joined = _require_answer(joined)
    try:
        # Ray takes SIGTERM for itself. And the signals of a terminal are for the driver, which ends what it started.
        with starting_processes(), _loopback_only(joined), _faults_handled_as_before():
            ray.init(address=joined, **options)
    except Exception as error:  # Ray raises many kinds, also `Exception` itself
        _shut_down()
        raise _refused(joined, str(error)) from error
    try:
        yield
    finally:
        _shut_down()


def _shut_down() -> None:
    import ray

    with _faults_handled_as_before():
        ray.shutdown()


@contextlib.contextmanager
def _faults_handled_as_before() -> Iterator[None]:
    """After the block, faults of memory and arithmetic go to the handlers that they went to before.

    Java means some of these faults (a null pointer is one) and goes on after them. Ray replaces Java's handlers by its
    own, which end the process, and `ray.shutdown` leaves none. Python's `signal` module does not see handlers in C.
    """
    sigaction = ctypes.CDLL(None).sigaction
    before = {number: ctypes.create_string_buffer(BYTES_OF_A_SIGACTION) for number in FAULTS}
    for number, handler in before.items():
        sigaction(int(number), None, handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            sigaction(int(number), handler, None)


def cpus_here() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _address(given: str) -> str:
    address = (os.environ.get("RAY_ADDRESS") or AUTO) if given == AUTO else given
    if address in {LOCAL, AUTO} or re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):\d{1,5}", address):
        return address
    raise TasbError(
        expected=f"`{LOCAL}`, `{AUTO}` or HOST:PORT for {argument('ray')}",
        found=f"`{address}`" + (", from $RAY_ADDRESS" if address != given else ""),
        do=f"give the address that `ray start --head` printed, or {argument('ray', AUTO)} on a node of the cluster; "
        f"{argument('ray', LOCAL)} starts Ray on this machine",
    )


def _require_answer(address: str) -> str:
    """The address of a cluster that answers, `HOST:PORT`, also for `auto`."""
    # `ray.init` itself asks for minutes, and no interrupt gets through to it. `ray[serve]` brings gRPC.
    import grpc
    from ray._private import services

    if address == AUTO:  # what Ray remembers may be a cluster that has ended
        try:
            address = services.canonicalize_bootstrap_address(AUTO) or AUTO
        except (ConnectionError, ValueError) as error:
            raise _refused(address, str(error)) from error
    if address == AUTO or os.environ.get("RAY_USE_TLS", "0") not in {"", "0"}:
        return address
    with contextlib.closing(grpc.insecure_channel(address)) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=SECONDS_TO_CONNECT)
        except grpc.FutureTimeoutError as error:
            raise _refused(address, f"no answer of a Ray cluster within {SECONDS_TO_CONNECT:.0f} seconds") from error
    return address


@contextlib.contextmanager
def _loopback_only(address: str) -> Iterator[None]:
    """In the block, what `local` starts listens to this machine only: Ray's own setting, which Linux lacks."""
    from ray._private import ray_constants

    before = getattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    ray_constants.ENABLE_RAY_CLUSTER = before and address != LOCAL
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _refused(address: str, found: str) -> TasbError:
    lines = [line.strip() for line in found.splitlines() if line.strip()]
    if "mismatch" in found.lower():
        return TasbError(
            expected=f"the Ray and Python of the cluster at {address} on this machine",
            found=" ".join(lines),
            do="install the same versions on every node, and start the cluster again",
        )
    if address == LOCAL:
        return TasbError(
            expected="Ray to start on this machine",
            found=lines[0] if lines else "it ended at once",
            do="try again when the machine is less busy; Ray's logs are in /tmp/ray/session_latest/logs",
        )
    return TasbError(
        expected=f"a Ray cluster at `{address}`, of which this machine is a node",
        found=lines[0] if lines else "it refused",
        do="start one (`ray start --head`), or join it (`ray start --address=HOST:PORT`), and check host and port; "
        f"{argument('ray', LOCAL)} starts Ray on this machine",
    )


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


@dataclass(frozen=True)
class Setting:
    """The things that an actor takes over from the driver: code from outside, threads, and the level of the log.

    Args:
        extensions: packages that are trusted, and modules that have registered something.
        threads: the threads to compute with.
        log_level: the least level that the driver shows.
        variables: variables of the environment: this package's own, and those that decide how it multiplies.
        folder: the folder that relative paths begin in.
    """

    extensions: Extensions
    threads: int
    log_level: int
    variables: dict[str, str]
    folder: str

    @classmethod
    def here(cls, threads: int) -> Self:
        """The setting of this process, for actors with so many threads."""
        level = logging.getLogger("pyserini_tasb").getEffectiveLevel()
        variables = {
            name: value
            for name, value in os.environ.items()
            if name.startswith("PYSERINI_TASB_") or name in MULTIPLYING
        }
        return cls(Extensions.here(), threads, level, variables, str(Path.cwd()))

    def take_over(self, send: Callable[[logging.LogRecord], object]) -> None:
        """Take it over in this process, for good. An actor calls this first, before torch or Faiss is imported.

        Args:
            send: takes what is logged here; the driver shows it with `LogOfOthers`.
        """
        # Ray sets the threads, too, unless the node's own environment does: then bytes would depend on the node.
        os.environ.update({**self.variables, "OMP_NUM_THREADS": str(self.threads)})
        with contextlib.suppress(OSError):  # not on every node: then absolute paths are needed
            os.chdir(self.folder)
        ForwardedLog(send).replace_others(self.log_level)
        _FOR_GOOD.enter_context(self.extensions.known())


_FOR_GOOD = contextlib.ExitStack()


def answer_of(reference: Any, name: str) -> Any:
    """The answer of an actor or a task; waits for it.

    Args:
        reference: Ray's reference.
        name: what it does, for messages.

    Raises:
        TasbError: raised there.
        RuntimeError: anything else raised there, with its traceback.
        ray.exceptions.RayActorError: the actor or its node is lost. Other errors of Ray come through, too.
    """
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, TasbError):
            raise error.cause from None
        raise RuntimeError(f"{name}:\n{error}") from error


def wait_for_start(started: Sequence[Any], needs: Needs, stopped: Callable[[], bool] = lambda: False) -> None:
    """Wait until one of the actors has started; say so if other jobs have the resources.

    Args:
        started: a reference of each, which is ready once the actor answers or is lost.
        needs: what each takes.
        stopped: asked every half second; if it says so, there is no more waiting.
    """
    import ray

    told, begin = False, time.monotonic()
    while not stopped() and not ray.wait(list(started), timeout=0.5)[0]:
        if not told and time.monotonic() - begin > SECONDS_OF_SILENCE:
            told = True
            log_free(needs)


def log_free(needs: Needs) -> None:
    """Say that an actor waits for resources, and what is free."""
    import ray

    free = ray.available_resources()
    LOG.warning(
        "Ray: waiting for room for an actor of %s; free are %g CPUs and %g GPUs: other jobs have the rest",
        needs,
        free.get("CPU", 0),
        free.get("GPU", 0),
    )
