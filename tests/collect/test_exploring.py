"""Noise, uniform random steps and their log mu."""

from __future__ import annotations

import numpy as np
import pytest

from sac.collect.exploration import NOISE_BLOCK_STEPS, ColoredNoise, Epsilon, Exploring, Greedy, WhiteNoise
from sac.replay import Replay, Uniform
from sac.types import Sensor, Spec
from tests.collect.players import Linear

SPEC = Spec((Sensor("x", (1,)),), 2, (3, 4))
SLOTS = np.arange(3)


def series(noise, steps, slots=SLOTS):
    """Normal noise [steps, k, A]."""
    return np.stack([noise.draw(slots).normal[:, 0] for _ in range(steps)])


@pytest.mark.parametrize("color", [0.0, 0.5, 1.0, 2.0])
def test_each_step_of_coloured_noise_is_standard_normal(color):
    """At fixed positions over many seeds: a moving mean or a growing spread would make log mu wrong."""
    draws = np.array([series(ColoredNoise(SPEC, seed, color), 4)[[0, 3]].reshape(2, 6) for seed in range(700)])
    draws = draws.transpose(1, 0, 2).reshape(2, -1)  # 4,200 independent ones at each position
    assert np.abs(draws.mean(1)).max() < 4 / np.sqrt(4200)
    assert np.abs(draws.var(1) - 1).max() < 4 * np.sqrt(2 / 4200)
    assert abs((draws**4).mean() - 3) < 0.5  # of a normal distribution


@pytest.mark.parametrize("color", [0.0, 0.5, 1.0, 2.0])
def test_power_falls_as_the_color_says(color):
    x = series(ColoredNoise(SPEC, 0, color), NOISE_BLOCK_STEPS * 8).reshape(8, NOISE_BLOCK_STEPS, 6)
    power = (np.abs(np.fft.rfft(x, axis=1)) ** 2).mean((0, 2))[2:200]
    slope = np.polyfit(np.log(np.arange(2, 200)), np.log(power), 1)[0]
    assert slope == pytest.approx(-color, abs=0.1)


def test_agents_and_dimensions_have_noise_of_their_own():
    x = series(ColoredNoise(SPEC, 0, 1.0), NOISE_BLOCK_STEPS).reshape(NOISE_BLOCK_STEPS, 6)
    correlation = np.corrcoef(x.T) - np.eye(6)
    assert np.abs(correlation).max() < 0.6  # pink noise of 1,024 steps has few independent parts
    white = series(WhiteNoise(SPEC, 0), 4000).reshape(4000, 6)
    assert np.abs(np.corrcoef(white.T) - np.eye(6)).max() < 0.08


def test_an_agent_hears_its_own_noise_whoever_else_asks():
    whole, alone = ColoredNoise(SPEC, 5, 1.0), ColoredNoise(SPEC, 5, 1.0)
    x = series(whole, 6)
    a = [alone.draw(np.array([2])).normal[0, 0] for _ in range(3)]
    b = [alone.draw(np.array([2, 0])).normal[:, 0] for _ in range(3)]
    np.testing.assert_array_equal(a, x[:3, 2])
    np.testing.assert_array_equal([n[0] for n in b], x[3:, 2])
    np.testing.assert_array_equal([n[1] for n in b], x[:3, 0])


@pytest.mark.parametrize("make", [WhiteNoise, lambda spec, seed: ColoredNoise(spec, seed, 1.0)])
def test_noise_is_reproduced_from_seed_and_counter_and_goes_on_after_a_restore(make):
    one, two, other = make(SPEC, 7), make(SPEC, 7), make(SPEC, 8)
    for _ in range(NOISE_BLOCK_STEPS - 2):  # so that the continuation crosses into the next block
        a, b, c = one.draw(SLOTS), two.draw(SLOTS), other.draw(SLOTS)
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])
        assert (a[0] != c[0]).all() and (a[1] != c[1]).all()
    state = {name: np.array(x) for name, x in one.state().items()}
    fresh = make(SPEC, 7)
    fresh.restore(state)
    for _ in range(5):
        for x, y in zip(one.draw(SLOTS), fresh.draw(SLOTS)):
            np.testing.assert_array_equal(x, y)


def test_gumbel_noise_is_standard():
    x = np.concatenate([WhiteNoise(SPEC, seed).draw(np.arange(50)).gumbel.ravel() for seed in range(20)])
    assert x.mean() == pytest.approx(np.euler_gamma, abs=4 * 1.283 / np.sqrt(len(x)))
    assert x.dtype == np.float32


def test_exploration_and_replay_of_one_seed_draw_different_numbers():
    replay = Replay(SPEC, 0, Uniform(8), steps=1, seed=3)
    noise = WhiteNoise(SPEC, 3)
    for counter in range(3):
        mine = [noise._generator(counter, part).integers(0, 2**32, 4).tolist() for part in (1, 2)]
        theirs = [generator.integers(0, 2**32, 4).tolist() for generator in replay._random.generators(3, 0, 3)]
        assert not [x for x in mine if x in theirs]


# --- exploring


def explore(random_steps, k, *, mask=None, noise=WhiteNoise, seed=0, spec=SPEC):
    behaviour = Exploring(Linear(spec), noise(spec, seed), random_steps)
    mask = np.ones((k, spec.choices), bool) if mask is None else mask
    empty = np.zeros((k, 0), np.float32)
    return behaviour, lambda: behaviour.choose(np.arange(k), {"x": np.full((k, 1), 0.3)}, mask, empty, empty)


@pytest.mark.parametrize("noise", [WhiteNoise, lambda spec, seed: ColoredNoise(spec, seed, 0.5)])
def test_random_steps_are_uniform_over_legal_actions_and_say_so(noise):
    k = 6000
    mask = np.ones((k, 7), bool)
    mask[:, [1, 3, 4]] = False  # 2 of 3 and 2 of 4 are legal
    _, choose = explore(10**6, k, mask=mask, noise=noise)
    choice = choose()
    histogram, _ = np.histogram(choice.action, bins=10, range=(-1, 1))
    assert np.abs(histogram / choice.action.size - 0.1).max() < 4 * np.sqrt(0.09 / choice.action.size)
    np.testing.assert_allclose(np.tanh(choice.raw), choice.action, atol=1e-6)
    assert np.isfinite(choice.raw).all()
    for branch, legal in enumerate(((0, 2), (2, 3))):
        share = np.bincount(choice.discrete[:, branch], minlength=4) / k
        assert set(np.flatnonzero(share)) == set(legal)
        assert np.abs(share[list(legal)] - 0.5).max() < 4 * np.sqrt(0.25 / k)
    np.testing.assert_allclose(choice.log_prob, np.tile([-2 * np.log(2), -np.log(2 * 2)], (k, 1)), rtol=1e-6)


def test_random_steps_count_actions_and_then_the_policy_takes_over():
    behaviour, choose = explore(7, 3)
    policy, act = explore(0, 3)
    for turn in range(5):
        mine, its = choose(), act()
        assert (mine.raw == its.raw).all() == (turn >= 3)  # 3 + 3 < 7, so the third turn is random as well
        np.testing.assert_array_equal(mine.log_prob == its.log_prob, turn >= 3)
    assert behaviour.steps == policy.steps == 15


def test_exploring_continues_from_its_state():
    behaviour, choose = explore(10, 3)
    for _ in range(3):
        choose()
    arrays, scalars = behaviour.state()
    arrays = {name: np.array(x) for name, x in arrays.items()}
    again, choose_again = explore(10, 3)
    again.restore(arrays, scalars)
    for _ in range(4):
        for x, y in zip(choose(), choose_again()):
            np.testing.assert_array_equal(x, y)


def test_nobody_asking_is_no_trouble():
    for random_steps in (0, 5):
        _, choose = explore(random_steps, 0, noise=lambda spec, seed: ColoredNoise(spec, seed, 1.0))
        assert [len(x) for x in choose()] == [0] * 5


def test_greedy_hands_no_noise_to_the_policy():
    spec = Spec((Sensor("x", (1,)),), 2)
    choice = Greedy(Linear(spec)).choose(
        np.arange(2), {"x": np.ones((2, 1))}, np.ones((2, 0), bool), np.zeros((2, 0)), np.zeros((2, 0))
    )
    np.testing.assert_allclose(choice.raw, np.full((2, 2), np.tanh(1)))


@pytest.mark.slow
def test_the_mean_of_a_block_has_the_power_of_the_lowest_frequency():
    """Frequency 0 has the power of frequency 1: an agent keeps a leaning of its own for as long as a block lasts."""
    means = [series(ColoredNoise(SPEC, seed, 1.0), NOISE_BLOCK_STEPS).mean(0).ravel() for seed in range(150)]
    power = 1 / np.arange(1.0, NOISE_BLOCK_STEPS // 2 + 1)  # of frequencies 1 to the highest, a real number like 0
    expected = power[0] / (power[0] + power[-1] + 4 * power[:-1].sum())
    assert np.var(means) == pytest.approx(expected, rel=4 * np.sqrt(2 / 900))


@pytest.mark.parametrize(("step", "epsilon"), [(0, 1.0), (5, 0.55), (10, 0.1), (11, 0.1), (10**6, 0.1)])
def test_epsilon_falls_in_a_line_and_stays_at_its_end(step, epsilon):
    assert Epsilon(1.0, 0.1, 10)(step) == pytest.approx(epsilon)


@pytest.mark.parametrize(("extra", "least"), [(0.0, 0.05), (0.3, 0.3), (3.0, 1.0)])
def test_an_actor_that_is_set_apart_explores_with_its_own_chance(extra, least):
    """It is a chance: never above 1, however large the noise is; without discrete actions there is none."""

    class Asked(Linear):
        def check_noise(self):
            pass

        def act(self, *arguments):
            asked.append(arguments[6])
            return super().act(*arguments)

    asked: list[float] = []
    for spec in (SPEC, Spec(SPEC.sensors, 2)):
        behaviour = Exploring(Asked(spec), WhiteNoise(spec, 0), epsilon=Epsilon(0.05, 0.05, 1), extra_noise=extra)
        nothing = np.zeros((3, 0), np.float32)
        behaviour.choose(SLOTS, {"x": np.zeros((3, 1))}, np.ones((3, spec.choices), bool), nothing, nothing)
    assert asked == [least, 0.05]
