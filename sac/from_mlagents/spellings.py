"""Older spellings of ML-Agents' trainer configuration, rewritten as those of release 17 (version 0.26) and later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sac.errors import UserError
from sac.reset_values import is_number

HYPERPARAMETERS = (
    "batch_size", "buffer_size", "buffer_init_steps", "learning_rate", "learning_rate_schedule", "tau",
    "steps_per_update", "save_replay_buffer", "init_entcoef", "reward_signal_steps_per_update", "beta", "epsilon",
    "lambd", "num_epoch",
)  # fmt: skip
NETWORK = "normalize", "hidden_units", "num_layers", "vis_encode_type"
# Sections and keys of the whole file; anything else at the top of a file without `behaviors` is a behaviour.
TOP = (
    "behaviors", "default_settings", "environment_parameters", "env_settings", "engine_settings",
    "checkpoint_settings", "torch_settings", "framework", "debug", "parameter_randomization", "curriculum",
)  # fmt: skip
RENAMED = {"trainer": "trainer_type", "pretraining": "behavioral_cloning"}


def modernised(found: Any) -> dict[str, Any]:
    """The configuration in today's spelling. Raises UserError for a file that holds no mapping."""
    if not isinstance(found, Mapping):
        raise UserError("this is no trainer configuration of ML-Agents: it holds no keys")
    config: dict[str, Any] = {str(key): value for key, value in found.items()}
    if "behaviors" not in config:
        flat = {key: config.pop(key) for key in list(config) if key not in TOP and isinstance(config[key], Mapping)}
        if not flat:
            raise UserError("this file has no section `behaviors`: is it a trainer configuration of ML-Agents?")
        if "default" in flat:
            config["default_settings"] = flat.pop("default")
        config["behaviors"] = flat
    if isinstance(config["behaviors"], Mapping):
        config["behaviors"] = {name: _behaviour(settings) for name, settings in config["behaviors"].items()}
    if isinstance(config.get("default_settings"), Mapping):
        config["default_settings"] = _behaviour(config["default_settings"])
    randomised = config.pop("parameter_randomization", None)
    curricula = config.pop("curriculum", None)
    if randomised or curricula:
        old = {**_randomised(randomised or {}), **_curricula(curricula or {})}
        config["environment_parameters"] = {**old, **(config.get("environment_parameters") or {})}
    return config


def _behaviour(settings: Any) -> Any:
    """The settings of one behaviour; flat hyperparameters and network settings go into their sections."""
    if not isinstance(settings, Mapping):
        return settings
    new = {RENAMED.get(str(key), str(key)): value for key, value in settings.items()}
    interval, updates = new.pop("train_interval", 1), new.pop("num_update", None)
    if updates is not None or interval != 1:  # so many updates after so many steps
        if not is_number(interval) or not is_number(updates or 1) or (updates or 1) <= 0:
            raise UserError(f"train_interval={interval}, num_update={updates}: allowed are numbers above 0")
        new["steps_per_update"] = interval / (updates or 1)
    for section, keys in (("hyperparameters", HYPERPARAMETERS), ("network_settings", NETWORK)):
        moved = {key: new.pop(key) for key in keys if key in new}
        if moved:
            new[section] = {**moved, **(new.get(section) or {})}
    recurrent = new.pop("use_recurrent", None)
    memory = {key: new.pop(key) for key in ("memory_size", "sequence_length") if key in new}
    if recurrent:
        new["network_settings"] = {"memory": memory, **(new.get("network_settings") or {})}
    return new


def _randomised(found: Mapping[str, Any]) -> dict[str, Any]:
    """The former section parameter_randomization: flat samplers, whose keys had hyphens."""
    made = {}
    for name, value in found.items():
        if not isinstance(value, Mapping):  # resampling-interval
            continue
        plain = {str(key).replace("-", "_"): inner for key, inner in value.items()}
        kind = str(plain.pop("sampler_type", "uniform")).replace("_", "")  # multirange_uniform
        made[str(name)] = {"sampler_type": kind, "sampler_parameters": plain.pop("sampler_parameters", plain)}
    return made


def _curricula(found: Mapping[str, Any]) -> dict[str, Any]:
    """The former section curriculum: for each behaviour thresholds, and lists of parameters one longer."""
    made: dict[str, Any] = {}
    for behavior, rules in found.items():
        if not isinstance(rules, Mapping) or not isinstance(rules.get("parameters"), Mapping):
            raise UserError(
                f"curriculum.{behavior}={rules}: a section with measure, thresholds and parameters is expected"
            )
        thresholds = list(rules.get("thresholds") or [])
        for name, values in rules["parameters"].items():
            criteria = {
                "behavior": behavior,
                "measure": rules.get("measure", "reward"),
                "min_lesson_length": rules.get("min_lesson_length", 0),
                "signal_smoothing": rules.get("signal_smoothing", True),
            }
            lessons: list[dict[str, Any]] = [{"value": value} for value in values]
            for lesson, threshold in zip(lessons[:-1], thresholds):
                lesson["completion_criteria"] = {**criteria, "threshold": threshold}
            made[str(name)] = {"curriculum": lessons}
    return made
