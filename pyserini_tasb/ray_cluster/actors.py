"""The actors of a job: what they take over from the driver, their answers, and the wait for them."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pyserini_tasb.errors import TasbError
from pyserini_tasb.workers import Extensions, ForwardedLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyserini_tasb.ray_cluster.nodes import Needs

LOG = logging.getLogger(__name__)

SECONDS_OF_SILENCE = 15.0
MULTIPLYING = ("MKL_CBWR", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


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
