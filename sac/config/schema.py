"""The keys of the configuration: their types and ranges. Their defaults are in conf/.

This module imports neither NumPy nor TensorFlow, because the command line is checked with it before either is loaded.
"""

# ruff: noqa: RUF009 - each call of key() makes a new dataclasses.field

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, get_type_hints

from sac.config.keys import at_least, between, folder, folder_name, key, minus_one_or_positive, one_of, positive

CELL = ("replay", "learner", "actor")  # roles that share a run
EVOLVER = "evolver"  # the role that compares the learners of several runs
LEARNING_ROLES = ("train", "learner")  # they update networks, and are tracked


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
    max_iter: int = minus_one_or_positive()
    max_step: int = minus_one_or_positive()
    max_step_each_iter: int = minus_one_or_positive()
    reset_on_iteration: bool = key()
    models: str = folder()
    trust: bool = key()
    threads: int | None = at_least(1)
    compile_cache: str | None = one_of("auto")
    vectorization: str = one_of("sync", "async", "own")
    env_kwargs: dict[str, Any] = key()
    scale_by: str = one_of("bounds", "255")
    channels: str = one_of("auto", "first", "last", "before")
    action_mask: str | None = key()
    reward_weights: list[float] = key()
    extra_obs: list[str] = key()
    env_restarts: int = at_least(0)
    behavior: str | None = key("the name of a behaviour", lambda x: bool(x.strip()))
    group_rewards: str = one_of("refuse", "add")
    editor: bool = key()
    time_scale: float = positive()
    timeout: int = at_least(10)
    update_policy_mode: bool = key()
    update_policy_variables_per_step: int = minus_one_or_positive()
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
    evolver_learners: int | None = at_least(1)
    evolver_strategy: str = one_of("pbt", "cem", "none")
    evolver_fitness: str = one_of("evaluation", "training")
    evolver_shared_start: bool = key()
    evolver_start_seed: int | None = key()
    evolver_max_std: float = positive()
    evolver_share_replay: float = between(0, 0.9)
    evolver_pbt_share: float = between(0, 0.5)
    evolver_pbt_start: float = between(0, 1)
    evolver_explore: str = one_of("perturb", "tpe", "cmaes")
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
    load: str | None = key(
        "a run folder, minari:<dataset-id> or demo:<path>",
        lambda x: bool(x.removeprefix("minari:").removeprefix("demo:").strip()),
    )
    keep_loaded: float = key("0 (none) or a share below 1", lambda x: 0 <= x < 1)


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
    policy_delay: int = at_least(1)
    behavioral_cloning: float = at_least(0)
    behavioral_cloning_updates: int | None = at_least(1)
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
    per_step: int = minus_one_or_positive()
    episodes: int = at_least(1)
    max_episode_steps: int | None = minus_one_or_positive()
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
    role: str = one_of("train", "play", "doctor", *CELL, EVOLVER)
    ckpt: Any = key("null | auto | latest | best | a step", lambda x: x in ("auto", "latest", "best") or type(x) is int)
    json: bool = key()
    record: str | None = one_of("demo", "minari")
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


_types = cache(get_type_hints)  # which evaluates all annotations of a class, as text, at every call


def all_keys(cls: type = Config, prefix: str = "") -> Iterator[str]:
    """Every key of the config, e.g. `sac` and `sac.gamma`."""
    hints = _types(cls)
    for f in fields(cls):
        yield prefix + f.name
        if is_dataclass(hints[f.name]):
            yield from all_keys(hints[f.name], f"{prefix}{f.name}.")


@cache
def field_of(name: str) -> Field[Any] | None:
    """The dataclass field of a key such as `sac.gamma`; None for a key that does not exist."""
    cls: Any = Config
    found = None
    for part in name.split("."):
        found = {f.name: f for f in fields(cls)}.get(part) if is_dataclass(cls) else None
        if found is None:
            return None
        cls = _types(cls)[part]
    return found
