"""The role `learner`: updates on what actors have collected, and weights for them."""

from __future__ import annotations

import logging
import queue
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from sac import assemble
from sac.config.schema import Config
from sac.distributed.cell_config import cell_folder, codec_of_replay, describe, make_directory, make_keys
from sac.distributed.policy_server import PolicyServer
from sac.distributed.replay_client import ReplayClient
from sac.nets import saving
from sac.population.member import Evolved, Evolving, line_to_evolver
from sac.roles.train import evaluation_env, run_to_begin
from sac.runs.folder import RunFolder
from sac.runs.log_file import run_log
from sac.runs.signals import Interruption
from sac.seeds import seed_of
from sac.timers import Clock
from sac.track.observer import Observer
from sac.training.learner import Diverged, Learner
from sac.training.loop import Training, finish, released_on_failure, say_farewell
from sac.training.progress import Progress
from sac.types import Choice, Env
from sac.wire.client import Client
from sac.wire.messages import as_noise, learner_codec
from sac.wire.peer import ClientId
from sac.wire.server import Server

log = logging.getLogger(__name__)


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
    serving = Serving(agent, lambda: assemble.make_agent(config, spec, networks, seed), judges=assemble.judges(config))
    server = Server(
        "learner", learner_codec(spec, size, agent.candidates, serving.schema), directory, description,
        host=config.net.bind, keys=keys, places={"actor": config.base.max_actors_each_learner},
    )  # fmt: skip
    service = PolicyServer(server, serving.act)
    stack.callback(service.close)
    experience = RemoteSource(remote, service, serving, learner, progress, config.base.update_sac_bak_per_step)
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


class Serving:
    """What actors get: a copy of the weights at each publication, and actions of a second agent that holds it."""

    def __init__(self, agent, make_agent: Callable, judges: bool):
        self.agent, self._variables = agent, agent.acting_variables(judges)
        self._make_agent, self._judges = make_agent, judges
        self._copy = None
        self._asked = secrets.randbits(30)  # counts choices, from another number on in each life
        self._taken: Mapping[str, np.ndarray] | None = None
        self.latest: Mapping[str, np.ndarray] = {}

    @property
    def schema(self) -> dict:
        return {name: (tuple(v.shape), str(v.dtype)) for name, v in self._variables.items()}

    def take(self) -> Mapping[str, np.ndarray]:
        """A copy of today's weights."""
        self.latest = {name: np.array(v) for name, v in self._variables.items()}
        return self.latest

    def act(self, arrays: Mapping[str, np.ndarray]) -> Choice:
        """Chooses with the weights of the last publication, in whichever thread this is called."""
        if self._copy is None:
            self._copy = self._make_agent()
        if self._taken is not self.latest:
            self._taken = self.latest
            saving.assign(self._copy.acting_variables(self._judges), self._taken)
        obs = {name.removeprefix("obs/"): x for name, x in arrays.items() if name.startswith("obs/")}
        self._asked += 1
        layers = (self.agent.seed * 100) % 2**31, self._asked % 2**31  # noisy layers are drawn anew at each choice
        return self._copy.act(
            obs, arrays["mask"], arrays["previous"], arrays["state"], as_noise(arrays), layers,
            epsilon=arrays["epsilon"], extra_std=arrays["noise"],
        )  # fmt: skip


class RemoteSource:
    """Experience that comes from a replay elsewhere, of actors that act with what is published here."""

    replay_bytes = 0  # it lies with the replay

    def __init__(
        self, remote: ReplayClient, service: PolicyServer, serving: Serving, learner: Learner, progress: Progress,
        publish_every: int,
    ):  # fmt: skip
        self.remote, self.service, self.serving, self.learner = remote, service, serving, learner
        self.progress, self._every = progress, publish_every
        self._published = 0

    def begin(self) -> None:
        """Actors can come."""
        self.publish()
        self.service.begin()

    def advance(self) -> bool:
        if self.service.failure is not None:
            raise self.service.failure
        self.learner.work()
        self.progress.steps = max(self.progress.steps, self.remote.transitions)
        self.remote.client.counters = {"updates": self.learner.updates, "version": self.service.version}
        while True:
            try:
                self.progress.episode_ended(*self.service.episodes.get_nowait())
            except queue.Empty:
                break
        if self.learner.updates - self._published >= self._every:
            self.publish()
        return False

    def publish(self) -> None:
        """Actors get the networks as they are now."""
        self._published = self.learner.updates
        self.service.publish(self.serving.take(), self.progress.steps)

    def on_divergence(self, error: Diverged) -> bool:
        return False

    def done(self, max_step: int) -> bool:
        return self.remote.spent(max_step)

    def parts(self) -> dict:
        return {"moments": self.learner.moments}

    def resumed(self) -> str:
        return ""

    def begin_episodes(self) -> None:
        pass

    def break_off(self) -> None:
        pass

    def metrics(self) -> Mapping[str, float]:
        return self.service.metrics()

    def finish(self) -> None:
        """The run is over, for everybody."""
        self.remote.finish()
        self.service.end()
