"""Batches of which a share comes from loaded rows."""

from __future__ import annotations

import numpy as np
import pytest

from sac.replay import Prioritized, Replay, Uniform
from sac.replay.two_replays import WithLoaded
from sac.types import Sensor, Spec, Step, loaded_windows

SPEC = Spec((Sensor("v", (1,)),), 1)


def rows(values, *, ends=True) -> Step:
    """A stream of rows that observe `values`; the last one is final."""
    k = len(values)
    last = np.arange(k) == k - 1 if ends else np.zeros(k, bool)
    return Step(
        stream=np.zeros(k, np.int64), obs={"v": np.array(values, np.float32)[:, None]}, mask=np.zeros((k, 0), bool),
        raw_action=np.zeros((k, 1), np.float32), discrete=np.zeros((k, 0), np.int32),
        log_prob=np.zeros((k, 2), np.float32), state=np.zeros((k, 0), np.float32),
        previous=np.zeros((k, 0), np.float32), reward=np.zeros(k, np.float32), discount=np.ones(k, np.float32),
        last=last,
    )  # fmt: skip


def replay(capacity=64, seed=0, sampler=Uniform) -> Replay:
    return Replay(SPEC, 0, sampler(capacity), steps=1, seed=seed)


def prioritized(capacity):
    return Prioritized(capacity, alpha=1, beta=1, beta_increment_per_sampling=0, td_error_min=0.01, td_error_max=100.0)


@pytest.fixture
def mixed():
    made = WithLoaded(replay(seed=1), replay(seed=2), 0.25)
    made.second.add_foreign(rows([-1, -2, -3, -4]))
    made.add(rows([1, 2, 3, 4, 5]))
    return made


def test_the_first_windows_are_loaded_ones(mixed):
    batch = mixed.sample(8, 3)
    assert batch.index.shape == (3, 8) and batch.obs["v"].shape == (3, 8, 2, 1)
    seen = batch.obs["v"][:, :, 0, 0]
    assert (seen[:, :2] < 0).all() and (seen[:, 2:] > 0).all()
    assert ((batch.index < 0) == (seen < 0)).all()


@pytest.mark.parametrize(("share", "size", "count"), [(0.25, 8, 2), (0.5, 256, 128), (0.1, 64, 6)])
def test_the_share_is_rounded(share, size, count):
    assert loaded_windows(share, size) == count


def test_loaded_rows_are_never_overwritten(mixed):
    for _ in range(50):
        mixed.add(rows(list(range(1, 20))))
    assert len(mixed.second) == 4 and (mixed.sample(8, 1).obs["v"][0, :2, 0] < 0).all()


def test_priorities_go_to_the_replay_of_their_rows():
    made = WithLoaded(replay(seed=1, sampler=prioritized), replay(seed=2, sampler=prioritized), 0.5)
    made.second.add_foreign(rows([-1, -2, -3]))
    made.add(rows([1, 2, 3]))
    for _ in range(20):
        batch = made.sample(16, 1)
        made.update(batch.index, np.where(np.abs(batch.obs["v"][..., 0, 0]) == 2, 50.0, 0.01))
    seen = made.sample(400, 1).obs["v"][0, :, 0, 0]
    assert (np.abs(seen) == 2).mean() > 0.98 and (seen < 0).sum() == 200


def test_learning_waits_for_rows_of_its_own():
    made = WithLoaded(replay(), replay(), 0.25)
    made.second.add_foreign(rows([-1, -2]))
    assert not made.ready and len(made) == 0
    made.add(rows([1, 2]))
    assert made.ready and not made.log_prob_known


def test_a_checkpoint_holds_both_parts_to_the_bit(mixed):
    mixed.sample(8, 5)
    other = WithLoaded(replay(), replay(), 0.25)
    other.restore(*mixed.state())
    for a, b in zip(mixed.sample(8, 4).columns().values(), other.sample(8, 4).columns().values()):
        np.testing.assert_array_equal(a, b)
    assert other.metrics()["replay/loaded_rows"] == 4


def test_a_state_without_loaded_rows_restores_the_own_ones(mixed):
    other = WithLoaded(replay(), replay(), 0.25)
    other.restore(*mixed.own.state())
    assert len(other) == 5 and len(other.second) == 0
