"""Puts an actor together: its two connections, its agent and its rollout."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from sac import assemble
from sac.collect.rollout import Rollout
from sac.config.overrides import run_command
from sac.config.schema import Config
from sac.distributed.actor_links import ActorLinks, wait_until_welcome
from sac.distributed.actor_loop import ActorLoop
from sac.distributed.fetching import FetchedPolicy, FetchSchedule
from sac.distributed.initial_priorities import InitialPriorities
from sac.distributed.insert_client import InsertClient
from sac.distributed.remote_agent import RemoteAgent, RunEnded
from sac.distributed.weights import ActingWeights
from sac.errors import UserError
from sac.roles.cell_config import codec_of_replay, describe, make_directory, make_keys
from sac.runs.folder import RunFolder
from sac.runs.networks_file import find_networks
from sac.seeds import seed_of
from sac.track.observer import Observer
from sac.types import Batch, Env, Spec
from sac.wire.client import Client
from sac.wire.codec import Columns
from sac.wire.messages import control, learner_codec
from sac.wire.peer import ClientId


def build_actor(
    config: Config, folder: RunFolder, env: Env, seed: int, interrupted: Callable[[], bool], observer: Observer,
    stack: ExitStack,
) -> ActorLoop:  # fmt: skip
    """Connects to the learner and the replay, and puts together what plays for them; `stack` closes the connections.

    Raises RunEnded when a signal or the end of the run comes first, UserError for other networks than the learner's.
    """
    base, spec = config.base, env.spec
    connect = partial(
        Client, description=describe(config, spec), me=ClientId("actor", config.net.number),
        directory=make_directory(config, folder), keys=make_keys(config),
    )  # fmt: skip
    to_learner = connect("learner", control())
    stack.callback(to_learner.close)
    wait_until_welcome(to_learner, to_learner.pump, interrupted, observer.note)
    state_size, candidates = int(to_learner.told["state_size"]), int(to_learner.told["candidates"])
    to_replay = connect("replay", codec_of_replay(config, spec, state_size))
    stack.callback(to_replay.close)
    links = ActorLinks(to_learner, to_replay, interrupted, observer.note)

    agent: Any
    fetched: FetchedPolicy | None = None
    schema: Columns = {}
    if base.update_policy_mode:
        agent = make_own_agent(config, folder, spec, seed, state_size)
        weights = ActingWeights(agent, assemble.actors_send_td_errors(config))
        schedule = FetchSchedule(base.update_policy_variables_per_step)
        fetched, schema = FetchedPolicy(links.policy, weights, schedule), weights.schema
    else:
        agent = RemoteAgent(spec, state_size, candidates, links.policy)
    to_learner.codec = learner_codec(spec, state_size, candidates, schema)  # it depends on what the learner has told
    priorities = None
    if assemble.actors_send_td_errors(config):
        priorities = make_initial_priorities(config, agent, spec, links.inserter)

    wait_until_welcome(to_replay, links.inserter.pump, interrupted, observer.note)
    while fetched is not None and not fetched.fetch():
        if links.ended():
            raise RunEnded
    extra_noise = min(base.noise_increasing_rate * (config.net.number - 1), base.noise_max)
    start_seed = seed_of(seed, links.policy.transitions)  # differs at each start, even if the file `starts` is gone
    exploring = assemble.make_exploring(config, agent, start_seed, extra_noise)
    exploring.steps = links.policy.transitions
    rollout = Rollout(
        env, exploring, max_step_each_iter=base.max_step_each_iter, reset_on_iteration=base.reset_on_iteration,
        seed=start_seed,
    )  # fmt: skip
    return ActorLoop(rollout, exploring, links, observer, fetched=fetched, priorities=priorities)


def make_own_agent(config: Config, folder: RunFolder, spec: Spec, seed: int, state_size: int) -> Any:
    """An agent of this process. Raises UserError for networks with another state than the learner's."""
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
    return agent


def make_initial_priorities(config: Config, agent: Any, spec: Spec, inserter: InsertClient) -> InitialPriorities:
    """Makes what computes the TD errors of new rows with this agent and sends them to the replay."""

    def td_error(batch: Batch) -> np.ndarray:
        agent.updates.assign_add(1)  # the random numbers depend on it: without this step every call would use the same
        errors: np.ndarray = agent.td_error(batch)
        return errors

    made = InitialPriorities(spec, agent.state_size, *assemble.window(config), td_error, inserter.send_td_errors)
    inserter.stored = made.stored
    return made
