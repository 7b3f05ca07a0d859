"""After any break every row is stored once and in order; a peer that does not read takes no memory."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sac.distributed import insert_client as inserting_module
from sac.distributed.insert_client import MAX_CHUNK_ROWS, InsertClient
from sac.distributed.replay_server import ACTOR_WINDOW_CHUNKS
from sac.errors import UserError
from tests.figures import figure
from tests.wire.wire_kit import (
    SPEC,
    WORLD,
    Line,
    Process,
    Served,
    client,
    inserting,
    learner,
    over_tcp,
    stored_tags,
    tagged,
    tags,
    wait_for,
)  # fmt: skip


def insert(inserter: InsertClient, rows: int, k: int = 7, pause: float = 0.0, actor: int = 1) -> None:
    for first in range(0, rows, k):
        inserter.add(tagged(actor, first, min(k, rows - first)))
        time.sleep(pause)
    assert inserter.drain(30)
    assert inserter.pending == 0


def in_the_background(what, *args) -> threading.Thread:
    """A thread whose failure is raised by `join`."""

    class Thread(threading.Thread):
        failure = None

        def run(self):
            try:
                what(*args)
            except BaseException as error:
                self.failure = error

        def join(self, seconds=60):
            super().join(seconds)
            assert not self.is_alive()
            if self.failure is not None:
                raise self.failure

    thread = Thread(daemon=True)
    thread.start()
    return thread


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(inserting_module, "MAX_CHUNK_ROWS", 20)


@pytest.mark.slow
def test_a_line_that_breaks_loses_and_doubles_nothing(tmp_path):
    """Twelve times the proxy drops the answers and then cuts the connection: stored chunks are not acknowledged."""
    with Served(WORLD, tmp_path) as served, Line(lambda: over_tcp(served.directory)) as line:
        with inserting(line.directory) as inserter:
            thread = in_the_background(insert, inserter, 6000, 7, 0.001)
            sent_again = 0
            while thread.is_alive() and sent_again < 12:
                line.deaf = True
                time.sleep(0.03)
                line.cut()
                line.deaf = False
                sent_again += 1
                time.sleep(0.1)
            thread.join()
        assert sent_again >= 5
        assert tags(served.replay, 1) == list(range(6000))


def test_a_lost_ack_is_told_again(tmp_path):
    """The rows are stored, and when they are acknowledged later, `stored` hears that their numbers are unknown."""
    with Served(WORLD, tmp_path) as served, inserting(served.directory) as inserter:
        numbers = []
        inserter.stored = lambda step, first: numbers.append((step.obs["tag"][0, 1], first))
        insert(inserter, 5)
        real, served.service._acknowledge = served.service._acknowledge, lambda *_: None
        inserter.add(tagged(1, 5, 20))
        wait_for(lambda: served.replay.total == 25, meanwhile=inserter.pump)
        served.service._acknowledge = real
        assert inserter.pending == 20
        inserter.client._drop()
        assert inserter.drain(10)
        insert_more = tagged(1, 25, 20)
        inserter.add(insert_more)
        assert inserter.drain(10)
        assert tags(served.replay, 1) == list(range(45))
        assert numbers == [(0, 0), (5, -1), (25, 25)], "-1: stored, but nobody knows where"


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_replay_that_comes_back_elsewhere_goes_on(tmp_path, way, how):
    """The new process has another port and the same files; two actors and a learner notice only a pause."""
    directory, over = Process.directory_of(tmp_path), threading.Event()
    with inserting(directory) as one, inserting(directory, number=2) as two:
        remote, addresses = learner(directory), set()
        threads = [in_the_background(insert_until, over, x, x.client.me.number) for x in (one, two)]
        for _ in range(2):
            with Process(tmp_path) as process:
                addresses.add(over_tcp(directory))
                updates_follow(remote, 10)
                if how == signal.SIGKILL:
                    process.kill()
        with Process(tmp_path):
            updates_follow(remote, 10)
            over.set()
            for thread in threads:
                thread.join()
        remote.client.close()
    assert len(addresses) == 2
    for inserter in (one, two):
        assert inserter.transitions > 100
        assert stored_tags(tmp_path, inserter.client.me.number) == list(range(inserter.transitions))


def insert_until(over: threading.Event, inserter: InsertClient, actor: int) -> None:
    while not over.is_set():
        inserter.add(tagged(actor, inserter.transitions, 7))
        time.sleep(0.003)
    assert inserter.drain(30)


def updates_follow(remote, more: int) -> None:
    goal = remote.updates + more
    wait_for(lambda: remote.updates >= goal, 20, lambda: one_update(remote))


def one_update(remote) -> None:
    if remote.try_spend():
        batch = remote.sample(remote.batch_size, remote.updates_per_call)
        remote.update(batch.index, np.ones(batch.index.shape, np.float32))


def test_the_learner_s_line_breaks_and_batches_go_on(tmp_path):
    """Questions and batches on their way are lost with the connection."""
    with Served(replace(WORLD, rate=1000.0), tmp_path) as served, Line(lambda: over_tcp(served.directory)) as line:
        with inserting(served.directory) as inserter:
            insert(inserter, 300)
        remote = learner(line.directory)
        for _ in range(6):
            updates_follow(remote, 10)
            line.cut()
        assert len(remote._ids) + len(remote._here) <= 4
        remote.client.close()


@pytest.mark.parametrize("uniform", [True, False])
def test_errors_go_back_only_where_priorities_are_made_of_them(tmp_path, uniform):
    world = replace(WORLD, uniform=uniform, rate=1000.0)
    with Served(world, tmp_path) as served:
        with inserting(served.directory, world=world) as inserter:
            insert(inserter, 300)
        came, update = [], served.service._answers["update"]
        served.service._answers["update"] = lambda peer, message: (came.append(message), update(peer, message))
        remote = learner(served.directory, world)
        updates_follow(remote, 10)
        assert bool(came) != uniform
        remote.client.close()


def test_a_slot_holds_one_batch_at_a_time_and_none_is_lost(tmp_path):
    """Also when batches of an earlier connection are used before the replay has opened the shared memory."""
    with Served(replace(WORLD, rate=1000.0), tmp_path) as served:
        with inserting(served.directory) as inserter:
            insert(inserter, 300)
        remote = learner(served.directory)
        updates_follow(remote, 10)
        wait_for(lambda: all(slot >= 0 for _, slot in remote._here) and len(remote._here) == 4, meanwhile=remote.pump)
        say, later = served.server.say, []
        served.server.say = lambda *what, **more: (
            later.append((what, more)) if what[1] == "memory_seen" else say(*what, **more)
        )
        remote.client._drop()
        wait_for(lambda: remote.client.session == 2 and later, meanwhile=remote.pump)
        before = remote.updates
        with held(served):
            wait_for(lambda: remote.updates > before, meanwhile=lambda: one_update(remote))
            for what, more in later:
                say(*what, **more)
            remote.pump(0.2)
        updates_follow(remote, 10)
        assert slots_of(remote) == [0, 1, 2, 3, 4]
        served.service._memory.clear()  # what is asked for into a slot comes as frames then
        updates_follow(remote, 10)
        assert slots_of(remote) == [0, 1, 2, 3, 4]
        remote.client.close()


def slots_of(remote) -> list[int]:
    """The slots of the shared memory, whether they are free, asked for, filled or in use."""
    slots = [remote._in_use, *remote._free, *remote._ids.values(), *(slot for _, slot in remote._here)]
    return sorted(slot for slot in slots if slot >= 0)


def test_an_actor_whose_rows_are_all_overwritten_can_go_on(tmp_path):
    """The replay has forgotten the actor, which remembers what was acknowledged."""
    with Served(replace(WORLD, capacity=100), tmp_path) as served:
        small = {"world": replace(WORLD, capacity=100)}
        with inserting(served.directory, **small) as slow, inserting(served.directory, number=2, **small) as fast:
            insert(slow, 300)
            insert(fast, 400, actor=2)
            assert served.replay.acked(slow.client.me.incarnation) == 0
            slow.client._drop()
            wait_for(lambda: slow.client.session == 2, meanwhile=slow.pump)
            slow.pump(0.2)  # "0 chunks of yours are here"
            slow.add(tagged(1, 300, 7))
            assert slow.drain(5)
            slow.add(tagged(1, 307, 7))
            assert slow.drain(5)
            assert tags(served.replay, 1) == list(range(300, 314))


@contextlib.contextmanager
def held(served: Served) -> Iterator[None]:
    """The replay stops for a while; what is sent meanwhile arrives together."""
    turn, stopped = served.turn, threading.Event()
    served.turn = lambda: (stopped.set(), time.sleep(0.01))
    assert stopped.wait(5)
    yield
    time.sleep(0.1)  # until all is there
    served.turn = turn


def say_chunks(line, *numbers: int, ruined: int = 0, after: int = 0) -> None:
    """Chunks of ten rows; one row of the chunk `ruined` holds a NaN."""
    for seq in numbers:
        step = tagged(1, 10 * seq, 10)
        step.reward[4] = np.nan if seq == ruined else 0
        line.send(line.codec.encode("insert", {"seq": seq, "after": after}, step.columns()))


class Answers:
    """The replay's acknowledgements, and the arrival numbers of chunks of ten rows."""

    def __init__(self, line):
        self.line, self.acks, self.rejected, self.where = line, [], [], {}

    def hear(self) -> None:
        for message in self.line.pump(0.01):
            if message.kind == "rejected":
                self.rejected.append((message["seq"], message.text))
                continue
            seq, since, first = (message[name] for name in ("seq", "since", "first"))
            self.acks.append((seq, since))
            self.where |= {n: first + 10 * (n - since) for n in range(since, seq + 1)}


@pytest.mark.parametrize("together", [False, True])
def test_a_chunk_that_comes_before_its_time_waits_for_the_others(tmp_path, together):
    """As after a new connection: the first of three chunks was lost with the old one."""
    with Served(WORLD, tmp_path) as served:
        line = client(served.directory)
        heard = Answers(line)
        wait_for(lambda: heard.acks, meanwhile=heard.hear)
        order = (2, 3, 1, 3, 2, 3, 1)
        if together:
            with held(served):
                say_chunks(line, *order)
        else:
            for n, seq in enumerate(order, len(heard.acks) + 1):
                say_chunks(line, seq)
                wait_for(lambda: len(heard.acks) == n, meanwhile=heard.hear)  # noqa: B023
        wait_for(lambda: heard.acks[-1][0] == 3, meanwhile=heard.hear)
        say_chunks(line, 4)
        wait_for(lambda: heard.acks[-1][0] == 4, meanwhile=heard.hear)
        assert heard.where == {1: 0, 2: 10, 3: 20, 4: 30}
        if together:
            assert heard.acks == [(0, 1), (3, 1), (4, 4)], "one answer to all seven"
        assert tags(served.replay, 1) == list(range(10, 50))
        line.close()


def test_chunks_that_come_together_are_one_commit_and_one_answer(tmp_path):
    """Chunks of one actor are joined until another's come between; `stored` hears the numbers of each chunk."""
    with Served(WORLD, tmp_path) as served, inserting(served.directory) as one, inserting(
        served.directory, number=2
    ) as two:  # fmt: skip
        where: dict[int, list] = {1: [], 2: []}
        for inserter in (one, two):
            number = inserter.client.me.number
            insert(inserter, 5, actor=number)
            inserter.stored = lambda step, first, n=number: where[n].append((int(step.obs["tag"][0, 1]), first))
        commits, commit = [], served.replay.add_from
        served.replay.add_from = lambda source, seq, step: commits.append(len(step.stream)) or commit(source, seq, step)
        with held(served):
            for first in (5, 11, 17):
                one.add(tagged(1, first, 6))
                one.flush()
            two.add(tagged(2, 5, 4))
            two.flush()
            one.add(tagged(1, 23, 2))
            one.flush()
        assert one.drain(10) and two.drain(10)
        assert sum(commits) == 24 and len(commits) <= 3, "two lines are read in turn, so four are neighbours at least"
        newest = served.replay.total
        assert newest == 5 + 5 + 20 + 4
        rows = np.concatenate([step.obs["tag"] for step in served.replay.arrived()])
        for number, found in where.items():
            assert [tag for tag, _ in found] == {1: [5, 11, 17, 23], 2: [5]}[number]
            assert all(rows[first].tolist()[:2] == [number, tag] for tag, first in found)


def test_a_bad_chunk_does_not_take_its_neighbours_with_it(tmp_path):
    """The chunks before it are stored, it is refused with a reason, and those behind it wait for it."""
    with Served(WORLD, tmp_path) as served:
        line = client(served.directory)
        heard = Answers(line)
        wait_for(lambda: heard.acks, meanwhile=heard.hear)
        with held(served):
            say_chunks(line, 1, 2, 3, 4, ruined=3)
        wait_for(lambda: heard.acks[-1][0] == 2 and heard.rejected, meanwhile=heard.hear)
        assert heard.rejected == [(3, "reward is not finite")]
        assert served.server.bad == 1
        with held(served):
            say_chunks(line, 3, 3, 4, ruined=3)
            empty = tagged(1, 0, 0).columns()
            line.send(line.codec.encode("insert", {"seq": 3, "after": 0}, empty))
        wait_for(lambda: served.server.bad == 4, meanwhile=heard.hear)
        wait_for(lambda: len(heard.rejected) == 4, meanwhile=heard.hear)
        assert "without rows" in heard.rejected[-1][1], "each for itself"
        say_chunks(line, 3, 4)
        wait_for(lambda: heard.acks[-1][0] == 4, meanwhile=heard.hear)
        assert heard.where == {1: 0, 2: 10, 3: 20, 4: 30}
        assert tags(served.replay, 1) == list(range(10, 50))
        line.close()


def test_chunks_with_others_between_are_not_taken_for_neighbours(tmp_path):
    """A late copy of the first chunk comes to a replay that has lost its rows, before the fourth chunk."""
    with Served(WORLD, tmp_path) as served:
        line = client(served.directory)
        heard = Answers(line)
        wait_for(lambda: heard.acks, meanwhile=heard.hear)
        with held(served):
            say_chunks(line, 1)
            say_chunks(line, 4, after=3)
        wait_for(lambda: heard.acks[-1][0] == 4, meanwhile=heard.hear)
        assert heard.where == {1: 0, 4: 10}
        line.close()


def test_an_actor_goes_on_with_a_replay_that_comes_back_empty(tmp_path):
    """A chunk that is sent again names the newest acknowledged chunk of now, not of its first sending."""
    with Served(WORLD, tmp_path / "one") as served, inserting(served.directory) as inserter:
        insert(inserter, 5)
        acknowledge = served.service._acknowledge
        served.service._acknowledge = lambda peer, seq, *more: seq == 3 or acknowledge(peer, seq, *more)
        served.service._max_joined_rows = 0  # each by itself
        with held(served):
            for first in (5, 10):
                inserter.add(tagged(1, first, 5))
                inserter.flush()
        wait_for(lambda: inserter.pending == 5, meanwhile=inserter.pump)
        with held(served), Served(WORLD, tmp_path / "two", served.directory) as another:
            assert inserter.drain(20)
            insert_more = tagged(1, 15, 5)
            inserter.add(insert_more)
            assert inserter.drain(10)
            assert tags(another.replay, 1) == list(range(10, 20))


def test_rows_wait_while_the_replay_allows_none(tmp_path):
    """No chunk may be sent before the first welcome or after max_step; `stop` ends the waiting."""
    with Served(WORLD, tmp_path, max_step=30) as served, inserting(served.directory) as inserter:
        stopping = threading.Event()
        inserter._stop = stopping.is_set
        for first in range(0, 40, 20):
            inserter.add(tagged(1, first, 20))
        wait_for(lambda: served.service.blocked, meanwhile=inserter.pump)
        thread = in_the_background(lambda: [inserter.add(tagged(1, i, 20)) for i in range(40, 400, 20)])
        time.sleep(0.3)
        assert thread.is_alive()
        assert served.replay.transitions <= 30 + ACTOR_WINDOW_CHUNKS * 20
        stopping.set()
        thread.join()


def test_actors_wait_for_a_learner_that_lags_and_no_longer(tmp_path):
    with Served(WORLD, tmp_path, max_lead=100) as served, inserting(served.directory) as inserter:
        thread = in_the_background(insert, inserter, 400)
        wait_for(lambda: served.service.blocked)
        assert served.replay.transitions < 100 + 16 + ACTOR_WINDOW_CHUNKS * 27
        remote = learner(served.directory)
        wait_for(lambda: not thread.is_alive(), 30, lambda: one_update(remote))
        thread.join()
        remote.client.close()
        assert tags(served.replay, 1) == list(range(400))


@pytest.mark.slow
def test_a_replay_that_does_not_read_costs_its_actor_no_memory(tmp_path, monkeypatch, capsys):
    """F7, 5 of its 30 seconds."""
    monkeypatch.setattr(inserting_module, "MAX_CHUNK_ROWS", MAX_CHUNK_ROWS)
    with Process(tmp_path) as process, inserting(process.directory) as inserter:
        insert(inserter, 2000, 50)
        thread = in_the_background(lambda: [inserter.add(tagged(1, i, 50)) for i in range(2000, 40000, 50)])
        process.signal(signal.SIGSTOP)
        before, most = resident(), 0
        until = time.monotonic() + 5
        while time.monotonic() < until:
            most = max(most, resident() - before)
            time.sleep(0.05)
        assert thread.is_alive() and inserter.pending <= (ACTOR_WINDOW_CHUNKS + 1) * (MAX_CHUNK_ROWS + 50)
        process.signal(signal.SIGCONT)
        began = time.monotonic()
        thread.join()
        assert inserter.drain(20)
        with capsys.disabled():
            print()
            figure("F7", "an inserter's memory grows while the replay stands still (5 s) by", most / 2**20, "MiB", 64)
            figure("F7", "what waited is stored after", time.monotonic() - began, "s", 20)
    assert stored_tags(tmp_path, 1) == list(range(40000))


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_numbers_that_would_poison_are_refused_in_words(tmp_path, poison):
    with Served(WORLD, tmp_path) as served, inserting(served.directory) as inserter:
        insert(inserter, 10)
        step = tagged(1, 10, 3)
        inserter.add(step._replace(reward=np.full(3, poison, np.float32)))
        with pytest.raises(UserError, match=r"refuses chunk \d+: reward is not finite"):
            inserter.drain(10)
        assert served.server.bad == 1 and served.replay.total == 10


def test_an_actor_that_leaves_or_lives_anew_leaves_no_open_episode(tmp_path):
    with Served(WORLD, tmp_path) as served:
        with inserting(served.directory) as inserter:
            insert(inserter, 10)
            assert len(served.replay._writer.open) == 1
        wait_for(lambda: not served.replay._writer.open)
        lost = client(served.directory)
        insert(InsertClient(lost), 10)
        lost.close(goodbye=False)
        assert served.replay._writer.open
        with inserting(served.directory) as inserter:
            insert(inserter, 10)
            assert [name[0] for name in served.replay._writer.open] == [inserter.client.me.incarnation]
        assert WORLD.spec == SPEC and served.replay.transitions == 30


def test_a_welcome_that_is_lost_with_its_line_is_said_again(tmp_path):
    """The first acknowledgement, which allows rows to be sent, is lost with the connection."""
    with Served(WORLD, tmp_path) as served, Line(lambda: over_tcp(served.directory)) as line:
        served.server.arrived = lambda peer: (setattr(line, "deaf", True), served.service.arrived(peer))
        reply, served.server._reply = served.server._reply, lambda *_, **__: None
        with inserting(line.directory) as inserter:
            wait_for(lambda: line.deaf, meanwhile=inserter.pump)
            served.server.arrived, served.server._reply = served.service.arrived, reply
            line.cut()
            line.deaf = False
            insert(inserter, 5)
