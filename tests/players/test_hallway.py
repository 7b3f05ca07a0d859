"""The memory scene: its rules, what its rays see, and that nothing but a memory can tell the symbol later."""

import numpy as np
import pytest

from envs.players.hallway import (
    FORWARD,
    GOAL,
    LEFT,
    RAY_ANGLES_RADIANS,
    RAY_LENGTH_STEPS,
    RAY_TAGS,
    RIGHT,
    SYMBOL,
    WALL,
    Hallway,
)
from envs.players.protocol import BehaviourActions, SceneContext
from tests.envs.scene_runs import play

X, O = 0, 1  # noqa: E741 symbols
BEST = 1.0 - 14 / 60  # 12 steps ahead, two to the side
WRONG_WAY = -0.1 - 14 / 60


def rays(obs):
    """[k, rays, tags + 2] of [k, width]."""
    return obs.reshape(len(obs), len(RAY_ANGLES_RADIANS), len(RAY_TAGS) + 2)


def symbols(obs):
    """[k] of the symbol that each agent sees, -1 = none."""
    seen = rays(obs)[..., SYMBOL : SYMBOL + 2].any(axis=1)
    return np.where(seen.any(axis=1), seen.argmax(axis=1), -1)


def goals_to_the_right(obs):
    """[k] of the symbol of the goal on the right, as seen from the junction; -1 = not seen."""
    seen = rays(obs)[:, np.argmax(RAY_ANGLES_RADIANS), GOAL : GOAL + 2]
    return np.where(seen.any(axis=1), seen.argmax(axis=1), -1)


class Rememberer:
    """Walks ahead, and at the junction to the goal of the symbol that it saw last."""

    memory = None

    def __call__(self, obs):
        seen, right = symbols(obs), goals_to_the_right(obs)
        self.memory = seen if self.memory is None else np.where(seen >= 0, seen, self.memory)
        return np.where(right < 0, FORWARD, np.where(right == self.memory, RIGHT, LEFT))


def forgetful(obs):
    """Tries to mark the symbol by where it walks while it sees it; then as the `Rememberer`, going for X."""
    seen, right = symbols(obs), goals_to_the_right(obs)
    marking = np.choose(seen, [LEFT, FORWARD], mode="clip")
    return np.where(seen >= 0, marking, np.where(right < 0, FORWARD, np.where(right == X, RIGHT, LEFT)))


@pytest.mark.parametrize("swap_goals", [0, 1])
def test_a_memory_earns_the_best_return(swap_goals):
    _, episodes = play(Hallway(), Rememberer(), 200, swap_goals=swap_goals)
    assert len(episodes) > 200
    np.testing.assert_allclose([value for value, _ in episodes], BEST)
    assert not any(interrupted for _, interrupted in episodes)


@pytest.mark.parametrize("swap_goals", [0, 1])
def test_without_a_memory_half_of_the_choices_are_wrong(swap_goals):
    _, episodes = play(Hallway(), forgetful, 1500, swap_goals=swap_goals)
    values = np.array([value for value, _ in episodes])
    right = values > 0.5
    assert len(values) > 1000
    assert 0.45 < right.mean() < 0.55
    assert values[right].max() == pytest.approx(BEST - 2 / 60)  # it stood still for X
    assert values[~right].max() == pytest.approx(WRONG_WAY)


def walk(actions, **parameters):
    """(observations [steps + 1, agents, width], the scene) of agents that all do the same, up to the first ending."""
    scene = Hallway()
    game = scene.play(SceneContext(seed=5, parameters={"env_copys": 32, **parameters}))
    report, seen = next(game)[0], []
    for action in [*actions, None]:
        if report.done.any():
            break
        seen.append(report.obs[0])
        if action is not None:
            report = game.send({scene.name: BehaviourActions(np.zeros((32, 0)), np.full((32, 1), action))})[0]
    return np.array(seen), scene


def test_after_the_cue_nothing_that_is_seen_depends_on_the_symbol():
    """Whatever agents do: those that do the same see the same, whichever symbol it was."""
    random, lengths = np.random.default_rng(0), []
    for _ in range(20):
        seen, scene = walk(random.integers(0, 3, 60))
        assert set(scene.symbol.tolist()) == {X, O}
        assert (seen[2:] == seen[2:, :1]).all()
        lengths.append(len(seen))
    assert max(lengths) > 40


def test_the_way_behind_an_agent_leaves_no_mark_on_it():
    """After detours of any kind, all see at each place what one sees that walked straight ahead."""
    straight = {row.tobytes() for row in walk([FORWARD] * 12)[0][2:, 0]}
    random = np.random.default_rng(1)
    for _ in range(20):
        seen = walk(np.where(random.random(30) < 0.5, FORWARD, random.integers(1, 3, 30)))[0][2:, 0]
        assert {row.tobytes() for row in seen[goals_to_the_right(seen) < 0]} <= straight


@pytest.mark.parametrize("cue_decisions", [1, 2, 3])
def test_the_symbol_is_seen_at_the_first_decisions_only(cue_decisions):
    seen, scene = walk([LEFT] * 10, cue_decisions=cue_decisions)
    for step, obs in enumerate(seen):
        np.testing.assert_array_equal(symbols(obs), scene.symbol if step < cue_decisions else -np.ones(32))


def test_the_symbol_returns_with_the_next_episode():
    reports, _ = play(Hallway(), Rememberer(), 16, env_copys=3)
    (turn,) = [report for report in reports if report.done.any()]
    assert turn.done.tolist() == [True] * 3 + [False] * 3
    assert symbols(turn.obs[0]).tolist()[:3] == [-1, -1, -1]
    assert min(symbols(turn.obs[0]).tolist()[3:]) >= 0
    assert turn.reward[3:].tolist() == [0.0] * 3  # the old episode's reward went with its end


def test_rays_tell_tag_and_distance():
    """Straight ahead, then 30, -30, 60, -60, 90, -90 degrees; the agent stands in the middle of a lane of width 1."""
    seen, _ = walk([FORWARD] * 12, corridor_length=12)
    start, middle, junction = (rays(seen[step])[0] for step in (0, 2, 12))
    assert middle[0].tolist() == [0, 0, 0, 0, 0, 1, 1]  # the end is out of reach
    assert start[0, -1] == pytest.approx(1.7 / RAY_LENGTH_STEPS) and start[0, SYMBOL : SYMBOL + 2].sum() == 1
    for ray, angle in enumerate(RAY_ANGLES_RADIANS[1:], 1):
        assert middle[ray, WALL] == 1 and middle[ray, -2] == 0
        assert middle[ray, -1] == pytest.approx(0.5 / abs(np.sin(angle)) / RAY_LENGTH_STEPS)
    assert junction[0, -1] == pytest.approx(0.5 / RAY_LENGTH_STEPS)  # the wall behind the junction
    assert junction[5, GOAL + O] == 1 and junction[6, GOAL + X] == 1  # X is on the left
    np.testing.assert_allclose(junction[5:, -1], 1.5 / RAY_LENGTH_STEPS)


def test_goals_are_swapped_at_random():
    seen, scene = walk([FORWARD] * 12, swap_goals=1)
    np.testing.assert_array_equal(goals_to_the_right(seen[12]), 1 - scene.left_goal)
    assert set(scene.left_goal.tolist()) == {X, O}
    pairs = set(zip(scene.left_goal.tolist(), scene.symbol.tolist()))
    assert len(pairs) == 4  # neither tells the other


@pytest.mark.parametrize("length", [2, 5])
def test_the_corridor_may_be_shorter(length):
    _, episodes = play(Hallway(), Rememberer(), 100, corridor_length=length)
    np.testing.assert_allclose([value for value, _ in episodes], 1.0 - (length + 2) / 60)


def test_dawdlers_are_interrupted():
    reports, episodes = play(Hallway(), lambda obs: np.full(len(obs), RIGHT), 60 * 3, env_copys=2, max_step=50)
    assert episodes == [(pytest.approx(-1.0), True)] * 6
    late = [place for place, report in enumerate(reports) if report.interrupted.any()]
    assert late == [50, 100, 150]


def test_arriving_with_the_last_decision_is_no_interruption():
    _, episodes = play(Hallway(), Rememberer(), 50, max_step=14)
    assert not any(interrupted for _, interrupted in episodes)
    np.testing.assert_allclose([value for value, _ in episodes], 0.0, atol=1e-12)


def test_random_walkers_find_an_end():
    random = np.random.default_rng(0)
    _, episodes = play(Hallway(), lambda obs: random.integers(0, 3, len(obs)), 600)
    assert np.mean([interrupted for _, interrupted in episodes]) < 0.15
