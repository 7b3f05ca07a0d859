"""Whether the values of several keys fit together."""

from __future__ import annotations

import logging
from pathlib import Path

from sac.config.live_keys import check_evolution
from sac.config.schema import CELL, LEARNING_ROLES, Config
from sac.config.shared_rows import check_shared_rows
from sac.errors import UserError
from sac.reset_values import ALLOWED, Distribution, Lessons, is_number, parsed
from sac.track.wandb_run import MAX_NAME_CHARACTERS, resolve_mode

log = logging.getLogger(__name__)
MAX_WANDB_TAG_LETTERS = 64
FORBIDDEN_WANDB_LETTERS = "/\\#?%:"  # in the names of projects and teams


def check_combinations(config: Config) -> None:
    """Raises UserError for keys that contradict each other; warns of keys that have no effect together."""
    _check_replay(config)
    _check_algorithm(config)
    _check_roles(config)
    _check_evaluation(config)
    _warn_of_algorithm(config)
    _check_environment(config)
    _check_wandb(config)
    _check_population(config)


def _check_replay(config: Config) -> None:
    r = config.replay
    if r.capacity <= r.batch_size:
        raise UserError(f"replay.capacity={r.capacity} must exceed replay.batch_size={r.batch_size}")
    if r.td_error_min > r.td_error_max:
        raise UserError(f"replay.td_error_min={r.td_error_min} exceeds replay.td_error_max={r.td_error_max}")
    if r.keep_loaded and r.load is None:
        raise UserError(f"replay.keep_loaded={r.keep_loaded} keeps rows of replay.load, which is not set")
    if r.keep_loaded and not 0 < round(r.keep_loaded * r.batch_size) < r.batch_size:
        raise UserError(
            f"replay.keep_loaded={r.keep_loaded} of replay.batch_size={r.batch_size} leaves no window of one kind: "
            "choose another share or a larger batch"
        )
    if config.sac.behavioral_cloning and not r.keep_loaded:
        raise UserError(
            f"sac.behavioral_cloning={config.sac.behavioral_cloning} learns from the loaded rows of each batch: "
            "set replay.load=demo:<path> and replay.keep_loaded to their share, such as 0.25"
        )
    if r.learning_starts is not None and r.learning_starts > r.capacity:
        raise UserError(
            f"replay.learning_starts={r.learning_starts} exceeds replay.capacity={r.capacity}: "
            "learning would never start"
        )


def _check_algorithm(config: Config) -> None:
    r, s = config.replay, config.sac
    if s.ensemble_q_sample > s.ensemble_q_num:
        raise UserError(f"sac.ensemble_q_sample={s.ensemble_q_sample} exceeds sac.ensemble_q_num={s.ensemble_q_num}")
    if s.burn_in_step != 0 and not s.use_rnn:
        raise UserError(f"sac.burn_in_step={s.burn_in_step} warms up a recurrent state: it needs sac.use_rnn=true")
    if (r.load or "").startswith(("minari:", "demo:")) and s.n_step != 1 and s.use_n_step_is:
        raise UserError(
            f"replay.load={r.load} with sac.n_step={s.n_step}: a dataset does not say how probable its actions were, "
            "so returns cannot be corrected for them: set sac.n_step=1, or sac.use_n_step_is=false"
        )
    if s.refresh_state and not (s.use_rnn and s.burn_in_step > 0):
        raise UserError(
            "sac.refresh_state=true writes back states that a burn-in brought up to date: it needs "
            "sac.use_rnn=true and sac.burn_in_step of at least 1"
        )
    if s.learning_rate_end > s.learning_rate:
        raise UserError(f"sac.learning_rate_end={s.learning_rate_end} exceeds sac.learning_rate={s.learning_rate}")


def _check_roles(config: Config) -> None:
    base = config.base
    if config.record is not None and config.role != "play":
        raise UserError(f"record={config.record} writes what is played: it needs role=play")
    if config.json and config.role != "doctor":
        raise UserError("json=true (--json) is for role=doctor: leave it out")
    if config.role in CELL:
        of_one_process = {
            "base.max_iter": base.max_iter > 0, "replay.load": config.replay.load, "base.editor": base.editor,
        }  # fmt: skip
        for key, is_set in of_one_process.items():
            if is_set:
                raise UserError(f"{key} means nothing to the roles of a cell: leave it out")
    if config.replay.initial_priority != "largest" and not base.update_policy_mode:
        raise UserError(
            "replay.initial_priority=td_error needs the networks in every actor: set base.update_policy_mode=true"
        )


def _check_evaluation(config: Config) -> None:
    if config.eval.stop_return is not None and config.eval.per_step <= 0:
        raise UserError("eval.stop_return needs evaluations: set eval.per_step to a number of steps")


def _warn_of_algorithm(config: Config) -> None:
    s = config.sac
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


def _check_environment(config: Config) -> None:
    base = config.base
    if base.env_type == "GYM" and not isinstance(base.build_path, str):
        raise UserError(
            f"base.build_path={base.build_path}: with base.env_type=GYM it is an environment id, e.g. Pendulum-v1"
        )
    for name, value in (("action_mask", base.action_mask), ("reward_weights", base.reward_weights)):
        if value and base.env_type == "UNITY":
            raise UserError(f"base.{name}={value} is for base.env_type=GYM; Unity sends masks and one reward by itself")
    if base.behavior is not None and base.env_type == "GYM":
        raise UserError(f"base.behavior={base.behavior} is for base.env_type=UNITY; leave it out")
    if base.reward_weights and base.vectorization == "own":
        raise UserError(
            f"base.reward_weights={base.reward_weights} are for single environments: "
            "set base.vectorization=sync or async"
        )
    if base.env_type == "UNITY" and not isinstance(base.build_path, str | dict | None):
        shape = "{win32: path, linux: path, darwin: path}"
        raise UserError(f"base.build_path={base.build_path}: with base.env_type=UNITY it is a path or {shape}")
    for name, value in config.reset.items():
        found = parsed(name, value)
        if base.env_type == "UNITY" and not (is_number(found) or isinstance(found, Distribution | Lessons)):
            raise UserError(f"reset.{name}={value}: Unity's environment parameters are numbers: allowed is {ALLOWED}")
        if isinstance(found, Lessons) and config.role in CELL:
            raise UserError(
                f"reset.{name}: lessons follow one process's episodes: train without roles, or give a value"
            )
        if (
            isinstance(found, Lessons)
            and base.max_step < 0
            and any(lesson.until and lesson.until.measure == "progress" for lesson in found.lessons)
        ):
            raise UserError(f"reset.{name}: a lesson that ends by progress needs base.max_step, of which it is a share")


def _check_population(config: Config) -> None:
    check_evolution(config)
    if config.role in ("train", *CELL):
        check_shared_rows(config, config.role == "train", bool(config.base.evolver_enabled))


def _check_wandb(config: Config) -> None:
    """Raises UserError for names that Weights & Biases would refuse for a new run; a resumed run goes on without it."""
    t, base = config.track, config.base
    run_exists = (Path(base.models) / base.scene / base.name / "config.yaml").exists()
    is_new_run = config.ckpt is None or (config.ckpt == "auto" and not run_exists)
    if config.role not in LEARNING_ROLES or not is_new_run or resolve_mode(t.wandb) == "disabled":
        return
    for key, value, most_letters, forbidden in (
        ("wandb_project", t.wandb_project, MAX_NAME_CHARACTERS, FORBIDDEN_WANDB_LETTERS),
        ("wandb_entity", t.wandb_entity, MAX_NAME_CHARACTERS, FORBIDDEN_WANDB_LETTERS),
        ("wandb_group", t.wandb_group, MAX_NAME_CHARACTERS, ""),
        *(("wandb_tags", tag, MAX_WANDB_TAG_LETTERS, "") for tag in t.wandb_tags),
    ):
        if value is None or (value.strip() and len(value) <= most_letters and not set(value) & set(forbidden)):
            continue
        without = f", none of them {' '.join(forbidden)}" if forbidden else ""
        of_many = f" (in {t.wandb_tags})" if key == "wandb_tags" else ""
        raise UserError(
            f"track.{key}={value}{of_many}: Weights & Biases takes 1 to {most_letters} letters{without}; "
            "or turn it off with track.wandb=disabled"
        )
