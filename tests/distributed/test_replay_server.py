"""How a replay answers requests, which it accepts of whom, and what they earn."""

from __future__ import annotations

import os
import time

import pytest
import zmq

from sac.distributed import insert_client as inserting_module
from sac.distributed.chunks import gathered
from sac.distributed.replay_server import ReplayServer
from sac.replay.running_stats import RunningStats
from sac.wire import client as client_module
from sac.wire import line as line_module
from sac.wire import shared_memory
from sac.wire.codec import Message
from sac.wire.handshake import Description
from sac.wire.shared_memory import HEAD_BYTES, Place
from tests.wire.malformed import hello, raw
from tests.wire.wire_kit import WORLD, Served, Stranger, World, client, inserting, learner, tagged, wait_for


def test_only_a_learner_is_given_batches(tmp_path):
    with Served(WORLD, tmp_path) as served, Stranger(served) as stranger:
        assert stranger.say(hello(role="actor", uid="actor-1")).hears() == "welcome"
        assert stranger.hears() == "ack"
        stranger.say(raw("sample", {"id": 1, "slot": -1})).say(raw("moments?"))
        assert stranger.hears() == "moments" and not served.service._asked


def test_what_was_asked_for_before_a_welcome_is_forgotten(tmp_path):
    """After its connection broke a learner asks again for all batches that it still wants."""
    with Served(WORLD, tmp_path) as served, Stranger(served) as stranger:
        assert stranger.say(hello()).hears() == "welcome"
        stranger.say(raw("sample", {"id": 1, "slot": -1}))
        wait_for(lambda: len(served.service._asked) == 1)
        assert stranger.say(hello(session=2)).hears() == "welcome"
        wait_for(lambda: not served.service._asked)


def test_a_learner_whose_line_broke_asks_anew(tmp_path):
    with Served(WORLD, tmp_path) as served, inserting(served.directory) as one:
        remote = learner(served.directory)
        wait_for(lambda: len(served.service._asked) == 4, meanwhile=lambda: remote.pump(0.01))
        remote.client._begin_anew()  # as when the server says that it knows nobody of this name
        wait_for(lambda: remote.client.session == 2, meanwhile=lambda: remote.pump(0.01))
        one.add(tagged(1, 0, 40))
        assert one.drain(10)
        wait_for(remote.try_spend)
        assert remote.sample(WORLD.batch, 1).index.shape == (1, WORLD.batch)
        remote.client.close()


def test_batches_are_taken_one_after_the_other(tmp_path):
    """`try_spend` is true at each call while there are batches."""
    with Served(WORLD, tmp_path) as served, inserting(served.directory) as one:
        remote = learner(served.directory)
        one.add(tagged(1, 0, 40))
        assert one.drain(10)
        wait_for(lambda: len(remote._here) == 4, meanwhile=lambda: remote.pump(0.01))
        for updates in range(1, 5):
            assert remote.try_spend() and remote.updates == updates
            remote.sample(WORLD.batch, 1)
        remote.client.close()


@pytest.mark.parametrize("calls", [1, 3])
def test_fused_updates_count_each(tmp_path, calls):
    world = World(calls=calls)
    with Served(world, tmp_path) as served, inserting(served.directory, world=world) as one:
        remote = learner(served.directory, world)
        one.add(tagged(1, 0, 100))
        assert one.drain(10)
        for turn in (1, 2):
            wait_for(remote.try_spend)
            remote.sample(world.batch, calls)
            assert remote.updates == turn * calls
        remote.client.close()


def test_rows_beyond_the_last_step_earn_nothing(tmp_path):
    with Served(WORLD, tmp_path, max_step=50) as served, inserting(served.directory) as one:
        one.add(tagged(1, 0, 40))
        one.add(tagged(1, 40, 40))
        wait_for(lambda: served.replay.transitions == 80, meanwhile=lambda: (one.flush(), one.pump(0.01)))
        assert served.limiter.steps == 50


def test_rows_of_which_a_killed_replay_had_not_noted_that_they_came_earn_when_it_is_back(tmp_path):
    replay = WORLD.replay(tmp_path)
    replay.add_from(5, 1, tagged(1, 0, 40))
    limiter, server = WORLD.limiter(), Served(WORLD, tmp_path / "other").server
    limiter.add_steps(10, ready=True)
    service = ReplayServer(server, replay, limiter, RunningStats(()), WORLD.batch)
    for _ in range(2):
        service.catch_up()
        assert limiter.steps == replay.transitions == 40
    server.close()
    replay.close()


def test_chunks_of_one_actor_are_gathered_up_to_so_many_rows():
    def insert(rows: int) -> Message:
        return Message("insert", {"r": rows}, {})

    one, other, asks = "one", "other", Message("sample", {}, {})
    came = [(one, insert(4)), (one, insert(4)), (one, insert(1)), (other, insert(3)), (one, insert(3))]
    came += [(one, asks), (one, insert(9)), (one, insert(0)), (one, insert(2))]
    found = [(peer, [message.values.get("r") for message in messages]) for peer, messages in gathered(came, 8)]
    assert found == [
        (one, [4, 4]), (one, [1]), (other, [3]), (one, [3]), (one, [None]), (one, [9]), (one, [0]), (one, [2])
    ]  # fmt: skip


def test_who_comes_back_has_its_place(tmp_path):
    with Served(WORLD, tmp_path) as served, Stranger(served) as stranger:
        served.server._places = {"learner": 1}
        assert stranger.say(hello(uid="learner-1", life=5)).hears() == "welcome"
        assert stranger.anew().say(hello(uid="learner-1", life=6)).hears() == "welcome"
        assert stranger.anew().say(hello(uid="learner-2", life=7)).hears() == "later"


def test_who_was_away_itself_does_not_blame_the_server(tmp_path, monkeypatch):
    """The client asks and is answered; only silence after a question means that the server is lost."""
    monkeypatch.setattr(client_module, "PING_SECONDS", 0.1)
    monkeypatch.setattr(client_module, "SERVER_LOST_SECONDS", 0.3)
    with Served(WORLD, tmp_path) as served:
        line = client(served.directory)
        wait_for(lambda: "transitions" in line.theirs, meanwhile=lambda: line.pump(0.01))
        wait_for(lambda: not line._line.unanswered, meanwhile=lambda: line.pump(0.01))
        time.sleep(0.6)
        line.pump()
        assert line.connected and line.session == 1
        line.close()


def test_the_bytes_of_chunks_that_were_sent_do_not_count_again(tmp_path, monkeypatch):
    """Only rows that wait count; otherwise each row would be sent alone after the first megabyte."""
    monkeypatch.setattr(inserting_module, "CHUNK_BYTES", 500)
    monkeypatch.setattr(inserting_module, "MAX_ROW_WAIT_SECONDS", 1000.0)
    with Served(WORLD, tmp_path) as served, inserting(served.directory) as one:
        wait_for(lambda: one._allowed > 0, meanwhile=lambda: one.pump(0.01))
        one.add(tagged(1, 0, 30))
        assert one._count == 0, "30 rows of 24 bytes"
        one.add(tagged(1, 30, 5))
        assert one._count == 5


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no shared memory")
def test_a_memory_without_slots_is_none():
    handle = os.memfd_create("arrays")
    os.ftruncate(handle, HEAD_BYTES)
    os.pwrite(handle, (7).to_bytes(8, "little"), 0)
    kind = WORLD.codec.kinds["batch"]
    assert shared_memory.reach(Place(os.getpid(), handle, 0, 7), kind, (1, 8)) is None
    os.close(handle)


def test_a_description_is_the_same_in_any_order():
    one, other = Description({"a": 1, "b": [2]}, {}), Description({"b": [2], "a": 1}, {"more": 3})
    assert one.hash == other.hash != Description({"a": 1, "b": [3]}, {}).hash
    assert not one.differences(other)


def test_a_line_that_is_full_says_that_nothing_was_sent(tmp_path, monkeypatch):
    with Served(WORLD, tmp_path) as served:
        line = client(served.directory)
        wait_for(lambda: line.connected, meanwhile=lambda: line.pump(0.01))

        def full(socket, frames):
            raise zmq.Again

        monkeypatch.setattr(line_module, "send_frames", full)
        assert not line.say("moments?")
        monkeypatch.undo()
        assert line.say("moments?")
        line.close()


def test_a_learner_is_not_done_while_a_batch_waits_for_it(tmp_path):
    with Served(WORLD, tmp_path, max_step=16) as served, inserting(served.directory) as one:
        remote = learner(served.directory)
        one.add(tagged(1, 0, 17))
        one.flush()
        wait_for(lambda: served.replay.transitions == 17, meanwhile=lambda: (one.flush(), one.pump(0.01)))
        served.limiter.add_steps(1, ready=True)
        wait_for(lambda: remote._here, meanwhile=lambda: remote.pump(0.01))
        wait_for(
            lambda: remote.client.theirs.get("credit", 1) < 1 and remote.client.theirs.get("transitions") == 17,
            meanwhile=lambda: remote.pump(0.01),
        )
        assert not remote.spent(16)
        wait_for(remote.try_spend)
        remote.sample(WORLD.batch, 1)
        assert remote.spent(16) and not remote.spent(18)
        remote.client.close()


def test_a_batch_that_nobody_asked_for_on_this_line_is_left_out(tmp_path):
    """The batch was on its way when the connection broke; the learner has asked again, with another id."""
    with Served(WORLD, tmp_path) as served:
        remote = learner(served.directory)
        wait_for(lambda: remote._ids, meanwhile=lambda: remote.pump(0.01))
        asked = dict(remote._ids)
        remote._hear(Message("batch_written", {"id": 99, "transitions": 5, "slot": 0}, {}))
        assert (remote._ids, len(remote._here), remote.transitions) == (asked, 0, 0)
        remote.client.close()
