"""Where the channels of a picture are: the smaller one of its first and last axis, or what the config says."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from envs.gymnasium_adapter.observation_space import ObservationSpace
from envs.gymnasium_adapter.reading import Reading


def layout(shape, channels="auto", dtype=np.uint8) -> ObservationSpace:
    return ObservationSpace(spaces.Box(0, 255, shape, dtype), reading=Reading(channels=channels))


def check(shape, order, merged, channels="auto"):
    """The axes of a raw picture go into this order, those after W being one."""
    found = layout(shape, channels)
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, (2, *shape), np.uint8)
    expected = raw.transpose(0, *(i + 1 for i in order))
    expected = expected.reshape(*expected.shape[:3], -1) if merged else expected
    np.testing.assert_array_equal(found.batch(raw)["obs"], expected)
    assert found.sensors[0].shape == expected.shape[1:]
    return found.remarks


@pytest.mark.parametrize(
    "shape", [(3, 24, 24), (1, 8, 8), (5, 24, 24), (17, 40, 40), (4, 84, 84), (2, 7, 9), (9, 10, 84), (3, 3, 9)]
)
def test_channels_first_is_seen_at_every_size_and_said(shape):
    (remark,) = check(shape, (1, 2, 0), False)
    assert str(shape) in remark and "channels first" in remark and "base.channels=last" in remark


@pytest.mark.parametrize("shape", [(24, 24, 3), (84, 84, 4), (7, 7, 3), (8, 8, 1), (24, 30, 20), (9, 3, 2)])
def test_channels_last_is_no_news(shape):
    assert check(shape, (0, 1, 2), False) == []


def test_of_equal_axes_the_last_is_taken_and_that_is_said():
    (remark,) = check((12, 30, 12), (0, 1, 2), False)
    assert "base.channels=first" in remark
    assert check((12, 30, 12), (1, 2, 0), False, "first") == []
    assert check((1, 9, 1), (0, 1, 2), False) == [], "here it makes no difference"


def test_stacks_of_pictures_of_both_kinds():
    assert check((4, 24, 24, 3), (1, 2, 0, 3), True) == []
    assert check((4, 24, 24, 1), (1, 2, 0, 3), True) == []
    for shape in [(4, 3, 24, 24), (4, 1, 84, 84), (2, 5, 8, 8)]:
        (remark,) = check(shape, (2, 3, 0, 1), True)
        assert "channels first" in remark
    assert check((24, 30), (0, 1), True) == []


def test_the_config_has_the_last_word_without_remarks():
    assert check((3, 24, 24), (0, 1, 2), False, "last") == []
    assert check((24, 24, 3), (1, 2, 0), False, "first") == []
    assert check((4, 3, 24, 24), (1, 2, 0, 3), True, "last") == []
    assert check((4, 24, 24, 3), (2, 3, 0, 1), True, "first") == []


@pytest.mark.parametrize(
    ("shape", "order"),
    [((3, 24, 24), (0, 1, 2)), ((3, 84, 84), (1, 2, 0)), ((17, 40, 40), (0, 1, 2)), ((40, 40, 3), (0, 1, 2))],
)
def test_older_runs_keep_their_axes(shape, order):
    check(shape, order, False, "before")
    check((4, 3, 24, 24), (1, 2, 0, 3), True, "before")


def test_more_than_four_axes_are_refused():
    with pytest.raises(Exception, match="at most four axes"):
        layout((2, 2, 2, 8, 8))
