"""A curriculum: reset parameters whose values change with what the agents have learnt."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from sac.reset_values import Lessons, Until, parsed

log = logging.getLogger(__name__)
MEASURED_EPISODES = 100  # of a lesson, the latest ones, whose mean return is its measure
SMOOTHING = 0.25  # weight of the measure before


class Curriculum:
    """The lesson that each parameter is in; `reset` are the values of the config's section, `max_step` its limit."""

    def __init__(self, reset: Mapping[str, Any], max_step: int):
        self._values = {name: parsed(name, value) for name, value in reset.items()}
        self._tracks = {name: _Track(name, v) for name, v in self._values.items() if isinstance(v, Lessons)}
        self._max_step = max_step

    def values(self) -> dict[str, Any]:
        """The value of every parameter at present."""
        now = {name: track.lesson.value for name, track in self._tracks.items()}
        return self._values | now

    def add(self, returns: Iterable[float], steps: int) -> bool:
        """Takes in the returns of episodes that have ended; returns whether another lesson has begun."""
        returns, progress = list(returns), steps / self._max_step if self._max_step > 0 else 0.0
        begun = [track.add(returns, progress) for track in self._tracks.values()]
        return any(begun)

    def metrics(self) -> dict[str, float]:
        """The number of each parameter's lesson, from 1."""
        return {f"curriculum/{name}": track.number + 1 for name, track in self._tracks.items()}

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays = {name: np.array(track.returns) for name, track in self._tracks.items()}
        return arrays, {name: [track.number, track.measure, track.episodes] for name, track in self._tracks.items()}

    def restore(self, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]) -> None:
        for name, (number, measure, episodes) in scalars.items():
            if name in self._tracks:  # a parameter whose lessons are new begins with the first
                self._tracks[name].restore(number, measure, episodes, arrays[name])


class _Track:
    """One parameter's lessons."""

    def __init__(self, name: str, lessons: Lessons):
        self.name, self.lessons = name, lessons.lessons
        self.number, self.measure, self.episodes = 0, 0.0, 0  # episodes of this lesson
        self.returns: deque[float] = deque(maxlen=MEASURED_EPISODES)

    @property
    def lesson(self) -> Any:
        return self.lessons[self.number]

    def add(self, returns: Iterable[float], progress: float) -> bool:
        until = self.lesson.until
        if until is None:
            return False
        done = False
        for value in returns:
            self.returns.append(value)
            self.episodes += 1
            done = done or (until.measure == "reward" and self._learnt(until))
        done = done or (
            until.measure == "progress" and progress > until.threshold and self.episodes >= until.min_episodes
        )
        if done:
            self._next()
        return done

    def _learnt(self, until: Until) -> bool:
        if self.episodes < until.min_episodes:
            return False
        mean = float(np.mean(self.returns))
        self.measure = SMOOTHING * self.measure + (1 - SMOOTHING) * mean if until.smoothing else mean
        return self.measure > until.threshold

    def _next(self) -> None:
        self.number, self.measure, self.episodes = self.number + 1, 0.0, 0
        self.returns.clear()
        log.info("reset.%s: lesson %d (%s) begins: %s", self.name, self.number + 1, self.lesson.name, self.lesson.value)

    def restore(self, number: int, measure: float, episodes: int, returns: np.ndarray) -> None:
        self.number, self.measure, self.episodes = min(number, len(self.lessons) - 1), measure, episodes
        self.returns.clear()
        self.returns.extend(returns.tolist())
