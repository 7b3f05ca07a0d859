"""The Unity adapter against real players over real gRPC: what a scene may do, turn by turn."""

import logging

import numpy as np
import pytest

from envs.players import zoo
from envs.unity_adapter import agents
from envs.unity_adapter.env import UnityEnv
from sac.errors import UserError
from sac.types import Action, Sensor
from tests.envs.unity_runs import PORT, act, playing, turns


def test_the_spec_is_known_after_construction():
    with playing("roller", n_agents=3) as env:
        assert env.spec.sensors == (Sensor("VectorSensor_size8", (8,)),)
        assert (env.spec.continuous, env.spec.branches, env.n_agents) == (2, (), 3)
        assert env.render() is None


@pytest.mark.parametrize(
    "player, agents", [("roller", 1), ("roller", 16), ("ball3d", 12), ("hallway", 16), ("grid_world", 16)]
)
def test_scenes_run_with_random_actions(player, agents):
    random = np.random.default_rng(0)
    with playing(player, n_agents=agents, no_graphics=False) as env:
        turn, endings = env.reset(), 0
        spec = env.spec
        assert turn.agents.tolist() == list(range(agents))
        for _ in range(150):
            assert all(np.isfinite(data).all() for data in turn.obs.values())
            assert turn.mask.shape == (len(turn.agents), spec.choices)
            endings += len(turn.ended.agents)
            continuous = random.uniform(-1, 1, (len(turn.agents), spec.continuous)).astype(np.float32)
            discrete = random.integers(0, spec.branches, (len(turn.agents), len(spec.branches)), np.int32)
            turn = env.step(Action(continuous, discrete))
    assert endings > 0


def test_an_ending_and_a_request_of_one_agent_come_in_one_turn():
    """The zoo's agents end every 5 ticks and ask again in the same exchange."""
    with playing(n_agents=2) as env:
        played = turns(env, 5)
    last = played[5]
    assert last.agents.tolist() == [0, 1] and last.ended.agents.tolist() == [0, 1]
    assert last.ended.obs["State"][:, 2].tolist() == [5, 5]  # of the old episode
    assert last.obs["State"][:, 2].tolist() == [0, 0]  # of the new one
    assert last.ended.discount.tolist() == [0.0, 1.0]  # odd ids end by interruption
    assert last.ended.mask.all() and last.ended.mask.shape == (2, 5)


def test_rewards_include_the_groups():
    with playing() as env:
        played = turns(env, 5)
    assert played[1].reward.tolist() == [1.5, 1.5]
    assert played[5].ended.reward.tolist() == [1.5, 1.5]


def test_masks_say_what_is_legal():
    with playing() as env:
        played = turns(env, 3)
    for tick, turn in enumerate(played):
        np.testing.assert_array_equal(turn.mask, [~zoo.forbidden(tick)] * 2)


def test_subsets_in_any_order_get_their_own_actions():
    """Each agent receives what was meant for it, whoever asks and in whatever order."""
    with playing(n_agents=4, phases=1, shuffle=1, episode=7) as env:
        turn, meant, subsets = env.reset(), {}, set()
        for count in range(30):
            for row, agent in enumerate(turn.agents.tolist()):
                unity_id = turn.obs["State"][row, 0]
                if unity_id in meant:
                    np.testing.assert_allclose(turn.obs["State_2"][row], meant[unity_id], atol=1e-6)
                meant[unity_id] = [unity_id / 8, -count / 32, count % 3, agent % 2]
            subsets.add(tuple(turn.agents.tolist()))
            wanted = np.array([meant[unity_id] for unity_id in turn.obs["State"][:, 0]]).reshape(-1, 4)
            turn = env.step(Action(wanted[:, :2].astype(np.float32), wanted[:, 2:].astype(np.int32)))
    assert len(subsets) >= 4


def test_exchanges_without_requests_are_stepped_without_actions():
    with playing("roller", n_agents=6, seed=2) as env:
        turn, empty, ended = env.reset(), 0, 0
        for _ in range(300):
            turn = act(env, turn, 1.0)
            empty += len(turn.agents) == 0
            ended += len(turn.ended.agents)
            assert all(data.shape[0] == len(turn.agents) for data in turn.obs.values())
    assert empty > 10 and ended > empty


def test_a_reset_drops_open_episodes():
    with playing(n_agents=2) as env:
        played = turns(env, 3)
        assert played[3].obs["State"][0, 2] == 3
        again = env.reset()
        assert again.obs["State"][:, 1:].tolist() == [[0, 0], [0, 0]]
        assert not len(again.ended.agents) and not len(again.lost)
        assert again.agents.tolist() == [0, 1]


def test_endings_without_an_open_episode_are_dropped():
    """After a success the target may land on the sphere: it ends again before it ever asked."""
    with playing("roller", n_agents=16, seed=1, decision_period=50) as env:
        turn, is_open = env.reset(), set()
        for _ in range(300):
            assert set(turn.ended.agents.tolist()) <= is_open
            is_open -= set(turn.ended.agents.tolist())
            is_open |= set(turn.agents.tolist())
            turn = act(env, turn, 0.7)


def test_new_ids_each_episode_keep_their_number_of_streams():
    with playing(n_agents=3, fresh_ids=1) as env:
        played = turns(env, 40)
        assert env.n_agents == 3
    assert {agent for turn in played for agent in turn.agents.tolist()} == {0, 1, 2}


def test_an_agent_that_vanishes_is_lost(monkeypatch):
    monkeypatch.setattr(agents, "VANISHED_AFTER_TURNS", 150)
    with playing(n_agents=3, vanish=7) as env:
        played = turns(env, 320)
    lost = [agent for turn in played for agent in turn.lost.tolist()]
    assert lost == [2]


def test_other_behaviours_appear_late_and_act_with_zeros(caplog):
    with playing(bystanders=4) as env, caplog.at_level(logging.WARNING):
        played = turns(env, 12)
        stats = env.take_stats()
        assert stats["bystander_action"] == 0.0 and stats["bystander_count"] == 2.0
        assert env.stats == {}
    assert all(turn.agents.tolist() == [0, 1] for turn in played)
    warnings = [record.message for record in caplog.records if "Bystander" in record.message]
    assert len(warnings) == 1 and "only the behaviour Zoo is trained" in warnings[0]


def test_parameters_time_scale_and_seed_reach_the_scene():
    with playing(n_agents=2, seed=11, nonsense=2.5) as env:
        stats = env.take_stats()
        assert stats["parameter/nonsense"] == 2.5 and stats["parameter/env_copys"] == 2.0
        assert stats["time_scale"] == 20.0 and stats["seed"] == 11.0
        env.reset()  # the constructor's
        env.reset_parameters["nonsense"] = 3.5
        env.reset()
        assert env.take_stats()["parameter/nonsense"] == 3.5


@pytest.mark.slow
def test_equal_seeds_give_equal_scenes():
    first = []
    for seed in (4, 4, 5):
        with playing("roller", n_agents=4, seed=seed) as env:
            first.append(env.reset().obs["VectorSensor_size8"])
    np.testing.assert_array_equal(first[0], first[1])
    assert not np.array_equal(first[0], first[2])


def test_roller_variants():
    with playing("roller", relative_observation=1, hide_velocity=1) as env:
        assert env.spec.sensors[0].shape == (4,)


def test_messages_above_four_mebibytes_pass():
    with playing(n_agents=1, large=1_500_000) as env:
        turn = act(env, env.reset())
        assert turn.obs["Large"].shape == (1, 1_500_000)
        assert (turn.obs["Large"] == 0.5).all()


@pytest.mark.parametrize("channels_first", [0, 1])
@pytest.mark.parametrize("bare", [0, 1])
def test_pictures_arrive_as_they_were_drawn(channels_first, bare):
    """PNG of one, two, three and six channels and raw floats, in both layouts, with and without descriptions."""
    with playing(n_agents=2, pictures=1, channels_first=channels_first, bare=bare) as env:
        played = turns(env, 5)
        for name, channels in zoo.PICTURE_CHANNELS.items():
            assert Sensor(name, (zoo.PICTURE_HEIGHT, zoo.PICTURE_WIDTH, channels), "uint8") in env.spec.sensors
    for tick, turn in enumerate(played):
        for name, channels in zoo.PICTURE_CHANNELS.items():
            wanted = np.stack([zoo.picture(agent, tick, channels) for agent in (0, 1)])
            np.testing.assert_array_equal(turn.obs[name], wanted, err_msg=f"{name}, tick {tick}")
            assert turn.obs[name].dtype == np.uint8
    assert played[5].ended.obs["GridStack"].shape == (2, zoo.PICTURE_HEIGHT, zoo.PICTURE_WIDTH, 6)


def test_a_camera_without_graphics_is_refused():
    with pytest.raises(UserError, match=r"no_graphics=true.*CameraSensor"), playing(pictures=1, camera=1):
        pass


def test_a_camera_with_graphics_is_fine():
    parameters = {"pictures": 1, "camera": 1}
    env = UnityEnv("player:zoo", port=PORT, no_graphics=False, reset_parameters=parameters)
    env.close()
    env.close()  # twice is allowed
    assert "CameraSensor" in {sensor.name for sensor in env.spec.sensors}
