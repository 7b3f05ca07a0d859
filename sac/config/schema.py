"""The keys of the configuration: their types and ranges. Their defaults are in conf/.

This module imports neither NumPy nor TensorFlow, because the command line is checked with it before either is loaded.
"""

# ruff: noqa: RUF009 - each call of key() makes a new dataclasses.field

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Any, get_type_hints

from omegaconf import MISSING

CELL = ("replay", "learner", "actor")  # roles that share a run
EVOLVER = "evolver"  # the role that compares the learners of several runs


def key(allowed: str = "", check: Callable[[Any], bool] | None = None) -> Any:
    """A field without default; `allowed` says in words which values `check` accepts. None is never checked."""
    return field(default=MISSING, metadata={"allowed": allowed, "check": check})


def at_least(low: float) -> Any:
    return key(f"at least {low}", lambda x: x >= low)


def between(low: float, high: float) -> Any:
    return key(f"between {low} and {high}", lambda x: low <= x <= high)


def positive() -> Any:
    return key("above 0", lambda x: x > 0)


def endless_or_positive() -> Any:
    return key("-1 (endless) or at least 1", lambda x: x == -1 or x >= 1)


def one_of(*values: str) -> Any:
    return key(" | ".join(values), lambda x: x in values)


MAX_FOLDER_NAME_BYTES = 255  # on nearly every file system
TIME_TEXT_LETTERS = 19  # length of the date and time that replace {time}
FIRST_PRINTABLE_CHARACTER, DELETE_CHARACTER = 32, 127  # codes in Unicode
ON_WINDOWS = os.name == "nt"
WINDOWS_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


def is_folder_name(name: str, windows: bool = ON_WINDOWS) -> bool:
    """Whether a folder may have this name, once a {time} in it is replaced."""
    forbidden = set('/\\<>:"|?*') if windows else set("/\\")
    if not name.strip() or name in (".", "..") or not is_path(name) or set(name.replace("{time}", "")) & forbidden:
        return False
    return not windows or not (name.endswith((".", " ")) or name.partition(".")[0].strip().lower() in WINDOWS_DEVICES)


def is_path(path: str) -> bool:
    """Whether a file system takes this path: no control characters, valid Unicode, no part of it too long."""
    try:
        parts = path.replace("{time}", TIME_TEXT_LETTERS * "t").encode("utf8").replace(b"\\", b"/").split(b"/")
    except UnicodeEncodeError:
        return False
    control = any(ord(c) < FIRST_PRINTABLE_CHARACTER or ord(c) == DELETE_CHARACTER for c in path)
    return max(map(len, parts)) <= MAX_FOLDER_NAME_BYTES and not control


def folder_name() -> Any:
    words = f"a folder name of at most {MAX_FOLDER_NAME_BYTES} bytes, without / \\ and control characters"
    return key(words, is_folder_name)


def folder() -> Any:
    """A path, not empty. The shell does not expand the `~` in key=~/runs, which would become a folder named `~`."""
    words = f"a folder, with names of at most {MAX_FOLDER_NAME_BYTES} bytes; "
    words += "$HOME is expanded by the shell, a leading ~ is not"
    return key(words, lambda x: bool(x.strip()) and is_path(x) and x.partition("/")[0] != "~")


@dataclass
class BaseConfig:
    env: str | None = key()
    env_type: str = one_of("UNITY", "GYM")
    scene: str = folder_name()
    no_graphics: bool = key()
    build_path: Any = key()
    port: int = between(1024, 65534)  # evaluation looks for a free port from the next one on
    name: str = folder_name()
    nn: str = key("the name of a module, a dotted module or a .py file", lambda x: bool(x.strip()))
    nn_kwargs: dict[str, Any] = key()
    n_agents: int = at_least(1)
    max_iter: int = endless_or_positive()
    max_step: int = endless_or_positive()
    max_step_each_iter: int = endless_or_positive()
    reset_on_iteration: bool = key()
    models: str = folder()
    trust: bool = key()
    threads: int | None = at_least(1)
    vectorization: str = one_of("sync", "async", "own")
    env_kwargs: dict[str, Any] = key()
    scale_by: str = one_of("bounds", "255")
    channels: str = one_of("auto", "first", "last", "before")
    action_mask: str | None = key()
    reward_weights: list[float] = key()
    extra_obs: list[str] = key()
    env_restarts: int = at_least(0)
    editor: bool = key()
    time_scale: float = positive()
    timeout: int = at_least(10)
    update_policy_mode: bool = key()
    update_policy_variables_per_step: int = endless_or_positive()
    update_sac_bak_per_step: int = at_least(1)
    noise_increasing_rate: float = at_least(0)
    noise_max: float = at_least(0)
    max_actors_each_learner: int = at_least(1)
    evolver_cem_length: int = at_least(1)
    evolver_cem_best: float = between(0, 1)
    evolver_cem_min_length: int = at_least(1)
    evolver_cem_time: float = positive()
    evolver_remove_worst: float = key("-1 (off) or above 0", lambda x: x == -1 or x > 0)
    evolver_enabled: bool | None = key()
    evolver_strategy: str = one_of("cem", "none")
    evolver_keep_elites: bool = key()
    evolver_min_std: float = at_least(0)


@dataclass
class ReplayConfig:
    batch_size: int = at_least(1)
    capacity: int = at_least(2)
    alpha: float = between(0, 1)
    beta: float = between(0, 1)
    beta_increment_per_sampling: float = at_least(0)
    td_error_min: float = positive()
    td_error_max: float = positive()
    initial_priority: str = one_of("largest", "td_error")
    limiter: str = one_of("bucket", "ratio", "free")
    max_lead: int = at_least(1)
    learning_starts: int | None = at_least(0)
    random_steps: int = at_least(0)
    save: bool = key()
    load: str | None = key("a run folder, or minari:<dataset-id>", lambda x: bool(x.removeprefix("minari:").strip()))


@dataclass
class SacConfig:
    seed: int | None = between(0, 2**31 - 1)
    write_summary_per_step: int = at_least(1)
    save_model_per_step: int = at_least(1)
    save_model_per_minute: float = positive()
    ensemble_q_num: int = at_least(1)
    ensemble_q_sample: int = at_least(1)
    burn_in_step: int = at_least(0)
    n_step: int = at_least(1)
    use_rnn: bool = key()
    tau: float = between(0, 1)
    update_target_per_step: int = at_least(1)
    init_log_alpha: float = between(-10, 2)
    use_auto_alpha: bool = key()
    learning_rate: float = positive()
    gamma: float = between(0, 1)
    v_lambda: float = between(0, 1)
    v_rho: float = positive()
    v_c: float = positive()
    clip_epsilon: float = key("-1 (off) or above 0", lambda x: x == -1 or x > 0)
    discrete_dqn_like: bool = key()
    use_priority: bool = key()
    use_n_step_is: bool = key()
    use_prediction: bool = key()
    transition_kl: float = at_least(0)
    use_extra_data: bool = key()
    use_curiosity: bool = key()
    curiosity_strength: float = at_least(0)
    use_rnd: bool = key()
    rnd_n_sample: int = at_least(1)
    use_normalization: bool = key()
    burn_in_gradient: bool = key()
    refresh_state: bool = key()
    value_rescale: bool = key()
    sequence_length: int = at_least(1)
    trace: str = one_of("vtrace", "retrace")
    target_entropy_ratio: float = between(0, 1)
    target_entropy_ratio_end: float | None = between(0, 1)
    target_entropy_ratio_updates: int = at_least(1)
    soft_target: bool | None = key()
    branch_product_max: int = at_least(1)
    noise_color: float = between(0, 2)
    epsilon_start: float = between(0, 1)
    epsilon_end: float = between(0, 1)
    epsilon_steps: int = at_least(1)
    clip_epsilon_policy: float = key("-1 (off) or between 0 and 1", lambda x: x == -1 or 0 < x < 1)
    curiosity_inverse: bool = key()
    rnd_temperature: float = at_least(0)
    rnd_bonus: float = at_least(0)
    learning_rate_schedule: str = one_of("constant", "linear", "cosine")
    learning_rate_end: float = at_least(0)
    learning_rate_updates: int = at_least(1)
    updates_per_step: float | None = at_least(0)
    updates_per_call: int = at_least(1)
    grad_clip_norm: float | None = positive()
    weight_decay: float = at_least(0)
    sample_in_play: bool = key()
    jit: bool = key()


@dataclass
class NetConfig:
    directory: str = one_of("file", "static", "ray")
    records: str | None = key()
    bind: str = key()
    keys: str | None = key()
    number: int = at_least(1)
    evolver_records: str | None = key()
    evolver_host: str = key()
    evolver_port: int = between(0, 65535)
    learner_host: str = key()
    learner_port: int = between(0, 65535)
    replay_host: str = key()
    replay_port: int = between(0, 65535)


@dataclass
class EvalConfig:
    per_step: int = endless_or_positive()
    episodes: int = at_least(1)
    max_episode_steps: int | None = endless_or_positive()
    n_agents: int | None = at_least(1)
    window: int = at_least(1)
    stop_return: float | None = key()


@dataclass
class TrackConfig:
    console: bool = key()
    tensorboard: bool = key()
    csv: bool = key()
    wandb: str = one_of("auto", "online", "offline", "disabled")
    wandb_project: str = key()
    wandb_entity: str | None = key()
    wandb_group: str | None = key()
    wandb_tags: list[str] = key()
    wandb_artifacts: bool = key()


@dataclass
class Config:
    role: str = one_of("train", "play", *CELL, EVOLVER)
    ckpt: Any = key("null | auto | latest | best | a step", lambda x: x in ("auto", "latest", "best") or type(x) is int)
    render: Any = key("false | true | window | video", lambda x: x in (False, True, "window", "video"))
    seed: int | None = between(0, 2**31 - 1)
    repeat: int = at_least(0)
    random_params: dict[str, Any] = key()
    logger_in_file: bool = key()
    base: BaseConfig = key()
    reset: dict[str, Any] = key()
    replay: ReplayConfig = key()
    sac: SacConfig = key()
    eval: EvalConfig = key()
    track: TrackConfig = key()
    net: NetConfig = key()


def all_keys(cls: type = Config, prefix: str = "") -> Iterator[str]:
    """Every key of the config, e.g. `sac` and `sac.gamma`."""
    hints = get_type_hints(cls)
    for f in fields(cls):
        yield prefix + f.name
        if is_dataclass(hints[f.name]):
            yield from all_keys(hints[f.name], f"{prefix}{f.name}.")


def field_of(name: str) -> Field[Any] | None:
    """The dataclass field of a key such as `sac.gamma`; None for a key that does not exist."""
    cls: Any = Config
    found = None
    for part in name.split("."):
        found = {f.name: f for f in fields(cls)}.get(part) if is_dataclass(cls) else None
        if found is None:
            return None
        cls = get_type_hints(cls)[part]
    return found
