from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.training.validation import EarlyStopping


def after(values, patience=3):
    state = EarlyStopping(patience)
    for number, value in enumerate(values, 1):
        state = state.after(number * 10, value)
    return state


def test_stops_when_patience_runs_out():
    assert not after([0.3, 0.4, 0.39, 0.4]).should_stop  # an equal value is no improvement, but two are not three
    state = after([0.3, 0.4, 0.39, 0.4, 0.1])
    assert state.should_stop
    assert (state.best_value, state.best_step, state.without_improvement) == (0.4, 20, 3)


def test_an_improvement_starts_the_count_again():
    state = after([0.3, 0.2, 0.2, 0.31, 0.2, 0.2])
    assert (state.best_step, state.without_improvement, state.should_stop) == (40, 2, False)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_never_is_the_best(broken):
    assert after([broken]) == EarlyStopping(3, None, None, 1)
    assert after([0.2, broken, 0.3]).best_step == 30
    assert after([broken] * 3).should_stop


@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=30), st.integers(0, 30))
def test_goes_on_from_json_as_if_it_had_never_stopped(values, cut):
    state = EarlyStopping(5)
    for step, value in enumerate(values):
        if step == cut:
            state = EarlyStopping.from_json(json.loads(json.dumps(state.to_json())))
        state = state.after(step, value)
    uninterrupted = EarlyStopping(5)
    for step, value in enumerate(values):
        uninterrupted = uninterrupted.after(step, value)
    assert state == uninterrupted
    finite = [value for value in values if math.isfinite(value)]
    assert state.best_value == max(finite, default=None)
    assert state.best_step == (values.index(max(finite)) if finite else None)
