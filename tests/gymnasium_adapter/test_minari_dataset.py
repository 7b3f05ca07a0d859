"""Minari datasets, made here by playing, against what was played."""

from __future__ import annotations

import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from test_gymnasium import ACTION_SPACES

from envs.gymnasium_adapter.action_space import ActionSpace
from envs.gymnasium_adapter.build import build_gym_env
from envs.gymnasium_adapter.env import GymEnv
from envs.gymnasium_adapter.minari_dataset import MAX_ABS_ACTION, MinariEpisodes
from envs.gymnasium_adapter.reading import Reading
from envs.joint_branches import JointBranches
from sac.errors import UserError
from sac.replay import Replay, Uniform
from sac.types import Action, Sensor, Spec, Step
from tests.envs.recorded import Recorded, play, write
from tests.envs.space_toys import Legal
from tests.envs.toys import Echo

pytest.importorskip("minari")
CARTPOLE = Spec((Sensor("obs", (4,)),), branches=(2,))


@pytest.fixture(autouse=True)
def datasets(monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))


def joined(steps) -> Step:
    """All rows as one Step."""
    steps = list(steps)
    obs = {name: np.concatenate([s.obs[name] for s in steps]) for name in steps[0].obs}
    rest = {name: np.concatenate([getattr(s, name) for s in steps]) for name in Step._fields if name != "obs"}
    return Step(obs=obs, **rest)


def cart_pole(episodes=8, limit=12):
    env = gymnasium.make("CartPole-v1", max_episode_steps=limit)
    played = play(env, episodes)
    write("cartpole/short-v0", env, played)
    ends = [e.terminations[-1] for e in played]
    assert 0 < sum(ends) < len(ends), "both kinds of ending"
    return played


def test_every_row_is_what_was_played():
    played = cart_pole()
    episodes = MinariEpisodes("cartpole/short-v0", CARTPOLE)
    rows, at = joined(episodes.steps(10_000)), 0
    assert len(rows.last) == len(episodes)
    for one in played:
        n = len(one.rewards)
        part = slice(at, at + n)
        np.testing.assert_array_equal(rows.obs["obs"][at : at + n + 1], np.array(one.observations, np.float32))
        np.testing.assert_array_equal(rows.discrete[part, 0], one.actions)
        np.testing.assert_array_equal(rows.reward[part], one.rewards)
        np.testing.assert_array_equal(rows.discount[part], [1.0] * (n - 1) + [1.0 - one.terminations[-1]])
        assert not rows.last[part].any() and rows.last[at + n]
        assert rows.reward[at + n] == 0 and rows.discount[at + n] == 1
        at += n + 1
    assert at == len(rows.last) and rows.mask.shape == (at, 2) and rows.mask.all()
    assert (rows.state.shape, rows.raw_action.shape) == ((at, 0), (at, 0)) and not rows.log_prob.any()


def test_boxes_are_kept_as_before_the_squash():
    env = gymnasium.make("Pendulum-v1", max_episode_steps=5)
    played = play(env, 3)
    played[0].actions[1] = np.array([2.0], np.float32)  # at the bound, and what a careless policy recorded beyond it
    played[0].actions[2] = np.array([-2.5], np.float32)
    write("pendulum/short-v0", env, played)
    here = build_gym_env("Pendulum-v1")
    rows = joined(MinariEpisodes("pendulum/short-v0", here.spec, here.action_bounds).steps(100))
    actions = np.concatenate([[*e.actions, [0]] for e in played])
    np.testing.assert_allclose(
        np.tanh(rows.raw_action), np.clip(actions / 2, -MAX_ABS_ACTION, MAX_ABS_ACTION), atol=1e-6
    )
    assert np.isfinite(rows.raw_action).all() and np.abs(rows.raw_action).max() > 7
    assert rows.raw_action.dtype == np.float32 and (rows.discount == 1).all(), "time limits are no deaths"


def test_dicts_and_mixed_actions_have_the_adapters_names_and_layout():
    action = spaces.Dict({"b": spaces.Tuple([spaces.Discrete(3, start=-1), spaces.Box(-3, 1, (2,))])})
    inner = spaces.Dict({"n": spaces.Discrete(4), "i": spaces.Box(0, 255, (3, 4, 3), np.uint8)})
    seen = {"p": spaces.Box(-1, 1, (2,)), "q": inner}
    toy = TimeLimit(Echo(action, spaces.Dict(seen)), 3)
    played = play(toy, 2)
    write("toy/mixed-v0", toy, played)
    here = GymEnv(SyncVectorEnv([lambda: toy] * 1, autoreset_mode="SameStep"))
    rows = joined(MinariEpisodes("toy/mixed-v0", here.spec, here.action_bounds).steps(100))
    assert {s.name for s in here.spec.sensors} == set(rows.obs) == {"p", "q/n", "q/i"}
    np.testing.assert_array_equal(rows.obs["q/i"][:4], [o["q"]["i"] for o in played[0].observations])
    np.testing.assert_array_equal(rows.obs["q/n"][:4].argmax(1), [o["q"]["n"] for o in played[0].observations])
    acts = ~rows.last
    decoded = ActionSpace(action).encode(Action(np.tanh(rows.raw_action[acts]), rows.discrete[acts]))
    flat = [a for e in played for a in e.actions]
    np.testing.assert_array_equal(decoded["b"][0], [a["b"][0] for a in flat])
    np.testing.assert_allclose(decoded["b"][1], [a["b"][1] for a in flat], atol=1e-5)


def test_branches_that_are_joined_here_are_joined_there():
    toy = TimeLimit(Echo(spaces.MultiDiscrete([3, 2])), 4)
    played = play(toy, 2)
    write("toy/branches-v0", toy, played)
    here = JointBranches(GymEnv(SyncVectorEnv([lambda: toy], autoreset_mode="SameStep")))
    rows = joined(MinariEpisodes("toy/branches-v0", here.spec, here.action_bounds).steps(100))
    assert rows.mask.shape == (10, 6)
    np.testing.assert_array_equal(rows.discrete[~rows.last, 0], [2 * a + b for e in played for a, b in e.actions])


@pytest.mark.parametrize(("space", "continuous", "branches"), ACTION_SPACES, ids=lambda x: str(x)[:30])
def test_decoding_undoes_encoding(space, continuous, branches):
    layout, rng = ActionSpace(space), np.random.default_rng(1)
    action = Action(
        rng.uniform(-1, 1, (5, continuous)).astype(np.float32),
        np.stack([rng.integers(0, n, 5) for n in branches], 1).astype(np.int32) if branches else np.zeros((5, 0), "i4"),
    )
    back = layout.decode(layout.encode(action), 5)
    low, high = layout.bounds
    one_value = low == high  # nothing to decode there
    np.testing.assert_allclose(back.continuous[:, ~one_value], action.continuous[:, ~one_value], atol=0.005)
    assert not back.continuous[:, one_value].any()
    np.testing.assert_array_equal(back.discrete, action.discrete)
    assert back.discrete.dtype == np.int32


@pytest.mark.parametrize("capacity", [1000, 40, 7])
def test_no_window_crosses_an_episode_and_the_newest_rows_stay(capacity):
    played = cart_pole()
    replay = Replay(CARTPOLE, 0, Uniform(capacity), steps=3)
    for step in MinariEpisodes("cartpole/short-v0", CARTPOLE).steps(capacity):
        replay.add_foreign(step)
    assert replay.close_open_streams() == 0 and not replay.log_prob_known
    total = sum(len(e.rewards) + 1 for e in played)
    assert len(replay) == min(capacity, total)
    newest = np.concatenate([e.observations for e in played])[-capacity:]
    np.testing.assert_array_equal(joined(replay.stored()).obs["obs"], newest)
    of_episode = {}
    for number, one in enumerate(played):
        for t, o in enumerate(one.observations):
            of_episode[np.array(o, np.float32).tobytes()] = number, t, len(one.rewards)
    legal = replay.legal
    if capacity > total:
        assert len(legal) == sum(len(e.rewards) for e in played), "every action of every episode is trained"
    batch = replay.windows(legal, np.ones(len(legal), np.float32))
    for window, valid in zip(batch.obs["obs"], batch.valid):
        where = [of_episode[o.tobytes()] for o in window]
        number, first, length = where[0]
        assert where == [(number, min(first + i, length), length) for i in range(4)]
        assert valid.tolist() == [float(first + i < length) for i in range(3)]


def test_what_is_recorded_beyond_an_end_is_an_episode_of_its_own():
    env = gymnasium.make("CartPole-v1", max_episode_steps=12)
    one = play(env, 1, seed=3)[0]
    n = len(one.rewards)
    one.terminations[3], one.truncations[6] = True, True
    write("cartpole/odd-v0", env, [one])
    rows = joined(MinariEpisodes("cartpole/odd-v0", CARTPOLE).steps(100))
    obs = [0, 1, 2, 3, 4, 4, 5, 6, 7, *range(7, n + 1)]
    np.testing.assert_array_equal(rows.obs["obs"], np.array(one.observations, np.float32)[obs])
    assert np.flatnonzero(rows.last).tolist() == [4, 8, n + 2]
    true_ends = [3] + [n + 1] * one.terminations[-1]
    assert np.flatnonzero(rows.discount == 0).tolist() == true_ends
    replay = Replay(CARTPOLE, 0, Uniform(100), steps=2)
    replay.add(rows)
    assert len(replay.legal) == n


def test_unusable_episodes_are_left_out_with_a_word(caplog):
    env = gymnasium.make("CartPole-v1", max_episode_steps=6)
    played = play(env, 3)
    played[0].observations[2] = np.full(4, np.nan, np.float32)
    played[1].rewards[1] = np.inf
    write("cartpole/spoilt-v0", env, played)
    rows = joined(MinariEpisodes("cartpole/spoilt-v0", CARTPOLE).steps(100))
    np.testing.assert_array_equal(rows.obs["obs"], np.array(played[2].observations, np.float32))
    assert "2 episodes with a NaN" in caplog.text


@pytest.mark.parametrize(
    ("spec", "bounds", "words"),
    [
        (Spec((Sensor("obs", (3,)),), branches=(2,)), None, r"sensor 'obs': expected shape \(3,\).*found shape \(4,\)"),
        (Spec((Sensor("eye", (4,)),), branches=(2,)), None, "sensor 'eye': expected .*found none"),
        (Spec((), branches=(2,)), None, "sensor 'obs': expected no such sensor, found"),
        (Spec(CARTPOLE.sensors, branches=(3,)), None, r"branches: expected \[3\], found \[2\]"),
        (Spec(CARTPOLE.sensors, 1, (2,)), None, "continuous actions: expected 1, found 0"),
    ],
)
def test_another_environments_dataset_is_refused(spec, bounds, words):
    cart_pole(4)
    with pytest.raises(UserError, match=f"replay.load=minari:cartpole/short-v0: {words}"):
        MinariEpisodes("cartpole/short-v0", spec, bounds)


def test_another_scale_of_actions_is_refused():
    env = gymnasium.make("Pendulum-v1", max_episode_steps=5)
    write("pendulum/short-v0", env, play(env, 1))
    with pytest.raises(UserError, match=r"bounds .*expected \[\[-1.0\], \[1.0\]\], found \[\[-2.0\], \[2.0\]\]"):
        MinariEpisodes("pendulum/short-v0", build_gym_env("Pendulum-v1").spec, np.array([[-1.0], [1.0]]))


def test_missing_and_broken_datasets_are_named(tmp_path, monkeypatch):
    cart_pole(4)
    with pytest.raises(
        UserError, match=r"minari:no/such-v0: .*there are: cartpole/short-v0.*minari download no/such-v0"
    ):
        MinariEpisodes("no/such-v0", CARTPOLE)
    (file,) = tmp_path.rglob("main_data.hdf5")
    file.write_bytes(b"spoilt")
    with pytest.raises(UserError, match=r"minari:cartpole/short-v0 cannot be read"):
        list(MinariEpisodes("cartpole/short-v0", CARTPOLE).steps(100))
    monkeypatch.setitem(sys.modules, "minari", None)  # as if it were not installed
    with pytest.raises(UserError, match=r'pip install -e "\.\[minari\]"'):
        MinariEpisodes("cartpole/short-v0", CARTPOLE)


def test_an_episode_without_a_step_is_nothing():
    env = gymnasium.make("CartPole-v1", max_episode_steps=6)
    played = play(env, 1)
    write("cartpole/empty-v0", env, played)
    episodes = MinariEpisodes("cartpole/empty-v0", CARTPOLE)
    episodes._dataset.iterate_episodes = lambda _: [Recorded([played[0].observations[0]])]
    assert list(episodes.steps(10)) == []


@pytest.mark.parametrize("where", ["obs", "both branches"])
def test_masks_that_were_recorded_are_kept_and_joined_where_branches_are(where):
    single = Legal() if where == "obs" else Recordable()
    write("legal/random-v0", single, play(single, 3))
    reading = Reading(mask="action_mask")
    env = GymEnv(SyncVectorEnv([type(single)], autoreset_mode="SameStep"), reading=reading)
    env = env if where == "obs" else JointBranches(env)
    rows = joined(MinariEpisodes("legal/random-v0", env.spec, reading=env.reading).steps(100))
    told = (np.rint(rows.obs["view"][:, 1:] * 20).astype(int) >> np.arange(4)) & 1 == 1
    joint = (told[:, :2, None] & told[:, None, 2:]).reshape(-1, 4)
    np.testing.assert_array_equal(rows.mask, told if where == "obs" else joint)
    assert len(rows.last) == 12 and not rows.mask.all() and list(rows.obs) == ["view"]


class Recordable(Legal):
    """A mask in the observation for two branches."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.MultiDiscrete([2, 2])

    def step(self, action):
        return super().step(action[0])


def spoilt(tmp_path, spoil, episodes=3) -> list[Recorded]:
    """Writes episodes of CartPole, then lets `spoil` have the HDF5 group of the second one."""
    import h5py

    env = gymnasium.make("CartPole-v1", max_episode_steps=6)
    played = play(env, episodes)
    write("cartpole/spoilt-v0", env, played)
    (path,) = tmp_path.rglob("main_data.hdf5")
    with h5py.File(path, "a") as file:
        spoil(file, file["episode_1"])
    return played


def rewrite(group, name, change):
    """Puts another array in place of a column."""
    values = group[name][()]
    del group[name]
    group.create_dataset(name, data=change(values))


DAMAGE = {
    "no group": lambda file, _: file.__delitem__("episode_1"),
    "no length": lambda _, group: group.attrs.__delitem__("total_steps"),
    "no rewards": lambda _, group: group.__delitem__("rewards"),
    "half of the rewards": lambda _, group: rewrite(group, "rewards", lambda x: x[: len(x) // 2]),
    "half of the observations": lambda _, group: rewrite(group, "observations", lambda x: x[: len(x) // 2]),
    "observations of another shape": lambda _, group: rewrite(group, "observations", lambda x: x[:, :3]),
    "actions outside of their space": lambda _, group: rewrite(group, "actions", lambda x: x + 2),
    "rewards of text": lambda _, group: rewrite(group, "rewards", lambda x: np.array([b"x"] * len(x))),
    "one number as observations": lambda _, group: rewrite(group, "observations", lambda _: 7.0),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_episode_costs_itself_and_nothing_else(damage, tmp_path, caplog):
    played = spoilt(tmp_path, DAMAGE[damage])
    rows = joined(MinariEpisodes("cartpole/spoilt-v0", CARTPOLE).steps(100))
    whole = np.concatenate([played[0].observations, played[2].observations]).astype(np.float32)
    np.testing.assert_array_equal(rows.obs["obs"], whole)
    assert "cartpole/spoilt-v0: 1 damaged episodes were left out (the first: " in caplog.text


@pytest.mark.parametrize("short", ["observations", "actions", "rewards", "terminations"])
def test_an_episode_that_lacks_an_entry_loses_its_last_step(short, tmp_path, caplog):
    played = spoilt(tmp_path, lambda _, group: rewrite(group, short, lambda x: x[:-1]))
    rows = joined(MinariEpisodes("cartpole/spoilt-v0", CARTPOLE).steps(100))
    first, n = len(played[0].rewards) + 1, len(played[1].rewards) - 1
    part = slice(first, first + n + 1)
    np.testing.assert_array_equal(rows.obs["obs"][part], np.array(played[1].observations[: n + 1], np.float32))
    assert rows.last[part].tolist() == [False] * n + [True] and (rows.discount[part] == 1).all(), "a cut, no death"
    assert len(rows.last) == sum(len(e.rewards) + 1 for e in played) - 1
    assert "1 episodes lost their last step" in caplog.text and "left out" not in caplog.text


def test_a_dataset_of_which_nothing_can_be_read_is_refused(tmp_path):
    spoilt(tmp_path, lambda file, _: [rewrite(g, "rewards", lambda x: x[:1]) for g in file.values()])
    with pytest.raises(UserError, match=r"minari:cartpole/spoilt-v0 cannot be read: episode 0: its columns have 1 to "):
        list(MinariEpisodes("cartpole/spoilt-v0", CARTPOLE).steps(100))


@pytest.mark.parametrize(("size", "jpeg", "keeps"), [(32, True, False), (31, True, True), (32, False, True)])
@pytest.mark.parametrize("nested", [False, True])
def test_pictures_that_were_kept_as_jpeg_are_told_of(size, jpeg, keeps, nested, caplog):
    picture = spaces.Box(0, 255, (size, size, 3), np.uint8)
    toy = TimeLimit(Echo(spaces.Discrete(2), spaces.Dict(eye=picture) if nested else picture), 3)
    played = play(toy, 1)
    write("toy/pictures-v0", toy, played, jpeg_encoding=jpeg)
    here = GymEnv(SyncVectorEnv([lambda: toy], autoreset_mode="SameStep"))
    rows = joined(MinariEpisodes("toy/pictures-v0", here.spec).steps(100))
    seen = [o["eye"] if nested else o for o in played[0].observations]
    name = "eye" if nested else "obs"
    assert np.array_equal(rows.obs[name], seen) == keeps
    told = f"minari:toy/pictures-v0 keeps pictures ({name}) as JPEG" in caplog.text
    assert told != keeps


def test_a_picture_that_is_no_picture_any_more_costs_its_episode(tmp_path, caplog):
    import h5py

    toy = TimeLimit(Echo(spaces.Discrete(2), spaces.Box(0, 255, (32, 32, 3), np.uint8)), 3)
    write("toy/pictures-v0", toy, play(toy, 2))
    (path,) = tmp_path.rglob("main_data.hdf5")
    with h5py.File(path, "a") as file:
        values = [x.copy() for x in file["episode_0/observations"][()]]
        values[1][:] = 0
        del file["episode_0/observations"]
        file["episode_0"].create_dataset("observations", data=values, dtype=h5py.vlen_dtype(np.uint8))
    here = GymEnv(SyncVectorEnv([lambda: toy], autoreset_mode="SameStep"))
    assert len(joined(MinariEpisodes("toy/pictures-v0", here.spec).steps(100)).last) == 4
    assert "1 damaged episodes were left out (the first: cannot identify image file" in caplog.text
