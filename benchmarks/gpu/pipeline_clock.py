"""How fast `tasb encode` is once it flows, and where its time goes: computing, copies, or waiting for tokens.

The processes that tokenise have units of text ready when the first vectors come, and after each pause. So speed and
shares are measured only when as many units have passed as these processes hold: then tokens are used as fast as they
are made.

On a GPU, torch.profiler tells when a kernel or a copy ran. It slows down what it watches, so it watches a few seconds
of its own, and the speed is measured after them:

    start | units held | profiled | units held | timed
"""

from __future__ import annotations

import functools
import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from torch.autograd import DeviceType

from pyserini_tasb.encoding import job
from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.encoding.tokens import TokenisedUnits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

SHARES = ("% computing", "% copies", "% without tokens")  # of the pipeline's time
PROFILED = 1 / 3  # of the seconds that are timed
# As torch.profiler calls copies from and to the CPU. Copies inside the GPU's memory are part of computing.
COPIES = ("Memcpy HtoD", "Memcpy DtoH")


class Span(NamedTuple):
    """A time in which a GPU was busy, in seconds from any moment on."""

    start: float
    end: float
    copies: bool


class PipelineClock:
    """Watches the encoding of a corpus inside its block, and ends it after some seconds; a context manager.

    Args:
        started: when the process or the work began, in seconds since 1970.
        seconds: how long to time; encoding then stops, as after Ctrl-C.

    Attributes:
        lengths: the tokens of each passage that was timed, in arrays.
        done: whether the time was up before the corpus ended.
    """

    def __init__(self, started: float, seconds: float) -> None:
        self._started, self._seconds = started, seconds
        self.lengths: list[NDArray[np.int64]] = []
        self.done = False
        self._phase: Callable[[int], None] = lambda _held: None  # what to do when a unit comes
        self._first = self._reading = 0.0
        self._units_passed = self._begun = self._collected = 0
        self._timed = False
        self._since = self._last = 0.0
        self._waited = self._computed = 0.0
        self._profile: GpuProfile | None = None
        self._replaced: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Self:
        self._replace(job, "plan_corpus", self._read)
        self._replace(TextEncoder, "begin_tokens", self._begin)
        self._replace(TokenisedUnits, "units", self._units)
        return self

    def __exit__(self, *_: object) -> None:
        for owner, name, original in self._replaced:
            setattr(owner, name, original)

    def report(self) -> dict[str, float]:
        """Seconds to read the corpus once, and to the first vectors without that; what was timed; and the shares.

        The shares are left out where nothing tells them; `fault` of `GpuProfile` says why.
        """
        found = {
            "reading once": self._reading,
            "to the first vectors": self._first - self._started - self._reading,
            "passages": sum(map(len, self.lengths)),
            "tokens": sum(int(lengths.sum()) for lengths in self.lengths),
            "seconds": max(self._last - self._since, 1e-9),
        }
        if self._profile is None:
            shares = (self._computed / found["seconds"], 0.0, self._waited / found["seconds"])
        else:
            shares = self._profile.shares()
        return found | {name: 100 * share for name, share in zip(SHARES, shares, strict=False)}

    @property
    def fault(self) -> str:
        """Why the shares of a GPU are not known; empty if they are."""
        return self._profile.fault if self._profile else ""

    def _replace(self, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
        original = getattr(owner, name)
        self._replaced.append((owner, name, original))

        @functools.wraps(original)
        def wrapped(*arguments: Any, **options: Any) -> Any:
            return wrapper(original, *arguments, **options)

        setattr(owner, name, wrapped)

    def _read(self, original: Callable[..., Any], *arguments: Any) -> Any:
        start = time.time()
        plan = original(*arguments)
        self._reading += time.time() - start
        return plan

    def _units(self, original: Callable[..., Any], tokenised: TokenisedUnits, *arguments: Any) -> Iterator[Any]:
        for unit, seconds in original(tokenised, *arguments):
            self._waited += seconds
            self._phase(len(tokenised.pids))
            yield unit, seconds

    def _begin(self, original: Callable[..., Any], encoder: Any, token_ids: Any, lengths: Any, **options: Any) -> Any:
        timed = self._timed
        self._begun += 1
        start = time.time()
        wait = original(encoder, token_ids, lengths, **options)
        if self._since:
            self._computed += time.time() - start  # on a CPU, which computes at once

        def waited() -> Any:
            vectors = wait()
            now = time.time()
            self._collected += 1
            # At the end nothing is handed over any more, and the last vectors come sooner than others.
            flowing = self._begun - self._collected >= encoder.batches_ahead(options.get("precision"))
            if not self._first:
                self._first = now
                if encoder.device.startswith("cuda"):
                    self._profile = GpuProfile(encoder.device)
                    self._pass_units(functools.partial(self._begin_profile, self._profile))
                else:
                    self._pass_units(self._begin_timing)
            if timed and flowing:
                self._count(lengths, now)
            return vectors

        return waited

    def _pass_units(self, then: Callable[[], None]) -> None:
        """Go on when all units have passed that the processes hold now."""
        self._units_passed = 0

        def unit_comes(held: int) -> None:
            self._units_passed += 1
            if self._units_passed > held:
                then()

        self._phase = unit_comes

    def _begin_profile(self, profile: GpuProfile) -> None:
        self._waited = 0.0
        profile.begin_window()

        def unit_comes(_held: int) -> None:
            if profile.seconds >= PROFILED * self._seconds:
                profile.end(self._waited)
                self._pass_units(self._begin_timing)

        self._phase = unit_comes

    def _begin_timing(self) -> None:
        self._timed = True
        self._phase = lambda _held: None

    def _count(self, lengths: NDArray[np.int64], now: float) -> None:
        """Count a batch whose vectors came; the time begins with the first one's, whose passages do not count."""
        if not self._since:
            self._since, self._waited = now, 0.0
            return
        self._last = now
        self.lengths.append(lengths)
        if now - self._since >= self._seconds and not self.done:
            self.done = True
            signal.raise_signal(signal.SIGINT)


class GpuProfile:
    """The work of a GPU in a window of time, as torch.profiler tells; it begins to watch at once.

    Args:
        device: the GPU.

    Attributes:
        fault: why nothing is known; empty at first.
    """

    def __init__(self, device: str) -> None:
        self._device, self.fault = device, ""
        self._start = self._window = self._waited = 0.0
        try:
            self._profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
            self._profiler.start()
        except (RuntimeError, AssertionError) as error:
            self.fault = str(error).partition("\n")[0] or type(error).__name__

    def begin_window(self) -> None:
        """Count from now on."""
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """The seconds of the window so far."""
        return time.perf_counter() - self._start

    def end(self, waited: float) -> None:
        """End it once the GPU has done what it was given.

        Args:
            waited: the seconds of the window that tokens were waited for.
        """
        if self.fault:
            return
        torch.cuda.synchronize(self._device)
        torch.ones(1, device=self._device)  # the last that is seen: it ends now, which joins the GPU's clock to ours
        torch.cuda.synchronize(self._device)
        self._window, self._waited = self.seconds, waited
        try:
            self._profiler.stop()
        except RuntimeError as error:
            self.fault = str(error).partition("\n")[0] or type(error).__name__

    def shares(self) -> tuple[float, ...]:
        """The shares of the window with kernels, with only copies, and without tokens; none if nothing is known."""
        if not self.fault and not self._window:
            self.fault = "the corpus ended too early"
        spans = [] if self.fault else list(spans_of(self._profiler.events() or ()))
        if not spans:
            self.fault = self.fault or "torch.profiler saw nothing"
            return ()
        computing, copies = busy(spans, self._window)
        return computing / self._window, copies / self._window, self._waited / self._window


def spans_of(events: Iterable[Any]) -> Iterator[Span]:
    """When the GPU was busy, of events of torch.profiler."""
    for event in events:
        if event.device_type == DeviceType.CUDA and not getattr(event, "is_user_annotation", False):
            start, end = event.time_range.start / 1e6, event.time_range.end / 1e6
            yield Span(start, end, event.name.startswith(COPIES))


def busy(spans: Iterable[Span], window: float) -> tuple[float, float]:
    """Seconds with a kernel, and seconds with nothing but copies, in a window that ends with the last span.

    Args:
        spans: in any order; several can be at the same time.
        window: its seconds.
    """
    spans = list(spans)
    begin = max(span.end for span in spans) - window
    clipped = [Span(max(begin, span.start), span.end, span.copies) for span in spans if span.end > begin]
    computing = _covered(span for span in clipped if not span.copies)
    return computing, _covered(clipped) - computing


def _covered(spans: Iterable[Span]) -> float:
    """The seconds in which there is at least one span."""
    total, until = 0.0, float("-inf")
    for span in sorted(spans):
        total += max(0.0, span.end - max(until, span.start))
        until = max(until, span.end)
    return total
