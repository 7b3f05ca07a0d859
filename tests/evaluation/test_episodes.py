"""Equal shares of episodes for all agents, and the statistics of an evaluation."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from sac.collect.agent_slots import Episode
from sac.collect.episode_limit import EpisodeLimit
from sac.collect.exploration import Greedy
from sac.collect.rollout import Rollout
from sac.evaluation.episodes import evaluate, fair_episodes
from sac.evaluation.evaluator import Scores
from sac.evaluation.q_bias import QBias
from tests.collect.players import Counting, Lengths, Linear, Said, Stage
from tests.envs.scripted import ScriptedEnv


@pytest.mark.parametrize(("episodes", "shares"), [(6, (2, 2, 2)), (7, (3, 2, 2)), (2, (1, 1, 0)), (1, (1, 0, 0))])
def test_every_agent_plays_its_share_however_long_its_episodes_are(episodes, shares):
    env = Lengths(20, 3, 8)  # the first episodes to finish would all be agent 1's
    played = evaluate(env, Greedy(Linear(env.spec)), episodes)
    counts = Counter(e.slot for e in played)
    assert tuple(counts[slot] for slot in range(3)) == shares
    assert all(e.complete and e.length == e.total_reward == env.lengths[e.slot] for e in played)


def test_what_a_lost_agent_leaves_undone_is_played_by_the_others():
    alone = [turn for i in range(20) for turn in (Said(asks={0: (i, 1)}), Said(ends={0: (i, 1, 0)}))]
    env = Stage(Said(asks={0: (0, 0), 1: (0, 0)}), Said(asks={0: (0, 0)}, lost=(1,)), *alone)
    played = [e for some in fair_episodes(Rollout(env, Counting(env.spec)), 5) for e in some]
    assert [e.slot for e in played] == [0] * 5 and all(e.complete for e in played)


NEVER = 10**9


@pytest.mark.parametrize(
    ("lengths", "episodes", "found", "resets"),
    [
        ((NEVER, NEVER, NEVER), 7, {0: [5] * 3, 1: [5] * 2, 2: [5] * 2}, 3),
        ((NEVER,), 2, {0: [5, 5]}, 2),
        ((3, NEVER), 6, {0: [3] * 3, 1: [5] * 3}, 3),  # the one that ends by itself has done its share long before
        ((6, 2), 4, {0: [5, 5], 1: [2, 2]}, 2),
        ((5, 8), 2, {0: [5], 1: [5]}, 1),  # a limit that is the environment's own
    ],
)
def test_a_limit_ends_what_would_not_end_and_shares_stay_fair(lengths, episodes, found, resets, caplog):
    env, limit = Lengths(*lengths), EpisodeLimit(5, "base.max_step_each_iter=5")
    played = evaluate(env, Greedy(Linear(env.spec)), episodes, limit=limit)
    by_slot = {slot: [e.length for e in played if e.slot == slot] for slot in range(len(lengths))}
    assert by_slot == found and all(e.complete and e.total_reward == e.length for e in played)
    assert env.resets == resets
    (said,) = [record.getMessage() for record in caplog.records]
    assert "after 5 steps (base.max_step_each_iter=5)" in said and "eval.max_episode_steps" in said


def test_the_value_of_what_a_limit_cuts_off_is_told():
    env = Lengths(NEVER, 2)
    q_bias = QBias(0.5, lambda step: np.where(step.stream == 0, 8.0, 0.0))
    evaluate(env, Greedy(Linear(env.spec)), 4, watcher=q_bias, limit=EpisodeLimit(3, "a test"))
    found = q_bias.metrics()
    # agent 0, twice: 1 + 1/2, then Q = 8 for its third step and all after it, at 1/4; agent 1: 1, then Q = 0
    assert found["eval/q_rest"] == (2 + 2 + 0 + 0) / 4
    assert found["eval/discounted_return"] == (3.5 + 3.5 + 1 + 1) / 4


def test_a_stop_ends_an_evaluation_early():
    env, turns = Lengths(4), 0

    def stop():
        nonlocal turns
        turns += 1
        return turns == 6

    assert len(evaluate(env, Greedy(Linear(env.spec)), 100, stop)) == 1


def test_greedy_evaluation_is_deterministic_and_takes_no_noise():
    def returns():
        env = ScriptedEnv(2, limit=5)
        env.reset(3)
        return [e.total_reward for e in evaluate(env, Greedy(Linear(env.spec)), 4)]

    assert returns() == returns()


def test_scores_keep_a_window():
    scores = Scores(3)
    assert scores.mean is None and not scores.full
    first = scores.add([Episode(0, 1.0, 10, True), Episode(1, 3.0, 20, True)])
    assert first == {
        "eval/return": 2.0, "eval/return_std": 1.0, "eval/return_min": 1.0, "eval/return_max": 3.0,
        "eval/length": 15.0, "eval/return_window": 2.0,
    }  # fmt: skip
    assert not scores.full
    second = scores.add([Episode(0, 5.0, 10, True), Episode(1, 7.0, 20, True)])
    assert second["eval/return"] == 6.0 and second["eval/return_window"] == scores.mean == 5.0
    assert scores.full
