"""Checks of shapes while a function is traced; a compiled function contains nothing of them."""

from __future__ import annotations

from collections.abc import Sequence

from sac.backend import Tensor, tf


def assert_rank(rank: int, **tensors: Tensor) -> None:
    """Raises AssertionError, with the tensor's name, unless every tensor has `rank` axes."""
    for name, x in tensors.items():
        assert len(x.shape) == rank, f"{name} must have {rank} axes, found shape {tuple(x.shape)}"


def assert_equal_shape(**tensors: Tensor | Sequence[int]) -> None:
    """Raises AssertionError, with all names and shapes, unless all tensors (or shapes) agree; nothing may broadcast."""
    shapes = {name: tf.TensorShape(getattr(x, "shape", x)) for name, x in tensors.items()}
    first = next(iter(shapes.values()))
    fits = all(first.is_compatible_with(x) for x in shapes.values())  # an unknown axis fits any size
    assert fits, f"shapes must be equal, found { ({name: str(x) for name, x in shapes.items()}) }"
