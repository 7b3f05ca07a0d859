"""The role `train`: one process that collects, learns, evaluates, saves and tracks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from rich.console import Console

from sac import assemble
from sac.collect.restarting_env import RestartingEnv, failing
from sac.collect.rollout import Rollout
from sac.config.schema import Config
from sac.runs.checkpoint import Checkpoints
from sac.runs.folder import RunFolder, resolved_name
from sac.runs.lock import only_one
from sac.runs.log_file import run_log
from sac.runs.networks_file import find_networks
from sac.runs.signals import Interruption
from sac.seeds import resumed_seed, seeds_from
from sac.timers import Clock
from sac.track.observer import Observer
from sac.training.learner import Learner
from sac.training.loop import Training, finish, released_on_failure, say_farewell
from sac.training.progress import Progress
from sac.training.source import LocalSource
from sac.types import Env

ONLY_ONE = (
    "the evaluation's environment cannot be made beside the training's (if only one may exist at a time: train with "
    "eval.per_step=-1 and evaluate by role=play)"
)


def train(
    config: Config, make_env: Callable[..., Env] = assemble.make_env, observer: Observer | None = None
) -> float | None:
    """Trains until a limit, success or a signal; returns the mean of the last evaluation window.

    `make_env` is called like `assemble.make_env`; `observer` watches. Raises UserError for what the user can
    mend; ends the process with 130 or 75 after SIGINT or SIGTERM.
    """
    observer, console = observer or Observer(), Console()
    with ExitStack() as stack:
        folder, resume, networks = run_to_begin(config, stack)
        observer.began(folder.path, config)
        with released_on_failure(folder, resume is None):
            stack.enter_context(run_log(folder.text_log if config.logger_in_file else None, console))
            interruption = stack.enter_context(Interruption())
            training = _build(config, folder, networks, resume, stack, interruption, make_env, observer)
        result = finish(training, config, folder, stack, console, observer)
    return say_farewell(config, folder, result, interruption)


def run_to_begin(config: Config, stack: ExitStack) -> tuple[RunFolder, str | int | None, Path | None]:
    """The run's folder, the checkpoint to go on from (None: a new run, whose folder is made here), its networks.

    The folder is this process's own until the stack ends. A new run takes the networks from where they were found, so
    that messages name the user's file.
    """
    resume, folder = config.ckpt, RunFolder.of(config)
    begun = folder.config.exists() or bool(Checkpoints(folder.checkpoints).all())
    is_new = resume is None or (resume == "auto" and not begun)
    if is_new:
        config.base.name = resolved_name(config.base.name)
        folder = RunFolder.of(config)
        folder.check_free(config)  # before anybody who is in there is waited for
    stack.enter_context(only_one(folder, config.role))
    config.seed = config.sac.seed = assemble.run_seed(config)
    config.repeat = 0  # it is in the seed now
    if not is_new:
        if resume == "auto":
            resume = "latest" if Checkpoints(folder.checkpoints).all() else None
        if resume is None:  # a run that ended before its first checkpoint begins again
            folder.write_config(config)
        return folder, resume, folder.own_networks()
    networks = find_networks(config.base.nn, config.base.env)
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
    begins_at = 0 if resume is None else Checkpoints(folder.checkpoints).select(resume)[0].step
    env = RestartingEnv(
        lambda seed: open_env(seed=seed), seeds_from(resumed_seed(seed, begins_at)), config.base.env_restarts,
        interruption.outside,
    )  # fmt: skip
    stack.callback(env.close)
    agent = assemble.make_agent(config, env.spec, networks, seed)
    replay = assemble.make_replay(config, env.spec, agent.state_size, env.n_agents, seed)
    moments = assemble.make_running_stats(config, env.spec)
    learner = Learner(
        agent, replay, assemble.make_limiter(config, env.n_agents), config.replay.batch_size, clock, moments=moments,
        refresh_state=config.sac.refresh_state,
    )  # fmt: skip
    exploring = assemble.make_exploring(config, agent, seed)
    rollout = partial(
        Rollout, env, exploring, max_step_each_iter=config.base.max_step_each_iter,
        reset_on_iteration=config.base.reset_on_iteration, clock=clock,
    )  # fmt: skip
    experience = LocalSource(rollout, exploring, replay, moments, learner, progress, seed, config.replay.save)

    def another_env() -> Env:
        with failing(ONLY_ONE):
            return evaluation_env(config, open_env, stack, interruption)

    training = Training(
        config, folder, interruption, observer, agent=agent, learner=learner, experience=experience,
        progress=progress, clock=clock, evaluation_env=lambda: env if config.base.editor else another_env(),
    )  # fmt: skip
    if resume is None:
        assemble.fill_replay(config, env, replay, agent.state_size, moments)
    else:
        training.resume(resume)
        assemble.check_log_prob(config, replay)
    return training


def evaluation_env(
    config: Config, open_env: Callable[..., Env], stack: ExitStack, interruption: Interruption
) -> Env:  # fmt: skip
    """An environment of its own for evaluation."""
    seed, n_agents = config.sac.seed + assemble.EVALUATION_SEED, assemble.evaluation_agents(config)
    env = RestartingEnv(
        lambda seed: open_env(seed=seed, n_agents=n_agents, port=config.base.port + 1), seeds_from(seed),
        config.base.env_restarts, interruption.outside,
    )  # fmt: skip
    stack.callback(env.close)
    return env
