"""Pictures and bytes are scaled by the bounds of their own space; older runs keep 1/255."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from envs.gymnasium_adapter.observation_space import ObservationSpace
from envs.gymnasium_adapter.reading import Reading
from sac.nets.contract import scaled
from sac.types import Sensor, Spec


def seen(space: spaces.Box, *values, reading=None) -> np.ndarray:
    """What networks see of raw observations (numbers that fill the space, or arrays)."""
    layout = ObservationSpace(space, reading=reading or Reading())
    raw = np.stack([np.broadcast_to(np.asarray(v, space.dtype), space.shape) for v in values])
    return scaled(layout.batch(raw), Spec(layout.sensors))["obs"].numpy()


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 8), (5,), (), (2, 8, 8, 3)])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 3), (1, 4), (0, 254)])
def test_bytes_are_scaled_by_their_bounds(shape, low, high):
    out = seen(spaces.Box(low, high, shape, np.uint8), low, high)
    np.testing.assert_allclose(out[0], 0, atol=1e-7)
    np.testing.assert_allclose(out[1], 1, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 4, 3), (4,)])
def test_bytes_up_to_255_are_what_they_were_bit_for_bit(shape):
    values = np.arange(256, dtype=np.uint8)
    out = seen(spaces.Box(0, 255, shape, np.uint8), *values).reshape(256, -1)
    np.testing.assert_array_equal(out[:, 0], values.astype(np.float32) * np.float32(1 / 255.0))


def test_each_element_has_its_own_bounds_and_one_without_a_span_stays_finite():
    low, high = np.array([0, 10, 7], np.uint8), np.array([10, 5 + 10, 7], np.uint8)
    np.testing.assert_allclose(seen(spaces.Box(low, high, dtype=np.uint8), low, high), [[0, 0, 0], [1, 1, 0]])
    np.testing.assert_array_equal(seen(spaces.Box(0, 0, (3,), np.uint8), 0), [[0, 0, 0]])


def test_bounds_go_the_way_of_the_axes():
    high = np.arange(1, 25, dtype=np.uint8).reshape(1, 4, 6) * np.ones((3, 1, 1), np.uint8) + np.uint8(
        [[[0]], [[9]], [[99]]]
    )
    space = spaces.Box(np.zeros_like(high), high, dtype=np.uint8)  # channels first
    np.testing.assert_allclose(seen(space, high), np.ones((1, 4, 6, 3)), rtol=1e-6)
    stack = spaces.Box(np.zeros((2, 3, 4, 6), np.uint8), np.stack([high, high // 2 + 1]), dtype=np.uint8)
    np.testing.assert_allclose(seen(stack, stack.high), np.ones((1, 4, 6, 6)), rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("float32", 0, 255),
        ("float64", -1, 1),
        ("float16", 0, 255),
        ("uint16", 0, 65535),
        ("int8", -128, 127),
        ("bool", 0, 1),
    ],
)
def test_pictures_of_any_dtype_are_scaled_and_vectors_of_other_dtypes_are_not(dtype, low, high):
    out = seen(spaces.Box(low, high, (8, 8, 3), np.dtype(dtype)), low, high)
    assert out.min() == 0 and out.max() == pytest.approx(1)
    np.testing.assert_array_equal(seen(spaces.Box(low, high, (4,), np.dtype(dtype)), low, high)[:, 0], [low, high])


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-np.inf, np.inf, (8, 8, 3)),
        spaces.Box(0, np.inf, (8, 8, 3)),
        spaces.Box(np.finfo(np.float32).min, np.finfo(np.float32).max, (8, 8, 3)),
        spaces.Box(-1e300, 1e300, (8, 8, 3), np.float64),
        spaces.Box(np.iinfo(np.int64).min, np.iinfo(np.int64).max, (8, 8, 3), np.int64),
    ],
)
def test_pictures_without_bounds_stay_as_they_are(space):
    np.testing.assert_array_equal(seen(space, 7), np.full((1, 8, 8, 3), 7))


def test_older_runs_keep_their_scale():
    before = Reading(by_bounds=False)
    assert seen(spaces.Box(0, 1, (8, 8, 1), np.uint8), 1, reading=before).max() == np.float32(1 / 255.0)
    assert seen(spaces.Box(0, 1, (3,), np.uint8), 1, reading=before).max() == np.float32(1 / 255.0)
    assert seen(spaces.Box(0, 255, (8, 8, 1)), 255, reading=before).max() == 255
    layout = ObservationSpace(spaces.Box(0, 1, (8, 8, 1), np.uint8), reading=before)
    assert layout.sensors == (Sensor("obs", (8, 8, 1), "uint8"),)


def test_numbers_beyond_float32_count_as_infinite_without_a_warning(recwarn):
    layout = ObservationSpace(spaces.Box(-np.inf, np.inf, (2,), np.float64))
    found = layout.nonfinite(layout.batch(np.array([[1e30, 1], [1e39, 1]])))
    assert found["obs"].tolist() == [False, True] and not recwarn.list
