"""Q of the first step beside the discounted return, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sac.collect.exploration import Greedy
from sac.evaluation.episodes import evaluate
from sac.evaluation.q_bias import QBias
from tests.collect.players import Counting, Lengths, Linear, Said, Stage

GAMMA = 0.5


def says(value):
    """Critics that expect `value` times what they observe."""
    return lambda rows: value * rows.obs["x"][:, 0]


def metrics(*turns, episodes, q=10.0, n_agents=1):
    stage = Stage(*turns, n_agents=n_agents)
    q_bias = QBias(GAMMA, says(q))
    evaluate(stage, Counting(stage.spec), episodes, watcher=q_bias)
    return q_bias.metrics()


START = Said(asks={0: (1, 0)})
SECOND = Said(asks={0: (2, 3)})  # observation 2, and 3 for the first action


def test_a_true_end_leaves_nothing_open():
    found = metrics(START, SECOND, Said(ends={0: (9, 8, 0)}), episodes=1)
    assert found == {"eval/q_start": 10.0, "eval/discounted_return": 3 + GAMMA * 8, "eval/q_rest": 0.0}


def test_where_a_time_limit_cuts_the_critics_say_the_rest():
    found = metrics(START, SECOND, Said(ends={0: (9, 8, 1)}), episodes=1)
    assert found == {"eval/q_start": 10.0, "eval/discounted_return": 3 + GAMMA * 20, "eval/q_rest": GAMMA * 20}


def test_one_step():
    assert metrics(START, Said(ends={0: (9, 8, 0)}), episodes=1)["eval/discounted_return"] == 8
    assert metrics(START, Said(ends={0: (9, 8, 1)}), episodes=1)["eval/discounted_return"] == 10


def test_agents_are_kept_apart_and_lost_episodes_do_not_count():
    turns = (
        Said(asks={0: (1, 0), 1: (3, 0), 2: (5, 0)}),
        Said(asks={0: (2, 1), 1: (4, 10), 2: (6, 0)}, lost=()),
        Said(asks={1: (4, 10)}, ends={0: (9, 1, 0)}, lost=(2,)),
        Said(ends={1: (9, 10, 0)}),
    )
    found = metrics(*turns, episodes=2, n_agents=2)
    assert found["eval/q_start"] == pytest.approx((10 + 30) / 2)
    assert found["eval/discounted_return"] == pytest.approx((1.5 + 10 * 1.75) / 2)


def test_only_the_fair_share_counts():
    env = Lengths(20, 3)  # agent 1 ends more than once while agent 0 plays
    q_bias = QBias(1.0, lambda rows: np.zeros(len(rows.stream)))
    played = evaluate(env, Greedy(Linear(env.spec)), 2, watcher=q_bias)
    cut = np.mean([e.total_reward - 1 for e in played])  # the last step's reward belongs to the critics, who say 0
    assert q_bias.metrics()["eval/discounted_return"] == cut


def test_nothing_played_says_nothing():
    assert QBias(GAMMA, says(1.0)).metrics() == {}
