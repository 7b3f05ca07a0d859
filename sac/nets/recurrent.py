"""Memory: a recurrent layer for `ModelRep`, and the warm-up of its state before a window (R2D2)."""

from __future__ import annotations

from sac.backend import keras, tf
from sac.errors import UserError

CELLS = {"gru": (keras.layers.GRU, 1), "lstm": (keras.layers.LSTM, 2)}  # and how many vectors make their state


class Recurrent(keras.layers.Layer):
    """A GRU or LSTM of `units` whose whole state is one vector, one step at a time or over a window."""

    def __init__(self, units=64, cell="gru", **kwargs):
        super().__init__(**kwargs)
        if cell not in CELLS:
            raise UserError(f"cell={cell}: allowed is {' | '.join(CELLS)}")
        layer, self.parts = CELLS[cell]
        self.rnn = layer(units, return_sequences=True, return_state=True)
        self.units, self.state_size = units, self.parts * units

    def build(self, shape):
        self.rnn.build((None, None, shape[-1]))

    def call(self, x, state):
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

    def call(self, x, state):
        """x [..., F], state [k, 0] -> output [..., 0], state."""
        return x[..., :0], state


def warmed_up(rep, obs, previous, state, real):
    """The recurrent state after b steps from `state` [B, S]: what a stored, stale state becomes before a window.

    obs {sensor: [B, b, ...]}, previous [B, b, P], real [B, b]: where 0 the row is padding and the state stays as it is.
    R2D2 (Kapturowski et al., ICLR 2019), section 3.
    """
    b = real.shape[1]
    if not b or not state.shape[-1]:
        return state

    def step(t, before):
        after = rep({name: x[:, t] for name, x in obs.items()}, previous[:, t], before)[1]
        return t + 1, tf.where(real[:, t, None] > 0, after, before)

    return tf.while_loop(lambda t, _: t < b, step, (tf.constant(0), state), maximum_iterations=b)[1]
