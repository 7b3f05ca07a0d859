"""An environment that may fail: it is made anew a few times, then its failure is told apart from a bug of ours."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from sac.errors import ContractBroken, UserError
from sac.runs.signals import Outside
from sac.types import Action, Env, Turn

log = logging.getLogger(__name__)
RESTARTS, SECONDS = 2, 60.0  # an environment is made anew so often in so many seconds; more failures are not by chance


class EnvironmentFailed(RuntimeError):  # noqa: N818 - what happened
    """What an environment raised, `original`; what was learnt from it until then is sound."""

    def __init__(self, error: BaseException, words: str = "the environment failed"):
        super().__init__(f"{words}: {described(error)}")
        self.original = error

    @property
    def reason(self) -> str:
        """As in result.json."""
        return f"environment failed: {described(self.original)}"

    @property
    def shown(self) -> Exception:
        """What the user is to see: the original, unless it would end the process without a word."""
        return self.original if isinstance(self.original, Exception) else self


def described(error: BaseException) -> str:
    """In one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}".removesuffix(": ")


@contextlib.contextmanager
def failing(words: str) -> Iterator[None]:
    """Whatever is raised inside, even SystemExit, becomes EnvironmentFailed."""
    try:
        yield
    except EnvironmentFailed:
        raise
    except BaseException as error:
        raise EnvironmentFailed(error, words) from error


class RestartingEnv:
    """Hands everything on. Where the environment fails its agents are lost, and those of a new one ask instead.

    It is made with each of `seeds` in turn, anew at most `restarts` times in a minute; the next failure is raised as
    EnvironmentFailed. So is at once that it breaks Gymnasium's contract: it would do so again. `outside` is told what
    the process is waiting for. Exceptions of the first making pass.
    """

    def __init__(
        self, make: Callable[[int], Env], seeds: Iterator[int], restarts: int = RESTARTS, outside: Outside | None = None
    ):
        self._make, self._seeds, self._restarts = make, seeds, restarts
        self._outside = outside or Outside()
        self._present: set[int] = set()
        self._failures: deque[float] = deque(maxlen=restarts + 1)
        try:
            with self._outside.waiting("the environment's constructor"):
                self._env = make(next(seeds))
        except SystemExit as error:  # it would end the process without a word
            raise EnvironmentFailed(error, "the environment ended the process while it was made") from error

    def __getattr__(self, name: str) -> Any:
        if name == "_env":  # not made yet
            raise AttributeError(name)
        return getattr(self._env, name)

    def reset(self, seed: int | None = None) -> Turn:
        try:
            with self._outside.waiting("the environment's reset"):
                turn = self._env.reset(seed)
        except BaseException as error:
            return self._anew(error)
        return self._seen(turn)

    def step(self, action: Action) -> Turn:
        try:
            with self._outside.waiting("the environment's step"):
                turn = self._env.step(action)
        except BaseException as error:
            return self._anew(error)
        return self._seen(turn)

    def _anew(self, error: BaseException) -> Turn:
        """The first turn of a new environment, in which all that were there are lost."""
        while True:
            self._count(error)
            log.warning("the environment failed and is made anew: %s", described(error))
            self.close()
            try:
                with self._outside.waiting("the new environment's constructor"):
                    seed = next(self._seeds)
                    self._env = self._make(seed)
                    turn = self._env.reset(seed)
            except BaseException as another:
                error = another
                continue
            turn.lost = np.union1d(turn.lost, np.array(sorted(self._present), np.int64))
            self._present = set()
            return self._seen(turn)

    def _count(self, error: BaseException) -> None:
        """Raises EnvironmentFailed when that was once too often, or whoever is at the keyboard wants it to end."""
        self._failures.append(time.monotonic())
        often = len(self._failures) == self._restarts + 1 and self._failures[-1] - self._failures[0] < SECONDS
        if isinstance(error, KeyboardInterrupt | ContractBroken) or (often and not self._restarts):
            raise EnvironmentFailed(error) from error
        if often:
            times = f"{self._restarts + 1} times in {SECONDS:.0f} s"
            raise EnvironmentFailed(error, f"the environment has failed {times}, the last time") from error

    def render(self) -> np.ndarray | None:
        """The current picture. Raises EnvironmentFailed: a picture is not worth a new environment."""
        with failing("the environment failed to draw"), self._outside.waiting("the environment's render"):
            return self._env.render()

    def close(self) -> None:
        """What the environment raises here is a warning: all that is worth keeping has left it."""
        try:
            with self._outside.waiting("the environment's close"):
                self._env.close()
        except BaseException as error:
            log.warning("the environment's close() raised %s; the run goes on without it", described(error))

    def _seen(self, turn: Turn) -> Turn:
        self._present.difference_update(turn.lost.tolist())
        self._present.update(turn.agents.tolist())
        return turn
