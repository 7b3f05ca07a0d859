import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sac.replay import RateLimiter

rates = st.one_of(st.just(1 / 3), st.just(1 / 7), st.just(0.1), st.just(4.0), st.floats(0.001, 8))


def drain(limiter):
    calls = 0
    while limiter.try_spend():
        calls += 1
    return calls


@given(rates, st.integers(0, 50), st.integers(1, 8), st.integers(1, 16), st.lists(st.integers(0, 40), max_size=60))
@settings(max_examples=200, deadline=None)
def test_a_learner_that_spends_all_it_can_realises_the_rate(u, starts, K, backlog, chunks):
    limiter, earned = RateLimiter(u, starts, K, backlog), 0
    for n in chunks:
        limiter.add_steps(n, ready=True)
        earned += n
        drain(limiter)
        due = max(0, earned - starts) * u
        assert limiter.updates % K == 0
        assert due - K - 1e-3 < limiter.updates <= due + 1e-3
        assert limiter.credit < K


@given(
    rates, st.integers(1, 8), st.integers(1, 16), st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=60)
)
@settings(max_examples=200, deadline=None)
def test_unspent_credit_is_capped(u, K, backlog, turns):
    limiter = RateLimiter(u, 0, K, backlog)
    for n, spend in turns:
        limiter.add_steps(n, ready=True)
        assert limiter.credit <= max(K, u * backlog) + n * u + 1e-3
        if spend:
            drain(limiter)


def test_nothing_is_earned_before_the_start():
    limiter = RateLimiter(1.0, learning_starts=10)
    limiter.add_steps(9, ready=True)
    limiter.add_steps(1, ready=True)
    assert not limiter.try_spend()
    limiter.add_steps(3, ready=False)
    assert not limiter.try_spend()
    limiter.add_steps(2, ready=True)
    assert drain(limiter) == 2
    assert (limiter.steps, limiter.earning_steps, limiter.updates, limiter.ratio) == (15, 2, 2, 1.0)


def test_the_start_does_not_depend_on_chunks():
    one, many = RateLimiter(1.0, 10), RateLimiter(1.0, 10, max_backlog_steps=1)
    one.add_steps(25, ready=True)
    done = 0
    for _ in range(25):
        many.add_steps(1, ready=True)
        done += drain(many)
    assert drain(one) == done == 15


def test_a_third_does_not_drift_in_a_million_steps():
    limiter = RateLimiter(1 / 3, 0)
    for _ in range(999_999):
        limiter.add_steps(1, ready=True)
        limiter.try_spend()
    assert limiter.updates == 333_333
    assert limiter.credit == 0


def test_calls_larger_than_the_agents_earnings_lose_nothing():
    limiter = RateLimiter(1.0, 0, updates_per_call=4, max_backlog_steps=3)
    for _ in range(8):
        limiter.add_steps(3, ready=True)
        drain(limiter)
    assert limiter.updates == 24
    assert limiter.ratio == 1.0


def test_a_rate_of_zero_never_updates():
    limiter = RateLimiter(0.0, 0)
    limiter.add_steps(100, ready=True)
    assert not limiter.try_spend()


@pytest.mark.parametrize("bad", [{"updates_per_step": -1.0}, {"updates_per_step": 1.0, "updates_per_call": 0}])
def test_impossible_numbers_are_refused(bad):
    with pytest.raises(ValueError):
        RateLimiter(**{"learning_starts": 0, **bad})


def test_a_restored_limiter_continues_exactly():
    original, copy = (RateLimiter(1 / 3, 5, 2, 4) for _ in range(2))
    for n in (4, 4, 3):
        original.add_steps(n, ready=True)
        original.try_spend()
    copy.restore({}, json.loads(json.dumps(original.state()[1])))
    for limiter in (original, copy):
        limiter.add_steps(4, ready=True)
        drain(limiter)
    assert copy.state() == original.state()
    assert copy.credit == original.credit > 0


@pytest.mark.parametrize("rate", [0.25, 1.0, 4.0])
def test_the_target_is_what_was_asked_for_and_the_ratio_comes_to_it(rate):
    limiter = RateLimiter(rate, learning_starts=10)
    for _ in range(1000):
        limiter.add_steps(1, True)
        while limiter.try_spend():
            pass
    assert limiter.target == rate and limiter.ratio == pytest.approx(rate, rel=0.01)


def test_a_part_of_an_update_survives():
    original, copy = RateLimiter(1 / 3, 0), RateLimiter(1 / 3, 0)
    original.add_steps(5, ready=True)
    assert original.try_spend() and not original.try_spend() and original.credit == pytest.approx(2 / 3)
    copy.restore({}, json.loads(json.dumps(original.state()[1])))
    assert copy.credit == original.credit
    copy.add_steps(1, ready=True)
    assert copy.try_spend() and not copy.try_spend()
