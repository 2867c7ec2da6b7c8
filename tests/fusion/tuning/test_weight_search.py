"""Where weights are looked for, and what is held out."""

from __future__ import annotations

import numpy as np
import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.fusion.trials import Split, cross_validated, shuffled_folds, tuned_and_tested
from pyserini_tasb.fusion.weight_search import CoordinateAscent, Grid, GridSearch, RandomSearch

GRID = Grid(0.0, 1.0, 0.1)


def peak(*where):
    """A smooth hill over the weights behind the first."""
    return lambda weights: -((weights[:, 1:] - np.array(where)) ** 2).sum(axis=1)


def test_grid_points_are_decimal_and_include_both_ends():
    assert GRID.points.tolist() == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


@pytest.mark.parametrize("text", ["0:1", "a:b:c", "0:1:0", "1:0:0.1", "0:1:-1", "0:1:1e-9", "nan:1:1", "0:inf:1"])
def test_what_is_no_grid(text):
    with pytest.raises(TasbError, match="FROM:TO:STEP"):
        Grid.parse(text)


def test_grid_search_takes_the_first_of_the_best():
    assert GridSearch(GRID, shares=False).best(peak(0.3), 2).tolist() == [1.0, 0.3]
    assert GridSearch(GRID, shares=True).best(peak(0.3), 2).tolist() == pytest.approx([0.7, 0.3])
    assert GridSearch(GRID, shares=False).best(lambda weights: np.zeros(len(weights)), 2).tolist() == [1.0, 0.0]


def test_coordinate_ascent_climbs_to_the_top():
    assert CoordinateAscent(GRID).best(peak(0.3, 0.8, 0.1), 4).tolist() == [1.0, 0.3, 0.8, 0.1]


def test_coordinate_ascent_goes_round_again_where_weights_depend_on_each_other():
    def slope(weights):
        return -((weights[:, 1] - weights[:, 2]) ** 2) - 0.2 * (weights[:, 2] - 0.9) ** 2

    found = CoordinateAscent(GRID).best(slope, 3)
    one_round = [1.0, 0.0, 0.1]  # from 0, 0 the first weight stays, and the second goes one step
    assert slope(found[None, :]) > slope(np.array([one_round])) + 0.01


def test_random_search_follows_its_seed():
    found = [RandomSearch(GRID, 500, seed).best(peak(0.3, 0.8), 3) for seed in (0, 0, 1)]
    assert (found[0] == found[1]).all()
    assert (found[0] != found[2]).any()
    assert found[0] == pytest.approx([1.0, 0.3, 0.8], abs=0.15)


def test_lines_go_through_the_weights_along_each_run_but_the_first():
    weights = np.array([1.0, 0.25, 0.4])
    for search in (CoordinateAscent(GRID), RandomSearch(GRID, 5, 0)):
        second, third = search.lines(weights)
        assert second[:, 1].tolist() == sorted([*GRID.points, 0.25])  # a weight that was drawn is between the points
        assert third[:, 2].tolist() == GRID.points.tolist()
        for line, run in ((second, 1), (third, 2)):
            assert (np.delete(line, run, axis=1) == np.delete(weights, run)).all()
    (line,) = GridSearch(GRID, shares=True).lines(np.array([0.7, 0.3]))
    assert line.sum(axis=1) == pytest.approx(1)


def test_folds_hold_each_query_once():
    folds = shuffled_folds(13, 5, seed=3)
    assert sorted(np.concatenate(folds).tolist()) == list(range(13))
    assert {len(fold) for fold in folds} == {2, 3}
    assert [fold.tolist() for fold in folds] == [fold.tolist() for fold in shuffled_folds(13, 5, seed=3)]
    assert [fold.tolist() for fold in folds] != [fold.tolist() for fold in shuffled_folds(13, 5, seed=4)]


@pytest.mark.parametrize("folds", [0, 1, 14])
def test_folds_out_of_range(folds):
    with pytest.raises(TasbError, match="2 to 13 folds"):
        shuffled_folds(13, folds, seed=0)


def spy_on(choices):
    """Query q likes alpha q / 10 best; which queries' values an objective sees is noted."""
    likes = np.arange(10) / 10

    def per_query(weights):
        return 1 - np.abs(weights[None, :, 1] - likes[:, None])

    class Noting(GridSearch):
        def best(self, objective, runs):
            seen = objective(self.weights())
            choices.append(seen)
            return super().best(objective, runs)

    return per_query, Noting(GRID, shares=False)


def test_a_query_has_no_part_in_the_weights_it_is_tested_under():
    choices = []
    per_query, search = spy_on(choices)
    folds = [np.array([9]), np.arange(9)]
    found = cross_validated(per_query, folds, search, 2)
    # Query 9 under the choice of the others, 0.4; these under its choice, 0.9.
    assert found.weights[:, 1].tolist() == [0.4, 0.9]
    assert found.values[9] == pytest.approx(0.5)
    assert found.values[:9] == pytest.approx(1 - np.abs(0.9 - np.arange(9) / 10))
    assert choices[0] == pytest.approx(per_query(search.weights())[:9].mean(axis=0))


def test_gap_is_what_tuning_on_the_tested_queries_would_add():
    per_query, search = spy_on([])
    outcome = tuned_and_tested(Split(per_query, np.array([0])), Split(per_query, np.array([5])), search, 2)
    assert outcome.weights.tolist() == [1.0, 0.0]
    assert (outcome.tuned_value, outcome.held_out_value, outcome.own_best) == pytest.approx((1.0, 0.5, 1.0))
    assert outcome.gap == pytest.approx(0.5)
