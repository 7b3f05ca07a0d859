"""Running statistics: each real row counted once, in any chunks and from any process, and used by the networks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sac.nets.contract import Builder, build_networks
from sac.nets.normalizer import CLIP_STANDARD_DEVIATIONS, Normalizer
from sac.replay.running_stats import RunningStats
from sac.types import Sensor, Spec, Step

SENSORS = Sensor("a", (2,)), Sensor("b", (2, 3))


def step(rng, k, last=None):
    obs = {"a": rng.normal(5, [0.1, 40], (k, 2)).astype(np.float32), "b": rng.normal(size=(k, 2, 3)).astype(np.float32)}
    none = np.zeros((k, 0), np.float32)
    last = np.zeros(k, bool) if last is None else last
    zeros = np.zeros(k, np.float32)
    return Step(zeros, obs, none, none, none, none, none, none, zeros, zeros, last)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 7))
def test_any_chunks_and_processes_count_the_same(chunks, split):
    rng = np.random.default_rng(0)
    steps = [step(rng, k) for k in chunks]
    one, other = RunningStats(SENSORS), RunningStats(SENSORS)
    for i, chunk in enumerate(steps):
        (one if i < split else other).add(chunk)
    one.merge(other)
    assert one.count == sum(chunks)
    for name in ("a", "b"):
        rows = np.concatenate([s.obs[name] for s in steps]).astype(np.float64)
        np.testing.assert_allclose(one.mean[name], rows.mean(0), rtol=1e-9)
        if one.count > 1:
            np.testing.assert_allclose(one.std(name), np.maximum(rows.std(0), 1e-4), rtol=1e-6)


def test_final_rows_are_not_counted_and_too_few_rows_change_nothing():
    rng, stats = np.random.default_rng(0), RunningStats(SENSORS)
    rows = step(rng, 4, last=np.array([False, True, False, True]))
    stats.add(rows)
    assert stats.count == 2
    np.testing.assert_allclose(stats.mean["a"], rows.obs["a"][[0, 2]].mean(0), rtol=1e-6)
    few = RunningStats(SENSORS)
    few.add(step(rng, 1))
    np.testing.assert_array_equal(few.std("a"), [1, 1])


def test_it_survives_a_restore():
    rng, stats = np.random.default_rng(0), RunningStats(SENSORS)
    stats.add(step(rng, 5))
    again = RunningStats(SENSORS)
    again.restore(*stats.state())
    more = step(rng, 3)
    stats.add(more), again.add(more)
    for name in ("a", "b"):
        np.testing.assert_array_equal(stats.mean[name], again.mean[name])
        np.testing.assert_array_equal(stats.std(name), again.std(name))


def test_the_layer_shifts_scales_and_clips_its_sensors_and_leaves_the_rest():
    rng, stats, layer = np.random.default_rng(0), RunningStats(SENSORS[:1]), Normalizer(SENSORS[:1])
    rows = step(rng, 500)
    before = layer(rows.obs)
    np.testing.assert_allclose(before["a"], np.clip(rows.obs["a"], -CLIP_STANDARD_DEVIATIONS, CLIP_STANDARD_DEVIATIONS))
    stats.add(rows)
    layer.take(stats)
    out = layer(rows.obs)
    np.testing.assert_allclose(np.mean(out["a"], 0), 0, atol=1e-4)
    np.testing.assert_allclose(np.std(out["a"], 0), 1, atol=1e-3)
    np.testing.assert_array_equal(out["b"], rows.obs["b"])
    assert float(layer({"a": np.array([[1e9, -1e9]], np.float32)})["a"][0, 0]) == CLIP_STANDARD_DEVIATIONS
    assert not layer.trainable_weights


def test_without_sensors_it_is_the_identity():
    obs = {"a": np.full((2, 2), 1e9, np.float32)}
    layer = Normalizer()
    layer.take(RunningStats())
    np.testing.assert_array_equal(layer(obs)["a"], obs["a"])
    assert layer.weights == []


@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_a_constant_stays_finite(constant):
    stats, layer = RunningStats(SENSORS[:1]), Normalizer(SENSORS[:1])
    rows = step(np.random.default_rng(0), 10)
    rows.obs["a"][:] = constant
    stats.add(rows)
    layer.take(stats)
    np.testing.assert_array_equal(layer(rows.obs)["a"], 0)


def test_bytes_with_statistics_are_not_scaled_before_and_others_are():
    spec = Spec((Sensor("ram", (2,), "uint8"), Sensor("board", (2,), "uint8", (0.0, (2.0, 4.0)))), 1)
    build = Builder(None, {"ModelPolicy": {"hidden": [4]}, "ModelQ": {"hidden": [4]}})
    nets = build_networks(spec, build, 1, normalized=spec.sensors[:1])
    rows = np.array([[10, 200], [20, 200], [30, 201], [40, 201]], np.uint8)
    none, zeros = np.zeros((4, 0), np.float32), np.zeros(4, np.float32)
    stats = RunningStats(spec.sensors[:1])
    obs = {"ram": rows, "board": np.array([[2, 4]] * 4, np.uint8)}
    stats.add(Step(zeros, obs, none, none, none, none, none, none, zeros, zeros, np.zeros(4, bool)))
    nets.normalizer.take(stats)
    seen = nets.observe(obs)
    np.testing.assert_allclose(np.mean(seen["ram"], 0), [0, 0], atol=1e-5)
    np.testing.assert_allclose(np.std(seen["ram"], 0), [1, 1], rtol=1e-5)
    np.testing.assert_allclose(seen["board"], np.ones((4, 2)))
