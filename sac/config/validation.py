"""Whether a composed config is valid, in words: wrong types, ranges, combinations, unknown keys."""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from sac.config.schema import CELL, Config, all_keys, field_of
from sac.errors import UserError
from sac.track.wandb_run import MAX_NAME_CHARACTERS, resolve_mode

log = logging.getLogger(__name__)
T = TypeVar("T")
TRACKED = ("train", "learner")  # roles that keep a record


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
    _check_ranges(config, "")
    _check_combinations(config)
    return config


def _in_words(error: OmegaConfBaseException, composed: DictConfig) -> str:
    """A value of a wrong type, in words; omegaconf's own first line for anything else."""
    name = error.full_key
    known = field_of(name) if name else None
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


def _refusal(name: str, value: Any, known: Field) -> str:
    """`sac.gamma=abc: allowed is a number between 0 and 1`; type annotations are strings here."""
    kind = next((words for start, words in TYPES.items() if known.type.startswith(start)), "")
    allowed = known.metadata["allowed"]
    kind = "" if kind == "text" and allowed else kind  # these say it all by themselves
    words = " ".join(filter(None, (kind, allowed))) or "a section of keys"
    return f"{name}={value}: allowed is {words}{' or null' if 'None' in known.type else ''}"


def check_value(name: str, value: Any) -> None:
    """Raises UserError when a key's value is out of its range."""
    known = field_of(name)
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name}={value}: must be a finite number")
    check = known.metadata["check"]
    if value is None and known.type.startswith("str") and "None" not in known.type:
        raise UserError(_refusal(name, "null", known))
    if known.type.startswith("str") and not isinstance(value, str | None):  # a list or a mapping
        raise UserError(_refusal(name, value, known))
    if check is not None and value is not None and not check(value):
        raise UserError(_refusal(name, value, known))


def checked(cls: type[T], values: Mapping[str, Any], prefix: str) -> T:
    """A dataclass of key()s from `values`, whose names come after `prefix`. Raises UserError naming what is wrong."""
    known = {f.name: f for f in fields(cls)}
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
    return made


def check_assignable(name: str, value: Any) -> None:
    """Raises UserError when a key does not take this value: its type or its range."""
    nested = value
    for part in reversed(name.split(".")):
        nested = {part: nested}
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Config), nested)
    except OmegaConfBaseException as error:
        raise UserError(_refusal(name, value, field_of(name))) from error
    check_value(name, OmegaConf.select(merged, name))


def _check_ranges(section, prefix: str) -> None:
    for f in fields(section):
        value, name = getattr(section, f.name), prefix + f.name
        if is_dataclass(value):
            _check_ranges(value, name + ".")
        else:
            check_value(name, value)


def _check_combinations(c: Config) -> None:
    r, s = c.replay, c.sac
    starts = r.learning_starts
    for ok, message in (
        (r.capacity > r.batch_size, f"replay.capacity={r.capacity} must exceed replay.batch_size={r.batch_size}"),
        (
            r.td_error_min <= r.td_error_max,
            f"replay.td_error_min={r.td_error_min} exceeds replay.td_error_max={r.td_error_max}",
        ),
        (
            starts is None or starts <= r.capacity,
            f"replay.learning_starts={starts} exceeds replay.capacity={r.capacity}: learning would never start",
        ),
        (
            s.ensemble_q_sample <= s.ensemble_q_num,
            f"sac.ensemble_q_sample={s.ensemble_q_sample} exceeds sac.ensemble_q_num={s.ensemble_q_num}",
        ),
        (
            s.burn_in_step == 0 or s.use_rnn,
            f"sac.burn_in_step={s.burn_in_step} warms up a recurrent state: it needs sac.use_rnn=true",
        ),
        (
            not (r.load or "").startswith("minari:") or s.n_step == 1 or not s.use_n_step_is,
            f"replay.load={r.load} with sac.n_step={s.n_step}: a dataset does not say how probable its actions were, "
            "so returns cannot be corrected for them: set sac.n_step=1, or sac.use_n_step_is=false",
        ),
        (
            not s.refresh_state or (s.use_rnn and s.burn_in_step > 0),
            "sac.refresh_state=true writes back states that a burn-in brought up to date: it needs "
            "sac.use_rnn=true and sac.burn_in_step of at least 1",
        ),
        (
            s.learning_rate_end <= s.learning_rate,
            f"sac.learning_rate_end={s.learning_rate_end} exceeds sac.learning_rate={s.learning_rate}",
        ),
        *(
            (
                c.role not in CELL or not set_,
                f"{key} means nothing to the roles of a cell: leave it out",
            )
            for key, set_ in (
                ("base.max_iter", c.base.max_iter > 0),
                ("replay.load", r.load),
                ("base.editor", c.base.editor),
            )
        ),
        (
            c.role != "learner" or not c.base.evolver_enabled or c.eval.per_step > 0,
            "base.evolver_enabled=true: the evolver compares evaluations: set eval.per_step to a number of steps",
        ),
        (
            r.initial_priority == "largest" or c.base.update_policy_mode,
            "replay.initial_priority=td_error needs the networks in every actor: set base.update_policy_mode=true",
        ),
        (
            c.eval.stop_return is None or c.eval.per_step > 0,
            "eval.stop_return needs evaluations: set eval.per_step to a number of steps",
        ),
    ):
        if not ok:
            raise UserError(message)
    if s.use_rnn and s.burn_in_step and not s.burn_in_gradient and s.sequence_length < 10:
        log.warning(
            "sac.burn_in_gradient=false with sac.sequence_length=%s: errors reach back through so few steps only",
            s.sequence_length,
        )
    if s.v_c > s.v_rho:
        log.warning("sac.v_c=%s exceeds sac.v_rho=%s: V-trace's traces should be cut at least as early", s.v_c, s.v_rho)
    if s.target_entropy_ratio_end is not None and (s.discrete_dqn_like or not s.use_auto_alpha):
        why = "sac.discrete_dqn_like=true" if s.discrete_dqn_like else "sac.use_auto_alpha=false"
        log.warning("sac.target_entropy_ratio_end has no effect with %s: no temperature follows it", why)
    _check_environment(c)
    _check_wandb(c)


LONGEST_TAG, FORBIDDEN = 64, "/\\#?%:"  # letters of a tag; letters that no name of W&B may hold


def _check_wandb(c: Config) -> None:
    """Raises UserError for what W&B would refuse when a new run begins; an older run goes on without W&B then."""
    t, base = c.track, c.base
    there = (Path(base.models) / base.scene / base.name / "config.yaml").exists()
    begins = c.ckpt is None or (c.ckpt == "auto" and not there)
    if c.role not in TRACKED or not begins or resolve_mode(t.wandb) == "disabled":
        return
    for key, value, longest, forbidden in (
        ("wandb_project", t.wandb_project, MAX_NAME_CHARACTERS, FORBIDDEN),
        ("wandb_entity", t.wandb_entity, MAX_NAME_CHARACTERS, FORBIDDEN),
        ("wandb_group", t.wandb_group, MAX_NAME_CHARACTERS, ""),
        *(("wandb_tags", tag, LONGEST_TAG, "") for tag in t.wandb_tags),
    ):
        if value is None or (value.strip() and len(value) <= longest and not set(value) & set(forbidden)):
            continue
        without = f", none of them {' '.join(forbidden)}" if forbidden else ""
        of_many = f" (in {t.wandb_tags})" if key == "wandb_tags" else ""
        raise UserError(
            f"track.{key}={value}{of_many}: Weights & Biases takes 1 to {longest} letters{without}; "
            "or turn it off with track.wandb=disabled"
        )


def _check_environment(c: Config) -> None:
    base = c.base
    if base.env_type == "GYM" and not isinstance(base.build_path, str):
        raise UserError(
            f"base.build_path={base.build_path}: with base.env_type=GYM it is an environment id, e.g. Pendulum-v1"
        )
    for name, value in (("action_mask", base.action_mask), ("reward_weights", base.reward_weights)):
        if value and base.env_type == "UNITY":
            raise UserError(f"base.{name}={value} is for base.env_type=GYM; Unity sends masks and one reward by itself")
    if base.reward_weights and base.vectorization == "own":
        raise UserError(
            f"base.reward_weights={base.reward_weights} are for single environments: "
            "set base.vectorization=sync or async"
        )
    if base.env_type == "UNITY" and not isinstance(base.build_path, str | dict | None):
        shape = "{win32: path, linux: path, darwin: path}"
        raise UserError(f"base.build_path={base.build_path}: with base.env_type=UNITY it is a path or {shape}")
    for name, value in c.reset.items() if base.env_type == "UNITY" else ():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f"reset.{name}={value}: Unity's environment parameters are numbers")


def unknown_key(name: str, more: tuple[str, ...] = ()) -> str:
    """What to say of a key that does not exist, with the nearest one that does; `more` names are valid as well."""
    known = [*all_keys(), *more]
    section, _, leaf = name.rpartition(".")
    leaves = {k.rpartition(".")[2]: k for k in reversed(known)}
    mine = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == section}
    for candidates in ({leaf: leaves[leaf]} if leaf in leaves else {}, mine, leaves):
        near = difflib.get_close_matches(leaf, candidates, 1, 0.6)
        if near:
            return f"unknown key {name}: did you mean {candidates[near[0]]}?"
    return f"unknown key {name}: see conf/*/default.yaml for every key"


def no_environment() -> str:
    folder = Path(__file__).parents[2] / "conf" / "env"
    names = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))
    return f"no environment was chosen: add env=<name>, for example env=roller (there are {', '.join(names)})"
