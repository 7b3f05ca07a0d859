"""Environment parameters of ML-Agents (constants, samplers and curricula) as values of `reset.<name>`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sac.errors import UserError
from sac.reset_values import is_number, parsed

SAMPLERS = "constant, uniform, gaussian, multirangeuniform"


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
    kind, numbers = value["sampler_type"], value.get("sampler_parameters") or {}
    if numbers.get("seed") is not None:
        out.note(f"{origin}.sampler_parameters.seed", "samplers take the run's seed")
    if kind == "constant":
        return numbers.get("value", 0)
    if kind == "uniform":
        return {"uniform": [numbers.get("min_value", 0), numbers.get("max_value", 1)]}
    if kind == "gaussian":
        return {"gaussian": [numbers.get("mean", 1), numbers.get("st_dev", 1)]}
    if kind == "multirangeuniform":
        return {"ranges": [list(pair) for pair in numbers.get("intervals", [[0, 1]])]}
    raise UserError(f"{origin}.sampler_type={kind}: allowed is {SAMPLERS}")


def _curriculum(origin: str, found: Any, behavior: str, out: Notes) -> Any:
    if not isinstance(found, list) or not found:
        raise UserError(f"{origin}.curriculum={found}: a list of lessons is expected")
    lessons = []
    for number, lesson in enumerate(found, 1):
        where = f"{origin}.curriculum[{number}]"
        if not isinstance(lesson, Mapping) or "value" not in lesson:
            raise UserError(f"{where}={lesson}: a lesson has a value")
        made: dict[str, Any] = {"value": _value(where, lesson["value"], out)}
        if lesson.get("name"):
            made["name"] = str(lesson["name"])
        criteria = lesson.get("completion_criteria")
        if number < len(found):
            if not isinstance(criteria, Mapping):
                raise UserError(f"{where} has no completion_criteria, which every lesson but the last needs")
            made["until"] = _until(where, criteria, behavior, out)
        elif criteria:
            out.note(f"{where}.completion_criteria", "nothing comes after the last lesson")
        lessons.append(made)
    return {"lessons": lessons} if len(lessons) > 1 else lessons[0]["value"]


def _until(where: str, criteria: Mapping[str, Any], behavior: str, out: Notes) -> dict[str, Any]:
    measure = criteria.get("measure", "reward")
    if criteria.get("behavior") not in (None, behavior):
        out.note(f"{where}.behavior={criteria['behavior']}", f"the episodes of {behavior}, which is trained, count")
    if criteria.get("require_reset"):
        out.note(f"{where}.require_reset=true", "a lesson begins with each agent's next episode")
    if measure not in ("reward", "progress"):
        words = "it is measured by progress instead: only rewards and progress can be"
        out.note(f"{where}.measure={measure}", words)
        measure = "progress"
    until = {"measure": measure, "threshold": criteria.get("threshold", 0)}
    if criteria.get("min_lesson_length"):
        until["min_episodes"] = int(criteria["min_lesson_length"])
    if criteria.get("signal_smoothing") is False:
        until["smoothing"] = False
    return until
