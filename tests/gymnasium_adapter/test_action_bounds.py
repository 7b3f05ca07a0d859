"""Actions of every dtype reach both ends of their space and nothing beyond; bounds that mean none are refused."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, iterate

from envs.gymnasium_adapter.action_space import ActionSpace
from sac.errors import UserError
from sac.types import Action

N = 1001
F32, F64, I64, U64 = np.finfo(np.float32), np.finfo(np.float64), np.iinfo(np.int64), np.iinfo(np.uint64)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-40000, 40000, (2,), np.float16),
        spaces.Box(-65000, 65000, (2,), np.float16),
        spaces.Box(np.array([0, -60000], np.float16), np.array([60000, 0], np.float16), dtype=np.float16),
        spaces.Box(-1e14, 1e14, (1,), np.float32),
        spaces.Box(-1e14, 1e14, (1,), np.float64),
        spaces.Box(0.1, 0.3, (2,), np.float16),
        spaces.Box(0, 255, (2, 2), np.uint8),
        spaces.Box(-128, 127, (2,), np.int8),
        spaces.Box(-(2**15), 2**15 - 1, (2,), np.int16),
        spaces.Box(0, 2**32 - 1, (1,), np.uint32),
        spaces.Box(-(2**31), 2**31 - 1, (1,), np.int32),
        spaces.Box(I64.min, I64.max, (2,), np.int64),
        spaces.Box(-(2**62), I64.max - 1, (1,), np.int64),
        spaces.Box(0, U64.max, (1,), np.uint64),
        spaces.Box(3, 3, (1,), np.uint8),
        spaces.Box(0, 1, (2,), np.bool_),
    ],
    ids=str,
)
def test_actions_lie_in_their_space_reach_its_ends_and_never_wrap(space):
    layout = ActionSpace(space)
    along = np.linspace(-1, 1, N, dtype=np.float32)[:, None] * np.ones(layout.continuous, np.float32)
    encoded = layout.encode(Action(along, np.zeros((N, 0), np.int32)))
    assert encoded.dtype == space.dtype
    assert all(space.contains(row) for row in iterate(batch_space(space, N), encoded))
    np.testing.assert_array_equal(encoded[0], space.low)
    np.testing.assert_array_equal(encoded[-1], space.high)
    numbers = encoded.reshape(N, -1).astype(float)
    assert (np.diff(numbers, axis=0) >= 0).all(), "a larger action is never a smaller value"
    back = layout.decode(encoded, N).continuous
    step = 1 / max(1, float(space.high.max()) - float(space.low.min())) if space.dtype.kind in "iub" else 2e-3
    if (space.high > space.low).all():
        np.testing.assert_allclose(back, along, atol=step + 1e-6)


def test_a_third_of_the_way_to_40000_is_12000():
    layout = ActionSpace(spaces.Box(-40000, 40000, (1,), np.float16))
    encoded = layout.encode(Action(np.array([[0.3]], np.float32), np.zeros((1, 0), np.int32)))
    np.testing.assert_allclose(encoded, [[12000]], rtol=1e-3)


def test_every_byte_comes_back_from_where_it_was():
    layout = ActionSpace(spaces.Box(0, 255, (1,), np.uint8))
    every = np.arange(256, dtype=np.uint8)[:, None]
    found = layout.encode(layout.decode(every, 256)._replace(discrete=np.zeros((256, 0), np.int32)))
    np.testing.assert_array_equal(found, every)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(F32.min, F32.max, (2,), np.float32),
        spaces.Box(F64.min, F64.max, (1,), np.float64),
        spaces.Box(np.float32(-1e38), np.float32(1e38), (1,)),
        spaces.Box(float(I64.min), float(I64.max), (1,), np.float32),
        spaces.Box(-65504, 65504, (1,), np.float16),
        spaces.Box(0, np.inf, (1,)),
        spaces.Box(0, F32.max, (1,)),
        spaces.Box(-np.inf, 1, (1,), np.int64),
        spaces.Box(np.array([-1, -1e38], np.float32), np.ones(2, np.float32)),
        spaces.Dict(a=spaces.Discrete(2), b=spaces.Box(-F32.max, F32.max, (1,))),
    ],
    ids=str,
)
def test_bounds_that_mean_none_are_refused_like_infinite_ones(space):
    with pytest.raises(UserError, match=r"no bounds to scale \[-1, 1\] to.*TransformAction"):
        ActionSpace(space)
