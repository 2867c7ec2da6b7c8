"""Random numbers and orders as functions of seed and step."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from pyserini_tasb.training.sampling import Purpose, Shuffle, Uniforms


class Fixed:
    """The same number again and again."""

    def __init__(self, number: float) -> None:
        self.number = number

    def take(self, count: int) -> np.ndarray:
        return np.full(count, self.number)


def test_the_stream_never_changes():
    """What a model was trained on must be found again with every later version of NumPy and of this package."""
    numbers = (Uniforms(208_973_249, 7, Purpose.QUERIES).take(3) * 2**53).astype(np.int64)
    assert numbers.tolist() == [943_657_646_717_725, 5_327_055_032_217_506, 8_003_045_153_115_390]


def test_in_pieces_as_at_once():
    uniforms = Uniforms(3, 4, Purpose.PAIRS)
    pieces = [*uniforms.take(1), *uniforms.take(5), *uniforms.take(0), *uniforms.take(3)]
    assert pieces == Uniforms(3, 4, Purpose.PAIRS).take(9).tolist()


def test_every_seed_step_and_purpose_has_its_own():
    seeds, steps = (0, 1, 2**63 - 1, 2**64 - 1), (0, 1, 2**32, 2**63 - 1)
    firsts = {tuple(Uniforms(seed, step, purpose).take(8)) for seed in seeds for step in steps for purpose in Purpose}
    assert len(firsts) == len(seeds) * len(steps) * len(Purpose)
    assert len({number for eight in firsts for number in eight}) == 8 * len(firsts)


def test_uniform_across_steps():
    numbers = np.concatenate([Uniforms(1, step, Purpose.QUERIES).take(4) for step in range(5_000)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert kstest(numbers, "uniform").pvalue > 0.01


@given(st.integers(1, 60), st.integers(0, 2**64 - 1), st.lists(st.integers(0, 20)))
def test_shuffle_deals_everything_once(size, seed, pieces):
    shuffle = Shuffle(size, Uniforms(seed, 0, Purpose.QUERIES))
    dealt = []
    for piece in pieces:
        dealt += shuffle.take(min(piece, shuffle.remaining))
        assert shuffle.remaining == size - len(dealt)
    dealt += shuffle.take(shuffle.remaining)
    assert sorted(dealt) == list(range(size))
    assert Shuffle(size, Uniforms(seed, 0, Purpose.QUERIES)).take(size) == dealt


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
@pytest.mark.parametrize("size", [1, 2, 3, 2**31 - 1])
def test_shuffle_at_the_ends_of_the_interval(size, number):
    taken = Shuffle(size, Fixed(number)).take(min(size, 3))
    assert len(set(taken)) == len(taken)
    assert all(0 <= number < size for number in taken)


def test_all_orders_are_equally_likely():
    counts = Counter(tuple(Shuffle(4, Uniforms(5, step, Purpose.QUERIES)).take(4)) for step in range(12_000))
    assert set(counts) == set(permutations(range(4)))
    assert chisquare(list(counts.values())).pvalue > 0.01


def test_taking_few_of_many_costs_little():
    assert len(set(Shuffle(10**15, Uniforms(5, 0, Purpose.QUERIES)).take(1_000))) == 1_000
