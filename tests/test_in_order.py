"""Blocks through threads: in their order, a few at a time, each with all its functions in one thread."""

from __future__ import annotations

import threading
import time

import pytest

from pyserini_tasb.workers import MOST_THREADS, InOrder


def test_results_come_in_the_order_of_the_items_whichever_is_done_first():
    def slow_at_first(number):
        time.sleep(0.02 if number < 2 else 0)
        return number * number

    assert list(InOrder(slow_at_first, range(30))) == [number * number for number in range(30)]


def test_what_comes_then_is_done_by_the_thread_that_has_the_result():
    squared_by = InOrder(lambda number: (number * number, threading.get_ident()), range(30))
    results = list(squared_by.then(lambda found: (*found, threading.get_ident())))
    assert [square for square, *_ in results] == [number * number for number in range(30)]
    assert all(first == second != threading.get_ident() for _, first, second in results)


def test_few_items_are_taken_ahead_of_what_is_asked_for():
    taken = []
    results = iter(InOrder(lambda number: number, (taken.append(number) or number for number in range(1000))))
    assert next(results) == 0
    assert len(taken) <= MOST_THREADS + 1


def test_an_error_comes_to_who_asks_and_nothing_goes_on_behind():
    begun = []

    def fails_at_three(number):
        begun.append(number)
        if number == 3:
            raise ValueError("three")
        return number

    results = iter(InOrder(fails_at_three, range(1000)))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert len(begun) <= 3 + MOST_THREADS + 2


def test_within_a_function_another_has_no_threads_of_its_own():
    def squares(number):
        return list(InOrder(lambda inner: (inner * number, threading.get_ident()), range(3))), threading.get_ident()

    for number, (found, outer) in enumerate(InOrder(squares, range(4))):
        assert found == [(inner * number, outer) for inner in range(3)]
