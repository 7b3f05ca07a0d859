"""RND: probabilities of the candidates, the effect of novelty, and the running standard deviation."""

from __future__ import annotations

import numpy as np
import pytest

from sac.backend import tf
from sac.errors import UserError
from sac.extras.extra import Extras
from sac.extras.rnd import RND, choice_logits, merged
from tests.extras.extras_kit import (
    SPECS,
    actions,
    assert_compiled_equals_eager,
    assert_padding_means_nothing,
    builder,
    gradients,
    layer,
    numbers,
    train,
    window,
)

K, N = 4, 6


def make(spec=SPECS["hybrid"], n_sample=N, temperature=1.0, bonus=0.5, **classes) -> RND:
    return RND(builder(**classes), spec, n_sample, temperature, bonus)


def candidates(spec, n=N, seed=0):
    rng = np.random.default_rng(seed)
    z = np.repeat(rng.normal(size=(K, 1, spec.feature)), n, 1).astype(np.float32)
    return tf.constant(z), tf.constant(actions(spec, rng, K, n))


@pytest.mark.parametrize("kind", SPECS)
def test_candidates_are_drawn_by_standardised_novelty(kind):
    extra = make(SPECS[kind], temperature=0.7)
    z, action = candidates(SPECS[kind])
    x = ((extra.predictor(z, action) - extra.target(z, action)).numpy() ** 2).mean(-1)
    assert x.shape == (K, N) and x.min() > 0
    logits = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True) / 0.7
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    log_p = Extras([extra]).preference(z, action).numpy()
    np.testing.assert_allclose(np.exp(log_p).sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.exp(log_p), expected, rtol=1e-3)


def test_the_scale_of_novelty_does_not_matter_and_its_order_does():
    x = tf.constant([[0.1, 0.4, 0.2, 0.9]])
    np.testing.assert_allclose(choice_logits(x, 1.0), choice_logits(1e-3 * x + 5e-4, 1.0), atol=1e-3)
    assert np.argsort(choice_logits(x, 1.0)[0]).tolist() == [0, 2, 1, 3]


def test_temperature_zero_takes_the_most_novel():
    x = tf.constant([[0.1, 0.4, 0.2], [7.0, 0.4, 0.2], [1.0, 1.0, 1.0]])
    log_p = tf.nn.log_softmax(choice_logits(x, 0)).numpy()
    np.testing.assert_array_equal(np.exp(log_p), [[0, 1, 0], [1, 0, 0], [1, 0, 0]])
    assert np.isfinite(log_p).all()  # log mu gets log(n p_j) = log n
    np.testing.assert_allclose(tf.nn.softmax(choice_logits(x[:2], 0.01)), np.exp(log_p[:2]), atol=1e-6)


def test_high_temperature_and_equal_novelty_draw_uniformly():
    x = tf.constant([[0.1, 0.4, 0.2]])
    np.testing.assert_allclose(tf.nn.softmax(choice_logits(x, 1e4)), [[1 / 3] * 3], rtol=1e-3)
    np.testing.assert_allclose(tf.nn.softmax(choice_logits(tf.ones((2, 3)), 1.0)), np.full((2, 3), 1 / 3), rtol=1e-6)


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_single_candidate_is_taken_for_sure(temperature):
    extra = make(n_sample=1, temperature=temperature)
    assert Extras([extra]).candidates == extra.candidates == 1
    np.testing.assert_array_equal(Extras([extra]).preference(*candidates(SPECS["hybrid"], 1)), np.zeros((K, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", SPECS)
def test_a_pair_that_was_trained_is_less_novel_than_an_untouched_one(kind):
    spec = SPECS[kind]
    extra, often = make(spec), window(spec)
    z, action = candidates(spec, seed=9)
    novel = tf.reduce_mean(extra.novelty(z, action))
    before = extra.losses(often)["predictor"]
    train(extra, lambda k: often, 200)
    after = extra.losses(often)["predictor"]
    assert after < 0.2 * before
    assert after < 0.3 * tf.reduce_mean(extra.novelty(z, action)) and novel > 0


@pytest.mark.slow
def test_the_untried_action_is_preferred():
    """Four choices in one state; three of them are trained."""
    spec = SPECS["discrete"]
    extra, w = make(spec, n_sample=4, temperature=0.25), window(spec, full=True)
    z = tf.zeros_like(w.z_target) + 0.3
    choice = tf.constant(np.eye(4)[np.arange(w.reward.shape[0] * w.reward.shape[1]) % 3], tf.float32)
    train(extra, lambda k: w._replace(z_target=z, action=tf.reshape(choice, w.action.shape)), 300)
    log_p = Extras([extra]).preference(z[:1, :4], tf.eye(4)[None])
    assert np.exp(log_p[0, 3]) > 0.9


def test_running_statistics_are_those_of_all_valid_numbers_so_far():
    rng, statistics, seen = np.random.default_rng(0), tf.zeros(3), []
    for size in (7, 1, 0, 30):
        x, valid = rng.normal(3, 2, size + 3).astype(np.float32), np.r_[np.ones(size), np.zeros(3)].astype(np.float32)
        x[size:] = np.nan
        statistics = merged(statistics, tf.constant(x), tf.constant(valid))
        seen.extend(x[:size])
        np.testing.assert_allclose(statistics, [len(seen), np.mean(seen), np.var(seen)], rtol=1e-5, atol=1e-6)


def test_running_statistics_of_nothing_are_nothing():
    np.testing.assert_array_equal(merged(tf.zeros(3), tf.ones(2), tf.zeros(2)), np.zeros(3))


def test_bonus_is_novelty_in_units_of_its_running_spread():
    extra, w = make(bonus=0.3), window(SPECS["hybrid"])
    valid = w.valid.numpy()
    novelty = extra.novelty(w.z_target[:, :-1], w.action).numpy()
    # Nothing was counted yet: the standard deviation is 1.
    np.testing.assert_allclose(extra.bonus(w), 0.3 * novelty * valid, rtol=1e-5)
    extra.losses(w)
    std = novelty[valid > 0].std()
    np.testing.assert_allclose(extra.bonus(w), 0.3 * novelty / std * valid, rtol=1e-3)
    np.testing.assert_array_equal(make(bonus=0).bonus(w), np.zeros_like(valid))


def test_statistics_move_with_losses_alone_and_are_saved_and_not_trained():
    extra, w = make(), window(SPECS["hybrid"])
    before = numbers(extra)
    extra.bonus(w)
    extra.preference(*candidates(SPECS["hybrid"]))
    assert all((numbers(extra)[name] == x).all() for name, x in before.items())
    extra.losses(w)
    after = numbers(extra)
    assert after["statistics/0"][0] == float(tf.reduce_sum(w.valid)) != before["statistics/0"][0]
    assert len(extra.trained) == len(extra.predictor.trainable_weights) == 4


def test_the_target_is_frozen_saved_and_another_than_the_predictor():
    extra, w = make(), window(SPECS["hybrid"])
    before = numbers(extra)
    assert np.abs(before["target/0"] - before["predictor/0"]).max() > 0.01
    train(extra, lambda k: w, 5)
    after = numbers(extra)
    for name, x in before.items():
        assert (x == after[name]).all() == name.startswith("target/"), name


def test_nothing_reaches_the_representations():
    extra, w = make(), window(SPECS["hybrid"])
    found, more = gradients(extra, "predictor", w, w.z, w.z_target)
    assert more == [None, None]
    assert all(np.abs(g).max() > 0 for g in found)


@pytest.mark.parametrize("kind", SPECS)
def test_padding_means_nothing(kind):
    assert_padding_means_nothing(lambda: make(SPECS[kind]), SPECS[kind])


@pytest.mark.slow
@pytest.mark.parametrize("kind", SPECS)
def test_compiled_equals_eager(kind):
    assert_compiled_equals_eager(lambda: make(SPECS[kind]), SPECS[kind])


@pytest.mark.parametrize("temperature", [0, 0.5])
def test_compiled_preference_equals_eager(temperature):
    extra, inputs = make(temperature=temperature), candidates(SPECS["hybrid"])
    compiled = tf.function(extra.preference, jit_compile=True, autograph=False)
    np.testing.assert_allclose(compiled(*inputs), extra.preference(*inputs), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda self, z, a: tf.zeros((3, 8)), ["(3, 5, 8)", "(3, 8)"]),
        (lambda self, z, a: [z], ["an embedding", "list"]),
        (lambda self, z: z, ["failed"]),
    ],
)
def test_wrong_networks_are_named(call, parts):
    with pytest.raises(UserError) as error:
        make(ModelRND=layer(call))
    for part in ("ModelRND in /somewhere/nn.py", *parts):
        assert part in str(error.value)
