"""The role `train`: one process that collects, learns, evaluates, saves and tracks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from rich.console import Console

from sac import assemble
from sac.checkpoint import Checkpoints
from sac.clock import Clock
from sac.config import Config
from sac.experience import Own
from sac.interruption import Interruption
from sac.learner import Learner
from sac.networks_file import find_networks
from sac.progress import Progress
from sac.roles.training import Training, finish, released_on_failure, say_farewell
from sac.rollout import Rollout
from sac.run_folder import RunFolder, resolved_name
from sac.run_log import run_log
from sac.track.observer import Observer
from sac.types import Env


def train(
    config: Config, make_env: Callable[..., Env] = assemble.make_env, observer: Observer | None = None
) -> float | None:
    """Trains until a limit, success or a signal; returns the mean of the last evaluation window.

    `make_env` is called like `assemble.make_env`; `observer` watches. Raises UserError for what the user can
    mend; ends the process with 130 or 75 after SIGINT or SIGTERM.
    """
    folder, resume, networks = run_to_begin(config)
    observer, console = observer or Observer(), Console()
    observer.began(folder.path, config)
    with ExitStack() as stack:
        with released_on_failure(folder, resume is None):
            stack.enter_context(run_log(folder.text_log if config.logger_in_file else None, console))
            interruption = stack.enter_context(Interruption())
            training = _build(config, folder, networks, resume, stack, interruption, make_env, observer)
        result = finish(training, config, folder, stack, console, observer)
    return say_farewell(config, folder, result, interruption)


def run_to_begin(config: Config) -> tuple[RunFolder, str | int | None, Path | None]:
    """The run's folder, the checkpoint to go on from (None: a new run, whose folder is made here), its networks.

    A new run takes the networks from where they were found, so that messages name the user's file.
    """
    resume, folder = config.ckpt, RunFolder.of(config)
    if resume == "auto":
        resume = "latest" if Checkpoints(folder.checkpoints).all() else None
    config.seed = config.sac.seed = assemble.run_seed(config)
    config.repeat = 0  # it is in the seed now
    if resume is not None:
        return folder, resume, folder.own_networks()
    if config.ckpt == "auto" and folder.config.exists():  # a run that ended before its first checkpoint begins again
        folder.write_config(config)
        return folder, None, folder.own_networks()
    config.base.name = resolved_name(config.base.name)
    folder, networks = RunFolder.of(config), find_networks(config.base.nn, config.base.env)
    folder.create(config, networks)
    return folder, None, networks


def _build(
    config: Config, folder: RunFolder, networks: Path | None, resume: str | int | None, stack: ExitStack,
    interruption: Interruption, make_env: Callable[..., Env], observer: Observer,
) -> Training:  # fmt: skip
    """The objects of one run, as they were when it was saved or with a filled memory."""
    assemble.start_tensorflow(config.base.threads)
    seed, clock, progress = config.sac.seed, Clock(), Progress()
    open_env = partial(make_env, config, log_folder=folder.path)
    env = open_env(seed=seed)
    stack.callback(env.close)
    agent = assemble.make_agent(config, env.spec, networks, seed)
    replay = assemble.make_replay(config, env.spec, agent.state_size, env.n_agents, seed)
    moments = assemble.make_moments(config, env.spec)
    learner = Learner(
        agent, replay, assemble.make_limiter(config, env.n_agents), config.replay.batch_size, clock, moments=moments,
        refresh_state=config.sac.refresh_state,
    )  # fmt: skip
    exploring = assemble.make_exploring(config, agent, seed)
    rollout = partial(
        Rollout, env, exploring, max_step_each_iter=config.base.max_step_each_iter,
        reset_on_iteration=config.base.reset_on_iteration, clock=clock,
    )  # fmt: skip
    experience = Own(rollout, exploring, replay, moments, learner, progress, seed, config.replay.save)
    training = Training(
        config, folder, interruption, observer, agent=agent, learner=learner, experience=experience,
        progress=progress, clock=clock,
        evaluation_env=lambda: env if config.base.editor else evaluation_env(config, open_env, stack),
    )  # fmt: skip
    if resume is None:
        assemble.fill_replay(config, env, replay, agent.state_size, moments)
    else:
        training.resume(resume)
        assemble.check_log_prob(config, replay)
    return training


def evaluation_env(config: Config, open_env: Callable[..., Env], stack: ExitStack) -> Env:
    """An environment of its own for evaluation."""
    seed, n_agents = config.sac.seed + assemble.EVALUATION_SEED, assemble.evaluation_agents(config)
    env = open_env(seed=seed, n_agents=n_agents, port=config.base.port + 1)
    stack.callback(env.close)
    return env
