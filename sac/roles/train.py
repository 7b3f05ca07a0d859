"""The role `train`: one process that collects, learns, evaluates, saves and tracks."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from rich.console import Console

from sac import assemble
from sac.collect.restarting_env import RestartingEnv, failing
from sac.collect.rollout import Rollout
from sac.config.schema import Config
from sac.population.evolving_source import EvolvingSource
from sac.replay.two_replays import WithOthers
from sac.roles.lifecycle import (
    evaluation_env,
    finish,
    make_training,
    released_on_failure,
    resume_training,
    run_to_begin,
    say_farewell,
)
from sac.roles.population import evolver_client, fitness_of, heritage_of, share_rows
from sac.runs.checkpoint import Checkpoints
from sac.runs.folder import RunFolder
from sac.runs.log_file import run_log
from sac.runs.signals import Interruption
from sac.seeds import resumed_seed, seeds_from
from sac.timers import Clock
from sac.track.observer import Observer
from sac.training.learner import Learner
from sac.training.loop import Training
from sac.training.progress import Progress
from sac.training.source import LocalSource, TransitionSource
from sac.types import Env

SECOND_ENVIRONMENT_FAILED = (
    "the evaluation's environment cannot be made beside the training's (if only one may exist at a time: train with "
    "eval.per_step=-1 and evaluate by role=play)"
)


def train(
    config: Config, make_env: Callable[..., Env] = assemble.make_env, observer: Observer | None = None
) -> float | None:
    """Trains until a limit, success or a signal; returns the mean of the last evaluation window.

    `make_env` is called like `assemble.make_env`; `observer` watches. Raises UserError for mistakes
    of the user; exits the process with 130 or 75 after SIGINT or SIGTERM.
    """
    observer, console = observer or Observer(), Console()
    with ExitStack() as stack:
        folder, resume, networks = run_to_begin(config, stack)
        observer.began(folder.path, config)
        with released_on_failure(folder, resume is None):
            stack.enter_context(run_log(folder.text_log if config.logger_in_file else None, console))
            interruption = stack.enter_context(Interruption())
            training, say_over = _build(config, folder, networks, resume, stack, interruption, make_env, observer)
        result = finish(training, config, folder, stack, console, observer)
        if not interruption.requested:
            say_over()
    return say_farewell(config, folder, result, interruption)


def _build(
    config: Config, folder: RunFolder, networks: Path | None, resume: str | int | None, stack: ExitStack,
    interruption: Interruption, make_env: Callable[..., Env], observer: Observer,
) -> tuple[Training, Callable[[], None]]:  # fmt: skip
    """The objects of one run, with their state from a checkpoint, or new with a filled replay.

    The second result tells the evolver, if there is one, that the run is over.
    """
    assemble.start_tensorflow(config.base.threads)
    seed, curriculum = assemble.seed_of_run(config), assemble.make_curriculum(config)
    clock, progress = Clock(), Progress()
    open_env = partial(make_env, config, log_folder=folder.path)
    begins_at = 0 if resume is None else Checkpoints(folder.checkpoints).select(resume)[0].step
    env = RestartingEnv(
        lambda seed: open_env(seed=seed, reset=curriculum.values()), seeds_from(resumed_seed(seed, begins_at)),
        config.base.env_restarts, interruption.outside,
    )  # fmt: skip
    stack.callback(env.close)
    folder.write_scene(env)
    make_agent = partial(assemble.make_agent, config, env.spec, networks)
    agent = make_agent(seed)
    replay = assemble.make_replay(config, env.spec, agent.state_size, env.n_agents, seed)
    stats = assemble.make_running_stats(config, env.spec)
    limiter = assemble.make_limiter(config, env.n_agents)
    learner = Learner(
        agent, replay, limiter, config.replay.batch_size, clock, stats=stats,
        refresh_state=config.sac.refresh_state,
    )  # fmt: skip
    exploring = assemble.make_exploring(config, agent, seed)
    rollout = partial(
        Rollout, env, exploring, max_step_each_iter=config.base.max_step_each_iter,
        reset_on_iteration=config.base.reset_on_iteration, clock=clock,
    )  # fmt: skip
    local = LocalSource(
        rollout, exploring, replay, stats, limiter, learner, progress, curriculum, seed, config.replay.save
    )

    def open_evaluation_env() -> Env:
        if config.base.editor:  # the Unity editor runs one scene only
            return env
        with failing(SECOND_ENVIRONMENT_FAILED):
            return evaluation_env(config, open_env, stack, interruption)

    evaluator = assemble.make_evaluator(config, agent, open_evaluation_env, lambda: interruption.requested)
    source: TransitionSource = local
    say_over = _nothing
    if config.base.evolver_enabled:
        heritage = heritage_of(config, agent, make_agent, stats)
        line = evolver_client(config, folder, env.spec, heritage, stack, agent.state_size)
        if isinstance(replay, WithOthers):
            share_rows(line, local, replay.second)
        fitness = fitness_of(config, evaluator, progress, lambda: env.n_agents)
        source = evolving = EvolvingSource(local, line, fitness, progress, publish=_nothing, wait=time.sleep)
        say_over = evolving.finish
    training = make_training(
        config, folder, interruption, observer, agent=agent, learner=learner, source=source, progress=progress,
        clock=clock, evaluator=evaluator,
    )  # fmt: skip
    if resume is None:
        assemble.fill_replay(config, env, replay, agent.state_size, stats)
    else:
        resume_training(training, config, folder, resume)
        assemble.load_again(config, env, replay, agent.state_size)
        assemble.check_log_prob(config, replay)
    return training, say_over


def _nothing() -> None:
    pass
