"""The arithmetic of one update, and how fast this machine multiplies matrices."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

SIDE = 256  # of the square matrices, as wide as the networks' layers
FLOP_PER_PRODUCT = 2 * SIDE**3
FLOP_PER_MULTIPLY_ADD = 2


def update_flop(obs: int, act: int, hidden: Sequence[int], batch: int) -> int:
    """Floating-point operations in the matrix products of one SAC update with two critics and two hidden layers.

    Counted are the products that the algorithm needs: forward passes of the policy at s and s', of the critics at
    (s, a), (s, pi(s)) and of their targets; the gradients to the critics' and the policy's weights; and those to the
    inputs of all layers that need one.
    """
    first, second = hidden
    policy = obs * first + first * second + second * 2 * act
    critic = (obs + act) * first + first * second + second
    to_inputs = 2 * (first * second + second) + first * second + second * 2 * act
    return FLOP_PER_MULTIPLY_ADD * batch * (3 * policy + 10 * critic + to_inputs)


def product_rate(seconds: float) -> float:
    """GFLOP/s of NumPy's float32 product of two 256x256 matrices on all cores."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((SIDE, SIDE), np.float32) for _ in range(2))
    out = np.empty_like(a)
    for share in (0.25, 1.0):  # the first part warms up
        products, start = 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < share * seconds:
            np.matmul(a, b, out=out)
            products += 1
    return products * FLOP_PER_PRODUCT / passed / 1e9
