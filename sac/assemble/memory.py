"""Makes the replay, in this process or in files, and what paces updates against it."""

from __future__ import annotations

from pathlib import Path

from sac.assemble.networks import normalized_sensors
from sac.assemble.seeds import SECOND_SEED_OFFSET, run_seed
from sac.config.live_keys import longest_n_step
from sac.config.schema import Config
from sac.replay import Prioritized, RateLimiter, Replay, Sampler, Uniform, check_capacity
from sac.replay.durable import DurableReplay
from sac.replay.durable_stats import DurableStats
from sac.replay.two_replays import TwoReplays, WithLoaded, WithOthers
from sac.types import Spec, rows_after_burn_in


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
