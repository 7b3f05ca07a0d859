"""Loops inside compiled functions."""

from __future__ import annotations

from sac.backend import tf


def repeated(n: int, body, state: tuple, unroll: bool) -> tuple:
    """`state = body(k, *state)` for k = 0 ... n - 1.

    A loop compiles once whatever n is and is the faster for dense layers; convolutions and their gradients are 5 to 15
    times slower inside one on a CPU, so with pictures it is unrolled. One turn needs no loop, whose compiled body
    TensorFlow never lets go of.
    """
    if unroll or n == 1:
        for k in range(n):
            state = body(k, *state)
        return state
    _, *state = tf.while_loop(
        lambda k, *_: k < n, lambda k, *s: (k + 1, *body(k, *s)), (tf.constant(0), *state), maximum_iterations=n
    )
    return tuple(state)
