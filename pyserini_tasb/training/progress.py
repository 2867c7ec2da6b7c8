"""How training goes: a bar in a terminal or a notebook, else a line on stderr every half minute."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Self, TextIO

from tqdm.auto import tqdm as suitable_tqdm
from tqdm.std import tqdm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


SECONDS_BETWEEN_LINES = 30.0
SMOOTHING = 0.98  # of the losses: about the last 50 steps count
RATE_STEPS = 50


class _Bar(tqdm):  # type: ignore[type-arg]
    monitor_interval = 0  # no thread beside the training loop's


class Progress:
    """Shows step, losses (smoothed), pairs a second, padding, the last evaluation, and the time left.

    Args:
        done: steps that were done before, when a run is resumed.
        total: the step training ends at, if that is known.
        stream: where to.
        seconds_between_lines: where there is no terminal.
    """

    def __init__(
        self,
        *,
        done: int = 0,
        total: int | None = None,
        stream: TextIO | None = None,
        seconds_between_lines: float = SECONDS_BETWEEN_LINES,
    ) -> None:
        self._stream = stream or sys.stderr
        self._done, self._step, self._total = done, done, total
        self._losses: dict[str, _Smoothed] = {}
        self._padding = _Smoothed()
        self._evaluation = ""
        self._begin = time.monotonic()
        self._pairs: deque[tuple[float, int]] = deque([(self._begin, 0)], maxlen=RATE_STEPS + 1)
        self._not_training = 0.0
        self._seconds_between_lines, self._last_line = seconds_between_lines, -math.inf
        self._bar: Any = None
        if _in_notebook():
            self._bar = suitable_tqdm(total=total, initial=done, bar_format="{bar} {desc}")
        elif _is_terminal(self._stream):
            bar_format = "{desc}" if total is None else "{percentage:3.0f}%|{bar:16}| {desc}"
            self._bar = _Bar(
                total=total, initial=done, file=self._stream, bar_format=bar_format, dynamic_ncols=True, leave=True
            )

    def step(
        self, step: int, losses: Mapping[str, float | None], *, pairs: int, tokens: int, tokens_with_padding: int
    ) -> None:
        """Note that `step` is done.

        Args:
            step: counted from 1, over all sessions.
            losses: name → loss, the total first; None for a part that does not exist.
            pairs: queries with a positive and a negative that it trained on.
            tokens: the number of tokens of all texts.
            tokens_with_padding: what the model computed.
        """
        self._step = step
        for name, loss in losses.items():
            if loss is not None:
                self._losses.setdefault(name, _Smoothed()).add(loss)
        if tokens_with_padding:
            self._padding.add(1 - tokens / tokens_with_padding)
        now = time.monotonic()
        self._pairs.append((now - self._not_training, self._pairs[-1][1] + pairs))
        if self._bar is not None:
            self._bar.set_description_str(self.line(), refresh=False)
            self._bar.update(step - self._bar.n)
        elif now - self._last_line >= self._seconds_between_lines:
            self._last_line = now
            self.say(self.line())

    def evaluated(self, step: int, measure: str, value: float, *, best: bool) -> None:
        """Show an evaluation's value, at once and beside the steps that follow."""
        self._evaluation = f"{measure} {value:.4f} at {step:,}"
        self.say(f"step {step:,}: {measure} {value:.4f}{', the best so far' if best else ''}")

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        if self._bar is None:
            self._stream.write(f"{text}\n")
            self._stream.flush()
        else:
            self._bar.write(text, file=self._stream)

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Stop the clock for what is not training (evaluation, checkpoints), which does not count in pairs a second."""
        begin = time.monotonic()
        try:
            yield
        finally:
            seconds = time.monotonic() - begin
            self._not_training += seconds
            if self._step == self._done:  # the evaluation of the start, which says nothing of the steps to come
                self._begin += seconds

    def line(self) -> str:
        """The line that is shown now, the more important first: a terminal may cut it off."""
        total = "" if self._total is None else f" of {self._total:,}"
        parts = [f"step {self._step:,}{total}", *self._loss_parts()]
        rate = self.pairs_per_second
        if rate is not None:
            parts.append(f"{rate:,.0f} pairs/s" if rate >= 10 else f"{rate:.1f} pairs/s")
        left = self.seconds_left
        if left is not None:
            parts.append(f"{tqdm.format_interval(left)} left")
        if self._evaluation:
            parts.append(self._evaluation)
        if self._padding.weight:
            parts.append(f"padding {self._padding.value:.0%}")
        return " · ".join(parts)

    @property
    def pairs_per_second(self) -> float | None:
        """Over the last steps, without what was paused for."""
        (first, before), (last, after) = self._pairs[0], self._pairs[-1]
        return (after - before) / (last - first) if last > first else None

    @property
    def seconds_left(self) -> float | None:
        """To the last step, pauses included, if as many come as came before."""
        steps = self._step - self._done
        if self._total is None or not steps:
            return None
        return (time.monotonic() - self._begin) / steps * max(0, self._total - self._step)

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._bar is not None:
            self._bar.close()
        elif self._step > self._done:
            self.say(self.line())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _loss_parts(self) -> list[str]:
        values = [(name, f"{loss.value:.4g}") for name, loss in self._losses.items()]
        if not values:
            return []
        (name, total), *parts = values
        inside = ", ".join(f"{part} {value}" for part, value in parts)
        return [f"{name} {total} ({inside})" if inside else f"{name} {total}"]


def _in_notebook() -> bool:
    return any(base.__module__ == "tqdm.notebook" for base in suitable_tqdm.__mro__)


def _is_terminal(stream: TextIO) -> bool:
    # Of no width where nobody told it one (`docker run -t`): a bar would be invisible there.
    return stream.isatty() and os.get_terminal_size(stream.fileno()).columns > 0


class _Smoothed:
    """An exponential moving average that starts at the first value."""

    def __init__(self) -> None:
        self.sum = self.weight = 0.0

    def add(self, value: float) -> None:
        self.sum = SMOOTHING * self.sum + (1 - SMOOTHING) * value
        self.weight = SMOOTHING * self.weight + (1 - SMOOTHING)

    @property
    def value(self) -> float:
        return self.sum / self.weight
