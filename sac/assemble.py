"""Makes the objects of a run from its config. The rooms below read no config. TensorFlow is imported in functions."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from sac.collect.episode_limit import NO_LIMIT, EpisodeLimit
from sac.collect.exploration import ColoredNoise, Epsilon, Exploring, Greedy, Sampling, WhiteNoise
from sac.collect.rollout import Behaviour
from sac.config.live_keys import live_distributions, longest_n_step
from sac.config.schema import Config
from sac.errors import UserError
from sac.evaluation.evaluator import Evaluator
from sac.evaluation.q_bias import QBias
from sac.replay import Prioritized, RateLimiter, Replay, Sampler, Uniform, check_capacity
from sac.replay.durable import DurableReplay
from sac.replay.durable_stats import DurableStats
from sac.replay.running_stats import RunningStats
from sac.replay.two_replays import TwoReplays, WithLoaded, WithOthers
from sac.reset_values import last_values
from sac.runs.checkpoint import ONLY_NEWEST, Checkpoints
from sac.runs.folder import RunFolder
from sac.runs.scene_file import SceneLayout
from sac.track.observer import Observer
from sac.track.tracker import Tracker
from sac.training.curriculum import Curriculum
from sac.training.prefill import DEMO, MINARI, Episodes, fill
from sac.training.schedule import Schedule
from sac.types import Env, Sensor, Spec, rows_after_burn_in

if TYPE_CHECKING:
    from envs.gymnasium_adapter.minari_recorder import MinariRecorder
    from envs.gymnasium_adapter.reading import Reading
    from envs.unity_adapter.demo_recorder import DemoRecorder
    from sac.agent import Agent
    from sac.extras.extra import Extras
    from sac.nets.contract import Builder

log = logging.getLogger(__name__)
MAX_EPISODE_STEPS = 3_000  # steps after which evaluation and play end an episode that nothing else limits
SECOND_SEED_OFFSET = 2_000_003  # so that a second replay draws by other random numbers than the run's own
EVALUATION_SEED_OFFSET = 1_000_003  # so that evaluation plays other episodes than training


def run_seed(config: Config) -> int:
    """The seed of this repetition; the system draws one when the config has none."""
    seed = config.sac.seed if config.sac.seed is not None else int.from_bytes(os.urandom(3), "little")
    return seed + config.repeat


def seed_of_run(config: Config) -> int:
    """The seed of a run that has begun: its beginning has replaced a missing one by `run_seed`."""
    assert config.sac.seed is not None
    return config.sac.seed


def evaluation_seed(config: Config) -> int:
    """The seed of the episodes that evaluation and play use."""
    return seed_of_run(config) + EVALUATION_SEED_OFFSET


def start_tensorflow(threads: int | None) -> None:
    """Raises UserError when an earlier job of this process has started TensorFlow with another number of threads."""
    from sac import backend

    try:
        backend.start(threads)
    except RuntimeError as error:
        raise UserError(
            f"base.threads={threads}: TensorFlow runs in this process already, with another number of threads; "
            "give all jobs of a multirun the same"
        ) from error


def make_env(
    config: Config, *, seed: int, n_agents: int | None = None, render_mode: str | None = None,
    port: int | None = None, log_folder: Path, reset: Mapping[str, Any] | None = None,
) -> Env:  # fmt: skip
    """An environment of the configured kind, whose randomness depends on `seed` alone.

    `reset` are the values of its reset parameters; None takes those of the last lessons. Raises UserError when it
    cannot start.
    """
    from envs.joint_branches import join_branches

    base, reset = config.base, last_values(config.reset) if reset is None else reset
    n = n_agents or base.n_agents
    if base.env_type == "GYM":
        from envs.gymnasium_adapter.build import build_gym_env

        env: Env = build_gym_env(
            base.build_path, n, base.vectorization, reset_options=reset,
            render_mode=render_mode, env_kwargs=base.env_kwargs, reading=make_reading(config),
            reward_weights=base.reward_weights, seed=seed,
        )  # fmt: skip
    else:
        from envs.unity_adapter.env import UnityEnv

        env = UnityEnv(
            build_path=base.build_path, scene=base.scene, port=port or base.port, n_agents=n, seed=seed,
            no_graphics=base.no_graphics and render_mode is None, editor=base.editor, reset_parameters=reset,
            time_scale=base.time_scale if render_mode is None else 1.0, timeout=base.timeout, log_folder=log_folder,
            behavior=base.behavior, adds_group_rewards=base.group_rewards == "add",
        )  # fmt: skip
    return join_branches(env, config.sac.branch_product_max)


def make_reading(config: Config) -> Reading:
    """How the observations of a Gymnasium environment are read."""
    from envs.gymnasium_adapter.reading import Reading

    base = config.base
    return Reading(base.scale_by == "bounds", base.channels, base.action_mask)


def make_agent(config: Config, spec: Spec, networks: Path | None, seed: int) -> Agent:
    """Networks, optimizers and compiled functions. Raises UserError when nn.py breaks its contract."""
    from sac.agent import Agent, Hyperparameters
    from sac.backend import seed_everything
    from sac.nets.contract import Builder, build_networks
    from sac.ops.discrete_choice import ByCritic, ByPolicy
    from sac.ops.value_scale import Plain, Rescaled
    from sac.runs.networks_file import load_networks

    s, spec = config.sac, _with_extra(spec, config.base.extra_obs)
    if s.value_rescale and len(spec.branches) > 1:
        raise UserError(
            f"sac.value_rescale=true: the values of {len(spec.branches)} discrete branches are summed, "
            "which rescaled ones cannot be; set it to false, or raise sac.branch_product_max until they are one choice"
        )
    for key, needed, on in (
        ("discrete_dqn_like", "discrete", s.discrete_dqn_like and not spec.branches),
        ("target_entropy_ratio_end", "discrete", s.target_entropy_ratio_end is not None and not spec.branches),
        ("clip_epsilon_policy", "continuous", s.clip_epsilon_policy > 0 and not spec.continuous),
    ):
        if on:
            log.warning("sac.%s has no effect here: this scene has no %s actions", key, needed)
    seed_everything(seed if config.base.evolver_start_seed is None else config.base.evolver_start_seed)
    build = Builder(load_networks(networks), config.base.nn_kwargs)
    nets = build_networks(
        spec, build, s.ensemble_q_num, recurrent=s.use_rnn, normalized=normalized_sensors(config, spec),
        slow_policy=s.clip_epsilon_policy > 0,
    )  # fmt: skip
    choice, scale = ByCritic if s.discrete_dqn_like else ByPolicy, Rescaled if s.value_rescale else Plain
    extras = make_extras(config, build, nets.spec)
    hyper = replace(Hyperparameters.of(s), n_step=longest_n_step(config))
    live = {name.removeprefix("sac."): getattr(s, name.removeprefix("sac.")) for name in live_distributions(config)}
    return Agent(nets, hyper, seed, choice, scale, extras, config.replay.keep_loaded, live)


def _with_extra(spec: Spec, names: list[str]) -> Spec:
    """Raises UserError when a sensor of base.extra_obs does not exist, or none would be left to the policy."""
    known = [sensor.name for sensor in spec.sensors]
    for name in names:
        if name not in known:
            raise UserError(f"base.extra_obs names {name}: the sensors of this scene are {', '.join(known)}")
    if len(set(names)) == len(known):
        raise UserError(f"base.extra_obs={names}: at least one of the sensors {known} must be left to the policy")
    return replace(spec, extra=tuple(names))


def make_extras(config: Config, build: Builder, spec: Spec) -> Extras:
    """The optional losses that the config asks for. Raises UserError when nn.py breaks their contract."""
    from sac.extras.curiosity import Curiosity
    from sac.extras.extra import Extras
    from sac.extras.prediction import Prediction
    from sac.extras.rnd import RND

    s = config.sac
    return Extras([
        *([Prediction(build, spec, s.transition_kl, s.use_extra_data)] if s.use_prediction else []),
        *([Curiosity(build, spec, s.curiosity_strength, s.curiosity_inverse)] if s.use_curiosity else []),
        *([RND(build, spec, s.rnd_n_sample, s.rnd_temperature, s.rnd_bonus)] if s.use_rnd else []),
    ])  # fmt: skip


def make_running_stats(config: Config, spec: Spec) -> RunningStats:
    """Running statistics of the sensors that are normalised."""
    return RunningStats(normalized_sensors(config, spec))


def normalized_sensors(config: Config, spec: Spec) -> list[Sensor]:
    """The sensors that are normalised; bytes are among them only when bounds of observations are used."""
    if not config.sac.use_normalization:
        return []
    return [s for s in spec.sensors if s.normalizable and (config.base.scale_by == "bounds" or s.dtype != "uint8")]


def make_tracker(config: Config, folder: RunFolder, resumed_at: int, console: Console, observer: Observer) -> Tracker:
    """The sinks that the config asks for; one that cannot be opened is reported and left out.

    Records of steps after `resumed_at`, the step of the checkpoint, are dropped.
    """
    from sac.track.console import ConsoleSink
    from sac.track.csv_file import CsvSink
    from sac.track.tensorboard_log import TensorBoardSink
    from sac.track.wandb_run import wandb_sink

    track, base = config.track, config.base
    makers = [
        lambda: observer,
        partial(ConsoleSink, base.max_step, console) if track.console else None,
        partial(TensorBoardSink, folder.log, resumed_at) if track.tensorboard else None,
        partial(CsvSink, folder.metrics, resumed_at) if track.csv else None,
        partial(
            wandb_sink, folder.path, track.wandb, track.wandb_project, asdict(config), f"{base.scene}/{base.name}",
            track.wandb_group, config.role, track.wandb_tags, track.wandb_entity,
            partial(model_files, folder) if track.wandb_artifacts else None,
        ),
    ]  # fmt: skip
    return Tracker.open([make for make in makers if make is not None])


def model_files(folder: RunFolder) -> dict[str, Path]:
    """The files that play a run, by their paths in its folder; none before the first checkpoint.

    These are the config, the networks, and the best checkpoint (else the latest) without the replay.
    """
    checkpoints = Checkpoints(folder.checkpoints)
    saved = checkpoints.best() or next(reversed(checkpoints.all()), None)
    if saved is None:
        return {}
    files = [path for path in sorted(saved.path.iterdir()) if path.stem not in ONLY_NEWEST]
    files += [path for path in (folder.config, folder.networks, folder.scene) if path.exists()]
    return {path.relative_to(folder.path).as_posix(): path for path in files}


def make_replay(config: Config, spec: Spec, state_size: int, n_agents: int, seed: int) -> Replay | TwoReplays:
    """The replay of a single process. Raises UserError when capacity or memory does not suffice."""
    steps, burn_in = window(config)

    def make(seed: int) -> Replay:
        return Replay(spec, state_size, make_sampler(config, n_agents), steps=steps, burn_in=burn_in, seed=seed)

    loaded, others = config.replay.keep_loaded, config.base.evolver_share_replay
    if loaded:
        return WithLoaded(make(seed), make(seed + SECOND_SEED_OFFSET), loaded)
    return WithOthers(make(seed), make(seed + SECOND_SEED_OFFSET), others) if others else make(seed)


def make_durable_replay(config: Config, spec: Spec, state_size: int, folder: Path) -> DurableReplay:
    """The replay of a cell, in files. Raises UserError when capacity, memory or disk do not suffice."""
    base, (steps, burn_in) = config.base, window(config)
    sampler = make_sampler(config, base.n_agents * base.max_actors_each_learner)
    seed = 0 if config.sac.seed is None else run_seed(config)
    return DurableReplay(spec, state_size, sampler, folder, steps=steps, burn_in=burn_in, seed=seed)


def make_durable_stats(config: Config, spec: Spec, replay: DurableReplay, folder: Path) -> DurableStats:
    """Running statistics of the rows of a cell's replay."""
    return DurableStats(normalized_sensors(config, spec), replay, folder / "moments.npz")


def window(config: Config) -> tuple[int, int]:
    """Rows of a window: T from the first trained row on, and the burn-in rows before it."""
    return rows_after_burn_in(config.sac.sequence_length, longest_n_step(config)), config.sac.burn_in_step


def actors_send_td_errors(config: Config) -> bool:
    """Whether actors compute the TD errors of the rows that they send, as initial priorities."""
    return config.replay.initial_priority == "td_error" and prioritized(config)


def prioritized(config: Config) -> bool:
    """Whether windows are sampled by their TD errors."""
    return config.sac.use_priority and config.replay.alpha > 0


def make_sampler(config: Config, n_agents: int) -> Sampler:
    """Raises UserError when capacity does not suffice for `n_agents` streams."""
    r = config.replay
    steps, burn_in = window(config)
    check_capacity(r.capacity, n_agents, steps, burn_in)
    if prioritized(config):
        return Prioritized(
            r.capacity, alpha=r.alpha, beta=r.beta, beta_increment_per_sampling=r.beta_increment_per_sampling,
            td_error_min=r.td_error_min, td_error_max=r.td_error_max,
        )  # fmt: skip
    return Uniform(r.capacity)


def fill_replay(config: Config, env: Env, replay: Replay | TwoReplays, state_size: int, stats: RunningStats) -> None:
    """Fills the replay of a new run from replay.load. Raises UserError when that does not fit."""
    if config.replay.load is not None:
        filled = replay if isinstance(replay, Replay) else replay.loaded_into
        fill(filled, config.replay.load, env.spec, state_size, stats, partial(open_dataset, env))
        check_log_prob(config, replay)


def load_again(config: Config, env: Env, replay: Replay | TwoReplays, state_size: int) -> None:
    """Loads the rows that stay in a resumed run whose checkpoint holds none. Raises UserError when they do not fit."""
    if isinstance(replay, WithLoaded) and not replay.second.ready:
        fill_replay(config, env, replay, state_size, RunningStats())  # the run's statistics contain them already


def open_dataset(env: Env, source: str) -> Episodes:
    """The episodes of minari:<dataset-id> or demo:<path>, read as `env` reads its own.

    Raises UserError when they do not fit it.
    """
    if source.startswith(DEMO):
        from envs.unity_adapter.demo_dataset import DemoEpisodes

        return DemoEpisodes(source.removeprefix(DEMO), env.spec)
    from envs.gymnasium_adapter.minari_dataset import MinariEpisodes

    bounds, reading = (getattr(env, name, None) for name in ("action_bounds", "reading"))
    return MinariEpisodes(source.removeprefix(MINARI), env.spec, bounds, reading)


def make_recorder(config: Config, env: Env, folder: RunFolder) -> DemoRecorder | MinariRecorder | None:
    """What writes the episodes that `env` plays, as the key `record` asks. Raises UserError where it cannot."""
    layout = SceneLayout.of(env)
    if config.record == "minari":
        from envs.gymnasium_adapter.minari_recorder import MinariRecorder

        words = f"Episodes of the policy of {folder.path} in {config.base.scene}."
        dataset = f"{config.base.scene}/{config.base.name}-v0"
        return MinariRecorder(dataset, env.spec, layout.branches, layout.action_bounds, words)
    if config.record == "demo":
        from envs.unity_adapter.demo_recorder import DemoRecorder

        if config.base.env_type != "UNITY":
            raise UserError("record=demo writes what Unity's recorder writes, for Unity scenes: use record=minari")
        decoder = env.decoder  # type: ignore[attr-defined]  # of UnityEnv
        try:
            return DemoRecorder(folder.new_demonstration(), decoder.name, decoder.columns, env.spec, layout.branches)
        except OSError as error:
            raise UserError(f"cannot write into {folder.demonstrations}: {error.strerror or error}") from error
    return None


def check_log_prob(config: Config, replay: Replay | TwoReplays) -> None:
    """Raises UserError when returns are to be corrected by probabilities that some rows lack."""
    s = config.sac
    if s.n_step > 1 and s.use_n_step_is and not replay.log_prob_known:
        raise UserError(
            f"sac.n_step={s.n_step}: rows of this memory come from a dataset that does not say how probable its "
            "actions were, so returns cannot be corrected for them: set sac.n_step=1, or sac.use_n_step_is=false"
        )


def make_limiter(config: Config, n_agents: int) -> RateLimiter:
    """The rate limiter of a single process; by default it grants one update for each step of all agents."""
    per_step = config.sac.updates_per_step
    starts = config.replay.learning_starts
    return RateLimiter(
        1 / n_agents if per_step is None else per_step,
        config.replay.batch_size if starts is None else starts,
        config.sac.updates_per_call,
        n_agents,
    )


def make_exploring(config: Config, agent: Any, seed: int, extra_noise: float = 0.0) -> Exploring:
    """The behaviour that collects. Raises UserError for extra noise that the policy cannot use."""
    s, n = config.sac, agent.candidates
    color = s.noise_color
    noise = ColoredNoise(agent.spec, seed, color, n) if color > 0 else WhiteNoise(agent.spec, seed, n)
    epsilon = Epsilon(s.epsilon_start, s.epsilon_end, s.epsilon_steps) if s.discrete_dqn_like else Epsilon()
    return Exploring(agent, noise, config.replay.random_steps, epsilon, extra_noise)


def make_greedy(config: Config, agent: Any, seed: int) -> Behaviour:
    """The behaviour of evaluation and play."""
    if config.sac.sample_in_play:
        return Sampling(agent, WhiteNoise(agent.spec, seed, agent.candidates))
    return Greedy(agent)


def make_curriculum(config: Config) -> Curriculum:
    """The lessons of the reset parameters; none where all of them have one value."""
    return Curriculum(config.reset, config.base.max_step)


def make_schedule(config: Config) -> Schedule:
    """When the run ends, and how often it reports and saves."""
    base, s = config.base, config.sac
    return Schedule(
        max_steps=base.max_step, max_iterations=base.max_iter, stop_return=config.eval.stop_return,
        summary_updates=s.write_summary_per_step, checkpoint_updates=s.save_model_per_step,
        checkpoint_minutes=s.save_model_per_minute, shares_environment=base.editor,
    )  # fmt: skip


def make_evaluator(config: Config, agent: Any, open_env: Callable[[], Env], stop: Callable[[], bool]) -> Evaluator:
    """Plays greedy episodes in an environment of its own; once `stop()` is true it breaks off."""
    e = config.eval
    return Evaluator(
        e.per_step, e.episodes, e.window, evaluation_seed(config), open_env, partial(make_greedy, config, agent), stop,
        lambda: QBias(agent.live.values().get("gamma", config.sac.gamma), agent.estimate_q),
        partial(episode_limit, config),
    )  # fmt: skip


def evaluation_agents(config: Config) -> int:
    """The number of agents that evaluate in parallel."""
    wanted = config.eval.n_agents or config.base.n_agents
    return min(wanted, config.eval.episodes)


def episode_limit(config: Config, env: Env) -> EpisodeLimit:
    """The limit on episodes of evaluation and play in `env`, since some tasks never end by themselves."""
    own, iteration = getattr(env, "max_episode_steps", None), config.base.max_step_each_iter
    if config.eval.max_episode_steps is not None:
        wanted = config.eval.max_episode_steps
        return EpisodeLimit(wanted, "eval.max_episode_steps") if wanted > 0 else NO_LIMIT
    if own is not None:
        return EpisodeLimit(own, "the environment's own limit")
    if iteration > 0:
        return EpisodeLimit(iteration, f"base.max_step_each_iter={iteration}")
    return EpisodeLimit(MAX_EPISODE_STEPS, "neither the environment nor a key says how long one may last")
