"""Memory: a recurrent layer for `ModelRep`, and the burn-in of its state before a window (R2D2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sac.backend import Tensor, keras, tf
from sac.errors import UserError
from sac.ops.loops import repeated

CELLS = {"gru": (keras.layers.GRU, 1), "lstm": (keras.layers.LSTM, 2)}  # name: (layer, vectors in its state)


class Recurrent(keras.layers.Layer):
    """A GRU or LSTM of `units` for one step or a whole window. Its state is one vector of width `state_size`.

    Raises UserError when `cell` is unknown.
    """

    def __init__(self, units: int = 64, cell: str = "gru", **kwargs: Any):
        super().__init__(**kwargs)
        if cell not in CELLS:
            raise UserError(f"cell={cell}: allowed is {' | '.join(CELLS)}")
        layer, self.parts = CELLS[cell]
        self.rnn = layer(units, return_sequences=True, return_state=True)
        self.units, self.state_size = units, self.parts * units

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.rnn.build((None, None, shape[-1]))

    def call(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """x [k, F], state [k, S] -> output [k, units], state; or x [B, T, F] -> output [B, T, units], last state."""
        states = tf.split(state, self.parts, axis=-1)
        if len(x.shape) == 2:
            output, states = self.rnn.cell(x, states)
        else:
            output, *states = self.rnn(x, initial_state=states)
        return output, tf.concat(states, axis=-1)


class NoMemory(keras.layers.Layer):
    """The recurrent layer that remembers nothing."""

    state_size = 0

    def call(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """x [..., F], state [k, 0] -> output [..., 0], state."""
        return x[..., :0], state


def warmed_up(
    rep: keras.layers.Layer, obs: Mapping[str, Tensor], previous: Tensor, state: Tensor, real: Tensor,
    unroll: bool = False,
) -> Tensor:  # fmt: skip
    """The recurrent state [B, S] after b burn-in steps from the stored, outdated `state` [B, S].

    obs {sensor: [B, b, ...]}, previous [B, b, P], real [B, b]: a row with 0 is padding and leaves the state unchanged.
    R2D2 (Kapturowski et al., ICLR 2019), section 3.
    """
    b = real.shape[1]
    if not b or not state.shape[-1]:
        return state

    def step(t: Tensor, before: Tensor) -> tuple[Tensor]:
        after = rep({name: x[:, t] for name, x in obs.items()}, previous[:, t], before)[1]
        return (tf.where(real[:, t, None] > 0, after, before),)

    return repeated(b, step, (state,), unroll)[0]
