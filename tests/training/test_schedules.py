from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.errors import TasbError
from pyserini_tasb.training.optimisation import SCHEDULES, build_schedule

ORACLE = json.loads((Path(__file__).parents[1] / "data" / "train" / "oracle_schedules.json").read_text())

decays = pytest.mark.parametrize("name", ["cosine", "linear"])


def test_released_schedule_is_the_oracle_s():
    factor = build_schedule("released")
    for batch, expected in ORACLE["factor_used_by_batch"].items():
        assert factor(int(batch)) == pytest.approx(expected, abs=1e-9), batch


def test_constant_schedule_rises_in_a_line_and_stays():
    factor = build_schedule("constant", warmup_steps=4)
    assert [factor(step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert factor(10**9) == 1


def test_no_warm_up_begins_at_the_full_rate():
    assert build_schedule("constant")(0) == 1


def test_cosine_goes_from_1_to_the_floor_and_stays():
    factor = build_schedule("cosine", warmup_steps=10, max_steps=111, floor=0.2)
    assert factor(9) == factor(10) == 1
    assert factor(60) == pytest.approx(0.6)
    assert factor(110) == pytest.approx(0.2)
    assert factor(500) == pytest.approx(0.2)


def test_linear_goes_from_1_to_the_floor_and_stays():
    factor = build_schedule("linear", warmup_steps=10, max_steps=111, floor=0.2)
    assert factor(10) == 1
    assert factor(35) == pytest.approx(0.8)
    assert factor(110) == pytest.approx(0.2)
    assert factor(500) == pytest.approx(0.2)


@decays
@pytest.mark.parametrize("max_steps", [None, 10, 5])
def test_decay_without_an_end_after_the_warm_up_is_refused(name, max_steps):
    with pytest.raises(TasbError, match=f"max_steps.*`{name}`"):
        build_schedule(name, warmup_steps=10, max_steps=max_steps)


@decays
def test_decay_of_one_step_is_no_division_by_zero(name):
    assert build_schedule(name, max_steps=1)(0) == 1


def test_unknown_schedule_is_named_with_those_there_are():
    with pytest.raises(TasbError, match="constant, cosine, linear, released"):
        build_schedule("step")


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "released"])
@given(warmup=st.integers(0, 50), length=st.integers(1, 200), floor=st.floats(0, 1))
def test_no_step_is_trained_at_zero_before_the_last_and_nothing_rises_again(name, warmup, length, floor):
    factor = build_schedule(name, warmup_steps=warmup, max_steps=warmup + length, floor=floor)
    factors = [factor(step) for step in range(warmup + length)]
    assert all(0 < value <= 1 + 1e-12 for value in factors[:-1])
    assert factors[-1] >= min(floor, 1) - 1e-12
    peak = max(0, warmup - 1)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert all(later <= earlier + 1e-12 for earlier, later in zip(factors[peak:], factors[peak + 1 :], strict=False))


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_step_s_factor_does_not_depend_on_those_asked_for_before(name):
    settings = {"warmup_steps": 5, "max_steps": 300, "floor": 0.1}
    forwards, backwards = build_schedule(name, **settings), build_schedule(name, **settings)
    assert [forwards(step) for step in range(300)] == [backwards(step) for step in reversed(range(300))][::-1]
