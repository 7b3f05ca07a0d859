"""The role `actor`: plays, and sends what happened to the replay."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from sac import assemble
from sac.collect.restarting_env import RESTARTS, EnvironmentFailed, RestartingEnv
from sac.collect.rollout import Episode, Rollout
from sac.config.overrides import run_command
from sac.config.schema import Config
from sac.distributed.insert_client import InsertClient
from sac.distributed.policy_client import PolicyClient
from sac.errors import UserError
from sac.files import write_atomically
from sac.roles.cell_config import cell_folder, codec_of_replay, describe, make_directory, make_keys
from sac.runs.folder import RunFolder
from sac.runs.lock import only_one
from sac.runs.log_file import run_log
from sac.runs.networks_file import find_networks
from sac.runs.signals import Interruption
from sac.seeds import seed_of, seeds_from
from sac.track.observer import Observer
from sac.types import Choice, Env, Noise, Spec
from sac.wire.client import Client
from sac.wire.messages import control, learner_codec
from sac.wire.peer import ClientId

log = logging.getLogger(__name__)
REPORT = 1.0  # seconds between two reports
DRAIN = 2.0  # seconds for the last rows to be stored when the actor ends
LONG_ITERATION = 1_000  # turns after which the policy is fetched although no iteration has ended
EVALUATION_PORTS = 10  # the learner's evaluation looks for its ports first


class RunEnded(Exception):  # noqa: N818 - no error
    """The run is over, or a signal came, while the actor waited for the learner."""


def actor(config: Config, make_env: Callable[..., Env] = assemble.make_env, observer: Observer | None = None) -> None:
    """Plays until the learner says that the run is over, or a signal comes (then it exits with its code).

    An environment that fails is made anew. Raises UserError when learner or replay refuse this actor.
    """
    observer, folder, number = observer or Observer(), cell_folder(config), config.net.number
    with ExitStack() as stack:
        own = folder.path / "actors" / str(number)
        own.mkdir(parents=True, exist_ok=True)
        observer.began(folder.path, config)
        stack.enter_context(only_one(folder, f"actor-{number}"))
        stack.enter_context(run_log(folder.role_log(f"actor-{number}") if config.logger_in_file else None, Console()))
        interruption = stack.enter_context(Interruption())
        seed = seed_of(assemble.run_seed(config), number, _starts(own / "starts"))
        port = config.base.port + EVALUATION_PORTS * number
        env = RestartingEnv(
            lambda seed: make_env(config, seed=seed, port=port, log_folder=own), seeds_from(seed),
            max(RESTARTS, config.base.env_restarts), interruption.outside,
        )  # fmt: skip
        stack.callback(env.close)
        steps = 0
        with suppress(RunEnded):
            steps = ActorLoop(config, folder, env, seed, interruption, observer, stack).play()
        observer.close(interruption.exit_code, interruption.name or "end", {"env_steps": steps})
    if interruption.requested:
        raise SystemExit(interruption.exit_code)


def _starts(file: Path) -> int:
    """How often this actor has started with this folder, this time included: no life shall repeat the one before."""
    try:
        starts = int(file.read_bytes()) + 1
    except FileNotFoundError:
        starts = 1
    except ValueError:  # a power cut has torn it: a number that no earlier start had
        starts = int(time.time())
        log.warning("%s is damaged: this start counts as number %d", file, starts)
    write_atomically(file, str(starts))
    return starts


class ActorLoop:
    """The loop of one actor."""

    def __init__(
        self, config: Config, folder: RunFolder, env: Env, seed: int, interruption: Interruption, observer: Observer,
        stack: ExitStack,
    ):  # fmt: skip
        self.config, self.interruption, self.observer = config, interruption, observer
        me, directory, keys = ClientId("actor", config.net.number), make_directory(config, folder), make_keys(config)
        description, spec = describe(config, env.spec), env.spec
        connect = partial(Client, description=description, me=me, directory=directory, keys=keys)
        to_learner = connect("learner", control())
        stack.callback(to_learner.close)
        self._wait_for(to_learner, to_learner.pump)
        size, candidates = int(to_learner.told["state_size"]), int(to_learner.told["candidates"])
        base = config.base
        if base.update_policy_mode:
            agent, self._copy = self._own_agent(folder, spec, seed, size)
            weights = self._copy.schema
        else:
            agent, self._copy, weights = RemoteAgent(spec, size, candidates), None, {}
        to_learner.codec = learner_codec(spec, size, candidates, weights)
        self.policy = PolicyClient(to_learner, self._stop_asking)
        if self._copy is None:
            agent.policy = self.policy
        to_replay = connect("replay", codec_of_replay(config, spec, size))
        stack.callback(to_replay.close)
        self.inserter = InsertClient(to_replay, self._stop_inserting)
        self._first_priorities = self._judge(agent, spec, size) if assemble.actors_send_td_errors(config) else None
        self._wait_for(to_replay, self.inserter.pump)
        while self._copy is not None and not self._refresh():
            if self._stop():
                raise RunEnded
        self.noise = min(base.noise_increasing_rate * (config.net.number - 1), base.noise_max)
        life = seed_of(seed, self.policy.transitions)  # where no file outlives the actor
        self.exploring = assemble.make_exploring(config, agent, life, self.noise)
        self.exploring.steps = self.policy.transitions
        self.rollout = Rollout(
            env, self.exploring, max_step_each_iter=base.max_step_each_iter,
            reset_on_iteration=base.reset_on_iteration, seed=life,
        )  # fmt: skip
        self._fetching = FetchSchedule(base.update_policy_variables_per_step)
        self._ended: list[Episode] = []
        self._told, self._mark = 0.0, (time.monotonic(), 0, 0.0)

    def play(self) -> int:
        """Until the run is over or a signal comes; returns how many transitions there were.

        Raises EnvironmentFailed when the environment has failed too often. What was played is sent in any case.
        """
        self.interruption.rescue = partial(self.inserter.drain, DRAIN)
        try:
            with suppress(RunEnded):
                self._play()
            self.inserter.flush()
        except EnvironmentFailed:
            self.inserter.drain(DRAIN)
            raise
        self.inserter.drain(DRAIN)
        return self.inserter.transitions

    def _play(self) -> None:
        """Raises Over while waiting for the learner."""
        while not self._stop():
            experience = self.rollout.advance()
            taken = self.inserter.add(experience.step)
            self._ended += [e for e in experience.episodes if e.complete]
            self._fetching.count(taken, experience.iteration_ended)
            if self._first_priorities is not None:
                self._first_priorities.say()
            if self._copy is not None and self._fetching.due():
                self._refresh()
            self._report()

    # --- the rest

    def _stop(self) -> bool:
        return self.interruption.requested or self.policy.client.ended or self.inserter.client.ended

    def _stop_inserting(self) -> bool:
        """Asked again and again while rows wait: the other line must not die of it."""
        self.observer.note("waits for the replay")
        self.policy.client.pump()
        return self._stop()

    def _stop_asking(self) -> bool:
        if not self.policy.client.connected:
            self.observer.note("waits for the learner")
        self.inserter.pump()
        return self._stop()

    def _wait_for(self, client: Client, pump: Callable[[float], object]) -> None:
        """Raises Over when a signal or the end of the run comes first."""
        while not client.connected:
            self.observer.note(f"waits for the {client.server}")
            pump(0.1)
            if self.interruption.requested or client.ended:
                raise RunEnded

    def _own_agent(self, folder: RunFolder, spec: Spec, seed: int, state_size: int):
        """An agent of this process, and its weights. Raises UserError for other networks than the learner's."""
        from sac.distributed.weights import ActingWeights

        config = self.config
        assemble.start_tensorflow(config.base.threads)
        more = f"role=actor net.number={config.net.number}", "base.trust=true"
        folder.check_code(config.base.trust, run_command(config, *more), by_config=False)  # on a disk that others share
        networks = folder.own_networks() or find_networks(config.base.nn, config.base.env)
        agent = assemble.make_agent(config, spec, networks, seed)
        if agent.state_size != state_size:
            raise UserError(
                f"the learner's networks have a recurrent state of {state_size}, these of {agent.state_size}: "
                "all roles need the same nn.py"
            )
        return agent, ActingWeights(agent, assemble.actors_send_td_errors(config))

    def _judge(self, agent, spec: Spec, state_size: int):
        """What says how much there is to learn from new rows."""
        from sac.distributed.initial_priorities import InitialPriorities

        def td_error(batch):
            agent.updates.assign_add(1)  # this agent never learns: its random numbers would be the same each time
            return agent.td_error(batch)

        made = InitialPriorities(spec, state_size, *assemble.window(self.config), td_error, self.inserter.judge)
        self.inserter.stored = made.stored
        return made

    def _refresh(self) -> bool:
        """Fetches newer weights; False while the learner has none for us."""
        weights = self.policy.fetch()
        if weights is not None:
            self._copy.assign(weights)
        return self.policy.version > 0

    def _report(self) -> None:
        now = time.monotonic()
        if now - self._told < REPORT:
            return
        self._told = now
        then, steps, waited = self._mark
        self._mark = now, self.inserter.transitions, self.inserter.waited
        seconds = max(now - then, 1e-9)
        rate, waiting = (self.inserter.transitions - steps) / seconds, (self.inserter.waited - waited) / seconds
        counters = {"version": self.policy.version, "steps_per_second": rate, "waiting": waiting}
        self.policy.client.counters = self.inserter.client.counters = counters
        self.exploring.steps = max(self.exploring.steps, self.policy.transitions)  # those of all actors count
        self.policy.client.pump()
        self.policy.report([(e.total_reward, e.length) for e in self._ended])
        self._ended = []
        self.observer.progress(self.inserter.transitions, 0)
        self.observer.note(f"version {self.policy.version}, waits {100 * waiting:.0f} %")


class FetchSchedule:
    """When the policy is fetched: every so many transitions; -1: after each iteration, or LONG_ITERATION turns.

    Without the latter an actor in a task that never ends would keep its first policy for ever.
    """

    def __init__(self, every: int):
        self._every, self._transitions, self._turns, self._iteration_ended = every, 0, 0, False

    def count(self, transitions: int, iteration_ended: bool) -> None:
        """One turn has passed."""
        self._turns += 1
        self._transitions += transitions
        self._iteration_ended |= iteration_ended

    def due(self) -> bool:
        """Whether it is time; if so the count begins again."""
        over = self._iteration_ended or self._turns >= LONG_ITERATION
        due = over if self._every < 0 else self._transitions >= self._every
        if due:
            self._transitions, self._turns, self._iteration_ended = 0, 0, False
        return due


class RemoteAgent:
    """An agent that asks the learner: no networks and no TensorFlow in this process."""

    def __init__(self, spec: Spec, state_size: int, candidates: int):
        self.spec, self.state_size, self.candidates = spec, state_size, candidates
        self.previous_size = spec.action_size if state_size else 0
        self.policy: PolicyClient | None = None

    def act(self, obs, mask, previous, state, noise: Noise, seed, epsilon=0.0, extra_std=0.0, explores=True) -> Choice:
        """As ActionSelector does; raises Over when the run ends meanwhile."""
        k = len(mask)
        if k == 0:
            return self._nobody(state)
        each = {"epsilon": np.full(k, epsilon, np.float32), "noise": np.full(k, extra_std, np.float32)}
        asked = {f"obs/{name}": x for name, x in obs.items()}
        asked |= {"mask": mask, "previous": previous, "state": state, **noise._asdict(), **each}
        choice = self.policy.choose(asked)
        if choice is None:
            raise RunEnded
        return choice

    def check_noise(self) -> None:
        """The learner has looked."""

    def _nobody(self, state) -> Choice:
        nothing = np.zeros((0, self.spec.continuous), np.float32)
        discrete = np.zeros((0, len(self.spec.branches)), np.int32)
        return Choice(nothing, nothing, discrete, np.zeros((0, 2), np.float32), state)
