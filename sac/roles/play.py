"""The role `play`: plays a trained run, deterministically unless sac.sample_in_play, and shows or films it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import numpy as np
from rich.console import Console

from sac import assemble
from sac.collect.agent_slots import Episode
from sac.collect.restarting_env import EnvironmentFailed, RestartingEnv
from sac.collect.rollout import Rollout
from sac.config.schema import Config
from sac.evaluation.episodes import fair_episodes
from sac.evaluation.recorder import EpisodeRecorder, EpisodeWatcher
from sac.runs.checkpoint import Checkpoints
from sac.runs.folder import RunFolder
from sac.runs.log_file import run_log
from sac.runs.signals import Interruption
from sac.runs.viewer import NoViewer, viewer
from sac.seeds import seeds_from
from sac.track.observer import Observer
from sac.types import Env


def play(
    config: Config, make_env: Callable[..., Env] = assemble.make_env, observer: Observer | None = None
) -> float | None:
    """Plays `eval.episodes` episodes of the best checkpoint (or of `ckpt`) and returns their mean return.

    Raises UserError when the run or its checkpoint does not exist or does not fit; ends the process with 130 or 143
    after SIGINT or SIGTERM.
    """
    folder = RunFolder.of(config)
    which = config.ckpt if config.ckpt not in (None, "auto") else "best"
    checkpoints = Checkpoints(folder.checkpoints)
    checkpoints.select(which)  # refuses a run without checkpoints before anything is started
    with ExitStack() as stack:
        stack.enter_context(run_log(None, Console()))
        interruption = stack.enter_context(Interruption("ending", saves=False))
        shown = stack.enter_context(viewer(config.render, folder.video))
        assemble.start_tensorflow(config.base.threads)
        seed = assemble.evaluation_seed(config)
        agents = 1 if config.render else assemble.evaluation_agents(config)
        open_env = partial(make_env, config, n_agents=agents, render_mode=shown.mode, log_folder=folder.path)
        env = RestartingEnv(
            lambda seed: open_env(seed=seed), seeds_from(seed), config.base.env_restarts, interruption.outside
        )
        stack.callback(env.close)
        if not folder.scene.exists():  # an older run, or one of a cell
            folder.write_scene(env)
        agent = assemble.make_agent(config, env.spec, folder.own_networks(), assemble.seed_of_run(config))
        loaded = checkpoints.load({"agent": agent}, which)
        print(f"playing {folder.path}, checkpoint of step {loaded.step:,}", flush=True)
        recorder = assemble.make_recorder(config, env, folder)
        watcher = None if recorder is None else EpisodeRecorder(recorder.write)
        limit = assemble.episode_limit(config, env)
        rollout = Rollout(env, assemble.make_greedy(config, agent, seed), seed=seed, limit=limit)
        played, failure = Played(), None
        interruption.rescue = played.sum_up
        try:
            _play(rollout, _episodes(config, env), shown, interruption, played, watcher)
        except EnvironmentFailed as error:
            failure = error
        recorded = "" if recorder is None else f"\nrecorded {recorder.close()}"
    played.sum_up(shown.words + recorded)
    if interruption.requested:  # before the failure: Ctrl-C ends the environment's own processes as well
        sys.exit(interruption.exit_code)
    if failure:
        raise failure.shown
    return played.mean


def _episodes(config: Config, env: Env) -> int:
    """The number of episodes to play; an iteration of base.max_iter is one episode of every agent."""
    iterations = config.base.max_iter
    return min(config.eval.episodes, iterations * env.n_agents) if iterations > 0 else config.eval.episodes


class Played:
    """The returns of the episodes so far; each is printed when its episode ends."""

    def __init__(self) -> None:
        self.returns: list[float] = []

    def add(self, episode: Episode) -> None:
        """Takes in and prints an episode."""
        self.returns.append(episode.total_reward)
        number, total = len(self.returns), episode.total_reward
        print(f"episode {number}: return {total:.4g}, {episode.length} steps", flush=True)

    @property
    def mean(self) -> float | None:
        return float(np.mean(self.returns)) if self.returns else None

    def sum_up(self, more: str = "") -> None:
        """Prints the mean of all returns, with `more` behind it."""
        if self.returns:
            number, std = len(self.returns), np.std(self.returns)
            print(f"mean return {self.mean:.4g} ± {std:.2g} over {number} episodes{more}", flush=True)


def _play(
    rollout: Rollout, episodes: int, shown: NoViewer, interruption: Interruption, played: Played,
    watcher: EpisodeWatcher | None,
) -> None:  # fmt: skip
    """Plays and shows so many episodes, fewer after a signal."""
    for ended in fair_episodes(rollout, episodes, watcher):
        shown.show(rollout.env)
        for episode in ended:
            played.add(episode)
        if interruption.requested:
            break
