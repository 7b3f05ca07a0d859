"""GymEnv against environments whose every observation is known, in every autoreset mode, in process and in workers."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import batch_space, iterate
from gymnasium.wrappers.vector import DictInfoToList

from envs.gymnasium_adapter.action_space import ActionSpace
from envs.gymnasium_adapter.build import build_gym_env
from envs.gymnasium_adapter.env import GymEnv
from envs.gymnasium_adapter.observation_space import ObservationSpace
from sac.errors import UserError
from sac.types import Action
from tests.envs.gym_runs import act, env_in_mode
from tests.envs.toys import Breaking, Course, Echo, Fragile, Masked

# some toys share their arrays on purpose, and workers that raise are told of in warnings
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
MODES = list(AutoresetMode)
for name, toy in [("Course", Course), ("Fragile", Fragile), ("Masked", Masked), ("Breaking", Breaking)]:
    gymnasium.register(f"{name}-v0", entry_point=toy)
gymnasium.register("Deprecated-v0", entry_point=lambda: gymnasium.make("Pendulum-v0"))
gymnasium.register("NoEnv-v0", entry_point=object)


def episodes(env, turns, sensor="obs"):
    """Plays and sorts everything into [agent][episode] = (observations, rewards, discount or 'lost' or None)."""
    turn = env.reset(seed=1)
    logs = [[] for _ in range(env.n_agents)]
    fresh = np.ones(env.n_agents, bool)
    for _ in range(turns):
        for row, agent in enumerate(turn.ended.agents):
            logs[agent][-1][0].append(turn.ended.obs[sensor][row].copy())
            logs[agent][-1][1].append(float(turn.ended.reward[row]))
            logs[agent][-1][2] = float(turn.ended.discount[row])
            fresh[agent] = True
        for agent in turn.lost:
            logs[agent][-1][2] = "lost"
            fresh[agent] = True
        for row, agent in enumerate(turn.agents):
            if fresh[agent]:
                logs[agent].append([[], [], None])
                fresh[agent] = False
            else:
                logs[agent][-1][1].append(float(turn.reward[row]))
            logs[agent][-1][0].append(turn.obs[sensor][row].copy())
        turn = env.step(act(env, turn))
    return logs


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_episodes_are_whole_under_every_autoreset_mode(mode, vectorization):
    env = env_in_mode("Course-v0", 2, vectorization, mode, {"salt": 7})
    try:
        logs = episodes(env, 24)
    finally:
        env.close()
    for log in logs:
        assert len(log) >= 6
        for number, (obs, reward, discount) in enumerate(log[:-1]):
            length = 2 + number % 3
            assert [list(o) for o in obs] == [[number + 7, t] for t in range(length + 1)]
            assert reward == [10 * number + t for t in range(1, length + 1)]
            assert discount == (0.0 if number % 2 == 0 else 1.0)


def test_next_step_agents_do_not_ask_while_they_are_reset():
    class Long(Course):
        def reset(self, **kwargs):
            self.episode += 1  # lengths 3, 2, 4
            return super().reset(**kwargs)

    env = GymEnv(SyncVectorEnv([Course, Long], autoreset_mode="NextStep"))
    turn, asked = env.reset(), []
    for _ in range(4):
        turn = env.step(act(env, turn))
        asked.append((list(turn.agents), list(turn.ended.agents)))
        assert turn.obs["obs"].shape == (len(turn.agents), 2) and turn.reward.shape == (len(turn.agents),)
    assert asked[:4] == [([0, 1], []), ([1], [0]), ([0], [1]), ([0, 1], [])]


def test_terminated_and_truncated_at_once_is_a_true_end():
    env = GymEnv(SyncVectorEnv([lambda: gymnasium.wrappers.TimeLimit(Course(), 2)], autoreset_mode="SameStep"))
    turn = env.reset()
    for _ in range(2):
        turn = env.step(act(env, turn))
    assert turn.ended.discount == [0.0]


def test_what_was_handed_out_never_changes():
    for vector in (
        SyncVectorEnv([Masked] * 2, copy=False, autoreset_mode="SameStep"),
        gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="vector_entry_point"),
    ):
        env = GymEnv(vector)
        turn, kept = env.reset(seed=3), []
        for _ in range(12):
            kept.append((turn, turn.obs["obs"].copy(), turn.ended.obs["obs"].copy(), turn.reward.copy()))
            turn = env.step(act(env, turn))
        for old, obs, last, reward in kept:
            np.testing.assert_array_equal(old.obs["obs"], obs)
            np.testing.assert_array_equal(old.ended.obs["obs"], last)
            np.testing.assert_array_equal(old.reward, reward)


def test_seeds_repeat_differ_between_agents_and_do_not_overlap_between_runs():
    def first(seed):
        env = build_gym_env("Pendulum-v1", 3, "sync", None)
        turn = env.reset(seed)
        later = env.step(act(env, turn)).obs["obs"]
        env.close()
        return turn.obs["obs"], later

    (a, a_later), (b, b_later), (c, _) = first(5), first(5), first(6)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(a_later, b_later)
    assert len({tuple(row) for row in np.concatenate([a, c])}) == 6


BOX = spaces.Box(np.array([[-2, 0, 1]], np.float32), np.array([[2, 1, 1]], np.float32))
ACTION_SPACES = [
    (spaces.Box(-1, 1, (2,), np.float32), 2, ()),
    (BOX, 3, ()),
    (spaces.Box(-0.1, 0.3, (), np.float64), 1, ()),
    (spaces.Box(0, 255, (2,), np.uint8), 2, ()),
    (spaces.Discrete(3, start=-1), 0, (3,)),
    (spaces.MultiDiscrete([[2, 3], [4, 1]], start=[[5, 0], [0, 0]]), 0, (2, 3, 4, 1)),
    (spaces.MultiBinary(2), 0, (2, 2)),
    (spaces.Tuple([BOX, spaces.Discrete(2), spaces.Box(0, 9, (1,))]), 4, (2,)),
    (spaces.Dict({"b": spaces.Dict({"x": spaces.Discrete(4)}), "a": spaces.Box(-3, 3, (2,))}), 2, (4,)),
]


@pytest.mark.parametrize(("space", "continuous", "branches"), ACTION_SPACES, ids=lambda x: str(x)[:30])
def test_encoded_actions_lie_in_the_space_and_reach_its_ends(space, continuous, branches):
    layout = ActionSpace(space)
    assert (layout.continuous, layout.branches) == (continuous, branches)
    highest = [n - 1 for n in branches]
    whole = Action(
        np.array([[-1], [1], [0.1]], np.float32) * np.ones(continuous, np.float32),
        np.array([[0] * len(branches), highest, highest], np.int32),
    )
    rows = list(iterate(batch_space(space, 3), layout.encode(whole)))
    assert all(space.contains(row) for row in rows)
    flat = [spaces.flatten(space, row) for row in rows]
    if not branches:
        np.testing.assert_array_equal(flat[0], space.low.ravel())
        np.testing.assert_array_equal(flat[1], space.high.ravel())
    elif not continuous and not isinstance(space, spaces.MultiBinary):
        first = np.cumsum((0, *branches[:-1]))
        np.testing.assert_array_equal(np.flatnonzero(flat[0]), first)
        np.testing.assert_array_equal(np.flatnonzero(flat[1]), first + highest)


def test_actions_reach_the_environment():
    space = ACTION_SPACES[7][0]
    env = GymEnv(SyncVectorEnv([partial(Echo, space)] * 2, autoreset_mode="SameStep"))
    env.reset()
    mine = np.array([[-1, 0, 0.5, 1], [0, 0, 0, 0]], np.float32)
    env.step(Action(mine, np.array([[1], [0]], np.int32)))
    box, choice, other = env._vector.envs[0].heard
    np.testing.assert_allclose(box, [[-2, 0.5, 1]])
    assert (choice, other) == (1, 9)


@pytest.mark.parametrize(
    "space", [spaces.Box(-np.inf, 1, (2,)), spaces.Text(3), spaces.Tuple([spaces.Graph(BOX, None)])]
)
def test_action_spaces_without_a_form_are_named(space):
    with pytest.raises(UserError, match=r"Box|Text|Graph"):
        GymEnv(SyncVectorEnv([partial(Echo, space)], autoreset_mode="SameStep"))


def test_observations_flatten_to_named_sensors():
    space = spaces.Dict(
        {
            "pos": spaces.Box(-1, 1, (2, 3), np.float64),
            "cam": spaces.Box(0, 255, (5, 6, 3), np.uint8),
            "gray": spaces.Box(0, 255, (5, 6), np.uint8),
            "atari": spaces.Box(0, 255, (4, 84, 84), np.uint8),
            "stack": spaces.Box(0, 255, (2, 8, 9, 3), np.uint8),
            "depth": spaces.Box(0, 1, (4, 4, 1), np.float32),
            "bytes": spaces.Box(0, 255, (7,), np.uint8),
            "gear": spaces.Tuple([spaces.Discrete(3, start=2), spaces.MultiDiscrete([2, 4], start=[0, 1])]),
            "bits": spaces.MultiBinary((2, 2)),
            "level": spaces.Box(0, 9, (), np.int32),
        },
        seed=4,
    )
    observations = ObservationSpace(space)
    found = {s.name: (s.shape, s.dtype) for s in observations.sensors}
    assert found == {
        "pos": ((6,), "float32"),
        "cam": ((5, 6, 3), "uint8"),
        "gray": ((5, 6, 1), "uint8"),
        "atari": ((84, 84, 4), "uint8"),
        "stack": ((8, 9, 6), "uint8"),
        "depth": ((4, 4, 1), "float32"),
        "bytes": ((7,), "uint8"),
        "gear/0": ((3,), "float32"),
        "gear/1": ((6,), "float32"),
        "bits": ((4,), "float32"),
        "level": ((1,), "float32"),
    }
    raws = [space.sample() for _ in range(5)]
    obs = observations.batch(observations.stack(raws))
    for name, (shape, dtype) in found.items():
        assert obs[name].shape == (5, *shape) and obs[name].dtype == dtype
    for i, raw in enumerate(raws):
        for name in ("pos", "gear/0", "gear/1", "bits", "level", "bytes"):
            part, kind = raw, space
            for key in name.split("/"):
                key = int(key) if key.isdigit() else key
                part, kind = part[key], kind[key]
            np.testing.assert_allclose(obs[name][i], spaces.flatten(kind, part), rtol=1e-6)
        np.testing.assert_array_equal(obs["cam"][i], raw["cam"])
        np.testing.assert_array_equal(obs["gray"][i][..., 0], raw["gray"])
        np.testing.assert_array_equal(obs["atari"][i][..., 2], raw["atari"][2])
        np.testing.assert_array_equal(obs["stack"][i][..., 3:], raw["stack"][1])


def test_plain_spaces_are_called_obs_and_strange_ones_are_refused():
    assert ObservationSpace(spaces.Discrete(4)).sensors[0].name == "obs"
    with pytest.raises(UserError, match="Text"):
        ObservationSpace(spaces.Dict({"a": spaces.Text(5)}))


@pytest.mark.parametrize("layout", ["dict", "list"])
@pytest.mark.parametrize("mode", MODES)
def test_action_masks_of_asking_and_of_ended_agents(mode, layout):
    vector = SyncVectorEnv([Masked, partial(Masked, length=3)], autoreset_mode=mode)
    env = GymEnv(DictInfoToList(vector) if layout == "list" else vector)
    turn, forbidden, at_end = env.reset(), [], []
    for _ in range(8):
        forbidden += [(int(t[0]), *np.flatnonzero(~m)) for t, m in zip(turn.obs["obs"], turn.mask)]
        at_end += [tuple(np.flatnonzero(~m)) for m in turn.ended.mask]
        assert turn.mask.shape == (len(turn.agents), 3) and turn.mask.dtype == bool
        turn = env.step(act(env, turn))
    assert set(forbidden) == {(0, 0), (1, 1), (2, 2)}
    assert set(at_end) == {(2,)} and len(at_end) > 3


@pytest.mark.parametrize(
    ("shape", "first"),
    [("tuple", [0, 1, 1, 1, 0]), ("dict", [0, 1, 1, 1, 1]), ("none", [1, 1, 1]), ("dead end", [0, 1, 1])],
)
def test_masks_shaped_like_the_action_space(shape, first):
    env = GymEnv(SyncVectorEnv([partial(Masked, shape)] * 2, autoreset_mode="SameStep"))
    turn = env.reset()
    np.testing.assert_array_equal(turn.mask, [first, first])
    turn = env.step(act(env, env.step(act(env, turn))))
    final = {"tuple": [1, 1, 0, 1, 0], "dict": [1, 1, 0, 1, 1]}.get(shape, [1, 1, 1])
    np.testing.assert_array_equal(turn.ended.mask, [final, final])
    np.testing.assert_array_equal(turn.mask, [first, first])


def test_whoever_gives_no_mask_may_do_all(caplog):
    env = GymEnv(SyncVectorEnv([Masked, partial(Masked, "none")], autoreset_mode="SameStep"))
    np.testing.assert_array_equal(env.reset().mask, [[0, 1, 1], [1, 1, 1]])
    assert not caplog.records  # saying nothing is not the same as forbidding everything


def test_a_mask_of_the_wrong_width_is_named():
    class Wrong(Masked):
        def _info(self, forbidden):
            return {"action_mask": np.ones(4, np.int8)}

    with pytest.raises(UserError, match="4 entries"):
        GymEnv(SyncVectorEnv([Wrong], autoreset_mode="SameStep")).reset()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("what", ["obs", "reward"])
def test_unusable_values_lose_the_agent_and_nobody_else(mode, what, caplog):
    wrong = [{(0, 2): what, (1, 4): what}, {}]  # in the middle of an episode, then at the end of one
    env = GymEnv(SyncVectorEnv([partial(Fragile, w) for w in wrong], autoreset_mode=mode))
    with caplog.at_level(logging.WARNING):
        broken, healthy = episodes(env, 16, sensor="time")
    assert [e[2] for e in broken[:3]] == ["lost", "lost", 0.0]
    assert [[float(o[0]) for o in e[0]] for e in broken[:3]] == [[0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4]]
    assert all(e[2] == 0.0 and len(e[0]) == 5 for e in healthy[:-1]) and len(healthy) > 2
    messages = [r.getMessage() for r in caplog.records]
    assert len(messages) == 2 and all(
        "agent 0" in m and ("'time'" if what == "obs" else "'reward'") in m for m in messages
    )


@pytest.mark.parametrize("mode", MODES)
def test_a_first_observation_may_be_unusable_too(mode, caplog):
    wrong = {(0, 0): "obs", (1, 0): "obs", (3, 0): "obs"}
    env = GymEnv(SyncVectorEnv([partial(Fragile, wrong), partial(Fragile, {})], autoreset_mode=mode))
    broken, _ = episodes(env, 13, sensor="time")
    assert [[float(o[0]) for o in e[0]] for e in broken[:2]] == [[0, 1, 2, 3, 4]] * 2
    assert [e[2] for e in broken[:2]] == [0.0, 0.0]  # two whole episodes: nothing was lost with the bad first ones
    assert len(caplog.records) == 3


def test_a_good_step_in_between_forgives():
    wrong = {(e, 2): "obs" for e in range(99)}
    env = GymEnv(SyncVectorEnv([partial(Fragile, wrong)], autoreset_mode="SameStep"))
    assert sum(e[2] == "lost" for e in episodes(env, 40, sensor="time")[0]) > 15


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("at", [0, 1, 4])
def test_ten_unusable_values_in_a_row_end_the_run(mode, at):
    wrong = {(e, t): "obs" for e in range(99) for t in ({0} if at == 0 else range(1, at + 1))}
    env = GymEnv(SyncVectorEnv([partial(Fragile, wrong)], autoreset_mode=mode))
    with pytest.raises(UserError, match="10 times"):
        episodes(env, 60, sensor="time")


def test_a_vector_form_that_cannot_reset_one_agent_says_so():
    class Native(gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="vector_entry_point").__class__):
        def step(self, action):
            obs, *rest = super().step(action)
            return obs * np.nan, *rest

    env = GymEnv(Native(num_envs=2))
    turn = env.reset(seed=1)
    with pytest.raises(UserError, match="one agent alone"):
        env.step(act(env, turn))


@pytest.mark.parametrize(
    "id_", ["Pendulum-v1", "CartPole-v1", "Acrobot-v1", "MountainCarContinuous-v0", "Taxi-v4", "CartPole"]
)
def test_environments_of_gymnasium(id_):
    env = build_gym_env(id_, 3, "sync", None)
    turn = env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(250):
        turn = env.step(act(env, turn, rng))
        assert turn.obs["obs"].shape == (3, *env.spec.sensors[0].shape) and turn.reward.dtype == np.float32
    env.close()
    env.close()


def test_rewards_equal_the_environment_stepped_by_hand():
    env, plain = build_gym_env("Pendulum-v1", 1, "sync", None), gymnasium.make("Pendulum-v1")
    turn = env.reset(seed=9)
    plain.reset()
    plain.unwrapped.state = env._vector.envs[0].unwrapped.state.copy()
    for a in (-1.0, 0.25, 1.0):
        turn = env.step(Action(np.array([[a]], np.float32), np.zeros((1, 0), np.int32)))
        obs, reward, *_ = plain.step(np.array([2 * a], np.float32))
        np.testing.assert_allclose(turn.obs["obs"][0], obs, rtol=1e-6)
        np.testing.assert_allclose(turn.reward[0], reward, rtol=1e-6)


@pytest.mark.parametrize(
    ("id_", "words"),
    [
        ("Pendulumm-v1", "Pendulum-v1"),
        ("gym:Pendulum-v7", "gym:Pendulum-v1"),
        ("no_such_package:Env-v0", "no_such_package"),
        ("qqqqqqqqqqqq", "No known id"),
    ],
)
def test_unknown_ids_name_the_nearest(id_, words):
    with pytest.raises(UserError, match=words):
        build_gym_env(id_, 1, "sync", None)


@pytest.mark.parametrize(
    ("id_", "newest"),
    [
        ("LunarLanderContinuous-v2", "LunarLanderContinuous-v3"),
        ("Pendulum-v0", "Pendulum-v1"),
        ("CartPole-v9", "CartPole-v1, or CartPole-v0"),
        ("Taxi-v3", "Taxi-v4"),  # old gym has it, and was taken without a word
        ("phys2d/CartPole-v9", "phys2d/CartPole-v1, or phys2d/CartPole-v0"),
        ("tests.envs.drawers:Drawer-v7", "tests.envs.drawers:Drawer-v0"),
    ],
)
def test_other_versions_of_an_id_are_named_and_old_gym_is_left_alone(id_, newest, monkeypatch):
    monkeypatch.setitem(sys.modules, "envs.gymnasium_adapter.old_gym", None)
    with pytest.raises(UserError, match=f"{id_}.* does not have this version; use the newest, {newest}\\. .*gym:<id>"):
        build_gym_env(id_, 1, "sync", None)


@pytest.mark.parametrize(
    ("id_", "words"),
    [
        ("HalfCheetah-v2", "gymnasium-robotics.*Use the newest version, HalfCheetah-v5"),
        ("Reacher-v2", "Use the newest version, Reacher-v5"),
        ("gym:Ant-v2", "Use the newest version, Ant-v5"),
        ("Deprecated-v0", "cannot be made: .*Pendulum-v1"),
        ("NoEnv-v0", "cannot be made: .*must inherit from the gymnasium.Env"),
    ],
)
def test_ids_that_cannot_be_made_any_more_say_what_to_take(id_, words):
    with pytest.raises(UserError, match=words):
        build_gym_env(id_, 1, "sync", None)


@pytest.mark.parametrize(
    ("id_", "module", "extra"),
    [
        ("LunarLander-v3", "Box2D", "box2d"),
        ("Hopper-v5", "mujoco", "mujoco"),
        ("AntBulletEnv-v0", "pybullet_envs_gymnasium", "bullet"),
        ("pybullet_envs_gymnasium:AntBulletEnv-v0", "pybullet_envs_gymnasium", "bullet"),
    ],
)
def test_a_missing_package_names_the_extra(id_, module, extra, monkeypatch):
    for name in [m for m in sys.modules if m.startswith(("gymnasium.envs.box2d", "gymnasium.envs.mujoco"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(UserError, match=rf'pip install -e "\.\[{extra}\]"'):
        build_gym_env(id_, 1, "sync", None)


@pytest.mark.slow
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_old_gym_environments_of_both_styles(vectorization):
    from tests.envs.old_toys import register

    register()
    for id_, sensors in (("gym:CartPole-v1", 4), ("gym:OldStyle-v0", 1)):
        env = build_gym_env(id_, 2, vectorization, None)
        turn = env.reset(seed=3)
        ended, rng = [], np.random.default_rng(0)
        for _ in range(45):
            turn = env.step(act(env, turn, rng))
            ended += list(turn.ended.discount)
        env.close()
        assert env.spec.sensors[0].shape == (sensors,) and env.spec.branches == (2,)
        assert set(ended) == ({0.0} if id_ == "gym:CartPole-v1" else {1.0})  # OldStyle ends by its time limit only


def test_ids_only_old_gym_knows_are_found_without_the_prefix():
    from tests.envs.old_toys import register

    register()
    env = build_gym_env("OldStyle-v0", 1, "sync", None)
    assert env.spec.branches == (2,)


def test_async_equals_sync():
    turns = []
    for vectorization in ("sync", "async"):
        env = build_gym_env("CartPole-v1", 2, vectorization, None)
        turn = env.reset(seed=2)
        for _ in range(40):
            turn = env.step(act(env, turn))
        env.close()
        turns.append(turn)
    np.testing.assert_array_equal(turns[0].obs["obs"], turns[1].obs["obs"])


@pytest.mark.parametrize(
    ("how", "error", "words"), [("raise", RuntimeError, "wheel"), ("die", UserError, "exit code 7")]
)
def test_broken_workers_are_reported_and_nothing_stays_behind(how, error, words):
    env = build_gym_env("Breaking-v0", 2, "async", None, env_kwargs={"how": how})
    turn = env.reset()
    turn = env.step(act(env, turn))
    with pytest.raises(error, match=words):
        env.step(act(env, turn))
    env.close()
    env.close()
    assert not multiprocessing.active_children()


@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX knows them")
def test_workers_outlive_ctrl_c_and_die_with_their_parent():
    code = (
        "import sys, time; sys.path.insert(0, '.')\n"
        "from envs.gymnasium_adapter.build import build_gym_env\n"
        "if __name__ == '__main__':\n"
        "    env = build_gym_env('Pendulum-v1', 2, 'async', None)\n"
        "    env.reset()\n"
        "    print(*[p.pid for p in env._vector.processes], flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        pids = [int(p) for p in parent.stdout.readline().split()]
        assert len(pids) == 2
        for pid in pids:
            os.kill(pid, signal.SIGINT)
        time.sleep(0.5)
        assert all(_alive(pid) for pid in pids)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(_alive(pid) for pid in pids)


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(stat) and not stat.startswith("Z")


def test_render_gives_one_picture_or_none():
    pytest.importorskip("pygame")
    env = build_gym_env("CartPole-v1", 2, "sync", None, render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    env.close()
    assert picture.ndim == 3 and picture.shape[2] == 3 and picture.dtype == np.uint8
    silent = build_gym_env("CartPole-v1", 1, "sync", None)
    silent.reset()
    assert silent.render() is None
