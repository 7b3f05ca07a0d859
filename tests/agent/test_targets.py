"""The targets of an update, recomputed step by step in NumPy from the networks' outputs.

The update runs eagerly here and moves no weights, as gradients need a graph; the arguments of the critic loss are
recorded. A test below shows that gradients do not flow through the targets, in a graph.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sac.agent import critic_update, policy_update, temperature
from sac.agent import targets as targets_module
from sac.agent.encoding import TrainedStates
from sac.agent.rng import Stream
from sac.backend import tf
from sac.nets.action_distribution import one_hot
from sac.ops import losses, soft_value
from sac.ops.soft_value import random_subset
from sac.ops.value_scale import Rescaled
from tests.agent.agent_kit import (
    SPECS,
    TrainedRep,
    act,
    in_graph,
    make_agent,
    module,
    observations,
    single,
    weights,
    windows,
)

B, N, M = 6, 3, 2
T = N + M - 1
CAPS = {"v_rho": 1.3, "v_c": 0.9, "v_lambda": 0.8, "gamma": 0.9}


def agent_with(kind, **hyper):
    """Target networks differ from the online ones, so that exchanging them is noticed."""
    nn = module(ModelRep=TrainedRep)
    agent = make_agent(SPECS[kind], nn=nn, n_step=N, sequence_length=M, **{**CAPS, **hyper})
    rng = np.random.default_rng(9)
    for _, target in agent.nets.target_pairs():
        target.assign(target + 0.1 * rng.normal(size=target.shape).astype(np.float32))
    agent.temperatures.log_alpha.assign([-0.5, -1.0])
    return agent


def watched_update(agent, batch, monkeypatch) -> SimpleNamespace:
    """Runs one update; returns the arguments of the critic loss, the metrics and the TD errors."""
    encoded = SimpleNamespace()
    for user in (critic_update, policy_update, temperature):
        monkeypatch.setattr(user, "gradients", lambda loss, weights: [tf.zeros_like(w) for w in weights])
    names = ("q", "target", "clip_centre", "weight", "valid", "clip_epsilon")

    def critic(*args):
        vars(encoded).update(zip(names, args))
        return losses.critic(*args)

    monkeypatch.setattr(critic_update, "losses", SimpleNamespace(**{**vars(losses), "critic": critic}))
    as_tensors = tf.nest.map_structure(tf.convert_to_tensor, batch._replace(index=()))
    encoded.metrics, encoded.td_error, _ = agent._update_one(as_tensors)
    return encoded


class Pieces:
    """Values of the states 1 ... T and log-probabilities of the actions in 1 ... T - 1, before an update."""

    def __init__(self, agent, batch):
        spec, nets = agent.spec, agent.nets
        empty = tf.zeros((B, T + 1, 0))
        z = nets.rep(batch.obs, empty, empty)[0][:, 1:]
        self.z_target = nets.target_rep(batch.obs, empty, empty)[0].numpy()
        pi = nets.policy(z)
        # Whether Q contains the continuous and the discrete entropy.
        counted = {None: (1, 0), True: (1, 1), False: (0, 0)}[agent.hyper.soft_target]
        self.alpha_c, self.alpha_d = np.exp(np.array(agent.temperatures.log_alpha)) * counted
        seed = [agent.seed * 100 + Stream.TARGET_ACTION, int(agent.updates.numpy()) + 1]
        noise = tf.random.stateless_normal((B, T, spec.continuous), seed).numpy()
        subset_seed = [agent.seed * 100 + Stream.TARGET_SUBSET, seed[1]]
        nets_used = random_subset(len(nets.target_critics), agent.hyper.ensemble_q_sample, subset_seed).numpy()
        self.critics = [nets.target_critics[i] for i in nets_used]
        raw = noise
        self.log_c = self.fresh_log_c = np.zeros((B, T))
        if spec.continuous:
            mean, std = pi.continuous.normal.loc.numpy(), pi.continuous.normal.scale.numpy()
            raw = mean + std * noise
            self.fresh_log_c = self.density(raw, mean, std)
            done = np.concatenate([batch.raw_action[:, 1:], np.zeros((B, 1, spec.continuous))], axis=1)
            self.log_c = self.density(done, mean, std)
        q = np.stack([critic(self.z_target[:, 1:], np.tanh(raw).astype(np.float32)) for critic in self.critics])
        self.log_d, self.entropy_d = np.zeros((B, T)), np.zeros((B, T))
        per_net = q[..., 0] if not spec.branches else 0
        least, first = q.min(0), 0
        for i, size in enumerate(spec.branches):
            logits = np.where(batch.mask[:, 1:], pi.logits.numpy(), -np.inf)[..., first : first + size]
            log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            p = np.exp(log_p)
            self.entropy_d -= (p * np.where(p > 0, log_p, 0)).sum(-1)
            done = np.concatenate([batch.discrete[:, 1:, i], np.full((B, 1), -1)], axis=1)
            self.log_d += np.where(done >= 0, np.take_along_axis(log_p, done.clip(0)[..., None], -1)[..., 0], 0)
            per_net = per_net + (q[..., first : first + size] * p).sum(-1)
            self.one_branch = (least[..., first : first + size] * p).sum(-1)
            first += size
        expected = self.one_branch if len(spec.branches) == 1 else per_net.min(0)
        self.bonus = self.alpha_d * self.entropy_d - self.alpha_c * self.fresh_log_c
        self.value = expected + self.bonus

    @staticmethod
    def density(raw, mean, std):
        normal = -0.5 * ((raw - mean) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)
        return (normal - np.log1p(-(np.tanh(raw.astype(np.float64)) ** 2))).sum(-1)

    def stored_q(self, batch, spec):
        """min over the target critics of Q of the stored actions in the states 1 ... T - 1."""
        action = np.tanh(batch.raw_action[:, 1:]).astype(np.float32)
        q = np.stack([critic(self.z_target[:, 1:-1], action) for critic in self.critics])
        if not spec.branches:
            return q[..., 0].min(0)
        first, chosen = 0, 0
        for i, size in enumerate(spec.branches):
            taken = batch.discrete[None, :, 1:, i, None].repeat(len(q), 0)
            chosen = chosen + np.take_along_axis(q[..., first : first + size], taken, -1)[..., 0]
            first += size
        return chosen.min(0)


def expected_targets(agent, batch):
    """The recursion as the papers write it, for one window and one trained state at a time."""
    h, p, spec = agent.hyper, Pieces(agent, batch), agent.spec
    ratio = np.exp(p.log_c[:, :-1] + p.log_d[:, :-1] - batch.log_prob[:, 1:].sum(-1))
    soft_reward = -p.alpha_c * p.log_c[:, :-1] - p.alpha_d * p.log_d[:, :-1]
    if not h.use_n_step_is:
        ratio, soft_reward = np.ones_like(ratio), p.bonus[:, :-1]
    stored = p.stored_q(batch, spec)
    out = np.zeros((B, M))
    for b in range(B):
        for y in range(M):
            # row t is followed by state t + 1, whose value is p.value[:, t]; row t itself is acted in from state t
            correction, product = 0.0, 1.0
            for t in range(y + 1, y + N):
                if not batch.valid[b, t]:
                    break
                i, d = t - 1, h.gamma * batch.discount[b, t]
                step = batch.reward[b, t] + d * p.value[b, t]
                c = h.v_lambda * min(h.v_c, ratio[b, i])
                if h.trace == "retrace":
                    correction += product * c * (step - stored[b, i])
                else:
                    rho = min(h.v_rho, ratio[b, i])
                    correction += h.v_lambda * product * rho * (step + soft_reward[b, i] - p.value[b, i])
                product *= d * c
            out[b, y] = batch.reward[b, y] + h.gamma * batch.discount[b, y] * (p.value[b, y] + correction)
    return out


@pytest.mark.parametrize(
    ("kind", "hyper"),
    [
        ("continuous", {}),
        ("discrete", {}),
        ("hybrid", {}),
        ("branches", {}),
        ("hybrid", {"use_n_step_is": False}),
        ("branches", {"use_n_step_is": False, "v_lambda": 1.0}),
        ("continuous", {"trace": "retrace"}),
        ("branches", {"trace": "retrace"}),
        ("hybrid", {"ensemble": 5, "ensemble_q_sample": 2}),
        ("hybrid", {"v_rho": float("inf"), "v_c": float("inf")}),
        ("continuous", {"soft_target": False}),
        ("discrete", {"soft_target": True}),
        ("discrete", {"soft_target": False, "trace": "retrace"}),
        ("hybrid", {"soft_target": True}),
        ("hybrid", {"soft_target": False}),
        ("hybrid", {"soft_target": False, "use_n_step_is": False}),
        ("branches", {"soft_target": True, "use_n_step_is": False}),
        ("branches", {"soft_target": True, "trace": "retrace"}),
    ],
)
def test_targets_are_the_recursion_written_out(kind, hyper, monkeypatch):
    agent, spec = agent_with(kind, **hyper), SPECS[kind]
    mask = np.random.default_rng(1).random((B, T + 1, spec.choices)) < 0.7
    mask[..., np.cumsum((0, *spec.branches[:-1]))[: len(spec.branches)]] = True
    batch = windows(spec, B, steps=T, seed=2, mask=mask)
    batch.discount[0, 0] = batch.discount[1, 2] = 0
    batch.valid[:2], batch.valid[2, 2:], batch.valid[3, M:] = 1, 0, 0
    expected = expected_targets(agent, batch)
    encoded = watched_update(agent, batch, monkeypatch)
    valid = batch.valid[:, :M] == 1
    np.testing.assert_allclose(encoded.target.numpy()[valid], expected[valid], rtol=2e-4, atol=2e-4)
    assert np.ptp(expected[valid]) > 1


@pytest.mark.slow
def test_each_use_draws_its_own_subset_of_the_nets(monkeypatch):
    agent = agent_with("hybrid", ensemble=5, ensemble_q_sample=2)
    drawn = []
    subset = soft_value.random_subset

    def watch(total, size, seed):
        drawn.append(tuple(subset(total, size, seed).numpy()))
        return subset(total, size, seed)

    monkeypatch.setattr(soft_value, "random_subset", watch)
    for seed in range(6):
        watched_update(agent, windows(agent.spec, B, steps=T, seed=seed), monkeypatch)
    assert len(drawn) == 12  # target and policy of six updates
    assert len(set(drawn[::2])) > 2 and len(set(drawn[1::2])) > 2 and drawn[::2] != drawn[1::2]


def test_clipped_loss_is_centred_on_the_target_critics(monkeypatch):
    for kind, expected in (("continuous", 0.3), ("branches", 0.3), ("discrete", -1.0)):
        agent, batch = agent_with(kind, clip_epsilon=0.3), windows(SPECS[kind], B, steps=T)
        z = agent.nets.target_rep(batch.obs, tf.zeros((B, T + 1, 0)), tf.zeros((B, T + 1, 0)))[0][:, :M]
        action = np.tanh(batch.raw_action[:, :M])
        columns = np.stack([critic(z, action) for critic in agent.nets.target_critics])
        encoded = watched_update(agent, batch, monkeypatch)
        assert encoded.clip_epsilon == expected
        taken = one_hot(batch.discrete[:, :M], agent.spec).numpy()
        np.testing.assert_allclose(encoded.clip_centre, (columns * taken).sum(-1), rtol=1e-4, atol=1e-5)


def test_td_error_goes_back_as_the_mean_over_nets(monkeypatch):
    agent, batch = agent_with("hybrid", ensemble=5), windows(SPECS["hybrid"], B, steps=T)
    encoded = watched_update(agent, batch, monkeypatch)
    error = np.abs(encoded.q - encoded.target).mean(0) * batch.valid[:, :M]
    mean = error.sum(1) / batch.valid[:, :M].sum(1)
    np.testing.assert_allclose(encoded.td_error, 0.9 * error.max(1) + 0.1 * mean, rtol=1e-5)


@pytest.mark.parametrize("trace", ["vtrace", "retrace"])
def test_no_gradient_flows_through_the_targets(trace, monkeypatch):
    """The critics' gradients are those for a constant target; no other network gets a gradient."""
    agent, batch = agent_with("hybrid", trace=trace), windows(SPECS["hybrid"], B, steps=T)
    nets = agent.nets
    others = [nets.policy, nets.target_rep, *nets.target_critics, agent.temperatures]
    others = [w for layer in others for w in layer.trainable_weights]
    wanted, own = [w.value for w in nets.critic_weights + others], len(nets.critic_weights)
    monkeypatch.setattr(agent, "_update_target_networks", lambda: None)
    target = tf.constant(watched_update(agent, batch, monkeypatch).target.numpy())
    step, real = agent._update_critics, agent.targets

    def gradients(targets):
        found = []
        monkeypatch.setattr(step, "targets", targets)
        monkeypatch.setattr(step, "_apply_gradients", lambda loss, _: found.extend(tf.gradients(loss, wanted)))

        def taken():
            step(agent._observed(batch))
            assert all(g is None for g in found[own:])
            return found[:own]

        return in_graph(taken)

    for free, constant in zip(gradients(real), gradients(lambda *args: (target, real(*args)[1])), strict=True):
        assert np.abs(free).max() > 0
        np.testing.assert_allclose(free, constant, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", list(SPECS))
def test_before_the_first_update_every_ratio_is_one(kind, monkeypatch):
    """Actions are chosen by act() along windows of n_step 3; with another log mu the ratios differ from 1."""
    agent = make_agent(SPECS[kind], nn=module(ModelRep=TrainedRep), n_step=N, sequence_length=M)
    spec, rng = agent.spec, np.random.default_rng(0)
    obs = observations(spec, rng, B, T + 1)
    mask = rng.random((B, T + 1, spec.choices)) < 0.6
    mask[..., np.cumsum((0, *spec.branches[:-1]))[: len(spec.branches)]] = True
    choices = [act(agent, {k: x[:, t] for k, x in obs.items()}, mask[:, t], seed=t) for t in range(T)]
    batch = windows(spec, B, steps=T)._replace(
        obs=obs,
        mask=mask,
        raw_action=np.stack([c.raw for c in choices], 1),
        discrete=np.stack([c.discrete for c in choices], 1),
        log_prob=np.stack([c.log_prob for c in choices], 1),
        valid=np.ones((B, T), np.float32),
    )
    log_ratios = []
    returns = targets_module.returns

    def vtrace(**kwargs):
        log_ratios.append(kwargs["log_ratio"].numpy())
        return returns.vtrace(**kwargs)

    spied = SimpleNamespace(vtrace=vtrace, clipped_ratio=returns.clipped_ratio)
    monkeypatch.setattr(targets_module, "returns", spied)
    before = weights(agent)
    encoded = watched_update(agent, batch, monkeypatch)
    np.testing.assert_allclose(np.exp(log_ratios[0]), 1, atol=1e-4)
    assert float(encoded.metrics["policy/ratio"]) == pytest.approx(1, abs=1e-4)
    agent.restore(before, {})
    watched_update(agent, batch._replace(log_prob=batch.log_prob + 0.1), monkeypatch)
    parts = (spec.continuous > 0) + (spec.choices > 0)
    assert np.abs(log_ratios[1] + 0.2).max() < 1e-3 and parts


@pytest.mark.parametrize("soft_target", [None, True, False])
def test_policy_loss_takes_the_online_critics_on_fresh_actions(soft_target):
    """Against NumPy for hybrid states: J = alpha_c log pi - alpha_d H - min E[Q], whatever `soft_target` is."""
    agent = agent_with("hybrid", ensemble=3, ensemble_q_sample=3, soft_target=soft_target)
    z = np.random.default_rng(0).normal(size=(B, M, 6)).astype(np.float32)
    valid = np.ones((B, M), np.float32)
    pi = agent.nets.policy(z)
    noise = tf.random.stateless_normal((B, M, 2), [agent.seed * 100 + Stream.POLICY_ACTION, 0])
    raw = pi.continuous.from_noise(noise)
    q = np.stack([critic(z, tf.tanh(raw)) for critic in agent.nets.critics]).min(0)
    p = pi.probs.numpy()
    alpha_c, alpha_d = np.exp(np.array(agent.temperatures.log_alpha))
    value = (q * p).sum(-1) - alpha_d * (p * np.log(p)).sum(-1) - alpha_c * pi.continuous_log_prob(raw)
    z, mask = tf.constant(z), tf.ones((B, M, 3), tf.bool)
    states = TrainedStates(z, z, mask, valid, tf.zeros((*valid.shape, agent.spec.continuous)), mask)
    (entropy_c, entropy_d), metrics = in_graph(lambda: agent._update_policy(states))
    assert float(metrics["policy/saturated"]) == pytest.approx((np.abs(np.tanh(raw)) > 0.99).mean())
    assert float(metrics["policy/loss"]) == pytest.approx(-float(np.mean(value)), rel=1e-4)
    np.testing.assert_allclose(entropy_c, -pi.continuous_log_prob(raw), rtol=1e-5)
    np.testing.assert_allclose(entropy_d, -(p * np.log(p)).sum(-1), rtol=1e-5)


@pytest.mark.slow
def test_batches_of_one_learn_the_same_through_the_compiled_call():
    """The updates above and the compiled one are the same program."""
    agent = agent_with("hybrid")
    batch, before = windows(agent.spec, B, steps=T), weights(agent)
    as_tensors = tf.nest.map_structure(tf.convert_to_tensor, batch._replace(index=()))
    _, plain, _ = in_graph(lambda: agent._update_one(as_tensors))
    after = weights(agent)
    agent.restore(before, {})
    _, (compiled, _) = agent.update(single(batch))
    np.testing.assert_allclose(compiled[0], plain, rtol=1e-5)
    for key, value in weights(agent).items():
        np.testing.assert_allclose(value, after[key], rtol=1e-4, atol=1e-6, err_msg=key)


def test_values_of_later_states_are_turned_back_into_units_of_reward():
    """Critics that return 50 mean h^-1(50), about 2,500; the target is h of a reward of 1 plus 0.9 of that."""
    agent = make_agent(SPECS["discrete"], scale=Rescaled, gamma=0.9, use_auto_alpha=False, init_log_alpha=-30.0)
    for critic in agent.nets.target_critics:
        head = critic.body.stack[-1]
        head.kernel.assign(np.zeros_like(head.kernel))
        head.bias.assign(np.full_like(head.bias, 50.0))
    batch = single(windows(agent.spec, 8, steps=1))
    batch.valid[:], batch.discount[:], batch.reward[:] = 1, 1, 1
    metrics, _ = agent.update(batch)
    meant = float(Rescaled.unsquash(50.0))
    assert 2000 < meant < 3000
    np.testing.assert_allclose(metrics["critic/target"], float(Rescaled.squash(1 + 0.9 * meant)), rtol=1e-4)
