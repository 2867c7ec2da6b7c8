"""The search for the best weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pyserini_tasb.errors import TasbError, argument

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Objective = Callable[[NDArray[np.float64]], NDArray[np.float64]]


MOST_ROUNDS = 20
MOST_POINTS = 100_000


@dataclass(frozen=True)
class Grid:
    """Equally spaced numbers, both ends included."""

    first: float
    last: float
    step: float

    @classmethod
    def parse(cls, text: str) -> Grid:
        """From `FROM:TO:STEP`.

        Raises:
            TasbError: not three numbers, or not a grid of 2 to 100,000 points.
        """
        try:
            first, last, step = map(float, text.split(":"))
            sensible = 1 <= (last - first) / step <= MOST_POINTS
        except (ValueError, ZeroDivisionError):
            sensible = False
        if not sensible:
            raise TasbError(
                expected=f"{argument('grid', 'FROM:TO:STEP')}, three numbers that make 2 to {MOST_POINTS:,} points",
                found=f"`{text}`",
                do=f"e.g. {argument('grid', '0:2:0.005')}",
            )
        return cls(first, last, step)

    @property
    def points(self) -> NDArray[np.float64]:
        """Shape (points,); as decimal as the step, so that 0.3 is not 0.30000000000000004."""
        count = round((self.last - self.first) / self.step)
        return np.round(self.first + self.step * np.arange(count + 1), 12)


class Search(Protocol):
    """A way to look for weights."""

    @property
    def grid(self) -> Grid:
        """The points at which each weight is tried, or the ends between which it is."""
        ...

    @property
    def name(self) -> str:
        """The name that the recipe notes."""
        ...

    def best(self, objective: Objective, runs: int) -> NDArray[np.float64]:
        """The best weights found, shape (runs,); of equally good ones the first that was tried."""
        ...

    def lines(self, weights: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Weights for each run but the first that differ from these in that run's, ascending, [points, runs]."""
        ...


@dataclass(frozen=True)
class GridSearch:
    """Two runs: every weight of the second; that of the first is 1, or what is left of 1 where weights are shares."""

    grid: Grid
    shares: bool

    @property
    def name(self) -> str:
        return f"grid {self.grid.first:g}:{self.grid.last:g}:{self.grid.step:g}"

    def weights(self) -> NDArray[np.float64]:
        """All that are tried, [weights, 2]."""
        points = self.grid.points
        return np.stack([1 - points if self.shares else np.ones_like(points), points], axis=1)

    def best(self, objective: Objective, runs: int) -> NDArray[np.float64]:
        weights = self.weights()
        return np.asarray(weights[np.argmax(objective(weights))])

    def lines(self, weights: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        return [self.weights()]


@dataclass(frozen=True)
class CoordinateAscent:
    """One run's weight after the other, each by grid, until a round changes nothing; the first run's stays 1."""

    grid: Grid

    @property
    def name(self) -> str:
        return f"coordinate ascent on {self.grid.first:g}:{self.grid.last:g}:{self.grid.step:g}"

    def best(self, objective: Objective, runs: int) -> NDArray[np.float64]:
        points = self.grid.points
        weights = np.ones(runs)
        weights[1:] = points[0]
        highest = -np.inf
        for _ in range(MOST_ROUNDS):
            before = highest
            for run in range(1, runs):
                tried = np.tile(weights, (len(points), 1))
                tried[:, run] = points
                values = objective(tried)
                if values.max() > highest:
                    highest, weights = float(values.max()), tried[np.argmax(values)]
            if highest == before:
                break
        return weights

    def lines(self, weights: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        return _lines(weights, self.grid)


@dataclass(frozen=True)
class RandomSearch:
    """Weights drawn evenly between the ends of the grid; the first run's is 1."""

    grid: Grid
    samples: int
    seed: int

    @property
    def name(self) -> str:
        return f"random search, {self.samples} samples of {self.grid.first:g} to {self.grid.last:g}, seed {self.seed}"

    def best(self, objective: Objective, runs: int) -> NDArray[np.float64]:
        drawn = np.random.default_rng(self.seed).uniform(self.grid.first, self.grid.last, (self.samples, runs - 1))
        weights = np.concatenate([np.ones((self.samples, 1)), np.round(drawn, 6)], axis=1)
        return np.asarray(weights[np.argmax(objective(weights))])

    def lines(self, weights: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        return _lines(weights, self.grid)


def _lines(weights: NDArray[np.float64], grid: Grid) -> list[NDArray[np.float64]]:
    lines = []
    for run in range(1, len(weights)):
        points = np.union1d(grid.points, weights[run])  # a weight that was drawn is between the points
        line = np.tile(weights, (len(points), 1))
        line[:, run] = points
        lines.append(line)
    return lines
