"""Equal shares of episodes for all agents, and the statistics of an evaluation."""

from __future__ import annotations

from collections import Counter

import pytest

from sac.behaviour import Greedy
from sac.evaluation import Scores, evaluate, fair_episodes
from sac.rollout import Episode, Rollout
from tests.envs.scripted import ScriptedEnv
from tests.rollout.players import Counting, Lengths, Linear, Said, Stage


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
