"""Environment parameters of ML-Agents (constants, samplers and curricula) as values of `reset.<name>`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sac.errors import UserError
from sac.reset_values import is_number, parsed

SAMPLERS: dict[str, dict[str, Any]] = {  # kind: its parameters with their defaults
    "constant": {"value": 0},
    "uniform": {"min_value": 0, "max_value": 1},
    "gaussian": {"mean": 1, "st_dev": 1},
    "multirangeuniform": {"intervals": [[0, 1]]},
}
CRITERIA = "measure", "behavior", "threshold", "min_lesson_length", "signal_smoothing", "require_reset"


class Notes(Protocol):
    """Takes what was translated, and notes about the rest."""

    def set(self, key: str, value: Any, origin: str) -> None: ...
    def note(self, origin: str, words: str) -> None: ...


def environment_parameters(found: Any, behavior: str, out: Notes) -> None:
    """Translates the section `environment_parameters`. Raises UserError for values that ML-Agents would refuse."""
    if found is not None and not isinstance(found, Mapping):
        raise UserError(f"environment_parameters={found}: a section with names is expected")
    for name, value in (found or {}).items():
        origin = f"environment_parameters.{name}"
        if isinstance(value, Mapping) and "curriculum" in value:
            made = _curriculum(origin, value["curriculum"], behavior, out)
        else:
            made = _value(origin, value, out)
        parsed(str(name), made)
        out.set(f"reset.{name}", made, origin)


def _value(origin: str, value: Any, out: Notes) -> Any:
    if is_number(value):
        return value
    if not isinstance(value, Mapping) or "sampler_type" not in value:
        raise UserError(f"{origin}={value}: a number, a sampler_type or a curriculum is expected")
    kind = str(value["sampler_type"]).replace("_", "")
    if kind not in SAMPLERS:
        raise UserError(f"{origin}.sampler_type={value['sampler_type']}: allowed is {', '.join(SAMPLERS)}")
    beside = {key: inner for key, inner in value.items() if key not in ("sampler_type", "sampler_parameters")}
    given = value.get("sampler_parameters") or {}
    if not isinstance(given, Mapping):
        raise UserError(f"{origin}.sampler_parameters={given}: a section with keys is expected")
    numbers = _known({**beside, **given}, (*SAMPLERS[kind], "seed"), f"{origin}.sampler_parameters")
    if numbers.pop("seed", None) is not None:
        out.note(f"{origin}.sampler_parameters.seed", "samplers take the run's seed")
    numbers = {**SAMPLERS[kind], **numbers}
    if kind == "constant":
        if not is_number(numbers["value"]):
            raise UserError(f"{origin}.sampler_parameters.value={numbers['value']}: allowed is a number")
        return numbers["value"]
    if kind == "multirangeuniform":
        intervals = numbers["intervals"]
        if not isinstance(intervals, Sequence) or not all(isinstance(i, Sequence) and len(i) == 2 for i in intervals):
            raise UserError(
                f"{origin}.sampler_parameters.intervals={intervals}: allowed is a list of pairs [low, high]"
            )
        return {"ranges": [list(pair) for pair in intervals]}
    return {kind: list(numbers.values())}


def _known(found: Mapping[str, Any], names: Sequence[str], where: str) -> dict[str, Any]:
    """The mapping itself. Raises UserError for a key that ML-Agents does not know."""
    for key in found:
        if key not in names:
            raise UserError(f"{where}.{key}: ML-Agents knows no such key; there are {', '.join(names)}")
    return dict(found)


def _curriculum(origin: str, found: Any, behavior: str, out: Notes) -> Any:
    if not isinstance(found, list) or not found:
        raise UserError(f"{origin}.curriculum={found}: a list of lessons is expected")
    lessons = []
    for number, lesson in enumerate(found, 1):
        where = f"{origin}.curriculum[{number}]"
        if not isinstance(lesson, Mapping) or "value" not in lesson:
            raise UserError(f"{where}={lesson}: a lesson has a value")
        _known(lesson, ("name", "value", "completion_criteria"), where)
        made: dict[str, Any] = {"value": _value(where, lesson["value"], out)}
        if lesson.get("name"):
            made["name"] = str(lesson["name"])
        criteria = lesson.get("completion_criteria")
        if number < len(found):
            if not isinstance(criteria, Mapping):
                raise UserError(f"{where} has no completion_criteria, which every lesson but the last needs")
            made["until"] = _until(where, criteria, behavior, number / len(found), out)
        elif criteria:
            out.note(f"{where}.completion_criteria", "nothing comes after the last lesson")
        lessons.append(made)
    return {"lessons": lessons} if len(lessons) > 1 else lessons[0]["value"]


def _until(where: str, found: Mapping[str, Any], behavior: str, share: float, out: Notes) -> dict[str, Any]:
    """When a lesson ends; `share` is the share of the run after which it ends where its measure has no counterpart."""
    criteria = _known(found, CRITERIA, f"{where}.completion_criteria")
    measure, threshold = criteria.get("measure", "reward"), criteria.get("threshold", 0)
    if criteria.get("behavior") not in (None, behavior):
        out.note(f"{where}.behavior={criteria['behavior']}", f"the episodes of {behavior}, which is trained, count")
    if criteria.get("require_reset"):
        out.note(f"{where}.require_reset=true", "a lesson begins with each agent's next episode")
    if measure not in ("reward", "progress"):
        words = f"only rewards and progress are measured here: the lesson ends after {share:.2g} of base.max_step"
        out.note(f"{where}.measure={measure}", words)
        measure, threshold = "progress", round(share, 4)
    until = {"measure": measure, "threshold": threshold}
    least = criteria.get("min_lesson_length") or 0
    if not is_number(least) or least != int(least):
        raise UserError(f"{where}.min_lesson_length={least}: allowed is a whole number")
    if least:
        until["min_episodes"] = int(least)
    smoothing = criteria.get("signal_smoothing", True)
    if not isinstance(smoothing, bool):
        raise UserError(f"{where}.signal_smoothing={smoothing}: allowed is true or false")
    return until if smoothing else until | {"smoothing": False}
