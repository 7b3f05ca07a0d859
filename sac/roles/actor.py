"""The role `actor`: acts in an environment of its own and sends what happened to the replay."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from rich.console import Console

from sac import assemble
from sac.collect.restarting_env import DEFAULT_RESTARTS, RestartingEnv
from sac.config.schema import Config
from sac.distributed.remote_agent import RunEnded
from sac.files import write_atomically
from sac.roles.actor_builder import build_actor
from sac.roles.cell_config import cell_folder
from sac.runs.lock import hold_run_lock
from sac.runs.log_file import run_log
from sac.runs.signals import Interruption
from sac.seeds import seed_of, seeds_from
from sac.track.observer import Observer
from sac.types import Env

log = logging.getLogger(__name__)
PORTS_PER_PROCESS = 10  # actor k looks for a port from base.port + 10 k on; the first ten are the learner's


def actor(config: Config, make_env: Callable[..., Env] = assemble.make_env, observer: Observer | None = None) -> None:
    """Plays until the learner says that the run is over, or a signal comes: then the process exits with code 130 or 75.

    An environment that fails is made anew. Raises UserError when learner or replay refuse this actor.
    """
    observer, folder, number = observer or Observer(), cell_folder(config), config.net.number
    with ExitStack() as stack:
        own = folder.path / "actors" / str(number)
        own.mkdir(parents=True, exist_ok=True)
        observer.began(folder.path, config)
        stack.enter_context(hold_run_lock(folder, f"actor-{number}"))
        stack.enter_context(run_log(folder.role_log(f"actor-{number}") if config.logger_in_file else None, Console()))
        interruption = stack.enter_context(Interruption())
        seed = seed_of(assemble.run_seed(config), number, count_start(own / "starts"))
        port = config.base.port + PORTS_PER_PROCESS * number
        env = RestartingEnv(
            lambda seed: make_env(config, seed=seed, port=port, log_folder=own), seeds_from(seed),
            max(DEFAULT_RESTARTS, config.base.env_restarts), interruption.outside,
        )  # fmt: skip
        stack.callback(env.close)
        steps = 0
        with suppress(RunEnded):
            loop = build_actor(config, folder, env, seed, lambda: interruption.requested, observer, stack)
            interruption.rescue = loop.drain
            steps = loop.play()
        observer.close(interruption.exit_code, interruption.name or "end", {"env_steps": steps})
    if interruption.requested:
        raise SystemExit(interruption.exit_code)


def count_start(file: Path) -> int:
    """Adds one to the number of this actor's starts, which `file` holds, and returns it: each start has other seeds."""
    try:
        starts = int(file.read_bytes()) + 1
    except FileNotFoundError:
        starts = 1
    except ValueError:  # damaged by a power cut: the clock gives a number that no earlier start had
        starts = int(time.time())
        log.warning("%s is damaged: this start counts as number %d", file, starts)
    write_atomically(file, str(starts))
    return starts
