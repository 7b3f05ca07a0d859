"""The role `learner`: updates on what actors have collected, and weights for them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from sac import assemble
from sac.config.schema import Config
from sac.distributed.policy_server import PolicyServer
from sac.distributed.remote_source import RemoteSource
from sac.distributed.replay_client import ReplayClient
from sac.distributed.weights import ServedPolicy
from sac.population.evolving_source import EvolvingSource
from sac.roles.cell_config import (
    cell_folder,
    codec_of_replay,
    describe,
    make_directory,
    make_keys,
)
from sac.roles.lifecycle import (
    evaluation_env,
    finish,
    make_training,
    released_on_failure,
    resume_training,
    run_to_begin,
    say_farewell,
)
from sac.roles.population import evolver_client, fitness_of, heritage_of
from sac.runs.folder import RunFolder
from sac.runs.log_file import run_log
from sac.runs.signals import Interruption
from sac.timers import Clock
from sac.track.observer import Observer
from sac.training.learner import Learner
from sac.training.loop import Training
from sac.training.progress import Progress
from sac.training.source import TransitionSource
from sac.types import Env, Spec
from sac.wire.client import Client
from sac.wire.handshake import Description
from sac.wire.messages import learner_codec
from sac.wire.peer import ClientId
from sac.wire.server import Server


def learner(
    config: Config, make_env: Callable[..., Env] = assemble.make_env, observer: Observer | None = None
) -> float | None:
    """Learns from the cell's replay until a limit, success or a signal.

    Returns the mean return of the last evaluation episodes. Unless a signal has ended it, the replay and all actors
    are then told that the run is over. Raises and ends as the role `train` does.
    """
    cell_folder(config)
    observer, console = observer or Observer(), Console()
    with ExitStack() as stack:
        folder, resume, networks = run_to_begin(config, stack)
        observer.began(folder.path, config)
        with released_on_failure(folder, resume is None):
            stack.enter_context(run_log(folder.role_log("learner") if config.logger_in_file else None, console))
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
    """The learner's training, connected to the cell, with state from a checkpoint, and what tells others of its end."""
    assemble.start_tensorflow(config.base.threads)
    seed, clock, progress = assemble.seed_of_run(config), Clock(), Progress()
    open_env = partial(make_env, config, log_folder=folder.path)
    env = evaluation_env(config, open_env, stack, interruption)  # needed now, since it knows the Spec
    make_agent = partial(assemble.make_agent, config, env.spec, networks)
    agent = make_agent(seed)
    if config.base.noise_increasing_rate > 0:
        agent.check_noise()
    # A Unity scene may have any number of agents, whatever number it is asked for.
    agents_of_the_scene = env.n_agents if env.n_agents != assemble.evaluation_agents(config) else None
    description = describe(
        config, env.spec, state_size=agent.state_size, candidates=agent.candidates,
        agents_of_the_scene=agents_of_the_scene,
    )  # fmt: skip
    stats = assemble.make_running_stats(config, env.spec)
    client = Client(
        "replay", codec_of_replay(config, env.spec, agent.state_size), description, ClientId("learner"),
        make_directory(config, folder), make_keys(config),
    )  # fmt: skip
    stack.callback(client.close)
    remote = ReplayClient(
        client, config.replay.batch_size, config.sac.updates_per_call, stats, prioritized=assemble.prioritized(config)
    )
    learner = Learner(
        agent, remote, remote, config.replay.batch_size, clock, stats=stats, refresh_state=config.sac.refresh_state
    )
    evaluator = assemble.make_evaluator(config, agent, lambda: env, lambda: interruption.requested)
    policy = ServedPolicy(
        agent, lambda: make_agent(seed), with_td_errors=assemble.actors_send_td_errors(config)
    )  # fmt: skip
    service = _policy_server(config, folder, description, env.spec, agent, policy, stack)
    actors = RemoteSource(remote, service, policy, learner, progress, config.base.update_sac_bak_per_step)
    source: TransitionSource = actors
    finish_run = actors.finish
    if config.base.evolver_enabled:
        heritage = heritage_of(config, agent, make_agent, stats)
        line = evolver_client(config, folder, env.spec, heritage, stack, agent.state_size)
        fitness = fitness_of(config, evaluator, progress, lambda: config.base.n_agents * len(service.actors()))
        source = evolving = EvolvingSource(actors, line, fitness, progress, actors.publish, remote.pump)

        def finish_run() -> None:
            evolving.finish()
            actors.finish()

    training = make_training(
        config, folder, interruption, observer, agent=agent, learner=learner, source=source, progress=progress,
        clock=clock, evaluator=evaluator,
    )  # fmt: skip
    if resume is not None:
        resume_training(training, config, folder, resume)
    actors.begin()
    return training, finish_run


def _policy_server(
    config: Config, folder: RunFolder, description: Description, spec: Spec, agent: Any, policy: ServedPolicy,
    stack: ExitStack,
) -> PolicyServer:  # fmt: skip
    """The server that actors connect to, closed with the stack."""
    server = Server(
        "learner", learner_codec(spec, agent.state_size, agent.candidates, policy.schema),
        make_directory(config, folder), description, host=config.net.bind, keys=make_keys(config),
        places={"actor": config.base.max_actors_each_learner},
    )  # fmt: skip
    service = PolicyServer(server, policy.act)
    stack.callback(service.close)
    return service
