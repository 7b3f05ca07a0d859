"""Loops inside compiled functions."""

from __future__ import annotations

from collections.abc import Callable

from sac.backend import Tensor, tf


def repeated(n: int, body: Callable[..., tuple[Tensor, ...]], state: tuple[Tensor, ...], unroll: bool) -> tuple:
    """`state = body(k, *state)` for k = 0 ... n - 1.

    A loop is compiled once for every n and is faster than an unrolled one for dense layers. Convolutions and their
    gradients are 5 to 15 times slower inside a loop on a CPU, so callers unroll it with pictures. One turn needs no
    loop: TensorFlow never frees the compiled body of one.
    """
    if unroll or n == 1:
        for k in range(n):
            state = body(k, *state)
        return state
    _, *final = tf.while_loop(
        lambda k, *_: k < n, lambda k, *s: (k + 1, *body(k, *s)), (tf.constant(0), *state), maximum_iterations=n
    )
    return tuple(final)
