"""Makes what surrounds the training loop: schedule, curriculum, evaluation, records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from sac.assemble.networks import make_greedy
from sac.assemble.seeds import evaluation_seed
from sac.collect.episode_limit import NO_LIMIT, EpisodeLimit
from sac.config.schema import Config
from sac.evaluation.evaluator import Evaluator
from sac.evaluation.q_bias import QBias
from sac.runs.checkpoint import ONLY_NEWEST, Checkpoints
from sac.runs.folder import RunFolder
from sac.track.observer import Observer
from sac.track.tracker import Tracker
from sac.training.curriculum import Curriculum
from sac.training.schedule import Schedule
from sac.types import Env

MAX_EPISODE_STEPS = 3_000  # steps after which evaluation and play end an episode that nothing else limits


def make_schedule(config: Config) -> Schedule:
    """When the run ends, and how often it reports and saves."""
    base, s = config.base, config.sac
    return Schedule(
        max_steps=base.max_step, max_iterations=base.max_iter, stop_return=config.eval.stop_return,
        summary_updates=s.write_summary_per_step, checkpoint_updates=s.save_model_per_step,
        checkpoint_minutes=s.save_model_per_minute, shares_environment=base.editor,
    )  # fmt: skip


def make_curriculum(config: Config) -> Curriculum:
    """The lessons of the reset parameters; none where all of them have one value."""
    return Curriculum(config.reset, config.base.max_step)


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
