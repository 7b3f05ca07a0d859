"""Makes the agent with its networks and extras. TensorFlow is imported in functions."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sac.collect.exploration import ColoredNoise, Epsilon, Exploring, Greedy, Sampling, WhiteNoise
from sac.collect.rollout import Behaviour
from sac.config.live_keys import live_distributions, longest_n_step
from sac.config.schema import Config
from sac.errors import UserError
from sac.replay.running_stats import RunningStats
from sac.types import Sensor, Spec

if TYPE_CHECKING:
    from sac.agent import Agent
    from sac.extras.extra import Extras
    from sac.nets.contract import Builder


log = logging.getLogger(__name__)


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
    if config.base.evolver_start_seed is not None:
        seed_everything(seed)  # learners begin alike, and go on with random numbers of their own
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
