"""An environment that is made anew when it fails; an environment that keeps failing ends the run."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from sac.errors import ContractBroken, UserError
from sac.types import Action, Env, Turn

log = logging.getLogger(__name__)
DEFAULT_RESTARTS = 2  # more failures within RESTART_WINDOW_SECONDS are no coincidence
RESTART_WINDOW_SECONDS = 60.0


class EnvironmentFailed(RuntimeError):  # noqa: N818 - what happened
    """The environment raised `original`. What was learnt until then is sound."""

    def __init__(self, error: BaseException, words: str = "the environment failed"):
        super().__init__(f"{words}: {described(error)}")
        self.original = error

    @property
    def reason(self) -> str:
        """The reason of the run's end, for result.json."""
        return f"environment failed: {described(self.original)}"

    @property
    def shown(self) -> Exception:
        """The exception that the user is to see: `original`, or this one where `original` would not be printed."""
        return self.original if isinstance(self.original, Exception) else self


def described(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}".removesuffix(": ")


@contextlib.contextmanager
def failing(words: str) -> Iterator[None]:
    """Turns whatever is raised inside, SystemExit included, into EnvironmentFailed with a message that begins so."""
    try:
        yield
    except EnvironmentFailed:
        raise
    except BaseException as error:
        raise EnvironmentFailed(error, words) from error


class WaitMonitor(Protocol):
    """Is told what the process is waiting for, so that a signal can end a run whose environment hangs."""

    def waiting(self, what: str) -> contextlib.AbstractContextManager[None]:
        """A context in which foreign code runs and nothing of the run changes."""
        ...


class _NoMonitor:
    def waiting(self, what: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


class RestartingEnv:
    """Passes every call on to an environment and replaces the environment when it fails.

    After a failure the agents of the old environment are lost, and the agents of the new one ask for actions. Each
    environment is made with the next of `seeds`. It is replaced at most `restarts` times in RESTART_WINDOW_SECONDS; the
    next failure is raised as EnvironmentFailed. A ContractBroken is raised so at once, as a new environment would break
    the contract too. `monitor` is told what the process is waiting for. Exceptions of the first construction pass.
    """

    def __init__(
        self,
        make: Callable[[int], Env],
        seeds: Iterator[int],
        restarts: int = DEFAULT_RESTARTS,
        monitor: WaitMonitor | None = None,
    ):
        self._make, self._seeds, self._restarts = make, seeds, restarts
        self._monitor: WaitMonitor = monitor or _NoMonitor()
        self._present: set[int] = set()  # ids of the agents that are not lost
        self._failures: deque[float] = deque(maxlen=restarts + 1)  # times in seconds
        try:
            with self._monitor.waiting("the environment's constructor"):
                self._env = make(next(seeds))
        except SystemExit as error:  # would end the process without a message
            raise EnvironmentFailed(error, "the environment ended the process while it was made") from error

    def __getattr__(self, name: str) -> Any:
        if name == "_env":  # its constructor has not returned
            raise AttributeError(name)
        return getattr(self._env, name)

    def reset(self, seed: int | None = None) -> Turn:
        try:
            with self._monitor.waiting("the environment's reset"):
                turn = self._env.reset(seed)
        except BaseException as error:
            return self._restart(error)
        return self._remembered(turn)

    def step(self, action: Action) -> Turn:
        try:
            with self._monitor.waiting("the environment's step"):
                turn = self._env.step(action)
        except BaseException as error:
            return self._restart(error)
        return self._remembered(turn)

    def _restart(self, error: BaseException) -> Turn:
        """The first turn of a new environment; all agents that were present are lost."""
        while True:
            self._count_failure(error)
            log.warning("the environment failed and is made anew: %s", described(error))
            self.close()
            try:
                with self._monitor.waiting("the new environment's constructor"):
                    seed = next(self._seeds)
                    self._env = self._make(seed)
                    turn = self._env.reset(seed)
            except BaseException as another:
                error = another
                continue
            turn.lost = np.union1d(turn.lost, np.array(sorted(self._present), np.int64))
            self._present = set()
            return self._remembered(turn)

    def _count_failure(self, error: BaseException) -> None:
        """Raises EnvironmentFailed after too many failures, a broken contract or Ctrl-C."""
        self._failures.append(time.monotonic())
        within = self._failures[-1] - self._failures[0] < RESTART_WINDOW_SECONDS
        often = within and len(self._failures) == self._restarts + 1
        if isinstance(error, KeyboardInterrupt | ContractBroken) or (often and not self._restarts):
            raise EnvironmentFailed(error) from error
        if often:
            times = f"{self._restarts + 1} times in {RESTART_WINDOW_SECONDS:.0f} s"
            raise EnvironmentFailed(error, f"the environment has failed {times}, the last time") from error

    def render(self) -> np.ndarray | None:
        """The current picture. Raises EnvironmentFailed and does not replace the environment."""
        with failing("the environment failed to draw"), self._monitor.waiting("the environment's render"):
            return self._env.render()

    def close(self) -> None:
        """Closes the environment; logs what it raises as a warning, since its data are safe."""
        try:
            with self._monitor.waiting("the environment's close"):
                self._env.close()
        except BaseException as error:
            log.warning("the environment's close() raised %s; the run goes on without it", described(error))

    def _remembered(self, turn: Turn) -> Turn:
        self._present.difference_update(turn.lost.tolist())
        self._present.update(turn.agents.tolist())
        return turn
