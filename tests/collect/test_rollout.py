"""Rows, episodes and iterations that a rollout makes of what environments say."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sac.collect.episode_limit import EpisodeLimit
from sac.collect.exploration import Exploring, WhiteNoise
from sac.collect.rollout import Rollout
from sac.replay import Replay, Uniform
from sac.types import Action
from tests.collect.players import Counting, Lengths, Linear, Said, Stage, split, streams
from tests.envs.scripted import ScriptedEnv

KINDS = {
    "continuous": {"continuous": 2},
    "discrete": {"continuous": 0, "branches": (3,), "masked": True},
    "hybrid": {"continuous": 1, "branches": (3, 2), "masked": True, "image": True},
}


class Record(ScriptedEnv):
    """Writes down each agent's episodes itself: [(obs, mask, action, reward, discount)], with the final observation."""

    def reset(self, seed=None):
        turn = super().reset(seed)
        if not hasattr(self, "episodes"):
            self.episodes = [[] for _ in range(self.n_agents)]
        self.rows = [[] for _ in range(self.n_agents)]
        self.last = turn
        return turn

    def step(self, action: Action):
        before = self.last
        self.last = turn = super().step(action)
        over = {int(agent): i for i, agent in enumerate(turn.ended.agents)}
        for k in range(self.n_agents):
            obs = {name: x[k] for name, x in before.obs.items()}
            discount = turn.ended.discount[over[k]] if k in over else 1.0
            self.rows[k].append(
                (obs, before.mask[k], action.continuous[k], action.discrete[k], turn.reward[k], discount)
            )
            if k in over:
                final = {name: x[over[k]] for name, x in turn.ended.obs.items()}
                self.episodes[k].append((self.rows[k], final, turn.ended.mask[over[k]]))
                self.rows[k] = []
        return turn


def assert_same_obs(a, b):
    assert set(a) == set(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
        assert a[name].dtype == b[name].dtype


@pytest.mark.parametrize("kind", list(KINDS))
def test_streams_are_what_each_agent_lived_through(kind):
    env = Record(3, limit=5, **KINDS[kind])
    behaviour = Exploring(Linear(env.spec), WhiteNoise(env.spec, 0))
    rollout = Rollout(env, behaviour, seed=4)
    experiences = [rollout.advance() for _ in range(60)]
    terminated = 0
    for agent, rows in streams(experiences).items():
        found, expected = split(rows), env.episodes[agent]
        assert len(found) == len(expected) >= 5
        for mine, (theirs, final, mask) in zip(found, expected):
            assert len(mine) == len(theirs) + 1
            for row, (obs, legal, continuous, discrete, reward, discount) in zip(mine, theirs):
                assert_same_obs(row["obs"], obs)
                np.testing.assert_array_equal(row["mask"], legal)
                np.testing.assert_allclose(np.tanh(row["raw_action"]), continuous, atol=1e-6)
                np.testing.assert_array_equal(row["discrete"], discrete)
                assert (row["reward"], row["discount"], row["last"]) == (reward, discount, False)
            assert_same_obs(mine[-1]["obs"], final)
            np.testing.assert_array_equal(mine[-1]["mask"], mask)
            assert not mine[-1]["raw_action"].any() and not mine[-1]["log_prob"].any() and mine[-1]["reward"] == 0
            terminated += mine[-2]["discount"] == 0
    # every agent's last episodes are still open, and their rows are there too
    count = sum(len(e.step.stream) - int(e.step.last.sum()) for e in experiences)
    assert count == 60 * 3
    episodes = [e for x in experiences for e in x.episodes]
    assert len(episodes) == sum(len(e) for e in env.episodes)
    for agent in range(3):
        mine = [e for e in episodes if e.slot == agent]
        for episode, (theirs, _, _) in zip(mine, env.episodes[agent]):
            assert episode.complete and episode.length == len(theirs)
            assert episode.total_reward == pytest.approx(sum(float(row[4]) for row in theirs))


def test_both_ends_occur_in_the_scripted_environment():
    """So that the test above speaks of terminations as well as of truncations."""
    env = Record(3, limit=12, continuous=1)
    rollout = Rollout(env, Exploring(Linear(env.spec), WhiteNoise(env.spec, 0)), seed=4)
    for _ in range(300):
        rollout.advance()
    discounts = [theirs[-1][5] for agent in env.episodes for theirs, _, _ in agent]
    assert 0 < np.mean(discounts) < 1


# --- a scene whose agents come and go

SCENE = (
    Said(asks={0: (0, 9), 1: (10, 9)}),  # the reward of a first request means nothing
    Said(asks={0: (1, 0.1)}),  # 1 thinks
    Said(asks={0: (2, 0.2), 1: (20, 9)}, ends={1: (11, 1.0, 0)}),  # 1 ends and asks in the same turn
    Said(asks={1: (21, 0.3)}, lost=(0,)),
    Said(asks={2: (30, 9), 0: (40, 9)}),  # 2 is new and 0 is back, in this order; 1 thinks
    Said(ends={0: (41, 0.5, 1), 2: (31, 0.6, 0)}),  # nobody asks
    Said(asks={2: (50, 9)}, ends={1: (22, 0.7, 0)}),
    Said(asks={}, lost=(1, 2)),  # 1 had ended before, 2 has acted once without an outcome
    Said(asks={0: (60, 9)}, ends={1: (99, 5.0, 0)}),  # an ending without any action is no episode
    Said(asks={0: (61, 0.8)}),
)
# rows of the streams: observation, action number, reward, discount, recurrent state; action None = final row
EXPECTED = {
    0: [
        (0, 1, 0.1, 1, 0), (1, 3, 0.2, 1, 1), (2, None, 0, 1, 2),  # lost while its third action was under way
        (40, 8, 0.5, 1, 0), (41, None, 0, 1, 1),
        (60, 10, 0.8, 1, 0),
    ],
    1: [
        (10, 2, 1.0, 0, 0), (11, None, 0, 1, 1),
        (20, 5, 0.3, 1, 0), (21, 6, 0.7, 0, 1), (22, None, 0, 1, 2),
    ],
    2: [(30, 7, 0.6, 0, 0), (31, None, 0, 1, 1)],
}  # fmt: skip


def played_scene():
    env = Stage(*SCENE)
    behaviour = Counting(env.spec)
    rollout = Rollout(env, behaviour)
    return env, behaviour, [rollout.advance() for _ in SCENE[1:]]


def test_agents_that_take_turns_get_lost_and_vanish():
    env, _, experiences = played_scene()
    found = streams(experiences)
    assert set(found) == set(EXPECTED)
    for stream, rows in EXPECTED.items():
        assert len(found[stream]) == len(rows)
        for row, (obs, action, reward, discount, state) in zip(found[stream], rows):
            assert row["obs"]["x"][0] == obs
            assert row["last"] == (action is None)
            assert row["reward"] == np.float32(reward) and row["discount"] == discount
            assert row["state"][0] == state
            assert row["raw_action"][0] == (action or 0)
            assert row["discrete"][0] == (action or 0) % 2
            assert tuple(row["log_prob"]) == (-(action or 0), -2 * (action or 0))
    numbers = [(agent, round(np.arctanh(a) * 100)) for agent, a in env.got]
    assert numbers == [(0, 1), (1, 2), (0, 3), (0, 4), (1, 5), (1, 6), (2, 7), (0, 8), (2, 9), (0, 10)]


def test_previous_action_and_state_begin_anew_with_each_episode():
    _, behaviour, _ = played_scene()
    for slot, value, state, previous in behaviour.seen:
        begins = value in (0, 10, 20, 30, 40, 50, 60)
        assert (state == 0) == begins and (previous == 0).all() == begins, (slot, value)
    by_value = {value: previous for _, value, _, previous in behaviour.seen}
    np.testing.assert_allclose(by_value[2], [np.tanh(0.03), 0, 1], rtol=1e-6)  # action 3, choice 1
    np.testing.assert_allclose(by_value[1], [np.tanh(0.01), 0, 1], rtol=1e-6)


def test_iterations_wait_for_every_agent_that_is_there():
    _, _, experiences = played_scene()
    # 1 ended in turn 2, 0 was lost in turn 3; then 0, 1 and the newcomer 2 until turn 6
    assert [turn for turn, e in enumerate(experiences, 1) if e.iteration_ended] == [3, 6]
    complete = [(e.slot, e.length, round(e.total_reward, 3)) for x in experiences for e in x.episodes if e.complete]
    assert complete == [(1, 1, 1.0), (0, 1, 0.5), (2, 1, 0.6), (1, 2, 1.0)]
    cut = [(e.slot, e.length, round(e.total_reward, 3)) for x in experiences for e in x.episodes if not e.complete]
    assert cut == [(0, 2, 0.3), (1, 0, 0.0), (2, 0, 0.0)]


def test_a_scene_that_begins_with_nobody_does_not_end_an_iteration():
    env = Stage(Said(), Said(), Said(asks={0: (1, 0)}), Said(ends={0: (2, 1, 0)}))
    rollout = Rollout(env, Counting(env.spec))
    assert [rollout.advance().iteration_ended for _ in range(3)] == [False, False, True]


def test_an_iteration_waits_for_agents_that_came_later():
    env = Stage(
        Said(asks={0: (1, 0)}), Said(asks={0: (2, 0), 7: (1, 0)}), Said(ends={0: (3, 0, 0)}), Said(ends={7: (2, 0, 0)})
    )
    rollout = Rollout(env, Counting(env.spec))
    assert [rollout.advance().iteration_ended for _ in range(3)] == [False, False, True]


def test_the_replay_takes_every_row_of_the_scene():
    env, _, experiences = played_scene()
    replay = Replay(env.spec, 1, Uniform(64), steps=2)
    assert sum(replay.add(e.step) for e in experiences) == sum(
        a is not None for r in EXPECTED.values() for _, a, *_ in r
    )
    assert len(replay) == sum(len(rows) for rows in EXPECTED.values())


# --- iterations and forced resets


def test_reset_on_iteration_closes_open_episodes_as_truncations_at_their_newest_observation():
    env = Lengths(50, 50, 50)
    rollout = Rollout(env, Counting(env.spec), max_step_each_iter=4, reset_on_iteration=True)
    replay = Replay(env.spec, 1, Uniform(512), steps=3)
    for turn in range(1, 41):
        experience = rollout.advance()
        replay.add(experience.step)
        assert experience.iteration_ended == (turn % 4 == 0)
        rows, last = experience.step, experience.step.last
        if turn % 4:
            assert not last.any() and not experience.episodes
        else:
            np.testing.assert_array_equal(rows.obs["x"][last], [[k, turn // 4, 4] for k in range(3)])
            np.testing.assert_array_equal(rows.stream, [0, 1, 2, 0, 1, 2])
            assert (rows.discount == 1).all() and (rows.state[last] == 4).all()
            assert all(e.complete and e.length == e.total_reward == 4 for e in experience.episodes)
    assert env.resets == 1 + 10
    assert len(replay) == 10 * 3 * 5


def test_what_the_longest_iteration_cuts_is_an_episode_unless_it_began_late():
    env = Lengths(50, 3)
    rollout = Rollout(env, Counting(env.spec), max_step_each_iter=5, reset_on_iteration=True)
    for _ in range(3):
        ends = [(e.slot, e.length, e.complete) for _ in range(5) for e in rollout.advance().episodes]
        assert ends == [(1, 3, True), (0, 5, True), (1, 2, False)]


def test_without_reset_on_iteration_episodes_run_on():
    env = Lengths(50, 50)
    rollout = Rollout(env, Counting(env.spec), max_step_each_iter=4)
    experiences = [rollout.advance() for _ in range(12)]
    assert [e.iteration_ended for e in experiences] == [False, False, False, True] * 3
    assert not any(e.step.last.any() for e in experiences) and env.resets == 1


def test_an_iteration_ends_when_all_have_finished_and_cuts_only_what_is_open():
    env = Lengths(5, 6, 7)
    rollout = Rollout(env, Counting(env.spec), reset_on_iteration=True)
    experiences = [rollout.advance() for _ in range(21)]
    assert [turn for turn, e in enumerate(experiences, 1) if e.iteration_ended] == [7, 14, 21]
    for first in (0, 7, 14):
        ends = [(e.slot, e.length, e.complete) for x in experiences[first : first + 7] for e in x.episodes]
        # agent 2 has just begun anew: nothing of it is open
        assert ends == [(0, 5, True), (1, 6, True), (2, 7, True), (0, 2, False), (1, 1, False)]


# --- a limit of an episode's steps


def test_a_limit_ends_an_episode_as_a_truncation_and_the_agent_idles_until_it_can_begin_anew():
    env = Lengths(7, 3)
    rollout = Rollout(env, Counting(env.spec), limit=EpisodeLimit(4, "a test"))
    experiences = [rollout.advance() for _ in range(12)]
    rows = streams(experiences)
    long, short = split(rows[0]), split(rows[1])
    # step 4 is the last that counts; steps 5 to 7 belong to nobody, then its next episode begins
    assert [[tuple(row["obs"]["x"][1:]) for row in episode] for episode in long] == [
        [(n, t) for t in range(5)] for n in (1, 2)
    ]
    assert all(row["discount"] == 1 for row in long[0]) and len(short) == 4
    assert all(row["state"] == t for t, row in enumerate(long[1])), "a recurrent state begins at zero"
    ends = [(e.slot, e.length, e.total_reward, e.complete) for x in experiences for e in x.episodes]
    assert ends[:3] == [(1, 3, 3, True), (0, 4, 4, True), (1, 3, 3, True)] and rollout.idle == {0}
    rows = rollout.restart()
    assert rollout.idle == set() and env.resets == 2 and not len(rows.stream)
    rollout.advance()
    assert rollout.restart().obs["x"][:, 2].tolist() == [1, 1] and env.resets == 3


# --- saving


def saved(part):
    """Through JSON and copies, as a checkpoint does."""
    arrays, scalars = part.state()
    return {name: np.array(x) for name, x in arrays.items()}, json.loads(json.dumps(scalars))


def equal(a, b):
    assert a.iteration_ended == b.iteration_ended
    assert [vars(e) for e in a.episodes] == [vars(e) for e in b.episodes]
    assert_same_obs(a.step.obs, b.step.obs)
    for name in a.step._fields:
        if name != "obs":
            np.testing.assert_array_equal(getattr(a.step, name), getattr(b.step, name), err_msg=name)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("turns", [0, 1, 7, 23])
def test_a_restored_rollout_continues_in_mid_episode(kind, turns):
    def make():
        env = ScriptedEnv(3, limit=6, **KINDS[kind])
        behaviour = Exploring(Linear(env.spec), WhiteNoise(env.spec, 1), random_steps=30)
        return behaviour, Rollout(env, behaviour, seed=2, max_step_each_iter=10, reset_on_iteration=True)

    behaviour, rollout = make()
    for _ in range(turns):
        rollout.advance()
    states = saved(behaviour), saved(rollout)
    expected = [rollout.advance() for _ in range(25)]
    again, restored = make()
    again.restore(*states[0])
    restored.restore(*states[1])
    assert turns == 0 or restored.close_restored() is None
    for a in expected:
        equal(a, restored.advance())


def test_a_restored_environment_gets_actions_in_its_own_order():
    turns = [
        Said(asks={a: (10 * t + a, 0) for a in order}) for t, order in enumerate([(0, 1, 2), (2, 0, 1), (1, 2, 0)])
    ]
    env = Stage(*turns, circular=True)
    rollout = Rollout(env, Counting(env.spec))
    rollout.advance()
    state = saved(rollout)
    fresh = Stage(*turns, circular=True)
    behaviour = Counting(env.spec)
    restored = Rollout(fresh, behaviour)
    restored.restore(*state)
    restored.advance()
    assert [agent for agent, _ in fresh.got] == [2, 0, 1]
    assert [value for _, value, _, _ in behaviour.seen] == [12, 10, 11]


def test_open_episodes_of_an_environment_that_cannot_be_saved_are_closed():
    env = Lengths(6, 7, 8)
    rollout = Rollout(env, Counting(env.spec))
    before = [rollout.advance() for _ in range(7)]  # agent 1 has just begun its second episode, 0 is within
    state = saved(rollout)
    restored = Rollout(Lengths(6, 7, 8), Counting(env.spec))
    restored.restore(*state)
    rows = restored.close_restored()
    assert rows.stream.tolist() == [0, 2]
    assert rows.last.all() and (rows.discount == 1).all()
    np.testing.assert_array_equal(rows.obs["x"], [[0, 2, 1], [2, 1, 7]])
    after = [restored.advance() for _ in range(10)]
    replay = Replay(env.spec, 1, Uniform(256), steps=2)
    for step in (*(e.step for e in before), rows, *(e.step for e in after)):
        replay.add(step)  # refuses rows that do not follow on each other
    assert all((e.step.state[~e.step.last] == i).all() for i, e in enumerate(after[:5]))
    assert [e.slot for x in after for e in x.episodes] == [0, 1, 2]


def test_nothing_is_closed_where_nothing_was_open():
    env = Lengths(6, 7)
    rollout = Rollout(env, Counting(env.spec))
    restored = Rollout(Lengths(6, 7), Counting(env.spec))
    restored.restore(*saved(rollout))
    assert restored.close_restored() is None


def test_a_restored_iteration_ends_where_it_would_have_ended():
    env = Stage(Said(asks={0: (1, 0)}), circular=True)
    rollout = Rollout(env, Counting(env.spec), max_step_each_iter=4)
    for _ in range(3):
        rollout.advance()
    state = saved(rollout)
    restored = Rollout(Stage(*env.turns, circular=True), Counting(env.spec), max_step_each_iter=4)
    restored.restore(*state)
    assert [restored.advance().iteration_ended for _ in range(5)] == [True, False, False, False, True]


def test_an_agent_that_was_lost_is_not_waited_for():
    """Agent 1 is lost in the first iteration; agent 0 ends an episode in every second turn, and so an iteration."""
    both, alone = Said(asks={0: (1, 0), 1: (1, 0)}), Said(asks={0: (1, 0)})
    ends = Said(asks={0: (1, 0)}, ends={0: (1, 1, 0)})
    env = Stage(both, both, Said(asks={0: (1, 0)}, lost=(1,)), *[ends, alone] * 4)
    rollout = Rollout(env, Counting(env.spec))
    assert [rollout.advance().iteration_ended for _ in range(8)] == [False, False] + [True, False] * 3
    assert rollout.present == [0]


def test_what_was_saved_does_not_change_any_more():
    env = Lengths(5, 6)
    rollout = Rollout(env, Counting(env.spec))
    rollout.advance()
    arrays, _ = rollout.state()
    before = {name: np.array(x) for name, x in arrays.items()}
    for _ in range(3):
        rollout.advance()
    for name, x in arrays.items():
        np.testing.assert_array_equal(x, before[name], err_msg=name)
