"""Interquartile means by hand, and intervals whose coverage is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sac.report.statistics import bootstrap_interval, iqm


@pytest.mark.parametrize(
    ("values", "expected"),
    [([5], 5), ([1, 2, 6], 3), ([100, 1, 2, -50], 1.5), ([1, 2, 3, 4, 5, 6, 7, 8], 4.5), ([0, 0, 0, 1, 9], 1 / 3),
     ([[1, 2, 3, 4], [5, 6, 7, 1000]], 4.5)],
)  # fmt: skip
def test_the_lowest_and_the_highest_quarter_do_not_count(values, expected):
    assert iqm(values) == pytest.approx(expected)


def test_of_nothing_there_is_no_mean():
    assert math.isnan(iqm([]))


def test_an_interval_covers_the_true_value_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), 0
    for seed in range(200):
        low, high = bootstrap_interval(rng.normal(3.0, 2.0, 20), np.mean, seed, resamples=400)
        hits += low <= 3.0 <= high
    assert 0.88 <= hits / 200 <= 0.98  # a percentile bootstrap of 20 values is a little narrow


def test_the_interval_of_a_mean_has_the_width_of_the_normal_one():
    values = np.random.default_rng(1).normal(0.0, 1.0, 400)
    low, high = bootstrap_interval(values, np.mean)
    standard_error = values.std() / math.sqrt(400)
    assert (high - low) == pytest.approx(2 * 1.96 * standard_error, rel=0.1)
    assert low < values.mean() < high


def test_tasks_are_drawn_each_on_its_own():
    """Seeds that agree within each task have no spread, however far the tasks lie apart."""
    assert bootstrap_interval([[1.0, 100.0], [1.0, 100.0], [1.0, 100.0]], np.mean) == (50.5, 50.5)


def test_two_calls_agree_and_one_run_has_no_interval():
    values = [1.0, 5.0, 7.0, 8.0, 20.0]
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    assert all(math.isnan(x) for x in bootstrap_interval([3.0]))
