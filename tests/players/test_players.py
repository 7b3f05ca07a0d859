"""The stand-in players' scenes, simulated here without a wire, and their half of the protocol."""

import itertools
import struct

import numpy as np
import pytest

from envs.players import messages, protocol
from envs.players.ball3d import Ball3D
from envs.players.protocol import BehaviourActions, SceneContext
from envs.players.roller import (
    PIXEL_CENTRES_METRES,
    PLANE_HALF_EDGE_METRES,
    SPHERE,
    TARGET,
    TARGET_DISTANCE_METRES,
    Roller,
    draw_top_view,
)
from envs.unity_adapter import mlagents
from tests.envs.scene_runs import pixels, play


def seek(obs):
    """Rolls to the target, braking."""
    return np.clip(obs[:, [0, 2]] - obs[:, [3, 5]] - 0.7 * obs[:, 6:8], -1, 1)


def balance(obs):
    tilt_z = 0.6 * obs[:, 2] + 0.5 * obs[:, 5] - 4 * obs[:, 0]
    tilt_x = -(0.6 * obs[:, 4] + 0.5 * obs[:, 7]) - 4 * obs[:, 1]
    return np.stack([tilt_z, tilt_x], axis=1)


def idle(obs):
    return np.zeros((len(obs), 2))


def test_roller_can_be_solved():
    _, episodes = play(Roller(), seek, 1000, env_copys=8)
    assert len(episodes) > 300
    assert np.mean([value for value, _ in episodes]) == 1.0


def test_roller_ends_at_the_target_or_beyond_the_edge():
    reports, _ = play(Roller(), lambda obs: np.ones((len(obs), 2)), 400, env_copys=8)
    for report in reports:
        for obs, reward in zip(report.obs[0][report.done], report.reward[report.done]):
            distance = np.linalg.norm(obs[:3] - obs[3:6])
            if reward == 1.0:
                assert distance < TARGET_DISTANCE_METRES
            else:
                assert reward == 0.0 and obs[4] < 0.0 and np.abs(obs[[3, 5]]).max() > PLANE_HALF_EDGE_METRES


def test_roller_stays_after_a_success_and_returns_to_the_centre_after_a_fall():
    reports, _ = play(Roller(), lambda obs: np.ones((len(obs), 2)), 300, env_copys=1)
    seen = set()
    for before, after in itertools.pairwise(reports):
        if not before.done[0] or after.done[0] or len(before.ids) > 1:
            continue
        moved = np.linalg.norm(after.obs[0][0, 3:6] - before.obs[0][0, 3:6])
        if before.reward[0] == 1.0:
            assert moved < 2.5  # rolls on
        else:
            assert after.obs[0][0, 3:].tolist() == [0, 0.5, 0, 0, 0]
        seen.add(float(before.reward[0]))
    assert seen == {0.0, 1.0}


def test_an_idle_roller_is_interrupted_after_max_step():
    reports, episodes = play(Roller(), idle, 400, env_copys=3)
    assert (0.0, True) in episodes
    late = next(place for place, report in enumerate(reports) if report.interrupted.any())
    assert reports[late].done[reports[late].interrupted].all()
    assert sum(not report.done.all() for report in reports[:late]) == 100  # decisions in 1000 steps


def test_most_endings_fall_between_decisions():
    reports, _ = play(Roller(), lambda obs: np.random.default_rng(0).uniform(-1, 1, (len(obs), 2)), 1000, env_copys=10)
    empty = np.mean([report.done.all() for report in reports])
    assert 0.2 < empty < 0.6


@pytest.mark.parametrize("relative, hidden, width", [(0, 0, 8), (0, 1, 6), (1, 0, 6), (1, 1, 4)])
def test_roller_observations(relative, hidden, width):
    scene = Roller()
    world = SceneContext(seed=3, parameters={"relative_observation": relative, "hide_velocity": hidden})
    report = next(scene.play(world))[0]
    assert report.behaviour.sensors[0].shape == (width,)
    obs = report.obs[0][0]
    assert obs.shape == (width,)
    target = obs[:2] if relative else obs[[0, 2]]  # the sphere is at the centre
    assert np.abs(target).max() <= 4.0
    np.testing.assert_allclose(target, scene.target[0, ::2])


def test_the_seed_decides():
    first, second, other = (
        next(Roller().play(SceneContext(seed=seed, parameters={"env_copys": 4})))[0].obs[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_the_rollers_camera_shows_target_and_sphere_where_they_are():
    target, sphere = np.array([[-3.1, 0.5, 2.2], [4.0, 0.5, -4.0]]), np.array([[1.7, 0.5, -0.6], [-5.4, 0.5, 0.0]])
    picture = draw_top_view(target, sphere)
    assert picture.shape == (2, 24, 24, 3) and picture.dtype == np.uint8
    for place, colour in ((target, TARGET), (sphere, SPHERE)):
        distance = np.abs(picture.astype(int) - colour).sum(axis=3).reshape(2, -1)
        row, column = np.divmod(distance.argmin(axis=1), 24)
        np.testing.assert_allclose(PIXEL_CENTRES_METRES[column], place[:, 0], atol=0.5)
        np.testing.assert_allclose(PIXEL_CENTRES_METRES[::-1][row], place[:, 2], atol=0.5)  # z points up


def test_the_rollers_camera_shows_less_than_a_pixel():
    """A tenth of a metre, a fifth of a pixel, changes the picture."""
    target, sphere = np.array([[3.0, 0.5, 3.0]]), np.array([[0.0, 0.5, 0.0]])
    assert (draw_top_view(target, sphere) != draw_top_view(target, sphere + [0.1, 0.0, 0.0])).any()


@pytest.mark.parametrize("hidden, names", [(0, ["VectorSensor_size2", "CameraSensor"]), (1, ["CameraSensor"])])
def test_a_filmed_roller_sends_a_picture_and_its_velocity(hidden, names):
    scene = Roller()
    game = scene.play(SceneContext(seed=3, parameters={"camera": 1, "hide_velocity": hidden, "env_copys": 2}))
    report = next(game)[0]
    assert [sensor.name for sensor in report.behaviour.sensors] == names
    for _ in range(3):
        if not hidden:
            np.testing.assert_array_equal(report.obs[0], scene.velocity[:, ::2])
        np.testing.assert_array_equal(pixels(report.obs[-1]), draw_top_view(scene.target, scene.position))
        report = game.send({scene.name: BehaviourActions(np.ones((2, 2)), np.zeros((2, 0), int))})[0]
    assert (scene.velocity[:, ::2] > 0.0).all()


def test_a_filmed_roller_ends_with_its_last_picture():
    """The same game as without a camera: its last numbers, drawn."""

    def ahead(obs):
        return np.ones((len(obs), 2))

    reports, episodes = play(Roller(), ahead, 100, env_copys=4, camera=1)
    blind, same = play(Roller(), ahead, 100, env_copys=4)
    assert episodes == same and len(same) > 5
    for filmed, numbers in zip(reports, blind):
        drawn = draw_top_view(numbers.obs[0][:, :3], numbers.obs[0][:, 3:6])
        np.testing.assert_array_equal(pixels(filmed.obs[1]), drawn)


def test_ball3d_can_be_solved_with_a_return_of_100():
    reports, episodes = play(Ball3D(), balance, 1100)
    assert len(reports[0].ids) == 12  # without env_copys: the scene's own number
    best = max(episodes)
    assert best[0] == pytest.approx(100.0) and best[1]


def test_the_hard_ball3d_hides_the_velocity_of_the_same_game():
    easy, hard = (play(Ball3D(), idle, 60, hide_velocity=hidden)[0] for hidden in (0, 1))
    assert hard[0].behaviour.sensors[0].shape == (5,)
    for report, other in zip(easy, hard):
        np.testing.assert_array_equal(report.obs[0][:, :5], other.obs[0])


def test_ball3d_drops_without_control():
    _, episodes = play(Ball3D(), idle, 300)
    assert len(episodes) > 30
    for value, interrupted in episodes:
        assert not interrupted
        assert value == pytest.approx(round((value + 1) * 10) / 10 - 1)  # 0.1 a decision, -1 at the end


def test_ball3d_head_tilts_no_further_than_its_limit():
    scene = Ball3D()
    play(scene, lambda obs: np.ones((len(obs), 2)), 200, env_copys=4)
    np.testing.assert_allclose(np.linalg.norm(scene.rotation, axis=1), 1.0, atol=1e-6)
    assert np.abs(scene.rotation[:, [1, 3]]).max() < 0.27


def test_the_table_of_messages_agrees_with_the_wheel():
    """Every field of ours has the number, kind and plurality of mlagents_envs' own descriptor."""
    pool = mlagents.UnityMessageProto.DESCRIPTOR.file.pool
    for name in messages.MESSAGE_FIELDS:
        full = f"{messages.PACKAGE}.{name}"
        full = f"{messages.PACKAGE}.ObservationProto.FloatData" if name == "FloatData" else full
        if name.startswith("List"):
            parent = {"ListAgentInfoProto": "UnityRLOutputProto", "ListAgentActionProto": "UnityRLInputProto"}[name]
            full = f"{messages.PACKAGE}.{parent}.{name}"
        theirs = pool.FindMessageTypeByName(full)
        for field in messages._classes[name].DESCRIPTOR.fields:
            other = theirs.fields_by_name[field.name]
            assert (field.number, field.is_repeated) == (other.number, other.is_repeated), (name, field.name)
            enum_as_int = other.type == other.TYPE_ENUM and field.type == field.TYPE_INT32
            assert enum_as_int or field.type == other.type, (name, field.name)


def test_side_channels_are_read_in_order_and_unknown_ones_skipped():
    def message(channel, payload):
        return channel + struct.pack("<i", len(payload)) + payload

    data = message(b"?" * 16, b"anything")
    data += message(protocol.PARAMETERS_CHANNEL, struct.pack("<i3sif", 3, b"abc", 0, 2.5))
    data += message(protocol.PARAMETERS_CHANNEL, struct.pack("<i1siiiff", 1, b"s", 1, 7, 0, 0.0, 1.0))  # a sampler
    data += message(protocol.ENGINE_CHANNEL, struct.pack("<if", protocol.TIME_SCALE_SETTING, 20.0))
    data += message(protocol.ENGINE_CHANNEL, struct.pack("<ii", 4, 60))
    world = SceneContext()
    protocol.read_side_channels(data, world)
    assert set(world.parameters) == {"abc", "s"} and world.value("abc", 0.0) == 2.5
    drawn = [world.value("s", 9.0) for _ in range(50)]
    assert 0 <= min(drawn) < max(drawn) <= 1 and len(set(drawn)) == 50  # a sampler draws at every call
    assert world.engine == {protocol.TIME_SCALE_SETTING: 20.0, 4: 60}
