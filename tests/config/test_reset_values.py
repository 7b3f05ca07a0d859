"""The grammar of reset.<name>, and what is said of values that do not fit it."""

from __future__ import annotations

import numpy as np
import pytest

from sac.errors import UserError
from sac.reset_values import Gaussian, Lesson, Lessons, Ranges, Uniform, Until, drawn, last_values, parsed

TWO = {"lessons": [{"value": 1, "until": {"threshold": 0.5}}, {"value": {"uniform": [2, 4]}, "name": "wide"}]}


def test_every_form_is_understood():
    assert parsed("x", 3) == 3
    assert parsed("x", {"uniform": [1, 2]}) == Uniform(1.0, 2.0)
    assert parsed("x", {"gaussian": [1, 0]}) == Gaussian(1.0, 0.0)
    assert parsed("x", {"ranges": [[0, 1], [3, 4]]}) == Ranges((Uniform(0, 1), Uniform(3, 4)))
    until = Until("reward", 0.5, 0, True)
    assert parsed("x", TWO) == Lessons((Lesson(1, until, "lesson 1"), Lesson(Uniform(2, 4), None, "wide")))


@pytest.mark.parametrize("value", ["text", {"map": {"size": 3}}, {"uniform": [1, 2], "more": 1}, [1, 2], None])
def test_what_is_no_form_is_left_to_the_environment(value):
    assert parsed("x", value) is value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"uniform": [1]}, "reset.x={'uniform': .1.}: allowed is a number, {uniform: .low, high.}"),
        ({"uniform": ["a", 2]}, "allowed is a number"),
        ({"uniform": [2, 1]}, "the first number of a range is its lowest one"),
        ({"uniform": [0, float("inf")]}, "allowed is a number"),
        ({"gaussian": [0, -1]}, "a standard deviation is at least 0"),
        ({"ranges": []}, "allowed is"),
        ({"ranges": [[1, 1], [2, 3]]}, "a range without width is never drawn from"),
        ({"unifrom": [1, 2]}, "did you mean uniform?"),
        ({"ranges": [[1, 2], [4, 3]]}, "lowest one"),
        ({"lessons": []}, "allowed is"),
        (
            {"lessons": [{"value": 1, "until": {"threshold": 1}}]},
            r"reset.x.lessons\[1\]: the last lesson has no `until`",
        ),
        ({"lessons": [{"value": 1}, {"value": 2}]}, r"lessons\[1\]: this lesson needs an `until`"),
        ({"lessons": [{"wert": 1}]}, "a lesson has a value, and may have until and name"),
        ({"lessons": [{"value": "high"}]}, r"reset.x.lessons\[1\]=high: allowed is a number"),
        ({"lessons": [{"value": 1, "until": {}}, {"value": 2}]}, "needs a threshold"),
        ({"lessons": [{"value": 1, "until": {"threshold": 1, "measure": "time"}}, {"value": 2}]}, "reward | progress"),
        (
            {"lessons": [{"value": 1, "until": {"threshold": 2, "measure": "progress"}}, {"value": 2}]},
            "between 0 and 1",
        ),
        ({"lessons": [{"value": 1, "until": {"threshold": 1, "min_episodes": -1}}, {"value": 2}]}, "from 0 on"),
        ({"lessons": [{"value": 1, "until": {"threshold": 1, "smoothing": 1}}, {"value": 2}]}, "true or false"),
    ],
)
def test_a_wrong_form_is_said_in_words(value, words):
    with pytest.raises(UserError, match=words.replace("|", r"\|").replace("?", r"\?")):
        parsed("x", value)


def test_distributions_draw_what_they_say():
    rng = np.random.default_rng(0)
    assert 1 <= min(x := [Uniform(1, 2).draw(rng) for _ in range(500)]) < 1.05 and 1.95 < max(x) <= 2
    normal = [Gaussian(5, 2).draw(rng) for _ in range(4000)]
    assert np.mean(normal) == pytest.approx(5, abs=0.15) and np.std(normal) == pytest.approx(2, rel=0.05)
    ranges = np.array([Ranges((Uniform(0, 1), Uniform(10, 13))).draw(rng) for _ in range(4000)])
    assert ((ranges <= 1) | (ranges >= 10)).all()
    assert (ranges >= 10).mean() == pytest.approx(0.75, abs=0.03), "as probable as it is wide"


def test_drawing_leaves_numbers_as_they_are():
    values = drawn({"a": 1, "b": Uniform(2, 2), "c": "text"}, np.random.default_rng(0))
    assert values == {"a": 1, "b": 2.0, "c": "text"}


def test_play_and_evaluation_use_the_last_lesson():
    assert last_values({"a": TWO, "b": 7}) == {"a": Uniform(2, 4), "b": 7}
