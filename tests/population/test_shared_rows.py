"""Rows that learners share: who gets them, and what a lost chunk does to episodes."""

from __future__ import annotations

import numpy as np
import pytest

from sac.population import shared_rows
from sac.population.shared_rows import STREAMS_PER_LEARNER, SharedRows, row_columns
from sac.replay import Replay, Uniform
from sac.replay.two_replays import WithOthers
from sac.types import Step
from sac.wire.codec import Message
from sac.wire.messages import evolver_codec
from tests.replay.test_two_replays import SPEC, replay, rows

CODEC = evolver_codec({"w": ((), "float32")}, row_columns(SPEC, 0))


class Client:
    """Keeps what was sent, as the other end decodes it."""

    def __init__(self):
        self.codec, self.sent = CODEC, []

    def send(self, frames) -> bool:
        self.sent.append(CODEC.decode(frames))
        return True


@pytest.fixture
def shared(monkeypatch):
    monkeypatch.setattr(shared_rows, "CHUNK_ROWS", 3)
    return SharedRows(Client(), replay())


def chunk(learner, seq, values, *, ends=True) -> Message:
    return Message("rows_of", {"learner": learner, "seq": seq}, rows(values, ends=ends).columns())


def windows(shared) -> list[float]:
    """The observations at which windows of the other learners' rows may begin."""
    others = shared._others
    return sorted(others.windows(others.legal, np.ones(len(others.legal), np.float32)).obs["v"][:, 0, 0].tolist())


def test_rows_are_sent_in_chunks_that_are_numbered(shared):
    for _ in range(2):
        shared.offer(rows([1.0, 2.0], ends=False))
        shared.offer(rows([3.0], ends=True))
    shared.offer(rows([4.0], ends=False))
    assert [(m.kind, m["seq"]) for m in shared._client.sent] == [("rows", 1), ("rows", 2)]
    first = Step.of(shared._client.sent[0].arrays)
    np.testing.assert_array_equal(first.obs["v"], [[1.0], [2.0], [3.0]])


def test_a_row_does_not_wait_for_ever(shared, monkeypatch):
    monkeypatch.setattr(shared_rows, "CHUNK_SECONDS", -1.0)
    shared.offer(rows([1.0], ends=False))
    assert len(shared._client.sent) == 1


def test_learners_that_number_their_streams_alike_do_not_mix(shared):
    shared.take(chunk(2, 1, [1.0, 2.0], ends=False))
    shared.take(chunk(3, 1, [10.0, 20.0], ends=False))
    shared.take(chunk(2, 2, [3.0, 4.0]))
    assert windows(shared) == [1.0, 2.0, 3.0, 10.0], "4 is a final row, and 20 waits for the row after it"
    assert set(shared._others._writer.open) == {3 * STREAMS_PER_LEARNER}


def test_recurrent_states_of_others_become_zeros():
    shared = SharedRows(Client(), Replay(SPEC, 2, Uniform(64), steps=1, seed=0))
    own = rows([1.0, 2.0, 3.0])
    own = own._replace(state=np.full((3, 2), 7, np.float32), previous=np.full((3, 1), 5, np.float32))
    shared.take(Message("rows_of", {"learner": 2, "seq": 1}, own.columns()))
    stored = shared._others.state()[0]
    assert not stored["state"].any() and (stored["previous"] == 5).all()


@pytest.mark.parametrize("seq", [1, 3, 9])
def test_a_gap_ends_the_episodes_of_that_learner_only(shared, seq):
    """Chunk 2 is lost, or the learner has begun anew: its row 2 becomes a final row."""
    shared.take(chunk(2, 1, [1.0, 2.0], ends=False))
    shared.take(chunk(3, 1, [10.0, 20.0], ends=False))
    shared.take(chunk(2, seq, [7.0, 8.0], ends=False))
    assert windows(shared) == [1.0, 7.0, 10.0], "no window goes from 2 to 7"
    shared.take(chunk(3, 2, [30.0], ends=False))
    assert windows(shared) == [1.0, 7.0, 10.0, 20.0]


def test_a_restored_replay_begins_with_new_episodes(shared):
    shared.take(chunk(2, 1, [1.0, 2.0], ends=False))
    other = SharedRows(Client(), replay())
    other._others.restore(*shared._others.state())
    other.resumed()
    other.take(chunk(2, 2, [3.0, 4.0], ends=False))
    assert windows(other) == [1.0, 3.0]


def test_batches_are_of_own_rows_until_others_have_come(shared):
    both = WithOthers(replay(seed=1), shared._others, 0.5)
    both.add(rows([100.0, 200.0, 300.0]))
    assert (both.sample(8, 2).index >= 0).all()
    shared.take(chunk(2, 1, [1.0, 2.0, 3.0]))
    batch = both.sample(8, 2)
    assert (batch.index[:, :4] < 0).all() and (batch.obs["v"][:, :4, 0] < 100).all()
    assert (batch.index[:, 4:] >= 0).all() and both.metrics()["replay/others_rows"] == 3
