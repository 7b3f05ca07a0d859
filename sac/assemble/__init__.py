"""Makes the objects of a run from its config; the rooms below read no config."""

from sac.assemble.datasets import check_log_prob, fill_replay, load_again, make_recorder
from sac.assemble.environment import make_env
from sac.assemble.loop import (
    episode_limit,
    evaluation_agents,
    make_curriculum,
    make_evaluator,
    make_schedule,
    make_tracker,
    model_files,
)
from sac.assemble.memory import (
    actors_send_td_errors,
    make_durable_replay,
    make_durable_stats,
    make_limiter,
    make_replay,
    make_sampler,
    prioritized,
    window,
)
from sac.assemble.networks import (
    make_agent,
    make_exploring,
    make_greedy,
    make_running_stats,
    normalized_sensors,
    start_tensorflow,
)
from sac.assemble.seeds import evaluation_seed, run_seed, seed_of_run

__all__ = [
    "actors_send_td_errors", "check_log_prob", "episode_limit", "evaluation_agents", "evaluation_seed", "fill_replay",
    "load_again", "make_agent", "make_curriculum", "make_durable_replay", "make_durable_stats", "make_env",
    "make_evaluator", "make_exploring", "make_greedy", "make_limiter", "make_recorder", "make_replay",
    "make_running_stats", "make_sampler", "make_schedule", "make_tracker", "model_files", "normalized_sensors",
    "prioritized", "run_seed", "seed_of_run", "start_tensorflow", "window",
]  # fmt: skip
