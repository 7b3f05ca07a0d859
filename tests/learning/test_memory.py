"""Delayed recall over 20 steps: a GRU and an LSTM learn it, a feed-forward network cannot.

Measured with three seeds each; the thresholds leave what the comments say.
"""

from __future__ import annotations

import pytest

from tests.learning.lessons import Recall, mean_return, train

pytestmark = [pytest.mark.learning, pytest.mark.timeout(400)]
WINDOW = {"burn_in_step": 0, "sequence_length": 21, "gamma": 0.97, "updates_per_step": 0.1, "batch_size": 32}


def recalled(cell: str | None, steps=16_000, seed=0, **options) -> float:
    memory = {"networks": {"recurrent": True}, "kwargs": {"ModelRep": {"cell": cell, "units": 32}}} if cell else {}
    agent = train(Recall(), steps, seed=seed, **{**WINDOW, **memory, **options})
    return mean_return(agent, Recall(), 64)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_recurrent_network_remembers(cell):
    assert recalled(cell) > 0.9  # optimum 1


def test_a_feed_forward_network_does_not():
    assert recalled(None, steps=4000) < 0.75  # at best 0.5 of 64 episodes, 4 sigma
