"""A real Ray cluster for tests: a head and a second node, processes of their own on loopback, with faked resources."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psutil

STORE = 80_000_000


class RayNodes:
    """The cluster.

    Attributes:
        address: `HOST:PORT`.
        second: the node besides the head.
    """

    def __init__(self, folder: str, cpus: int) -> None:
        from ray.cluster_utils import Cluster

        self._cpus = cpus
        head = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": STORE, "temp_dir": folder}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = self._cluster.address
        self.second: Any = None
        self.complete()

    def complete(self) -> None:
        """Start the second node, unless it lives."""
        if self.second is None:
            self.second = self._cluster.add_node(num_cpus=self._cpus, object_store_memory=STORE, node_name="second")
            self._cluster.wait_for_nodes()

    def kill_second(self) -> None:
        """End the second node, and all that runs on it, as a power failure does."""
        node, self.second = self.second, None
        self._cluster.remove_node(node, allow_graceful=False)

    def actors(self, method: str) -> list[int]:
        """The processes of actors on any node that are in this method, such as `EncodingActor.encode`."""
        import psutil

        found = {}
        for process in psutil.process_iter(["cmdline", "ppid"]):
            line = " ".join(process.info["cmdline"] or [])
            if line.startswith(f"ray::{method}") and self._is_ours(process):
                found[process.pid] = process.info["ppid"]
        # What an actor starts has the actor's command line for a moment.
        return [pid for pid, parent in found.items() if parent not in found]

    def shut_down(self) -> None:
        """End it."""
        self._cluster.shutdown()

    def _is_ours(self, process: psutil.Process) -> bool:
        import psutil

        try:
            return os.getpid() in {parent.pid for parent in process.parents()}
        except psutil.NoSuchProcess:
            return False


@contextlib.contextmanager
def in_the_background(act: Callable[[], bool]) -> Iterator[None]:
    """Call a function again and again until it says that it has happened, but no longer than the block lasts."""
    over = threading.Event()

    def work() -> None:
        while not (over.is_set() or act()):
            time.sleep(0.02)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def kill(pid: int) -> None:
    """End a process, which may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def s3() -> Iterator[Any]:
    """Amazon's S3 on loopback: a client of it, and the variables with which other processes find it."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        yield client
    server.stop()


@pytest.fixture(scope="session")
def all_nodes(s3: Any) -> Iterator[RayNodes]:
    """The cluster, for the whole session. Its nodes know the S3 of the tests."""
    from ray._private import ray_constants

    folder = tempfile.mkdtemp(prefix="ray")  # short: paths of sockets have at most 107 bytes
    with pytest.MonkeyPatch.context() as patch:
        # Ray's own switch: everything listens on loopback only.
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
        patch.setenv("RAY_AUTH_MODE", "disabled")  # its token would be written to the user's home folder
        patch.setenv("OMP_NUM_THREADS", "1")
        nodes = RayNodes(folder, cpus=1)
        yield nodes
        nodes.shut_down()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def ray_nodes(all_nodes: RayNodes) -> RayNodes:
    """The cluster, with both nodes alive, of one CPU each."""
    all_nodes.complete()
    return all_nodes
