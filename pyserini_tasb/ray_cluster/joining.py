"""Joining a Ray cluster, or starting Ray on this machine, for a block of code."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.workers import starting_processes

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL, AUTO = "local", "auto"
SECONDS_TO_CONNECT = 5.0
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
