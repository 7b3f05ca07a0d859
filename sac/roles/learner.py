"""The role `learner`: updates on what actors have collected, and weights for them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from rich.console import Console

from sac import assemble
from sac.config.schema import Config
from sac.distributed.policy_server import PolicyServer
from sac.distributed.remote_source import RemoteSource
from sac.distributed.replay_client import ReplayClient
from sac.distributed.weights import ServedPolicy
from sac.population.member import Evolved, Evolving, line_to_evolver
from sac.roles.cell_config import cell_folder, codec_of_replay, describe, make_directory, make_keys
from sac.roles.train import evaluation_env, run_to_begin
from sac.runs.folder import RunFolder
from sac.runs.log_file import run_log
from sac.runs.signals import Interruption
from sac.seeds import seed_of
from sac.timers import Clock
from sac.track.observer import Observer
from sac.training.learner import Learner
from sac.training.loop import Training, finish, released_on_failure, say_farewell
from sac.training.progress import Progress
from sac.types import Env
from sac.wire.client import Client
from sac.wire.messages import learner_codec
from sac.wire.peer import ClientId
from sac.wire.server import Server


def learner(
    config: Config, make_env: Callable[..., Env] = assemble.make_env, observer: Observer | None = None
) -> float | None:
    """Learns from the cell's replay until a limit, success or a signal; returns the last evaluation window's mean.

    Then the replay and all actors are told that the run is over. Raises and ends as the role `train` does.
    """
    cell_folder(config)
    observer, console = observer or Observer(), Console()
    with ExitStack() as stack:
        folder, resume, networks = run_to_begin(config, stack)
        observer.began(folder.path, config)
        with released_on_failure(folder, resume is None):
            stack.enter_context(run_log(folder.role_log("learner") if config.logger_in_file else None, console))
            interruption = stack.enter_context(Interruption())
            training = _build(config, folder, networks, resume, stack, interruption, make_env, observer)
        result = finish(training, config, folder, stack, console, observer)
        if not interruption.requested:
            training.experience.finish()
    return say_farewell(config, folder, result, interruption)


def _build(
    config: Config, folder: RunFolder, networks: Path | None, resume: str | int | None, stack: ExitStack,
    interruption: Interruption, make_env: Callable[..., Env], observer: Observer,
) -> Training:  # fmt: skip
    assemble.start_tensorflow(config.base.threads)
    seed, clock, progress = config.sac.seed, Clock(), Progress()
    open_env = partial(make_env, config, log_folder=folder.path)
    env = evaluation_env(config, open_env, stack, interruption)  # it also tells the Spec
    spec = env.spec
    agent = assemble.make_agent(config, spec, networks, seed)
    size = agent.state_size
    if config.base.noise_increasing_rate > 0:
        agent.check_noise()
    directory, keys = make_directory(config, folder), make_keys(config)
    # A Unity scene may have as many agents as it likes, whatever number it is asked for.
    own = env.n_agents if env.n_agents != assemble.evaluation_agents(config) else None
    told = {"state_size": size, "candidates": agent.candidates, "agents_of_the_scene": own}
    description = describe(config, spec, **told)
    client = Client(
        "replay", codec_of_replay(config, spec, size), description, ClientId("learner"),
        directory, keys,
    )  # fmt: skip
    stack.callback(client.close)
    moments = assemble.make_running_stats(config, spec)
    remote = ReplayClient(
        client, config.replay.batch_size, config.sac.updates_per_call, moments, prioritized=assemble.prioritized(config)
    )
    learner = Learner(
        agent, remote, remote, config.replay.batch_size, clock, moments=moments, refresh_state=config.sac.refresh_state
    )
    policy = ServedPolicy(
        agent, lambda: assemble.make_agent(config, spec, networks, seed),
        with_td_errors=assemble.actors_send_td_errors(config),
    )  # fmt: skip
    server = Server(
        "learner", learner_codec(spec, size, agent.candidates, policy.schema), directory, description,
        host=config.net.bind, keys=keys, places={"actor": config.base.max_actors_each_learner},
    )  # fmt: skip
    service = PolicyServer(server, policy.act)
    stack.callback(service.close)
    experience = RemoteSource(remote, service, policy, learner, progress, config.base.update_sac_bak_per_step)
    if config.base.evolver_enabled:
        evolved = Evolved(agent, lambda n: assemble.make_agent(config, spec, networks, seed_of(seed, n)))
        line = line_to_evolver(config, folder, spec, evolved, stack)
        experience = Evolving(experience, line, lambda: training.evaluator)
    training = Training(
        config, folder, interruption, observer, agent=agent, learner=learner, experience=experience,
        progress=progress, clock=clock, evaluation_env=lambda: env,
    )  # fmt: skip
    if resume is not None:
        training.resume(resume)
    experience.begin()
    return training
