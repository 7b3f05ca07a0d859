"""role=play: plays a trained run, deterministically unless sac.sample_in_play, and shows or films it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
from rich.console import Console

from sac import assemble
from sac.checkpoint import Checkpoints
from sac.config import Config
from sac.evaluation import fair_episodes
from sac.interruption import Interruption
from sac.rollout import Episode, Rollout
from sac.run_folder import RunFolder
from sac.run_log import run_log
from sac.track.observer import Observer
from sac.types import Env
from sac.viewer import NoViewer, viewer


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
    checkpoints.select(which)  # a run without any is refused before anything is started
    with ExitStack() as stack:
        stack.enter_context(run_log(None, Console()))
        interruption = stack.enter_context(Interruption("ending", saves=False))
        shown = stack.enter_context(viewer(config.render, folder.video))
        assemble.start_tensorflow(config.base.threads)
        seed = config.sac.seed + assemble.EVALUATION_SEED
        agents = 1 if config.render else assemble.evaluation_agents(config)
        env = make_env(config, seed=seed, n_agents=agents, render_mode=shown.mode, log_folder=folder.path)
        stack.callback(env.close)
        agent = assemble.make_agent(config, env.spec, folder.own_networks(), config.sac.seed)
        loaded = checkpoints.load({"agent": agent}, which)
        print(f"playing {folder.path}, checkpoint of step {loaded.step:,}", flush=True)
        limit = assemble.episode_limit(config, env)
        rollout = Rollout(env, assemble.make_greedy(config, agent, seed), seed=seed, limit=limit)
        played = _played(rollout, config.eval.episodes, shown, interruption)
    if played:
        returns = [e.total_reward for e in played]
        print(f"mean return {np.mean(returns):.4g} ± {np.std(returns):.2g} over {len(returns)} episodes{shown.words}")
    if interruption.requested:
        sys.exit(interruption.exit_code)
    return float(np.mean(returns)) if played else None


def _played(rollout: Rollout, episodes: int, shown: NoViewer, interruption: Interruption) -> list[Episode]:
    """Plays and tells each episode when it ends; a signal ends it early."""
    played: list[Episode] = []
    for ended in fair_episodes(rollout, episodes):
        shown.show(rollout.env)
        for episode in ended:
            played.append(episode)
            print(f"episode {len(played)}: return {episode.total_reward:.4g}, {episode.length} steps", flush=True)
        if interruption.requested:
            break
    return played
