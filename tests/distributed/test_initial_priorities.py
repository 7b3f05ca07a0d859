"""An actor's own TD errors reach the right rows of the replay."""

from __future__ import annotations

import numpy as np

from sac.distributed.initial_priorities import InitialPriorities
from sac.replay import Prioritized, Replay
from sac.types import Sensor, Spec, Step

SPEC = Spec((Sensor("vector", (1,)),), continuous=1)


def rows(stream, values, last=False) -> Step:
    k, f32 = len(values), np.float32
    final = np.zeros(k, bool)
    final[-1] = last
    return Step(
        np.full(k, stream), {"vector": np.array(values, f32)[:, None]}, np.ones((k, 0), bool), np.zeros((k, 1), f32),
        np.zeros((k, 0), np.int32), np.zeros((k, 2), f32), np.zeros((k, 0), f32), np.zeros((k, 0), f32),
        np.zeros(k, f32), np.ones(k, f32), final,
    )  # fmt: skip


def test_every_window_gets_its_own_error_once():
    """The error of a window is the number in its first row: it must arrive at the row with this number."""
    sampler = Prioritized(
        1000, alpha=1.0, beta=1.0, beta_increment_per_sampling=0.0, td_error_min=1e-3, td_error_max=1000.0
    )
    replay = Replay(SPEC, 0, sampler, steps=2)
    said = []

    def send(index, error):
        said.extend(index.ravel().tolist())
        replay.update(index, error)

    priorities = InitialPriorities(SPEC, 0, 2, 0, lambda batch: batch.obs["vector"][:, 0, 0], send)
    rng = np.random.default_rng(0)
    number = 1.0
    for _ in range(200):  # chunks of two actors' rows; only stream 0 is ours
        k = int(rng.integers(1, 6))
        values = np.arange(number, number + k)
        number += k
        mine = rng.random() < 0.5
        step = rows(0 if mine else 1, values, last=k > 1 and rng.random() < 0.3)
        first = len(replay)
        replay.add(step)
        if mine:
            priorities.stored(step, first)
            priorities.send_td_errors()
    assert len(said) == len(set(said)) > 100
    places = np.array(said)
    values = replay._ring.columns["obs/vector"][places, 0]
    np.testing.assert_allclose(sampler._tree.leaves[places], np.clip(values, 1e-3, 1000.0), rtol=1e-6)


def test_after_a_gap_windows_end_at_what_is_known():
    said = []
    priorities = InitialPriorities(
        SPEC, 0, 1, 0, lambda b: b.obs["vector"][:, 0, 0], lambda i, e: said.extend(i.ravel())
    )
    priorities.stored(rows(0, [1.0, 2.0]), 10)
    priorities.stored(rows(0, [3.0]), -1)  # an ack was lost: nobody knows its number
    priorities.stored(rows(0, [4.0, 5.0]), 20)
    priorities.send_td_errors()
    assert said == [10, 20]
