"""An environment that is made anew when it fails."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from sac.errors import ContractBroken
from sac.types import Action, Env, Turn

log = logging.getLogger(__name__)
FAILURES, SECONDS = 3, 60.0  # so many failures in so many seconds are too many


class Resilient:
    """Hands everything on. Where it fails its agents are lost, and those of a new environment ask instead.

    The third failure within a minute is a RuntimeError: then it is not by chance. One that breaks Gymnasium's contract
    would do so again: that passes.
    """

    def __init__(self, make: Callable[[], Env]):
        self._make = make
        self._env = make()
        self.spec, self.n_agents = self._env.spec, self._env.n_agents
        self._present: set[int] = set()
        self._failures: deque[float] = deque(maxlen=FAILURES)

    def reset(self, seed: int | None = None) -> Turn:
        try:
            return self._seen(self._env.reset(seed))
        except ContractBroken:
            raise
        except Exception as error:
            return self._anew(error)

    def step(self, action: Action) -> Turn:
        try:
            return self._seen(self._env.step(action))
        except ContractBroken:
            raise
        except Exception as error:
            return self._anew(error)

    def _anew(self, error: Exception) -> Turn:
        """The first turn of a new environment, in which all that were there are lost."""
        while True:
            self._failures.append(time.monotonic())
            if len(self._failures) == FAILURES and self._failures[-1] - self._failures[0] < SECONDS:
                raise RuntimeError(f"the environment has failed {FAILURES} times in {SECONDS:.0f} s") from error
            log.warning("the environment failed and is made anew: %s: %s", type(error).__name__, error)
            try:
                self._env.close()
                self._env = self._make()
                turn = self._env.reset()
            except Exception as another:
                error = another
                continue
            turn.lost = np.union1d(turn.lost, np.array(sorted(self._present), np.int64))
            self._present = set()
            return self._seen(turn)

    def render(self):
        return self._env.render()

    def close(self) -> None:
        self._env.close()

    def _seen(self, turn: Turn) -> Turn:
        self._present.difference_update(turn.lost.tolist())
        self._present.update(turn.agents.tolist())
        return turn
