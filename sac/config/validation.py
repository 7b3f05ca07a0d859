"""Turns a composed config into a Config, and words every error: unknown keys, wrong types, values out of range."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from sac.config.combinations import check_combinations
from sac.config.schema import Config, all_keys, field_of
from sac.errors import UserError

T = TypeVar("T")


def validated(composed: DictConfig) -> Config:
    """The composed config as a Config. Raises UserError naming key, value and what is allowed."""
    if composed.get("base") is None or OmegaConf.is_missing(composed.base, "env_type"):
        raise UserError(no_environment())
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Config), composed)
        missing = sorted(OmegaConf.missing_keys(merged))
        if missing:
            raise UserError(f"the config has no value for {', '.join(missing)}")
        config = OmegaConf.to_object(merged)
    except ConfigKeyError as error:
        raise UserError(unknown_key(error.full_key or str(error.key))) from error
    except OmegaConfBaseException as error:
        raise UserError(_in_words(error, composed)) from error
    assert isinstance(config, Config)
    _check_ranges(config, "")
    check_combinations(config)
    return config


def _in_words(error: OmegaConfBaseException, composed: DictConfig) -> str:
    """Words for a value of a wrong type; for any other error the first line of OmegaConf's message."""
    name = error.full_key or ""
    known = field_of(name)
    if known is None:
        return f"{name or 'config'}: {str(error).splitlines()[0]}"
    value = OmegaConf.select(composed, name, throw_on_resolution_failure=False)
    return _refusal(name, "null" if value is None else value, known)


TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "dict": "a mapping",
    "list": "a list",
}


def _refusal(name: str, value: Any, known: Field[Any]) -> str:
    """The error message of a key, e.g. `sac.gamma=abc: allowed is a number between 0 and 1`."""
    annotation = str(known.type)
    kind = next((words for start, words in TYPES.items() if annotation.startswith(start)), "")
    allowed = known.metadata["allowed"]
    kind = "" if kind == "text" and allowed else kind  # the words for texts need no type
    words = " ".join(filter(None, (kind, allowed))) or "a section of keys"
    return f"{name}={value}: allowed is {words}{' or null' if 'None' in annotation else ''}"


def check_value(name: str, value: Any) -> None:
    """Raises UserError when a value is out of the range of its key, which must exist."""
    known = field_of(name)
    assert known is not None, name
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name}={value}: must be a finite number")
    check, annotation = known.metadata["check"], str(known.type)
    if value is None and annotation.startswith("str") and "None" not in annotation:
        raise UserError(_refusal(name, "null", known))
    if annotation.startswith("str") and not isinstance(value, str | None):  # a list or a mapping
        raise UserError(_refusal(name, value, known))
    if check is not None and value is not None and not check(value):
        raise UserError(_refusal(name, value, known))


def checked(cls: type[T], values: Mapping[str, Any], prefix: str) -> T:
    """An instance of `cls`, a dataclass whose fields are key()s, from values by name.

    Raises UserError for an unknown name or a value that a key does not take; `prefix` stands before names there.
    """
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]  # a type variable cannot be bound to dataclasses
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.6)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"there are {', '.join(known)}"
            raise UserError(f"unknown key {prefix}{name}: {hint}")
    try:
        made = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls), values))
    except OmegaConfBaseException as error:
        name = (error.full_key or "").split(".")[0].split("[")[0]
        if name not in known:
            raise UserError(f"{prefix}*: {str(error).splitlines()[0]}") from error
        raise UserError(_refusal(prefix + name, values[name], known[name])) from error
    for f in known.values():
        value, check = getattr(made, f.name), f.metadata["check"]
        if check is not None and value is not None and not check(value):
            raise UserError(_refusal(prefix + f.name, value, f))
    assert isinstance(made, cls)
    return made


def check_assignable(name: str, value: Any) -> None:
    """Raises UserError when a key does not take this value because of its type or its range. The key must exist."""
    known = field_of(name)
    assert known is not None, name
    nested = value
    for part in reversed(name.split(".")):
        nested = {part: nested}
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Config), nested)
    except OmegaConfBaseException as error:
        raise UserError(_refusal(name, value, known)) from error
    check_value(name, OmegaConf.select(merged, name))


def _check_ranges(section: Any, prefix: str) -> None:
    for f in fields(section):
        value, name = getattr(section, f.name), prefix + f.name
        if is_dataclass(value):
            _check_ranges(value, name + ".")
        else:
            check_value(name, value)


def unknown_key(name: str, more: tuple[str, ...] = (), listed: str = "conf/*/default.yaml") -> str:
    """The error message for a key that does not exist, with the most similar key, or where the keys are `listed`.

    The names in `more` exist as well.
    """
    known = [*all_keys(), *more]
    section, _, leaf = name.rpartition(".")
    same = [k for k in known if k.rpartition(".")[2] == leaf]  # in another section
    if same:
        return f"unknown key {name}: did you mean {max(same, key=lambda k: _likeness(name, k))}?"
    leaves = {k.rpartition(".")[2]: k for k in reversed(known)}
    siblings = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == section}
    for candidates in (siblings, leaves):
        near = difflib.get_close_matches(leaf, candidates, 1, 0.6)
        if near:
            return f"unknown key {name}: did you mean {candidates[near[0]]}?"
    return f"unknown key {name}: see {listed} for every key"


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def no_environment() -> str:
    """The error message for a command line without env=..., with the names that there are."""
    folder = Path(__file__).parents[2] / "conf" / "env"
    names = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))
    return f"no environment was chosen: add env=<name>, for example env=roller (there are {', '.join(names)})"
