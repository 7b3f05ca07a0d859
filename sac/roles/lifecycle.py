"""What roles share: how a run begins, how its training is put together, and how it ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from sac import assemble
from sac.collect.restarting_env import RestartingEnv, described
from sac.config.run_names import resolved_name
from sac.config.schema import Config
from sac.evaluation.evaluator import Evaluator
from sac.runs.checkpoint import Checkpoints
from sac.runs.commit import commit
from sac.runs.folder import RunFolder
from sac.runs.lock import hold_run_lock
from sac.runs.networks_file import find_networks
from sac.runs.signals import Interruption
from sac.runs.summary import farewell
from sac.seeds import resumed_seed, seeds_from
from sac.timers import Clock
from sac.track.observer import Observer
from sac.training.learner import Learner
from sac.training.loop import Training
from sac.training.progress import Progress
from sac.training.source import TransitionSource
from sac.types import Env


def run_to_begin(config: Config, stack: ExitStack) -> tuple[RunFolder, str | int | None, Path | None]:
    """Returns the run's folder, the checkpoint to resume from (None: begin anew), and the file of its networks.

    This process holds the lock of its role until the stack ends. The folder of a new run is made here; its networks
    are read from the user's own file, so that error messages name it. Resolves the name and the seed in `config`.
    """
    resume, folder = config.ckpt, RunFolder.of(config)
    begun = folder.config.exists() or bool(Checkpoints(folder.checkpoints).all())
    is_new = resume is None or (resume == "auto" and not begun)
    if is_new:
        config.base.name = resolved_name(config.base.name)
        folder = RunFolder.of(config)
        folder.check_free(config)  # before the lock, which may be waited for
    stack.enter_context(hold_run_lock(folder, config.role))
    config.seed = config.sac.seed = assemble.run_seed(config)
    config.repeat = 0  # the seed contains it now
    if not is_new:
        if resume == "auto":
            resume = "latest" if Checkpoints(folder.checkpoints).all() else None
        if resume is None:  # a run that ended before its first checkpoint begins again
            folder.write_config(config)
        return folder, resume, folder.own_networks()
    networks = find_networks(config.base.nn, config.base.env)
    folder.create(config, networks)
    return folder, None, networks


@contextmanager
def released_on_failure(folder: RunFolder, is_new: bool) -> Iterator[None]:
    """Frees the name of a new run when it cannot begin."""
    try:
        yield
    except BaseException:
        if is_new:
            folder.release()
        raise


def evaluation_env(config: Config, open_env: Callable[..., Env], stack: ExitStack, interruption: Interruption) -> Env:
    """An environment for evaluation alone, closed with the stack."""
    n_agents, port = assemble.evaluation_agents(config), config.base.port + 1
    env = RestartingEnv(
        lambda seed: open_env(seed=seed, n_agents=n_agents, port=port), seeds_from(assemble.evaluation_seed(config)),
        config.base.env_restarts, interruption.outside,
    )  # fmt: skip
    stack.callback(env.close)
    return env


def make_training(
    config: Config, folder: RunFolder, interruption: Interruption, observer: Observer, *, agent: Any, learner: Learner,
    source: TransitionSource, progress: Progress, clock: Clock, evaluator: Evaluator,
) -> Training:  # fmt: skip
    """The training of these objects. Raises UserError when the disk is too small for its checkpoints."""
    return Training(
        assemble.make_schedule(config), folder.path, interruption, agent=agent, learner=learner, source=source,
        progress=progress, clock=clock, evaluator=evaluator, promising=observer.promising,
        checkpoints=Checkpoints(folder.checkpoints, beside=(folder.config, folder.networks)),
    )  # fmt: skip


def resume_training(training: Training, config: Config, folder: RunFolder, which: str | int) -> None:
    """Continues from a checkpoint with the present config. Raises UserError when none fits."""
    from sac.backend import seed_everything  # imports TensorFlow

    training.resume(which)
    seed_everything(resumed_seed(assemble.seed_of_run(config), training.steps))
    folder.write_config(config)


def finish(
    training: Training, config: Config, folder: RunFolder, stack: ExitStack, console: Console, observer: Observer
) -> dict[str, Any]:
    """Trains to the end, and writes and returns the result.

    When the environment has failed, its exception is raised after saving and after the farewell. Any other
    exception is first written into result.json, then raised.
    """
    tracker = stack.enter_context(assemble.make_tracker(config, folder, training.steps, console, observer))
    interruption = training.interruption
    origin = {"seed": config.sac.seed, "commit": commit()}

    def concluded(reason: str, exit_code: int) -> dict[str, Any]:
        result = training.result(reason) | origin
        folder.write_result(result)
        tracker.close(exit_code, reason, result)
        return result

    def end_without_environment() -> None:
        training.break_off()
        print(farewell(config, folder, concluded(interruption.name, interruption.exit_code)), flush=True)

    interruption.rescue = end_without_environment
    try:
        reason = training.run(tracker)
    except Exception as error:
        folder.write_result(training.result(described(error)) | origin)
        raise
    failure = training.failure
    result = concluded(reason, 1 if failure else interruption.exit_code)
    last_words = partial(print, farewell(config, folder, result), flush=True)
    interruption.rescue = (lambda: None) if failure else last_words  # for an environment whose close() hangs
    if failure:
        last_words()
        raise failure.shown
    return result


def say_farewell(config: Config, folder: RunFolder, result: dict[str, Any], interruption: Interruption) -> float | None:
    """Prints how the run ended and returns its objective; after a signal exits with the signal's code instead."""
    print(farewell(config, folder, result), flush=True)
    if interruption.requested:
        sys.exit(interruption.exit_code)
    return result["objective"]
