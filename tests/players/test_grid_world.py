"""The visual scene: rules, masks and pictures, here and over the wire in both layouts."""

import numpy as np
import pytest

from envs.players.grid_world import AGENT_RGB, FLOOR_RGB, GREEN_RGB, MOVES, PIXELS_PER_SQUARE, RED_RGB, GridWorld
from envs.players.protocol import BehaviourActions, SceneContext
from sac.types import Sensor
from tests.envs.scene_runs import pixels, play
from tests.envs.unity_runs import act, playing, turns

STAY, UP, DOWN, LEFT, RIGHT = range(5)


def places(picture):
    """{colour: (row, column)} of the squares of one picture [H, W, 3] that are not floor."""
    squares = picture[PIXELS_PER_SQUARE // 2 :: PIXELS_PER_SQUARE, PIXELS_PER_SQUARE // 2 :: PIXELS_PER_SQUARE]
    return {
        tuple(squares[place].tolist()): place for place in map(tuple, np.argwhere((squares != FLOOR_RGB).any(axis=2)))
    }


def distances(goal, avoided, size=5):
    """[size, size] moves to the goal without stepping on `avoided`."""
    far = np.full((size + 2, size + 2), np.inf)
    inside = far[1:-1, 1:-1]
    for _ in range(size**2):
        nearest = np.min([far[:-2, 1:-1], far[2:, 1:-1], far[1:-1, :-2], far[1:-1, 2:]], axis=0)
        inside[:] = np.minimum(inside, nearest + 1)
        inside[goal], inside[avoided] = 0, np.inf
    return inside


def best_move(picture):
    found = places(picture)
    far = np.pad(
        distances(found[GREEN_RGB], found[RED_RGB], len(picture) // PIXELS_PER_SQUARE), 1, constant_values=np.inf
    )
    return int(np.argmin([far[tuple(np.add(found[AGENT_RGB], move) + 1)] for move in MOVES]))


def shortest_way(files):
    return [best_move(picture) for picture in pixels(files)]


def step(game, scene, *choices):
    return game.send({scene.name: BehaviourActions(np.zeros((len(choices), 0)), np.array(choices)[:, None])})[0]


def test_the_shortest_way_earns_the_best_return():
    reports, episodes = play(GridWorld(), shortest_way, 60)
    wanted, best = [], {}
    for report in reports:
        for agent, found, done in zip(report.ids, map(places, pixels(report.obs[0])), report.done):
            if done:
                wanted.append(best.pop(agent))
            elif agent not in best:
                best[agent] = 1.0 - 0.01 * distances(found[GREEN_RGB], found[RED_RGB])[found[AGENT_RGB]]
    assert len(wanted) > 200
    np.testing.assert_allclose([value for value, _ in episodes], wanted)


def test_each_move_goes_its_way():
    scene = GridWorld()
    game = scene.play(SceneContext(parameters={"env_copys": 5}))
    next(game)
    scene.squares[:] = [12, 0, 24]
    report = step(game, scene, STAY, UP, DOWN, LEFT, RIGHT)
    found = [places(picture)[AGENT_RGB] for picture in pixels(report.obs[0])]
    assert found == [(2, 2), (1, 2), (3, 2), (2, 1), (2, 3)]
    np.testing.assert_allclose(report.reward, -0.01)


@pytest.mark.parametrize("square, worth", [(11, 1.0), (13, -1.0)])
def test_green_and_red_end_the_episode(square, worth):
    scene = GridWorld()
    game = scene.play(SceneContext(parameters={"env_copys": 2}))
    next(game)
    scene.squares[:] = [[12, 11, 13], [0, 11, 13]]
    report = step(game, scene, LEFT if square == 11 else RIGHT, STAY)
    assert report.ids.tolist() == [0, 0, 1] and report.done.tolist() == [True, False, False]
    assert not report.interrupted.any()
    np.testing.assert_allclose(report.reward, [worth - 0.01, 0.0, -0.01])
    last = places(pixels(report.obs[0])[0])
    assert last[AGENT_RGB] == divmod(square, 5) and len(last) == 2  # it stands on the goal


def test_new_episodes_have_three_different_squares_anywhere():
    scene = GridWorld()
    next(scene.play(SceneContext(seed=2, parameters={"env_copys": 2000})))
    assert all(len(set(squares)) == 3 for squares in scene.squares.tolist())
    counts = np.stack([np.bincount(column, minlength=25) for column in scene.squares.T])
    assert counts.min() > 40 and counts.max() < 125  # 80 +- 9


def test_masks_forbid_walls_and_nothing_else():
    random = np.random.default_rng(0)
    reports, _ = play(GridWorld(), lambda files: random.integers(0, 5, len(files)), 40, env_copys=8)
    corners = set()
    for report in reports:
        assert report.mask.shape == (len(report.ids), 5)
        for picture, mask, done in zip(pixels(report.obs[0]), report.mask, report.done):
            row, column = places(picture)[AGENT_RGB]
            if not done:
                assert mask.tolist() == [False, row == 0, row == 4, column == 0, column == 4]
                corners.add(int(mask.sum()))
    assert corners == {0, 1, 2}


def test_walls_hold_also_against_forbidden_moves():
    scene = GridWorld()
    game = scene.play(SceneContext(parameters={"env_copys": 4}))
    next(game)
    scene.squares[:] = [[0, 12, 13], [24, 12, 13], [5, 12, 13], [9, 12, 13]]
    step(game, scene, UP, DOWN, LEFT, RIGHT)
    assert scene.squares[:, 0].tolist() == [0, 24, 5, 9]


def test_idlers_are_interrupted_after_100_decisions():
    reports, episodes = play(GridWorld(), lambda files: np.zeros(len(files)), 250, env_copys=2)
    assert [place for place, report in enumerate(reports) if report.interrupted.any()] == [100, 200]
    assert episodes == [(pytest.approx(-1.0), True)] * 4


@pytest.mark.parametrize("size", [3, 7])
def test_other_sizes(size):
    reports, episodes = play(GridWorld(), shortest_way, 40, grid_size=size, env_copys=4)
    assert reports[0].behaviour.sensors[0].shape == (3, size * PIXELS_PER_SQUARE, size * PIXELS_PER_SQUARE)
    assert len(episodes) > 10 and min(value for value, _ in episodes) > 0.8


def test_both_layouts_arrive_as_the_same_pictures():
    seen = []
    for channels_first in (0, 1):
        with playing("grid_world", n_agents=4, seed=3, no_graphics=False, channels_first=channels_first) as env:
            assert env.spec.sensors == (Sensor("CameraSensor", (20, 20, 3), "uint8"),)
            assert (env.spec.continuous, env.spec.branches) == (0, (5,))
            turn = env.reset()
            wire = env._connection.infos["GridWorld"][0].observations[0].shape
            assert tuple(wire) == ((3, 20, 20) if channels_first else (20, 20, 3))
            seen.append(turn.obs["CameraSensor"])
            assert [len(places(picture)) for picture in seen[-1]] == [3] * 4
            again = act(env, turn)
            np.testing.assert_array_equal(again.obs["CameraSensor"], turn.obs["CameraSensor"])  # all stay
            for picture, legal in zip(again.obs["CameraSensor"], again.mask):
                row, column = places(picture)[AGENT_RGB]
                assert legal.tolist() == [True, row > 0, row < 4, column > 0, column < 4]
    np.testing.assert_array_equal(*seen)


def test_the_filmed_rollers_layouts_arrive_as_the_same_pictures():
    seen = []
    for channels_first in (0, 1):
        parameters = {"camera": 1, "channels_first": channels_first}
        with playing("roller", n_agents=3, seed=3, no_graphics=False, **parameters) as env:
            assert [sensor.shape for sensor in env.spec.sensors] == [(2,), (24, 24, 3)]
            seen.append(turns(env, 1)[-1].obs["CameraSensor"])
            wire = env._connection.infos["RollerBall"][0].observations[1].shape
            assert tuple(wire) == ((3, 24, 24) if channels_first else (24, 24, 3))
    np.testing.assert_array_equal(*seen)
