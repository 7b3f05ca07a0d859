"""A replay over the wire and a local one agree bit for bit on the same steps: windows, priorities, weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest

from sac.distributed.replay_server import ReplayServer
from sac.replay.running_stats import RunningStats
from sac.timers import Clock
from sac.training.learner import Learner
from sac.types import Sensor, Spec
from sac.wire import shared_memory
from sac.wire.codec import Message
from tests.agent.agent_kit import make_agent, weights
from tests.wire.wire_kit import Served, World, inserting, learner, random_rows, wait_for

SPEC = Spec((Sensor("v", (3,)),), 2, (3,))
FLAT, RECURRENT = {"steps": 3}, {"steps": 4, "burn_in": 2, "state": 64}
WORLDS = {
    "flat": FLAT, "flat, uniform": {**FLAT, "uniform": True}, "flat, K = 2": {**FLAT, "calls": 2, "rate": 0.7},
    "recurrent, K = 2": {**RECURRENT, "calls": 2}, "recurrent, uniform": {**RECURRENT, "uniform": True, "rate": 0.5},
}  # fmt: skip
WAYS = ["shared memory", "frames", "refused"]
HYPER = {
    "flat": {"n_step": 3}, "recurrent, K = 2": {"n_step": 3, "sequence_length": 2, "burn_in_step": 2}
}  # fmt: skip


class Adding:
    """Stands in for an agent: it does not learn, but its results depend on every number that it was ever given."""

    def __init__(self):
        self.start()

    def start(self) -> None:
        self.sum = 0.0

    def normalise(self, stats) -> None:
        pass

    def update(self, batch):
        each = sum(np.sum(x, axis=tuple(range(2, x.ndim)), dtype=float) for x in (*batch.obs.values(), *batch[1:]))
        self.sum += float(each.sum())
        error = np.abs(np.sin(each + self.sum)).astype(np.float32)
        return {}, Learnt(error, batch.state + error[..., None])

    def weights(self) -> dict:
        return {"sum": np.array(self.sum)}


class Real:
    """An agent that is made once, since its first update compiles it."""

    def __init__(self, case: str):
        self.agent = make_agent(SPEC, networks={"recurrent": case.startswith("recurrent")}, **HYPER[case])
        arrays, scalars = self.agent.state()
        self._first = {name: np.array(x) for name, x in arrays.items()}, scalars
        self.normalise, self.update = self.agent.normalise, self.agent.update

    def start(self) -> None:
        self.agent.restore(*self._first)

    def weights(self) -> dict:
        return weights(self.agent)


class Learnt(NamedTuple):
    td_error: np.ndarray
    state: np.ndarray


class Noted:
    """Passes a learner's calls on to its replay, and notes the batches and errors."""

    def __init__(self, replay):
        self._replay, self.seen = replay, []

    def __getattr__(self, name):
        return getattr(self._replay, name)

    def sample(self, *args):
        batch = self._replay.sample(*args)
        self.seen += [x.copy() for x in (*batch.obs.values(), *batch[1:])]
        return batch

    def update(self, index, td_error):
        self.seen.append(np.array(td_error))
        self._replay.update(index, td_error)


def chunks(world: World) -> list:
    rng = np.random.default_rng(5)
    return [random_rows(world.spec, world.state, int(rng.integers(1, 12)), rng) for _ in range(12)]


def world_of(case: str) -> World:
    return World(SPEC, batch=6, capacity=50, **WORLDS[case])  # the ring wraps


class Outcome(NamedTuple):
    seen: list  # every batch and every error
    arrays: dict  # the replay's state
    limiter: tuple
    stats: RunningStats
    weights: dict


def on_one_machine(world: World, agent) -> tuple[Outcome, list[int]]:
    """Also returns the number of updates after each chunk."""
    agent.start()
    replay, limiter, stats = world.replay(), world.limiter(), RunningStats(SPEC.sensors)
    noted, updates = Noted(replay), []
    local = Learner(agent, noted, limiter, world.batch, Clock(), refresh_state=bool(world.state))
    for step in chunks(world):
        limiter.add_steps(replay.add(step), replay.ready)
        stats.add(step)
        local.work()
        updates.append(limiter.updates)
    return Outcome(noted.seen, replay.state()[0], limiter.state(), stats, agent.weights()), updates


def over_the_wire(world: World, agent, folder, updates: list[int]) -> Outcome:
    agent.start()
    with Served(world, folder) as served, inserting(served.directory, world=world) as inserter:
        remote = learner(served.directory, world, outstanding=1)
        noted = Noted(remote)
        distant = Learner(agent, noted, remote, world.batch, Clock(), refresh_state=bool(world.state))
        for step, until in zip(chunks(world), updates):
            inserter.add(step)
            assert inserter.drain(10)
            while remote.updates < until:
                distant.work(max_calls=1)
            all_heard(remote)
        arrays = {name: np.array(x) for name, x in served.replay.state()[0].items()}
        remote.client.close()
        return Outcome(noted.seen, arrays, served.limiter.state(), remote.stats, agent.weights())


def all_heard(remote) -> None:
    """Returns when the replay has handled all that the learner has sent."""
    remote.stats.count = -1
    remote.client.say("moments?")
    wait_for(lambda: remote.stats.count >= 0, meanwhile=remote.pump)


def take_the_way(way: str, monkeypatch) -> None:
    if way == "frames":
        monkeypatch.setattr(shared_memory, "make", lambda *_: None)
    elif way == "refused":
        monkeypatch.setattr(shared_memory, "reach", lambda *_: None)


def assert_agreement(world: World, agent, folder) -> None:
    local, updates = on_one_machine(world, agent)
    distributed = over_the_wire(world, agent, folder, updates)
    assert updates[-1] >= 8 and len(local.seen) == len(distributed.seen)
    for one, other in zip(local.seen, distributed.seen):
        np.testing.assert_array_equal(one, other, strict=True)
    for name, array in local.arrays.items():
        if not name.startswith("open/"):
            np.testing.assert_array_equal(array, distributed.arrays[name], err_msg=name)
    assert ("sampler/priority" in local.arrays) != world.uniform
    assert local.limiter == distributed.limiter
    for part in ("mean", "m2"):
        np.testing.assert_array_equal(*(getattr(x.stats, part)["v"] for x in (local, distributed)))
    for name, array in local.weights.items():
        np.testing.assert_array_equal(array, distributed.weights[name], err_msg=name)


@pytest.mark.parametrize("case", WORLDS)
@pytest.mark.parametrize("way", WAYS)
def test_local_and_distributed_agree_exactly(tmp_path, monkeypatch, case, way):
    take_the_way(way, monkeypatch)
    assert_agreement(world_of(case), Adding(), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", HYPER)
def test_a_learner_s_weights_and_errors_agree_exactly(tmp_path, case):
    assert_agreement(world_of(case), Real(case), tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [{"token": 1}, {"token": -5}, {"slots": 1}, {"slots": 0}, {"slots": 2**40}, {"handle": 0}, {"handle": 2**60},
     {"process": -1}, {"process": 2**40}],
)  # fmt: skip
def test_memory_is_reached_by_who_knows_all_about_it(wrong):
    kind, lead = World().codec.kinds["batch"], (1, 8)
    memory, place = shared_memory.make(kind, lead, 2)
    shared_memory.reach(place, kind, lead).slots[1]["reward"][:] = 7
    assert (memory.slots[1]["reward"] == 7).all() and not memory.slots[0]["reward"].any()
    assert shared_memory.reach(replace(place, **wrong), kind, lead) is None
    assert shared_memory.reach(place, kind, (2, 8)) is None


@pytest.mark.parametrize("way", ["shared memory", "frames"])
def test_four_batches_under_way_at_once(tmp_path, monkeypatch, way):
    """Each batch has a slot of its own, which is not overwritten while the batch is used."""
    take_the_way(way, monkeypatch)
    world = World(batch=32, rate=2.0)
    with Served(world, tmp_path) as served, inserting(served.directory, world=world) as inserter:
        remote, rng, ways = learner(served.directory, world), np.random.default_rng(0), set()
        inserter.add(random_rows(world.spec, 0, 140, rng))
        inserter.drain(10)
        while remote.updates < 2 * (served.replay.transitions - 64):
            if remote.try_spend():
                batch = remote.sample(32, 1)
                ways.add("shared memory" if remote._in_use >= 0 else "frames")
                before = [x.copy() for x in (*batch.obs.values(), *batch[1:])]
                for _ in range(5):
                    remote.pump(0.001)
                for one, other in zip(before, (*batch.obs.values(), *batch[1:])):
                    np.testing.assert_array_equal(one, other)
                known = served.replay.windows(batch.index, batch.weight)
                np.testing.assert_array_equal(known.obs["eye"], batch.obs["eye"])
                remote.update(batch.index, np.ones(batch.index.shape, np.float32))
        assert way in ways
        assert served.limiter.updates == remote.updates == 2 * (served.replay.transitions - 64)
        remote.client.close()


def test_errors_bring_the_question_for_the_next_batch(tmp_path):
    world, heard = World(batch=4), Counter()
    with Served(world, tmp_path) as served, inserting(served.directory, world=world) as inserter:
        answers = served.service._answers
        served.service._answers = {
            kind: lambda *message, kind=kind: (heard.update([kind]), answers[kind](*message)) for kind in answers
        }
        remote = learner(served.directory, world, outstanding=2)
        inserter.add(random_rows(world.spec, 0, 60, np.random.default_rng(0)))
        inserter.drain(10)
        while remote.updates < 30:
            if remote.try_spend():
                index = remote.sample(4, 1).index
                remote.update(index, np.ones(index.shape, np.float32))
        remote.client.close()
        wait_for(lambda: heard["update"] == 30)
    assert heard["sample"] == 2  # to begin with


def test_requests_that_are_granted_together_get_what_each_would_get_alone(tmp_path):
    world = World(batch=6, calls=2)
    one, other = world.replay(tmp_path / "one"), world.replay()
    for replay in (one, other):
        replay.add(random_rows(world.spec, 0, 100, np.random.default_rng(0)))
    answers = []
    server = SimpleNamespace(codec=world.codec, send=lambda peer, frames: answers.append(frames))
    limiter = world.limiter()
    limiter.add_steps(100, True)
    service = ReplayServer(server, one, limiter, RunningStats(SPEC.sensors), world.batch)
    learner = SimpleNamespace(role="learner", identity=b"x")
    asked = [Message("sample", {"id": number, "slot": -1}, {}) for number in (4, 9)]
    service.answer([(learner, message) for message in asked])
    assert len(answers) == 2
    for message, frames in zip(asked, answers):
        got, alone = world.codec.decode([bytes(frame) for frame in frames]), other.sample(world.batch, 2).columns()
        assert got["id"] == message["id"]
        for name, array in alone.items():
            np.testing.assert_array_equal(array, got.arrays[name], err_msg=name)
