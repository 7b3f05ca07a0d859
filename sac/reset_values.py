"""The values of `reset.<name>`: a number, a distribution that is drawn anew for each episode, or a list of lessons.

    {uniform: [low, high]}   {gaussian: [mean, standard deviation]}   {ranges: [[low, high], [low, high]]}
    {lessons: [{value: 1, until: {measure: reward, threshold: 0.8, min_episodes: 100}}, {value: 4}]}

Nothing else is imported here, so that configs, environments and the training loop can share these classes.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sac.errors import UserError

LESSONS, UNIFORM, GAUSSIAN, RANGES = "lessons", "uniform", "gaussian", "ranges"
MEASURES = "reward", "progress"
ALLOWED = (
    "a number, {uniform: [low, high]}, {gaussian: [mean, std]}, {ranges: [[low, high], ...]} or "
    "{lessons: [{value: ..., until: {measure: reward, threshold: ...}}, {value: ...}]}"
)


class Generator(Protocol):
    """What is needed of a numpy.random.Generator."""

    def uniform(self, low: float, high: float, /) -> float: ...
    def normal(self, mean: float, std: float, /) -> float: ...


@dataclass(frozen=True)
class Uniform:
    """A number between two bounds."""

    low: float
    high: float

    def draw(self, rng: Generator) -> float:
        return float(rng.uniform(self.low, self.high))


@dataclass(frozen=True)
class Gaussian:
    """A normally distributed number."""

    mean: float
    std: float

    def draw(self, rng: Generator) -> float:
        return float(rng.normal(self.mean, self.std))


@dataclass(frozen=True)
class Ranges:
    """A number from one of several ranges, each as probable as it is wide."""

    ranges: tuple[Uniform, ...]

    def draw(self, rng: Generator) -> float:
        place = rng.uniform(0.0, sum(part.high - part.low for part in self.ranges))
        for part in self.ranges:
            if place <= part.high - part.low:
                return float(part.low + place)
            place -= part.high - part.low
        return self.ranges[-1].high


Distribution = Uniform | Gaussian | Ranges
Value = float | Distribution


@dataclass(frozen=True)
class Until:
    """When a lesson is done: its measure exceeds `threshold`, after at least `min_episodes` episodes.

    The measure is the mean return of the latest training episodes (`smoothing`: a quarter of the measure before it and
    three quarters of the new one), or the share of base.max_step that is done (`progress`).
    """

    measure: str
    threshold: float
    min_episodes: int = 0
    smoothing: bool = True


@dataclass(frozen=True)
class Lesson:
    """A value, and when the next lesson begins; the last lesson has no end."""

    value: Value
    until: Until | None
    name: str


@dataclass(frozen=True)
class Lessons:
    """The lessons of one parameter, in order."""

    lessons: tuple[Lesson, ...]


def parsed(name: str, value: Any) -> Value | Lessons | Any:
    """The value of `reset.<name>`; what is none of the forms above is returned as it is.

    Raises UserError for a form that is wrong inside.
    """
    if isinstance(value, Mapping) and set(map(str, value)) == {LESSONS}:
        return _lessons(name, value[LESSONS])
    return _value(name, value)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def last_values(reset: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all parameters in their last lessons, as evaluation and play use them."""
    values = {name: parsed(name, value) for name, value in reset.items()}
    return {n: v.lessons[-1].value if isinstance(v, Lessons) else v for n, v in values.items()}


def drawn(values: Mapping[str, Any], rng: Generator) -> dict[str, Any]:
    """The same values with a number in place of each distribution."""
    return {n: v.draw(rng) if isinstance(v, Uniform | Gaussian | Ranges) else v for n, v in values.items()}


def _value(name: str, value: Any) -> Any:
    if not isinstance(value, Mapping) or len(value) != 1:
        return value
    ((kind, numbers),) = value.items()
    if kind in (UNIFORM, GAUSSIAN):
        first, second = _pair(name, value, numbers)
        if kind == GAUSSIAN:
            if second < 0:
                raise UserError(f"reset.{name}={value}: a standard deviation is at least 0")
            return Gaussian(first, second)
        return _uniform(name, value, first, second)
    if kind == RANGES:
        if not isinstance(numbers, Sequence) or isinstance(numbers, str) or not numbers:
            raise _wrong(name, value)
        ranges = tuple(_uniform(name, value, *_pair(name, value, part)) for part in numbers)
        if any(part.low == part.high for part in ranges):
            raise UserError(f"reset.{name}={value}: a range without width is never drawn from: low must be below high")
        return Ranges(ranges)
    near = difflib.get_close_matches(str(kind), (UNIFORM, GAUSSIAN, RANGES, LESSONS), 1, 0.75)
    if near:
        raise UserError(f"reset.{name}={value}: did you mean {near[0]}?")
    return value


def _uniform(name: str, value: Any, low: float, high: float) -> Uniform:
    if low > high:
        raise UserError(f"reset.{name}={value}: the first number of a range is its lowest one")
    return Uniform(low, high)


def _pair(name: str, value: Any, numbers: Any) -> tuple[float, float]:
    if not isinstance(numbers, Sequence) or len(numbers) != 2 or not all(map(is_number, numbers)):
        raise _wrong(name, value)
    return float(numbers[0]), float(numbers[1])


def _lessons(name: str, found: Any) -> Lessons:
    if not isinstance(found, Sequence) or isinstance(found, str) or not found:
        raise _wrong(name, {LESSONS: found})
    lessons = []
    for number, lesson in enumerate(found, 1):
        where = f"{name}.lessons[{number}]"
        if not isinstance(lesson, Mapping) or not {"value"} <= set(lesson) <= {"value", "until", "name"}:
            raise UserError(f"reset.{where}={lesson}: a lesson has a value, and may have until and name")
        value = _value(where, lesson["value"])
        if not is_number(value) and not isinstance(value, Distribution):
            raise _wrong(where, lesson["value"])
        is_last = number == len(found)
        if is_last == ("until" in lesson):
            ends = "has no `until`: nothing comes after it" if is_last else "needs an `until` that ends it"
            raise UserError(f"reset.{where}: {'the last' if is_last else 'this'} lesson {ends}")
        until = None if is_last else _until(where, lesson["until"])
        lessons.append(Lesson(value, until, str(lesson.get("name", f"lesson {number}"))))
    return Lessons(tuple(lessons))


def _until(where: str, found: Any) -> Until:
    names = "measure", "threshold", "min_episodes", "smoothing"
    if not isinstance(found, Mapping) or not {"threshold"} <= set(found) <= set(names):
        raise UserError(f"reset.{where}.until={found}: it takes {', '.join(names)}, and needs a threshold")
    until = replace(Until("reward", 0.0), **found)
    if until.measure not in MEASURES:
        raise UserError(f"reset.{where}.until.measure={until.measure}: allowed is {' | '.join(MEASURES)}")
    if not is_number(until.threshold):
        raise UserError(f"reset.{where}.until.threshold={until.threshold}: allowed is a number")
    if until.measure == "progress" and not 0 <= until.threshold <= 1:
        raise UserError(f"reset.{where}.until.threshold={until.threshold}: progress lies between 0 and 1")
    if not isinstance(until.min_episodes, int) or isinstance(until.min_episodes, bool) or until.min_episodes < 0:
        raise UserError(f"reset.{where}.until.min_episodes={until.min_episodes}: allowed is a whole number from 0 on")
    if not isinstance(until.smoothing, bool):
        raise UserError(f"reset.{where}.until.smoothing={until.smoothing}: allowed is true or false")
    return until


def _wrong(name: str, value: Any) -> UserError:
    return UserError(f"reset.{name}={value}: allowed is {ALLOWED}")
