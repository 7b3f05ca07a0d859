""".demo files: written by role=play, laid out as Unity's recorder does, read into the replay."""

from __future__ import annotations

import numpy as np
import pytest

from envs.unity_adapter.decode import SensorLayout
from envs.unity_adapter.demo_dataset import DemoEpisodes
from envs.unity_adapter.demo_file import HEADER_BYTES, demonstration_files, read_demonstration
from envs.unity_adapter.demo_recorder import DemoRecorder
from envs.unity_adapter.mlagents import AgentInfoActionPairProto, BrainParametersProto, DemonstrationMetaProto
from sac.errors import UserError
from sac.types import Sensor, Spec, Step, joined

VECTOR = SensorLayout(Sensor("v", (3,)), (3,))
GRID = SensorLayout(Sensor("buffer", (6,)), (2, 3))
PICTURE = SensorLayout(Sensor("camera", (4, 5, 2), "uint8"), (2, 4, 5), channels_first=True)
OLD_PICTURE = SensorLayout(Sensor("old", (4, 5, 3), "uint8"), (4, 5, 3))
COLUMNS = (VECTOR, GRID, PICTURE, OLD_PICTURE)
BRANCHES = (3, 2)


def episode(spec: Spec, length: int, terminated: bool, seed: int) -> Step:
    """An episode of random rows, as a rollout gives it."""
    rng, k = np.random.default_rng(seed), length + 1
    obs = {c.name: rng.integers(0, 256, (k, *c.shape)).astype(c.dtype) for c in spec.sensors}
    mask, last = rng.random((k, spec.choices)) < 0.7, np.arange(k) == length
    mask[:, :1] = mask[last] = True  # Unity sends none with an ending
    acts = ~last[:, None]
    discount = np.ones(k, np.float32)
    discount[length - 1] = 0.0 if terminated else 1.0
    choices = [rng.integers(0, size, (k, 1)) for size in spec.branches]
    return Step(
        stream=np.zeros(k, np.int64),
        obs=obs,
        mask=mask,
        raw_action=(rng.normal(size=(k, spec.continuous)) * acts).astype(np.float32),
        discrete=(np.concatenate([np.zeros((k, 0)), *choices], axis=1) * acts).astype(np.int32),
        log_prob=np.zeros((k, 2), np.float32),
        state=np.zeros((k, 0), np.float32),
        previous=np.zeros((k, 0), np.float32),
        reward=(rng.normal(size=k) * ~last).astype(np.float32),
        discount=discount,
        last=last,
    )


SPECS = {
    "continuous": (Spec(tuple(c.sensor for c in COLUMNS), 2), ()),
    "branches": (Spec((VECTOR.sensor,), 0, BRANCHES), BRANCHES),
    "joined hybrid": (Spec((VECTOR.sensor,), 2, (6,)), BRANCHES),
}


def record(path, name: str, *episodes: Step):
    spec, branches = SPECS[name]
    recorder = DemoRecorder(path, "Agent", [c for c in COLUMNS if c.sensor in spec.sensors], spec, branches)
    for one in episodes:
        recorder.write(one)
    return recorder.close()


def legal_in_parts(mask: np.ndarray, name: str) -> np.ndarray:
    """A mask of combinations that is the product of masks of the branches, as a scene sends it."""
    return mask if name != "joined hybrid" else np.ones_like(mask)


@pytest.mark.parametrize("name", SPECS)
def test_what_was_played_is_what_is_read(tmp_path, name):
    spec, _ = SPECS[name]
    played = [episode(spec, 5, True, 1), episode(spec, 3, False, 2)]
    played = [one._replace(mask=legal_in_parts(one.mask, name)) for one in played]
    words = record(tmp_path / "x.demo", name, *played)
    assert words.endswith("x.demo: 2 episodes, 10 records")
    found = DemoEpisodes(str(tmp_path / "x.demo"), spec)
    read, expected = joined(list(found.steps(1000))), joined(played)
    assert len(found) == 10
    for sensor in spec.sensors:
        np.testing.assert_array_equal(read.obs[sensor.name], expected.obs[sensor.name])
    for column in ("mask", "discrete", "reward", "discount", "last"):
        np.testing.assert_array_equal(getattr(read, column), getattr(expected, column), column)
    np.testing.assert_allclose(np.tanh(read.raw_action), np.tanh(expected.raw_action), atol=1e-6)


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + varint(number // 128)


def written(rewards, dones, *, steps: int | None = None, tail=b"", interrupted=False) -> bytes:
    """A file as Unity's recorder lays it out, made by hand: 33 bytes, brain, records, and bytes behind them."""
    meta = DemonstrationMetaProto(api_version=1, demonstration_name="by hand")
    meta.number_steps = len(rewards) if steps is None else steps
    head = meta.SerializeToString()
    brain = BrainParametersProto(brain_name="Agent")
    brain.action_spec.num_continuous_actions = 1
    data = bytearray(HEADER_BYTES)
    data[: len(head) + 1] = varint(len(head)) + head
    body = brain.SerializeToString()
    data += varint(len(body)) + body
    for i, (reward, done) in enumerate(zip(rewards, dones)):
        pair = AgentInfoActionPairProto()
        pair.agent_info.reward, pair.agent_info.done = reward, done
        pair.agent_info.max_step_reached = done and interrupted
        pair.agent_info.observations.add(shape=[1], name="v", dimension_properties=[1]).float_data.data.append(i)
        pair.action_info.continuous_actions.append(0.1 * i)
        body = pair.SerializeToString()
        data += varint(len(body)) + body
    return bytes(data) + tail


ONE = Spec((Sensor("v", (1,)),), 1)


def rows(tmp_path, data: bytes) -> Step:
    path = tmp_path / "hand.demo"
    path.write_bytes(data)
    return joined(list(DemoEpisodes(str(path), ONE).steps(1000)))


def test_reward_and_end_stand_in_the_record_after_the_action(tmp_path):
    found = rows(tmp_path, written([0, 1, 2, 0, 5], [False, False, True, False, True], tail=b"\x99 rubbish behind it"))
    assert found.obs["v"][:, 0].tolist() == [0, 1, 2, 3, 4]
    assert found.reward.tolist() == [1, 2, 0, 5, 0] and found.last.tolist() == [False, False, True, False, True]
    assert found.discount.tolist() == [1, 0, 1, 0, 1]
    np.testing.assert_allclose(np.tanh(found.raw_action[:, 0]), [0, 0.1, 0, 0.3, 0], atol=1e-6)


def test_a_time_limit_is_no_end(tmp_path):
    assert rows(tmp_path, written([0, 1], [False, True], interrupted=True)).discount[0] == 1


def test_an_episode_that_was_broken_off_is_a_truncation(tmp_path):
    found = rows(tmp_path, written([0, 1, 2], [False, False, False]))
    assert found.discount.tolist() == [1, 1, 1] and found.last.tolist() == [False, False, True]


def test_a_killed_players_file_is_read_to_its_end(tmp_path, caplog):
    found = rows(tmp_path, written([0, 1, 2], [False, False, True], steps=0))
    assert len(found.last) == 3 and "was not closed by its player" in caplog.text


@pytest.mark.parametrize("steps", [0, None])
def test_a_cut_file_is_read_as_far_as_it_goes(tmp_path, caplog, steps):
    found = rows(tmp_path, written([0, 1, 2, 3], [False] * 4, steps=steps)[:-3])
    assert found.obs["v"][:, 0].tolist() == [0, 1, 2] and "is cut: its first 3 records are used" in caplog.text


def test_every_cut_is_an_error_in_words_or_a_shorter_file(tmp_path):
    data, path = written([0, 1, 2, 3], [False, False, True, False]), tmp_path / "x.demo"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        try:
            assert len(read_demonstration(path).pairs) < 4
        except UserError as error:
            assert str(path) in str(error)


def test_a_folder_gives_all_its_files(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.demo").write_bytes(written([0, 1], [False, True]))
    assert len(DemoEpisodes(str(tmp_path), ONE)) == 6


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (Spec((Sensor("v", (2,)),), 1), r"sensor 'v': expected shape \(2,\) float32, found shape \(1,\) float32"),
        (Spec((Sensor("w", (1,)),), 1), r"sensor 'w': expected shape \(1,\) float32, found none"),
        (Spec((*ONE.sensors, Sensor("w", (1,))), 1), "sensor 'w'"),
        (Spec(ONE.sensors, 2), "continuous actions: expected 2, found 1"),
        (Spec(ONE.sensors, 1, (3,)), r"branches: expected \[3\], found \[\]"),
    ],
)
def test_another_scene_is_refused(tmp_path, spec, words):
    (tmp_path / "x.demo").write_bytes(written([0, 1], [False, True]))
    with pytest.raises(UserError, match=words):
        DemoEpisodes(str(tmp_path / "x.demo"), spec)


@pytest.mark.parametrize(("make", "words"), [
    (lambda path: None, "there is no such file"),
    (lambda path: path.mkdir(), "no .demo file is in this folder"),
    (lambda path: path.write_bytes(b""), "is no demonstration"),
    (lambda path: path.write_bytes(b"text that is longer than the header of a file"), "is no demonstration"),
    (lambda path: path.write_bytes(written([], [])), "holds no whole record"),
])  # fmt: skip
def test_what_is_no_demonstration_is_refused(tmp_path, make, words):
    path = tmp_path / "x.demo"
    make(path)
    with pytest.raises(UserError, match=words):
        [read_demonstration(p) for p in demonstration_files(path)]


def test_actions_beyond_the_range_of_a_policy_are_clipped_and_said(tmp_path, caplog):
    found = rows(tmp_path, written([0.0] * 30, [False] * 29 + [True]))
    assert "continuous actions up to 2.9 are clipped" in caplog.text and np.isfinite(found.raw_action).all()


def test_an_episode_with_nan_is_left_out(tmp_path, caplog):
    found = rows(tmp_path, written([0, np.nan, 0, 1], [False, True, False, True]))
    assert found.obs["v"][:, 0].tolist() == [2, 3] and "1 episodes with NaN" in caplog.text


def test_an_unclosed_recording_has_no_name_yet(tmp_path):
    spec, branches = SPECS["continuous"]
    recorder = DemoRecorder(tmp_path / "x.demo", "Agent", COLUMNS, spec, branches)
    recorder.write(episode(spec, 2, True, 0))
    assert not (tmp_path / "x.demo").exists()
    recorder.close()
    assert read_demonstration(tmp_path / "x.demo").complete


def test_a_recording_without_an_episode_leaves_no_file(tmp_path):
    spec, branches = SPECS["continuous"]
    assert DemoRecorder(tmp_path / "x.demo", "Agent", COLUMNS, spec, branches).close().startswith("nothing")
    assert list(tmp_path.iterdir()) == []


def test_in_a_folder_an_empty_file_is_left_out(tmp_path, caplog):
    (tmp_path / "good.demo").write_bytes(written([0, 1], [False, True]))
    (tmp_path / "empty.demo").write_bytes(written([], []))
    assert (
        len(DemoEpisodes(str(tmp_path), ONE)) == 2 and "empty.demo holds no whole record: it is left out" in caplog.text
    )
