"""TD errors of new rows, computed by the actor that sends them (Ape-X, arXiv:1803.00933, section 3)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sac.replay import Fifo, Replay
from sac.types import Batch, Spec, Step

MEMORY_ROWS = 8192  # capacity of the actor's small replay: it holds all unacknowledged chunks and a window
UNKNOWN_NUMBER = -1


class InitialPriorities:
    """Keeps the newest stored rows in a small replay, and computes each window's TD error once it is complete.

    `td_error(batch)` gives the errors [B] of windows [B, ...]; `send(index, error)` sends errors [1, B] of the rows
    with these arrival numbers [1, B] to the cell's replay.
    """

    def __init__(
        self, spec: Spec, state_size: int, steps: int, burn_in: int, td_error: Callable[[Batch], np.ndarray],
        send: Callable[[np.ndarray, np.ndarray], object],
    ):  # fmt: skip
        self._newest = Fifo(MEMORY_ROWS)
        self._replay = Replay(spec, state_size, self._newest, steps=steps, burn_in=burn_in)
        self._numbers = np.full(MEMORY_ROWS, UNKNOWN_NUMBER)  # in the cell's replay, by place in this one
        self._stored = 0
        self._td_error, self._send = td_error, send

    def stored(self, step: Step, first: int) -> None:
        """These rows have the arrival numbers first, first + 1, ... in the cell's replay.

        Negative: their numbers are unknown, and the open episodes are closed.
        """
        if first < 0:
            self._replay.close_open_streams()
            return
        rows = np.arange(len(step.stream))
        self._numbers[(self._stored + rows) % MEMORY_ROWS] = first + rows
        self._replay.add(step)
        self._stored += len(rows)

    def send_td_errors(self) -> None:
        """Computes and sends the errors of all windows that have become complete."""
        if self._replay.ready:
            batch = self._replay.sample(self._newest.count)
            index = self._numbers[batch.index % MEMORY_ROWS]
            self._send(index[None], self._td_error(batch)[None])
