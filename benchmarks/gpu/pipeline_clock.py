"""Where the time of `tasb encode` goes: how long the model computes, how long copies take, how long tokens are missing.

On a GPU its own clock is read (CUDA events): before and after each copy, and before and after each batch.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, Self

import torch

from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.encoding.tokens import TokenisedUnits
from pyserini_tasb.models.queues import TorchQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class PipelineClock:
    """Watches the encoding of a corpus inside its block; a context manager.

    Args:
        started: when the process or the work began, in seconds since 1970.
    """

    def __init__(self, started: float) -> None:
        self._started = started
        self._first = self._last = 0.0
        self._first_passages = self._passages = 0
        self._waited = self._computed = 0.0
        self._events: dict[str, list[tuple[Any, Any]]] = {}
        self._replaced: list[tuple[type, str, Any]] = []

    def __enter__(self) -> Self:
        self._replace(TextEncoder, "begin_tokens", self._begin)
        self._replace(TokenisedUnits, "units", self._units)
        for name in ("begin", "_there", "_back"):
            self._replace(TorchQueue, name, functools.partial(self._on_gpu, name))
        return self

    def __exit__(self, *_: object) -> None:
        for owner, name, original in self._replaced:
            setattr(owner, name, original)

    def report(self) -> dict[str, float]:
        """Seconds to the first vectors; passages after these, and their seconds; and what shares of those went where.

        The GPU computes the batches behind the first one while the first one's vectors are taken back, so that their
        passages count and a little of their time does not: less than a batch of hundreds.
        """
        seconds = max(self._last - self._first, 1e-9)
        copied = self._milliseconds("_there") + self._milliseconds("_back")
        computed = (self._milliseconds("begin") - copied) / 1e3 if self._events else self._computed
        return {
            "to the first vectors": self._first - self._started,
            "passages": self._passages - self._first_passages,
            "seconds": seconds,
            "% computing": 100 * computed / seconds,
            "% copies": copied / 10 / seconds,
            "% without tokens": 100 * self._waited / seconds,
        }

    def _replace(self, owner: type, name: str, wrapper: Callable[..., Any]) -> None:
        original = getattr(owner, name)
        self._replaced.append((owner, name, original))

        @functools.wraps(original)
        def wrapped(*arguments: Any, **options: Any) -> Any:
            return wrapper(original, *arguments, **options)

        setattr(owner, name, wrapped)

    def _begin(self, original: Callable[..., Any], encoder: Any, token_ids: Any, lengths: Any, **options: Any) -> Any:
        start = time.time()
        wait = original(encoder, token_ids, lengths, **options)
        if self._first:
            self._computed += time.time() - start  # on a CPU, which computes at once

        def waited() -> Any:
            vectors = wait()
            self._last = time.time()
            self._passages += len(lengths)
            if not self._first:
                self._first, self._first_passages = self._last, len(lengths)
                self._events = {name: [] for name in self._events}
            return vectors

        return waited

    def _units(self, original: Callable[..., Any], *arguments: Any) -> Iterator[Any]:
        for unit, seconds in original(*arguments):
            if self._first:
                self._waited += seconds
            yield unit, seconds

    def _on_gpu(self, name: str, original: Callable[..., Any], *arguments: Any) -> Any:
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        result = original(*arguments)
        after.record()
        self._events.setdefault(name, []).append((before, after))
        return result

    def _milliseconds(self, name: str) -> float:
        pairs = self._events.get(name, [])
        if pairs:
            torch.cuda.synchronize()
        return float(sum(before.elapsed_time(after) for before, after in pairs))
