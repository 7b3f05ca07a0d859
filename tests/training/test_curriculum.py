"""When lessons end, by hand."""

from __future__ import annotations

import pytest

from sac.training.curriculum import Curriculum


def curriculum(max_step=1000, **until):
    first = {"value": 1, "until": {"threshold": 0.5, **until}}
    return Curriculum({"height": {"lessons": [first, {"value": 2}]}, "gravity": 9.8}, max_step)


def test_it_begins_with_the_first_lesson():
    assert curriculum().values() == {"height": 1, "gravity": 9.8}
    assert curriculum().metrics() == {"curriculum/height": 1}


def test_a_mean_return_above_the_threshold_ends_a_lesson():
    followed = curriculum(smoothing=False)
    assert not followed.add([0.2, 0.7], steps=1)  # means 0.2, 0.45
    assert followed.add([1.5], steps=2)  # 0.8
    assert followed.values()["height"] == 2 and followed.metrics() == {"curriculum/height": 2}
    assert not followed.add([9.0] * 200, steps=3), "nothing comes after the last lesson"


def test_smoothing_keeps_a_quarter_of_the_measure_before():
    followed = curriculum()
    assert not followed.add([0.6], steps=1)  # 0.75 * 0.6 = 0.45
    assert followed.add([0.6], steps=1)  # 0.25 * 0.45 + 0.45 = 0.5625


def test_so_many_episodes_must_have_ended_in_the_lesson():
    followed = curriculum(min_episodes=3, smoothing=False)
    assert not followed.add([1.0, 1.0], steps=1)
    assert followed.add([1.0], steps=1)


def test_progress_is_the_share_of_the_steps():
    followed = curriculum(measure="progress")
    assert not followed.add([99.0], steps=500)
    assert followed.add([], steps=501)
    assert not curriculum(measure="progress", min_episodes=1).add([], steps=900)


def test_a_lesson_does_not_inherit_the_returns_of_the_one_before():
    steps = [{"value": i, "until": {"threshold": 0.5, "smoothing": False}} for i in range(3)]
    followed = Curriculum({"x": {"lessons": [*steps, {"value": 9}]}}, -1)
    assert followed.add([1.0], 1) and followed.values() == {"x": 1}
    assert not followed.add([0.0], 2) and followed.add([2.0], 3) and followed.values() == {"x": 2}


def test_a_resumed_run_goes_on_in_its_lesson():
    followed = curriculum(min_episodes=4)
    followed.add([0.4, 0.5, 0.9], steps=1)
    other = curriculum(min_episodes=4)
    other.restore(*followed.state())
    assert other.state()[1] == followed.state()[1]
    assert followed.add([0.9], 2) and other.add([0.9], 2)
    third = curriculum()
    third.restore(*other.state())
    assert third.values()["height"] == 2


def test_without_lessons_there_is_nothing_to_follow():
    plain = Curriculum({"gravity": 9.8}, 100)
    assert plain.metrics() == {} and not plain.add([1.0], 1) and plain.values() == {"gravity": 9.8}


@pytest.mark.parametrize("reset", [{}, {"other": {"lessons": [{"value": 1}]}}])
def test_lessons_that_the_config_no_longer_has_are_forgotten(reset):
    followed = curriculum()
    other = Curriculum(reset, 1)
    before = other.values()
    other.restore(*followed.state())
    assert other.values() == before
