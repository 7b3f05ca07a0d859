"""Weights and actions over the wire."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from sac.distributed import policy_client
from sac.distributed.policy_client import PolicyClient
from sac.distributed.policy_server import PolicyServer
from sac.types import Choice
from sac.wire import shared_memory
from sac.wire.client import Client
from sac.wire.codec import Codec
from sac.wire.discovery import Records
from sac.wire.messages import learner_codec
from sac.wire.peer import ClientId
from sac.wire.server import Server
from tests.wire.wire_kit import SPEC, WORLD, Line, over_tcp, wait_for

WEIGHTS = {
    "kernel": ((7, 5), "float32"),
    "scale": ((), "float32"),
    "empty": ((0,), "float32"),
    "count": ((1,), "int64"),
}
STATE, CANDIDATES = 3, 2


def codec() -> Codec:
    return learner_codec(SPEC, STATE, CANDIDATES, WEIGHTS)


def weights(x: float) -> dict:
    return {name: np.full(shape, x, dtype) for name, (shape, dtype) in WEIGHTS.items()}


def chosen(arrays) -> Choice:
    """Choices that depend on each row alone."""
    k = len(arrays["mask"])
    x = arrays["obs/tag"] + arrays["normal"].sum(1) + arrays["noise"][:, None]
    return Choice(
        x, np.tanh(x), (arrays["gumbel"][:, 0, :2] > 0).astype(np.int32) + arrays["obs/eye"].reshape(k, -1)[:, :2],
        x - arrays["epsilon"][:, None], arrays["state"] + 1,
    )  # fmt: skip


@contextlib.contextmanager
def served(folder, act=chosen):
    server = Server("learner", codec(), Records(folder, "127.0.0.1"), WORLD.description)
    service = PolicyServer(server, act)
    try:
        service.begin()
        yield service
    finally:
        service.close()


@contextlib.contextmanager
def asking(directory, number=1, **options):
    line = Client("learner", codec(), WORLD.description, ClientId("actor", number), directory)
    try:
        wait_for(lambda: line.connected, meanwhile=lambda: line.pump(0.01))
        yield PolicyClient(line, **options)
    finally:
        line.close()


def question(k: int, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    kinds = codec().kinds["act"].columns
    return {
        name: rng.integers(0, 2, (k, *shape)).astype(dtype)
        if dtype in ("bool", "uint8")
        else rng.normal(size=(k, *shape)).astype(dtype)
        for name, (shape, dtype) in kinds.items()
    }


@pytest.mark.parametrize("how", ["near", "frames", "no such memory", "not reached"])
def test_weights_come_with_their_version_and_only_when_they_are_new(tmp_path, monkeypatch, how):
    if how == "near" and not hasattr(os, "memfd_create"):
        pytest.skip("no shared memory")
    if how == "no such memory":
        monkeypatch.setattr(shared_memory, "make", lambda *_: None)
    elif how == "not reached":
        monkeypatch.setattr(shared_memory, "reach", lambda *_: None)
    with served(tmp_path) as service, asking(Records(tmp_path, "")) as policy:
        policy._far = service.server.incarnation * (how == "frames")
        assert policy.fetch(seconds=0.3) is None and policy.version == 0  # nothing was published yet
        for version in (1, 2, 3):
            service.publish(weights(version), transitions=100 * version)
            got = policy.fetch()
            assert (policy.version, policy.transitions) == (version, 100 * version)
            for name, array in weights(version).items():
                np.testing.assert_array_equal(got[name], array, strict=True)
            assert policy.fetch() is None and policy.version == version
            assert ("frames" in vars(service._published[0])) == (how != "near")
        sent = []
        service.server.send = lambda peer, frames: sent.append(frames)
        with asking(Records(tmp_path, ""), 2) as other:
            other._far = policy._far
            other.fetch(seconds=0.2)
            policy.version = 0
            policy.fetch(seconds=0.2)
        assert len(sent) >= 2 and all(frames is sent[0] for frames in sent)  # encoded once for all


def test_the_memory_of_weights_is_given_back(tmp_path):
    """An actor keeps the memory that it has opened; the learner keeps the newest version and the one before."""
    if not hasattr(os, "memfd_create"):
        pytest.skip("no shared memory")

    def memories() -> int:
        found = 0
        for path in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found += "memfd:arrays" in str(path.readlink())
        return found

    gc.collect()
    before = memories()
    with served(tmp_path) as service, asking(Records(tmp_path, "")) as policy:
        service.publish(weights(1), 1)
        first = policy.fetch()
        for version in range(2, 20):
            service.publish(weights(version), version)
            assert policy.fetch()["scale"] == version and not policy._far
        assert first["scale"] == 1
        assert memories() - before <= 1 + 2 * 2  # a mapping has a handle of its own
        del first
    del service
    wait_for(lambda: memories() <= before)


def test_a_learner_that_began_anew_counts_from_one(tmp_path):
    """Version 1 of a restarted learner is new to an actor that has version 1 of the earlier process."""
    with served(tmp_path) as service:
        service.publish(weights(1.0), 10)
        context = asking(Records(tmp_path, ""))
        policy = context.__enter__()
        assert policy.fetch()["scale"] == 1.0
    with served(tmp_path) as service:
        service.publish(weights(2.0), 20)
        wait_for(lambda: policy.client.session == 2, meanwhile=lambda: policy.client.pump(0.01))
        assert policy.fetch()["scale"] == 2.0
        context.__exit__(None, None, None)


def test_a_late_answer_is_not_taken_for_the_next_one(tmp_path, monkeypatch):
    """The learner is busy for longer than an actor waits, so that each answer comes after the next question."""
    monkeypatch.setattr(policy_client, "ASK_AGAIN_SECONDS", 0.1)
    with served(tmp_path) as service, asking(Records(tmp_path, "")) as policy:
        service.publish(weights(1.0), 1)
        answer = service._answer
        service._answer = lambda requests: (time.sleep(0.35 * bool(requests)), answer(requests))
        time.sleep(0.1)  # its thread has the old one in hand
        policy.fetch()  # asked three or four times
        service._answer = answer
        time.sleep(0.5)
        service.publish(weights(2.0), 2)
        assert policy.fetch()["scale"] == 2.0


def test_a_question_that_was_lost_is_asked_again(tmp_path, monkeypatch):
    with served(tmp_path) as service:
        service.publish(weights(1.0), 1)
        records = Records(tmp_path, "")
        with Line(lambda: over_tcp(records, "learner")) as line, asking(line.directory) as policy:
            for seed in range(4):
                line.deaf = True
                cutting = threading.Timer(0.1, lambda: (line.cut(), setattr(line, "deaf", False)))
                cutting.start()
                began = time.monotonic()
                assert_choice(policy.choose(question(2, seed)), question(2, seed))
                cutting.join()
                assert time.monotonic() - began < 3
            assert policy.client.session >= 3


def assert_choice(got: Choice, asked: dict) -> None:
    for name, want in chosen(asked)._asdict().items():
        np.testing.assert_array_equal(getattr(got, name), want.astype(getattr(got, name).dtype), err_msg=name)


def test_actors_that_ask_at_once_get_what_each_would_get_alone(tmp_path):
    sizes = []

    def act(arrays):
        sizes.append(len(arrays["mask"]))
        time.sleep(0.02)  # meanwhile others ask
        return chosen(arrays)

    with served(tmp_path, act) as service, contextlib.ExitStack() as stack:
        service.publish(weights(1.0), 5)
        policies = [stack.enter_context(asking(Records(tmp_path, ""), n)) for n in range(1, 5)]
        wrong = []

        def play(policy, k):
            for turn in range(10):
                try:
                    assert_choice(policy.choose(question(k, turn)), question(k, turn))
                except BaseException as error:
                    wrong.append(error)

        threads = [threading.Thread(target=play, args=(policy, k)) for k, policy in enumerate(policies, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert not wrong and sum(sizes) == 100
        assert len(sizes) < 40 and max(sizes) >= 5  # together


def test_returns_and_counters_reach_the_learner(tmp_path):
    with served(tmp_path) as service, asking(Records(tmp_path, "")) as policy:
        for _ in range(4):
            service.publish(weights(0.0), 0)
        policy.report([])
        policy.report([(1.5, 10), (-2.0, 7)])
        wait_for(lambda: service.episodes.qsize() == 2)
        assert [service.episodes.get() for _ in range(2)] == [(1.5, 10), (-2.0, 7)]
        policy.client.counters = {"version": 1, "steps_per_second": 30.0, "waiting": 0.25}
        wait_for(lambda: service.metrics()["actors/steps_per_second"] == 30.0, meanwhile=policy.client.pump)
        assert {
            "actors/present": 1,
            "actors/policy_lag": 3.0,
            "actors/waiting": 0.25,
        }.items() <= service.metrics().items()


def test_a_failure_in_the_thread_is_kept_for_the_learner(tmp_path):
    def act(arrays):
        raise ZeroDivisionError("in the policy")

    with served(tmp_path, act) as service, asking(Records(tmp_path, ""), stop=lambda: service.failure) as policy:
        service.publish(weights(1.0), 1)
        assert policy.choose(question(1, 0)) is None
        assert isinstance(service.failure, ZeroDivisionError) and service.failure.__traceback__


def test_the_end_ends_the_asking(tmp_path):
    with served(tmp_path) as service, asking(Records(tmp_path, "")) as policy:
        ending = threading.Timer(0.2, service.end)
        ending.start()
        assert policy.choose(question(1, 0)) is None and policy.client.ended  # nothing was ever published
        ending.join()


def test_an_answer_to_an_earlier_question_is_not_taken(tmp_path, monkeypatch):
    """The learner is slow, so the first question is asked several times, and answered as often."""
    monkeypatch.setattr(policy_client, "ASK_AGAIN_SECONDS", 0.05)

    def slowly(arrays):
        time.sleep(0.3)
        return chosen(arrays)

    with served(tmp_path, slowly) as service, asking(Records(tmp_path, "")) as policy:
        service.publish(weights(1), 1)
        for seed in range(3):
            asked = question(2, seed)
            for name, x in zip(Choice._fields, policy.choose(asked)):
                np.testing.assert_array_equal(x, getattr(chosen(asked), name))
