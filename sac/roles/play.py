"""role=play: plays a trained run, deterministically unless sac.sample_in_play, and shows or films it."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np

from sac import assemble
from sac.checkpoint import Checkpoints
from sac.config import Config
from sac.evaluation import fair_episodes
from sac.interruption import Interruption
from sac.rollout import Episode, Rollout
from sac.run_folder import RunFolder
from sac.run_log import run_log
from sac.viewer import viewer


def play(config: Config) -> float | None:
    """Plays `eval.episodes` episodes of the best checkpoint (or of `ckpt`) and returns their mean return.

    Raises UserError when the run or its checkpoint does not exist or does not fit.
    """
    from sac import backend

    folder = RunFolder.of(config)
    with ExitStack() as stack:
        stack.enter_context(run_log(None))
        interruption = stack.enter_context(Interruption())
        assemble.limit_threads(config.base.threads)
        backend.start(config.base.threads)
        shown = stack.enter_context(viewer(config.render, folder.video))
        seed = config.sac.seed + assemble.EVALUATION_SEED
        agents = 1 if config.render else assemble.evaluation_agents(config)
        env = assemble.make_env(config, seed=seed, n_agents=agents, render_mode=shown.mode, log_folder=folder.path)
        stack.callback(env.close)
        networks = folder.networks if folder.networks.exists() else None
        agent = assemble.make_agent(config, env.spec, networks, config.sac.seed)
        step = Checkpoints(folder.checkpoints).load({"agent": agent}, "best" if config.ckpt is None else config.ckpt)
        print(f"playing {folder.path}, checkpoint of step {step:,}", flush=True)

        played: list[Episode] = []
        rollout = Rollout(env, assemble.make_greedy(config, agent, seed), seed=seed)
        for episodes in fair_episodes(rollout, config.eval.episodes):
            shown.show(env)
            for episode in episodes:
                played.append(episode)
                print(f"episode {len(played)}: return {episode.total_reward:.4g}, {episode.length} steps", flush=True)
            if interruption.requested:
                break
    if not played:
        return None
    returns = [e.total_reward for e in played]
    print(f"mean return {np.mean(returns):.4g} ± {np.std(returns):.2g} over {len(returns)} episodes{shown.words}")
    return float(np.mean(returns))
