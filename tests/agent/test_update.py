"""What an update does to the weights, for every action kind."""

from __future__ import annotations

import numpy as np
import pytest

from sac.agent.rng import Stream
from sac.backend import keras, tf
from sac.errors import UserError
from sac.nets.contract import scaled
from sac.types import Noise, Sensor, Spec
from tests.agent.agent_kit import (
    SENSORS,
    SPECS,
    TrainedRep,
    act,
    draw,
    make_agent,
    module,
    set_policy_head,
    single,
    weights,
    windows,
)

B, N, M = 8, 3, 2
T = N + M - 1


@pytest.fixture(scope="module", params=list(SPECS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def shared(kind):
    """One agent for each kind, and its first state; every test starts from it, so that nothing is compiled twice."""
    nn = module(ModelRep=TrainedRep)
    agent = make_agent(SPECS[kind], nn=nn, n_step=N, sequence_length=M, learning_rate=3e-3, tau=0.1)
    return agent, weights(agent)


@pytest.fixture
def agent(shared):
    agent, first = shared
    agent.restore(first, {})
    for optimizer, _ in agent.trained.values():
        optimizer.learning_rate.assign(3e-3)
    return agent


def part(numbers, *names):
    return {key: x for key, x in numbers.items() if key.startswith(names)}


def moved(before, after, *names):
    """Whether any number of these parts changed."""
    return any((before[key] != after[key]).any() for key in part(before, *(f"{name}/" for name in names)))


@pytest.mark.slow
def test_loss_falls_on_a_fixed_batch(agent):
    """Episodes of one step, so that the targets do not change."""
    batch = single(windows(agent.spec, B, steps=T))
    batch.discount[:] = 0
    losses = [float(agent.update(batch)[0]["critic/loss"]) for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]
    assert np.isfinite(losses).all()


@pytest.mark.slow
def test_targets_move_by_exactly_tau(agent):
    before = weights(agent)
    agent.update(single(windows(agent.spec, B, steps=T)))
    after = weights(agent)
    for online in ("rep", "critic_0", "critic_1"):
        assert moved(before, after, online)
        for key in part(after, f"{online}/"):
            old, new = before[f"target_{key}"], after[key]
            np.testing.assert_allclose(after[f"target_{key}"], old + 0.1 * (new - old), rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_policy_loss_trains_the_policy_alone_and_critic_loss_everything_else(agent):
    batch, before = single(windows(agent.spec, B, steps=T)), weights(agent)
    agent.trained["critic"][0].learning_rate.assign(0.0)
    agent.update(batch)
    after = weights(agent)
    assert moved(before, after, "policy")
    assert not moved(before, after, "rep", "critic_0", "critic_1")
    agent.restore(before, {})
    agent.trained["critic"][0].learning_rate.assign(3e-3)
    agent.trained["policy"][0].learning_rate.assign(0.0)
    agent.update(batch)
    after = weights(agent)
    assert not moved(before, after, "policy")
    assert all(moved(before, after, name) for name in ("rep", "critic_0", "critic_1"))


@pytest.mark.slow
def test_every_weight_is_trained(agent):
    before = weights(agent)
    for seed in range(3):
        agent.update(single(windows(agent.spec, B, steps=T, seed=seed)))
    after = weights(agent)
    for key in part(before, "rep/", "policy/", "critic_"):
        assert (before[key] != after[key]).any(), key


@pytest.mark.slow
def test_four_fused_updates_equal_four_single_ones_bit_for_bit(agent):
    batches, before = windows(agent.spec, 4, B, steps=T), weights(agent)
    metrics, (td_error, _) = agent.update(batches)
    fused = weights(agent)
    agent.restore(before, {})
    singly = [agent.update(single(batches, k)) for k in range(4)]
    for key, value in weights(agent).items():
        np.testing.assert_array_equal(value, fused[key], err_msg=key)
    np.testing.assert_array_equal(td_error, np.concatenate([learnt.td_error for _, learnt in singly]))
    for name, value in metrics.items():
        np.testing.assert_allclose(value, np.mean([m[name] for m, _ in singly]), rtol=1e-5, atol=1e-6, err_msg=name)
    assert int(agent.updates.numpy()) == 4


@pytest.mark.slow
def test_saved_and_restored_in_another_agent_goes_on_bit_for_bit(agent):
    batches = [single(windows(agent.spec, B, steps=T, seed=seed)) for seed in range(4)]
    for batch in batches[:2]:
        agent.update(batch)
    arrays, scalars = agent.state()
    arrays = {name: x.copy() for name, x in arrays.items()}
    for batch in batches[2:]:
        agent.update(batch)
    uninterrupted = weights(agent)
    for variable in agent.variables.all().values():  # nothing may remain that is not restored
        variable.assign(tf.ones_like(variable))
    agent.restore(arrays, scalars)
    for batch in batches[2:]:
        agent.update(batch)
    for key, value in weights(agent).items():
        np.testing.assert_array_equal(value, uninterrupted[key], err_msg=key)


@pytest.mark.slow
def test_update_is_traced_once_for_each_number_of_fused_updates(agent):
    for seed in range(3):
        agent.update(single(windows(agent.spec, B, steps=T, seed=seed)))
        agent.update(windows(agent.spec, 4, B, steps=T, seed=seed))
    assert agent.traces == 2


def test_invalid_rows_mean_nothing(agent):
    batch, before = windows(agent.spec, B, steps=T, seed=3), weights(agent)
    assert (batch.valid == 0).any()
    _, (td_error, _) = agent.update(single(batch))
    after = weights(agent)
    invalid = batch.valid == 0
    for column in (batch.reward, batch.log_prob, batch.raw_action):
        column[invalid] = 5.0
    agent.restore(before, {})
    _, (again, _) = agent.update(single(batch))
    np.testing.assert_array_equal(td_error, again)
    for key, value in weights(agent).items():
        np.testing.assert_array_equal(value, after[key], err_msg=key)


# --- the policy's loss


def frozen(agent):
    """No step changes a weight, so that the loss can be recomputed from the networks afterwards."""
    for optimizer, _ in agent.trained.values():
        optimizer.learning_rate.assign(0.0)


def ending(spec, shift=3.0):
    """Windows of which every second one ends after its first row: its second trained row is a final observation.

    Final observations are `shift` away from what the others look like.
    """
    batch = windows(spec, B, steps=T)
    batch.valid[:] = 1
    batch.valid[::2, 1:] = 0
    batch.obs["v"][::2, 1:] += shift
    return single(batch)


def values_of_policy(agent, batch):
    """E[min Q] + entropy bonus of the trained states and both entropies, one state at a time [B, M], in NumPy."""
    spec, b = agent.spec, batch.weight.shape[1]
    z, _ = agent.nets.rep({"v": batch.obs["v"][0, :, :M]}, tf.zeros((b, M, 0)), tf.zeros((b, 0)))
    pi = agent.nets.policy(z).masked(batch.mask[0, :, :M])
    raw, log_c = (x.numpy() for x in agent.rng.action(pi, (b, M), Stream.POLICY_ACTION))
    q = agent.nets.q(z, np.tanh(raw)).numpy()
    alpha_c, alpha_d = (float(x) for x in agent.temperatures.alphas())
    if not spec.branches:
        return q[..., 0].min(0) - alpha_c * log_c, (-log_c, np.zeros_like(log_c))
    probs = pi.probs.numpy()
    entropy = -(probs * np.log(probs)).sum(-1)
    if len(spec.branches) == 1:
        expected = (q.min(0) * probs).sum(-1)
    else:
        expected = (q * probs).sum(-1).min(0)
    return expected - alpha_c * log_c + alpha_d * entropy, (-log_c, entropy)


@pytest.mark.slow
def test_the_policy_is_judged_where_it_acts_alone(agent):
    """The policy's loss and both entropies are means over the rows that hold an action; final rows do not count."""
    frozen(agent)
    batch = ending(agent.spec)
    metrics, _ = agent.update(batch)
    values, entropies = values_of_policy(agent, batch)
    acts = batch.valid[0, :, :M] > 0
    assert acts.sum() == B + B // 2
    np.testing.assert_allclose(metrics["policy/loss"], -values[acts].mean(), rtol=1e-4, atol=1e-6)
    assert abs(values[acts].mean() - values.mean()) > 1e-3
    for kind, entropy in zip(("continuous", "discrete"), entropies):
        if f"policy/entropy_{kind}" in metrics:
            np.testing.assert_allclose(metrics[f"policy/entropy_{kind}"], entropy[acts].mean(), rtol=1e-4, atol=1e-6)


def test_a_final_observation_does_not_train_the_policy(agent):
    """It enters the targets only, and these do not enter the policy's loss."""
    agent.trained["critic"][0].learning_rate.assign(0.0)
    before, after = weights(agent), []
    for shift in (0.0, 3.0):
        agent.restore(before, {})
        agent.update(ending(agent.spec, shift))
        after.append(weights(agent))
    for key in part(after[0], "policy/", "temperatures/"):
        np.testing.assert_array_equal(after[0][key], after[1][key], err_msg=key)
    assert moved(before, after[0], "policy", "temperatures")


# --- temperatures


def log_alphas(agent):
    return np.array(agent.temperatures.log_alpha)


def policy_head(spec, wide: bool, uniform: bool):
    """Mean 0, a wide or a narrow std, and choices that are equally probable or nearly certain."""
    certain = np.concatenate([[0.0] * 0, *[[9.0] + [0.0] * (n - 1) for n in spec.branches]])
    return [0.0] * spec.continuous + [0.0 if wide else -4.0] * spec.continuous + list(certain * (not uniform))


@pytest.mark.slow
@pytest.mark.parametrize(("wide", "uniform"), [(True, True), (False, False), (True, False)])
def test_temperatures_move_the_right_way(agent, wide, uniform):
    set_policy_head(agent, policy_head(agent.spec, wide, uniform))
    before = log_alphas(agent)
    agent.update(single(windows(agent.spec, B, steps=T)))
    change = log_alphas(agent) - before
    expected = [-1 if wide else 1, -1 if uniform else 1] * np.array([agent.spec.continuous > 0, agent.spec.choices > 0])
    np.testing.assert_array_equal(np.sign(change), expected)


def test_a_temperature_stops_at_its_bound_and_says_so(agent):
    set_policy_head(agent, policy_head(agent.spec, wide=False, uniform=False))
    agent.temperatures.log_alpha.assign([2.0, 2.0])
    metrics, _ = agent.update(single(windows(agent.spec, B, steps=T)))
    np.testing.assert_array_equal(log_alphas(agent), [2.0, 2.0])
    flags = [value for name, value in metrics.items() if name.endswith("at_bound")]
    assert flags and all(float(flag) == 1 for flag in flags)


@pytest.mark.parametrize("kind", ["discrete", "hybrid", "branches"], scope="module")
def test_target_entropy_counts_only_legal_choices(agent):
    """With one legal choice in each branch entropy and target are both zero: nothing to adjust."""
    spec = agent.spec
    mask = np.zeros((B, T + 1, spec.choices), bool)
    mask[..., np.cumsum((0, *spec.branches[:-1])) + 1] = True
    before = log_alphas(agent)
    metrics, _ = agent.update(single(windows(spec, B, steps=T, mask=mask)))
    assert log_alphas(agent)[1] == before[1]
    assert float(metrics["policy/entropy_discrete"]) == 0
    agent.update(single(windows(spec, B, steps=T)))
    assert log_alphas(agent)[1] != before[1]


# --- masks


@pytest.mark.parametrize("kind", ["discrete", "hybrid", "branches"], scope="module")
def test_illegal_choices_have_no_influence_on_anything_that_is_learnt(agent):
    """Their columns in all critics and their logits may have any value."""
    spec = agent.spec
    mask = np.random.default_rng(0).random((B, T + 1, spec.choices)) < 0.5
    mask[..., np.cumsum((0, *spec.branches[:-1])) + 1] = True
    mask[..., 0] = False
    batch, before = single(windows(spec, B, steps=T, mask=mask)), weights(agent)
    metrics, (td_error, _) = agent.update(batch)
    agent.restore(before, {})
    shift = np.zeros(spec.columns, np.float32)
    shift[0] = 1000
    for critic in (*agent.nets.critics, *agent.nets.target_critics):
        critic.body.stack[-1].bias.assign_add(shift)
    policy_bias = agent.nets.policy.body.stack[-1].bias
    policy_bias.assign_add(np.concatenate([np.zeros(2 * spec.continuous, np.float32), shift]))
    again, (td_again, _) = agent.update(batch)
    np.testing.assert_allclose(td_error, td_again, rtol=1e-5)
    for name, value in metrics.items():
        np.testing.assert_allclose(value, again[name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("kind", ["discrete", "hybrid", "branches"], scope="module")
def test_illegal_choices_are_never_made(agent):
    spec, k = agent.spec, 1024
    mask = np.ones((k, spec.choices), bool)
    mask[:, np.cumsum((0, *spec.branches[:-1]))] = False
    mask[::2, 1] = False
    set_policy_head(agent, policy_head(spec, wide=True, uniform=False))  # the forbidden choices have the largest logits
    obs = {"v": np.zeros((k, 3), np.float32)}
    for seed, greedy in ((0, False), (1, False), (2, True)):
        choice = act(agent, obs, mask, seed=seed, greedy=greedy)
        assert (choice.discrete > 0).all()
        assert (choice.discrete[::2, 0] > 1).all()
        assert greedy or len(np.unique(choice.discrete[1::2, 0])) == spec.branches[0] - 1
        assert np.isfinite(choice.log_prob).all()


# --- acting


def test_any_number_of_agents_gets_the_same_actions(agent):
    rng = np.random.default_rng(0)
    obs = {"v": rng.normal(size=(16, 3)).astype(np.float32)}
    noise = draw(agent, 16, rng)
    mask, empty = np.ones((16, agent.spec.choices), bool), np.zeros((16, 0), np.float32)
    whole = agent.act(obs, mask, empty, empty, noise)
    for k in (1, 3, 5, 8):
        few = Noise(*(x[:k] for x in noise))
        some = agent.act({"v": obs["v"][:k]}, mask[:k], empty[:k], empty[:k], few)
        for name, a, b in zip(whole._fields, whole, some):
            np.testing.assert_allclose(a[:k], b, atol=1e-5, err_msg=name)
            assert len(b) == k
    none = Noise(*(x[:0] for x in noise))
    nobody = agent.act({"v": obs["v"][:0]}, mask[:0], empty[:0], empty[:0], none)
    assert [x.shape for x in nobody] == [(0, *x.shape[1:]) for x in whole]


def test_greedy_is_the_mode_whatever_the_noise(agent):
    obs = {"v": np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)}
    first, second = act(agent, obs, seed=0, greedy=True), act(agent, obs, seed=1, greedy=True)
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a, b)
    pi = agent.nets.policy(agent.nets.rep(obs, tf.zeros((5, 0)), tf.zeros((5, 0)))[0])
    if agent.spec.continuous:
        np.testing.assert_allclose(first.raw, pi.continuous.mode(), atol=1e-6)
        np.testing.assert_allclose(first.action, np.tanh(first.raw), atol=1e-6)
        assert np.abs(act(agent, obs, seed=0).raw - first.raw).min() > 1e-4
    start = 0
    for i, size in enumerate(agent.spec.branches):
        np.testing.assert_array_equal(first.discrete[:, i], pi.probs.numpy()[:, start : start + size].argmax(-1))
        start += size


# --- variants that need another agent


@pytest.mark.slow
def test_targets_move_only_every_so_many_updates():
    agent = make_agent(SPECS["continuous"], tau=0.2, update_target_per_step=3)
    for update in range(1, 7):
        before = weights(agent)
        agent.update(single(windows(agent.spec, B, steps=1, seed=update)))
        after = weights(agent)
        assert moved(before, after, "target_critic_0") == (update % 3 == 0)
        key = "critic_0/0"
        if update % 3 == 0:
            old = before[f"target_{key}"]
            np.testing.assert_allclose(after[f"target_{key}"], old + 0.2 * (after[key] - old), rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_same_seed_twice_gives_identical_weights_and_another_seed_does_not():
    def trained(seed):
        agent = make_agent(SPECS["hybrid"], seed=seed)
        for i in range(3):
            agent.update(single(windows(agent.spec, B, steps=1, seed=i)))
        return agent, weights(agent)

    (_, one), (agent, two) = trained(5), trained(5)
    for key, value in one.items():
        np.testing.assert_array_equal(value, two[key], err_msg=key)
    assert moved(weights(make_agent(SPECS["hybrid"], seed=6)), weights(make_agent(SPECS["hybrid"], seed=5)), "policy")
    agent.restore(weights(make_agent(SPECS["hybrid"], seed=5)), {})
    agent.updates.assign(100)  # other random numbers from the same weights and batches
    for i in range(3):
        agent.update(single(windows(agent.spec, B, steps=1, seed=i)))
    assert moved(weights(agent), one, "policy")


@pytest.mark.slow
def test_fixed_temperatures_stay():
    agent = make_agent(SPECS["hybrid"], use_auto_alpha=False, init_log_alpha=-1.0)
    metrics, _ = agent.update(single(windows(agent.spec, B, steps=1)))
    np.testing.assert_array_equal(log_alphas(agent), [-1.0, -1.0])
    assert float(metrics["alpha/continuous"]) == pytest.approx(np.exp(-1))


@pytest.mark.slow
def test_images_and_vectors_learn_together_and_uint8_is_scaled():
    spec = Spec((*SENSORS, Sensor("eye", (8, 8, 3), "uint8")), 1, (2,))
    agent = make_agent(spec, n_step=2)
    batch, before = single(windows(spec, 4, steps=2)), weights(agent)
    metrics, (td_error, _) = agent.update(batch)
    assert all(np.isfinite(float(value)) for value in metrics.values()) and td_error.shape == (1, 4)
    assert moved(before, weights(agent), "rep")
    obs = {name: x[0, :, 0] for name, x in batch.obs.items()}
    floats = {"v": obs["v"], "eye": obs["eye"] / np.float32(255)}
    by_hand = agent.nets.policy(agent.nets.rep(floats, tf.zeros((4, 0)), tf.zeros((4, 0)))[0])
    np.testing.assert_allclose(act(agent, obs, greedy=True).raw, by_hand.continuous.mode(), atol=1e-5)
    np.testing.assert_allclose(scaled(obs, spec)["eye"], floats["eye"], rtol=1e-6)


@pytest.mark.slow
def test_compiled_by_xla_fused_equals_single_and_is_traced_once():
    """The loop's body is the same program for every K; some processors round one of its operations otherwise."""
    agent = make_agent(SPECS["continuous"], n_step=2, jit=True)
    batches, before = windows(agent.spec, 4, B, steps=2), weights(agent)
    agent.update(batches)
    fused = weights(agent)
    agent.restore(before, {})
    for k in range(4):
        agent.update(single(batches, k))
    for key, value in weights(agent).items():
        np.testing.assert_allclose(value, fused[key], rtol=1e-5, atol=1e-7, err_msg=key)
    assert agent.traces == 2


class Uncompilable(keras.layers.Layer):
    """Calls back into Python, which XLA refuses."""

    def __init__(self, spec):
        super().__init__()

    def call(self, obs, previous_action, state):
        x = tf.numpy_function(lambda v: v, [obs["v"]], tf.float32)
        return tf.ensure_shape(x, obs["v"].shape), state


@pytest.mark.slow
def test_a_network_that_xla_refuses_is_answered_with_the_switch():
    agent = make_agent(SPECS["continuous"], nn=module(ModelRep=Uncompilable), jit=True)
    for call in (
        lambda: act(agent, {"v": np.zeros((1, 3), np.float32)}),
        lambda: agent.update(single(windows(agent.spec, 2, steps=1))),
    ):
        with pytest.raises(UserError, match=r"sac\.jit=false"):
            call()


def test_a_checkpoint_of_other_networks_is_refused_with_both_shapes(shared):
    agent, first = shared
    agent.restore(first, {})
    with pytest.raises(UserError, match="does not fit"):
        agent.restore({name: x for name, x in first.items() if not name.startswith("rep/")}, {})
    wrong = first | {"policy/0": np.zeros((9, 9), np.float32)}
    with pytest.raises(UserError, match=r"policy/0: saved \(9, 9\), now \(6, 16\)"):
        agent.restore(wrong, {})
    for key, value in weights(agent).items():
        np.testing.assert_array_equal(value, first[key])


class RowOfATable(keras.layers.Layer):
    """Features are a row of an embedding: its gradient names the rows that were looked up, and no others."""

    def __init__(self, spec, **kwargs):
        super().__init__()
        self.table = keras.layers.Embedding(4, 6)

    def call(self, obs, previous_action, state):
        return self.table(tf.cast(obs["v"][..., 0], tf.int32)), state


@pytest.mark.slow
def test_an_embedding_learns_the_rows_that_were_looked_up():
    agent = make_agent(SPECS["continuous"], nn=module(ModelRep=RowOfATable), n_step=1)
    batch = windows(SPECS["continuous"], 8, steps=1)
    batch.obs["v"][..., 0], batch.valid[:] = np.arange(8)[:, None] % 3, 1
    before = weights(agent)
    agent.update(single(batch))
    (name,) = part(before, "rep/")
    changed = (weights(agent)[name] != before[name]).any(-1)
    assert changed.tolist() == [True, True, True, False]
