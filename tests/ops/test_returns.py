"""Multi-step targets: identities on a soft MDP, in exact expectation over all windows, then hand-computed tables."""

from __future__ import annotations

import numpy as np
import pytest

from sac.backend import tf
from sac.ops.returns import clipped_ratio, retrace, vtrace
from tests.ops.soft_mdp import GAMMA, STATES, SoftMDP, Windows, policy

MDP = SoftMDP.make(0)
PI, MU = policy(1), policy(2)
INF = float("inf")
EXACT = {"rtol": 0, "atol": 3e-6}  # float32 sums of numbers about 1


def v_target(n, pi, mu, value, *, lam=1.0, rho=INF, c=1.0, cut_from=None, ratios=1.0):
    windows = Windows.all(MDP, mu, n, cut_from)
    columns = windows.columns(MDP, value, pi, mu)
    columns["log_ratio"] *= ratios
    return windows.expectation(vtrace(**columns, n=n, gamma=GAMMA, lam=lam, rho_cap=rho, c_cap=c))


def r_target(n, pi, mu, q, *, lam=1.0, c=1.0, cut_from=None):
    windows = Windows.all(MDP, mu, n, cut_from)
    columns = windows.columns(MDP, MDP.value(q, pi), pi, mu, q)
    return windows.expectation(retrace(**columns, n=n, gamma=GAMMA, lam=lam, c_cap=c))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize(("rho", "c"), [(1.0, 1.0), (0.3, 0.2), (INF, INF), (2.0, 0.5)])
def test_a_on_policy_targets_are_exact_for_any_clip(n, rho, c):
    q = MDP.q_of(PI)
    np.testing.assert_allclose(v_target(n, PI, PI, MDP.value(q, PI), rho=rho, c=c), q, **EXACT)


@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("cut_from", [None, 0])
def test_b_off_policy_targets_without_rho_clip_are_exact(lam, n, cut_from):
    q = MDP.q_of(PI)
    value = MDP.value(q, PI)
    np.testing.assert_allclose(v_target(n, PI, MU, value, lam=lam, cut_from=cut_from), q, **EXACT)


@pytest.mark.parametrize("wrong", [{"ratios": 0.0}, {"ratios": 0.5}, {"ratios": -1.0}, {"rho": 1.0}])
def test_b_wrong_ratios_are_noticed(wrong):
    """The check notices no ratio, half of it, its inverse and a clipped one (rho = 1 is biased by design)."""
    q = MDP.q_of(PI)
    assert np.abs(v_target(3, PI, MU, MDP.value(q, PI), **wrong) - q).max() > 0.02


def test_b_repeated_targets_find_the_value_of_the_policy():
    """From zero instead of at the fixed point, so that every factor along the trace counts."""
    for rho, c, lam in ((INF, 1.0, 1.0), (INF, INF, 1.0), (INF, 1.0, 0.7)):
        q = np.zeros_like(PI)
        for _ in range(40):
            q = v_target(3, PI, MU, MDP.value(q, PI), rho=rho, c=c, lam=lam)
        np.testing.assert_allclose(q, MDP.q_of(PI), rtol=0, atol=1e-3)  # gamma^40 = 1e-4 is left of the start


@pytest.mark.parametrize("n", [1, 2, 3])
def test_b_unclipped_targets_are_n_soft_backups_of_any_value(n):
    value = np.random.default_rng(5).normal(size=STATES)
    expected = MDP.backup(value)
    for _ in range(n - 1):
        expected = MDP.backup(MDP.value(expected, PI))
    np.testing.assert_allclose(v_target(n, PI, MU, value, rho=INF, c=INF), expected, **EXACT)


@pytest.mark.parametrize("clip", [(1.0, 1.0), (0.4, 0.3), (INF, 1.0), (INF, INF), (0.0, 0.0)])
def test_c_optimum_is_a_fixed_point_for_any_behaviour_and_clip(clip):
    q, pi = MDP.optimal()
    for mu in (MU, policy(7)):
        for cut_from in (None, 2):
            found = v_target(3, pi, mu, MDP.value(q, pi), rho=clip[0], c=clip[1], cut_from=cut_from)
            np.testing.assert_allclose(found, q, **EXACT)


def test_d_one_step_is_what_remains_of_n_1_rho_0_and_lambda_0():
    value = np.random.default_rng(3).normal(size=STATES)
    expected = MDP.backup(value)
    for kwargs in ({"n": 1}, {"n": 3, "rho": 0.0}, {"n": 3, "lam": 0.0, "rho": 1.0}):
        found = v_target(kwargs.pop("n"), PI, MU, value, **kwargs)
        np.testing.assert_allclose(found, expected, **EXACT)
    q = np.random.default_rng(4).normal(size=PI.shape)
    for kwargs in ({"n": 1}, {"n": 3, "lam": 0.0}, {"n": 3, "c": 0.0}):
        found = r_target(kwargs.pop("n"), PI, MU, q, **kwargs)
        np.testing.assert_allclose(found, MDP.backup(MDP.value(q, PI)), **EXACT)


@pytest.mark.parametrize(("lam", "c"), [(1.0, 1.0), (0.7, 1.0), (1.0, INF), (1.0, 0.3)])
@pytest.mark.parametrize("cut_from", [None, 1])
def test_g_retrace_is_exact_for_any_behaviour(lam, c, cut_from):
    q = MDP.q_of(PI)
    for mu in (PI, MU, policy(7)):
        np.testing.assert_allclose(r_target(3, PI, mu, q, lam=lam, c=c, cut_from=cut_from), q, **EXACT)


def test_g_repeated_retrace_finds_the_value_where_clipped_vtrace_does_not():
    q = v = np.zeros_like(PI)
    for _ in range(40):
        q = r_target(3, PI, MU, q)
        v = v_target(3, PI, MU, MDP.value(v, PI), rho=1.0)
    np.testing.assert_allclose(q, MDP.q_of(PI), rtol=0, atol=1e-3)
    assert np.abs(v - MDP.q_of(PI)).max() > 0.02  # the bias of rho clipped at 1 that conf/ speaks of


# --- windows that contain the end of an episode


def random_window(rng, steps, batch=5):
    shape = (batch, steps)
    columns = {name: rng.normal(size=shape) for name in ("reward", "value", "soft_reward", "log_ratio", "stored_q")}
    columns |= {"discount": np.ones(shape), "valid": np.ones(shape)}
    return columns


def targets(columns, n, lam=0.9, rho=1.5, c=1.2):
    """V-trace and Retrace [2, B, m] of columns that are all [B, T]."""
    x = {name: np.asarray(column, np.float32) for name, column in columns.items()}
    soft, ratio, stored = (x.pop(name)[:, 1:] for name in ("soft_reward", "log_ratio", "stored_q"))
    v = vtrace(**x, soft_reward=soft, log_ratio=ratio, n=n, gamma=GAMMA, lam=lam, rho_cap=rho, c_cap=c)
    q = retrace(**x, stored_q=stored, log_ratio=ratio, n=n, gamma=GAMMA, lam=lam, c_cap=c)
    return np.stack([v, q])


def joined(parts, final_row):
    """Consecutive episodes. `value` belongs to the state after a step, everything else to the step."""
    rows = []
    for part in parts:
        rows.append(part)
        if final_row:
            batch = len(part["reward"])
            rows.append({name: np.full((batch, 1), 7.0) for name in part} | {"valid": np.zeros((batch, 1))})
            rows[-1]["discount"] = np.ones((batch, 1))
    return {name: np.concatenate([row[name] for row in rows], axis=1) for name in parts[0]}


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("end", ["terminated", "terminated, no final row", "truncated"])
def test_e_two_episodes_in_one_window_equal_each_alone(end, n):
    rng = np.random.default_rng(0)
    first, second = random_window(rng, 3), random_window(rng, 5)
    first["discount"][:, -1] = 0.0 if end.startswith("terminated") else 1.0
    both = targets(joined([first, second], final_row="no final" not in end), n)
    alone = targets(joined([first, *[{k: v[:, -1:] * 0 for k, v in first.items()}] * 4], False), n)
    np.testing.assert_allclose(both[..., :3], alone[..., :3], rtol=1e-6)
    start, m = (3 if "no final" in end else 4), 5 - n + 1
    np.testing.assert_allclose(both[..., start : start + m], targets(second, n), rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_f_truncated_window_equals_monte_carlo_with_bootstrap(steps):
    """A final row is not a step of reward 0 that ends the episode: V(final observation) is bootstrapped."""
    rng = np.random.default_rng(1)
    n, window = 4, random_window(rng, 4)
    window["valid"][:, steps:] = 0
    window["log_ratio"][:] = 0
    expected = window["value"][:, steps - 1]
    for i in range(steps - 1, 0, -1):
        expected = window["reward"][:, i] + window["soft_reward"][:, i] + GAMMA * expected
    expected = window["reward"][:, 0] + GAMMA * expected
    found = targets(window, n, lam=1.0, rho=1.0, c=1.0)[0, :, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_infinite_ratios_behind_an_end_are_cut():
    rng = np.random.default_rng(2)
    window = random_window(rng, 4)
    window["discount"][:, 1] = 0
    window["log_ratio"][:, 1:] = 100.0  # exp(100) is infinite in float32
    window["log_ratio"][:, 1] = 0.0
    window["valid"][:, 2:] = 0
    assert np.isfinite(targets(window, 4, rho=INF, c=INF)).all()


# --- numbers


def table():
    row = {"reward": [1, 2, 3], "discount": [1, 1, 1], "valid": [1, 1, 1], "value": [10, 20, 30]}
    row |= {"log_ratio": np.log([2, 0.5])}
    return {name: tf.constant([values], tf.float32) for name, values in row.items()}


def test_hand_computed_table():
    # gamma 0.5; rho = c = min(1, [2, 0.5]) = [1, 0.5]
    # delta_1 = 1 (2 + 0.5 + 10 - 10) = 2.5, delta_2 = 0.5 (3 - 0.5 + 15 - 20) = -1.25
    soft = tf.constant([[0.5, -0.5]])
    common = {"n": 3, "gamma": 0.5, "c_cap": 1.0}
    # lambda 1: 1 + 0.5 (10 + 2.5 - 0.5 * 1.25); lambda 0.5: 1 + 0.5 (10 + 0.5 (2.5 - 0.25 * 1.25))
    for lam, expected in ((1.0, 6.9375), (0.5, 6.546875)):
        assert float(vtrace(**table(), soft_reward=soft, lam=lam, rho_cap=1.0, **common)[0, 0]) == expected
    # Retrace: c_1 (2 + 10 - 8) = 4, c_2 (3 + 15 - 16) = 1, behind gamma c_1 = 0.5: 1 + 0.5 (10 + 4 + 0.5)
    assert float(retrace(**table(), stored_q=tf.constant([[8.0, 16.0]]), lam=1.0, **common)[0, 0]) == 8.25


def test_every_trained_state_has_its_own_n_step_target():
    window = random_window(np.random.default_rng(6), 6)
    together = targets(window, 3)
    assert together.shape == (2, 5, 4)
    for y in range(4):
        alone = targets({name: x[:, y : y + 3] for name, x in window.items()}, 3)
        np.testing.assert_allclose(together[..., y], alone[..., 0], rtol=1e-6)


def test_ratio_is_capped_and_safe_for_any_exponent():
    log_ratio = tf.constant([-500.0, 0.0, 0.5, 500.0])
    np.testing.assert_allclose(clipped_ratio(log_ratio, 1.2), [0, 1, 1.2, 1.2], rtol=1e-6)
    np.testing.assert_allclose(clipped_ratio(log_ratio, INF)[:3], [0, 1, np.exp(0.5)], rtol=1e-6)
    np.testing.assert_array_equal(clipped_ratio(log_ratio, 0.0), 0)


def test_compiled_equals_eager():
    windows = Windows.all(MDP, MU, 3, 0)
    columns = windows.columns(MDP, MDP.value(MDP.q_of(PI), PI), PI, MU)
    kwargs = {"n": 3, "gamma": GAMMA, "lam": 0.9, "rho_cap": 2.0, "c_cap": 1.0}
    compiled = tf.function(lambda **x: vtrace(**x, **kwargs), jit_compile=True)(**columns)
    np.testing.assert_allclose(compiled, vtrace(**columns, **kwargs), rtol=1e-6, atol=1e-6)
