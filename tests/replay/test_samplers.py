import numpy as np
import pytest
from ring_model import Player, Row, chunk, make, prioritized

from sac.replay import Uniform
from sac.replay.rng import RandomStream


def generators(n, seed=0):
    return [np.random.Generator(np.random.Philox(key=[seed, i])) for i in range(n)]


def chi_square_is_small(count, probability):
    """Pearson's statistic within five deviations of its mean; stratified draws only lie lower."""
    expected = count.sum() * probability
    free = len(count) - 1
    return ((count - expected) ** 2 / expected).sum() < free + 5 * np.sqrt(2 * free)


@pytest.mark.parametrize("legal", [[3, 4, 9, 40], list(range(0, 50, 2)), list(range(50))])
def test_uniform_draws_every_legal_place_equally(legal):
    sampler = Uniform(64)
    sampler.admit(np.arange(50))
    sampler.drop(np.setdiff1d(np.arange(50), legal))
    assert sampler.count == len(legal)
    places, weight = sampler.draw(500, generators(40))
    assert places.shape == (40, 500)
    assert weight.dtype == np.float32
    assert (weight == 1).all()
    found, count = np.unique(places, return_counts=True)
    np.testing.assert_array_equal(found, legal)
    assert chi_square_is_small(count, np.full(len(legal), 1 / len(legal)))


@pytest.mark.timeout(10)
def test_one_legal_place_among_millions_is_found_at_once():
    sampler = Uniform(2**23)
    sampler.admit(np.array([77, 2**23 - 1]))
    sampler.drop(np.array([2**23 - 1]))
    assert (sampler.draw(256, generators(1))[0] == 77).all()


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_prioritized_draws_in_proportion_to_clipped_priority(alpha):
    sampler = prioritized(100, alpha=alpha)
    legal = np.arange(5, 90, 3)
    sampler.admit(legal)
    error = np.random.default_rng(1).normal(size=len(legal)).astype(np.float32) * 2
    error[:2] = 0.0, -7.0  # below td_error_min, above td_error_max
    sampler.update(legal, error)
    p = np.clip(np.abs(error), 0.01, 1.0) ** alpha
    places, _ = sampler.draw(256, generators(200))
    found, count = np.unique(places, return_counts=True)
    np.testing.assert_array_equal(found, legal)
    assert chi_square_is_small(count, p / p.sum())


def test_draws_are_stratified():
    """Equal priorities and as many draws as places: each exactly once."""
    sampler = prioritized(64)
    sampler.admit(np.arange(64))
    places, _ = sampler.draw(64, generators(5))
    np.testing.assert_array_equal(places, np.tile(np.arange(64), (5, 1)))


def test_weights_and_beta():
    sampler = prioritized(16, alpha=1.0, beta=0.4, beta_increment_per_sampling=0.25)
    sampler.admit(np.arange(10))
    error = np.linspace(0.1, 1.0, 10)
    sampler.update(np.arange(10), error)
    places, weight = sampler.draw(32, generators(2))
    more, more_weight = sampler.draw(32, generators(2))
    for batch, w, beta in zip([*places, *more], [*weight, *more_weight], [0.4, 0.65, 0.9, 1.0]):
        p = error[batch]
        np.testing.assert_allclose(w, (p / p.min()) ** -beta, rtol=1e-6)
        assert w.max() == 1.0
    assert sampler.beta == 1.0


def test_weighted_mean_is_unbiased_up_to_the_batch_factor():
    """With beta 1, w * total / (N min_batch p) is (N P)^-1: the mean over draws is the plain mean over the rows."""
    sampler = prioritized(1000, alpha=0.7, beta=1.0)
    sampler.admit(np.arange(1000))
    rng = np.random.default_rng(5)
    sampler.update(np.arange(1000), rng.exponential(0.3, 1000))
    f = sampler._tree.leaves + rng.normal(size=1000)  # what is averaged depends on the priority
    places, weight = sampler.draw(128, generators(600))
    p = sampler._tree.leaves[places]
    factor = sampler._tree.total / (1000 * p.min(axis=1, keepdims=True))
    estimate = (weight * factor * f[places]).mean(axis=1)
    error = estimate.std() / np.sqrt(len(estimate))
    assert abs(estimate.mean() - f.mean()) < 4 * error
    assert abs(f[places].mean() - f.mean()) > 20 * error  # and without weights it would be far off


def test_new_rows_get_the_largest_error_seen():
    sampler = prioritized(16, alpha=0.5, td_error_max=4.0)
    sampler.admit(np.array([0]))
    assert sampler._tree.leaves[0] == 2.0  # td_error_max^alpha before anything was seen
    sampler.update(np.array([0]), np.array([0.25]))
    sampler.admit(np.array([1]))
    assert sampler._tree.leaves[1] == 0.5
    sampler.update(np.array([0, 1]), np.array([-2.25, 0.04]))
    sampler.update(np.array([1]), np.array([0.04]))
    sampler.admit(np.array([2]))
    assert sampler._tree.leaves[:3].tolist() == [1.5, 0.2, 1.5]
    sampler.update(np.array([0]), np.array([100.0]))
    sampler.admit(np.array([3]))
    assert sampler._tree.leaves[3] == 2.0


def test_later_errors_win_and_illegal_places_stay_zero():
    sampler = prioritized(16, alpha=1.0)
    sampler.admit(np.array([1, 2, 3]))
    sampler.drop(np.array([3]))
    sampler.update(np.array([1, 2, 1, 3, 4]), np.array([0.1, 0.2, 0.3, 0.4, 0.5]))
    assert sampler._tree.leaves[:5].tolist() == [0.0, 0.3, 0.2, 0.0, 0.0]
    assert sampler.count == 2


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match="td_error_min"):
        prioritized(16, td_error_min=0.0)
    sampler = prioritized(16)
    sampler.admit(np.array([1]))
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="not finite"):
            sampler.update(np.array([1]), np.array([bad]))
    assert sampler._tree.leaves[1] == 1.0


@pytest.mark.parametrize("uniform", [True, False])
def test_every_legal_state_and_no_other_is_drawn_through_the_replay(uniform):
    """Wrapped, several streams, short episodes: 200 batches see all legal starts."""
    replay, player, rng = make(40, 3, uniform=uniform), Player(), np.random.default_rng(2)
    for _ in range(90):
        what = rng.choice(["act", "end", "time"], p=[0.7, 0.15, 0.15])
        replay.add(chunk(player.rows(int(rng.integers(3)), what)))
    batch = replay.sample(32, 200)
    np.testing.assert_array_equal(np.unique(batch.index), replay.legal)


def test_nothing_legal_is_a_clear_error():
    for uniform in (True, False):
        replay, player = make(10, 2, uniform=uniform), Player()
        for _ in range(2):
            assert not replay.ready
            with pytest.raises(ValueError, match="no legal window"):
                replay.sample(4)
            replay.add(chunk(player.rows(0, "act")))
        replay.add(chunk(player.rows(0, "act")))
        assert replay.ready
        assert set(replay.sample(4).index) == {0}
        for _ in range(8):  # stream 0 is overwritten, and of stream 1 to 8 there is one row each
            replay.add(chunk(player.rows(100 + player.tag, "act")))
        assert replay.ready == bool(len(replay.legal))


@pytest.mark.parametrize("seed", [0, 3, -1, 2**63 + 5])
def test_random_numbers_are_those_of_a_new_generator(seed):
    """Old replays go on bit for bit; what was left of an earlier draw does not show."""
    stream = RandomStream()
    for first, count in ((0, 2), (7, 1), (7, 3)):
        for number, generator in enumerate(stream.generators(seed, first, count), first):
            fresh = np.random.Generator(np.random.Philox(key=[seed % 2**63, number], counter=1 << 192))
            np.testing.assert_array_equal(generator.random(2), fresh.random(2))
            small = [g.integers(0, 9, 3, dtype=np.int32) for g in (generator, fresh)]  # half a number is left over
            np.testing.assert_array_equal(*small)


def test_the_oldest_row_learns_its_error_and_an_overwritten_one_gives_it_to_nobody():
    """Rows 3 to 12 live; row 2 lay where row 12 does now."""
    replay = make(10)
    replay.add(chunk([Row(0, i) for i in range(10)]))
    replay.add(chunk([Row(0, 10 + i) for i in range(3)]))
    before = replay._sampler._tree.leaves.copy()
    replay.update(np.array([2, 3]), np.array([0.3, 0.2]))
    after = replay._sampler._tree.leaves
    assert np.flatnonzero(before != after).tolist() == [3]
    assert after[3] == pytest.approx(0.2**0.6)


def test_three_batches_at_once_are_the_next_three():
    """As if they were drawn one by one, also those behind them."""
    one, other = make(50, uniform=True, seed=3), make(50, uniform=True, seed=3)
    for replay in (one, other):
        replay.add(chunk([Row(0, i) for i in range(40)]))
    single = [one.draw(8, 1)[0][0] for _ in range(5)]
    together = [*other.draw(8, 3)[0], *other.draw(8, 2)[0]]
    np.testing.assert_array_equal(single, together)


@pytest.mark.parametrize("uniform", [False, True])
def test_the_count_is_that_of_legal_rows_also_when_others_are_overwritten(uniform):
    """Final rows and newest rows are no starts, and were never counted."""
    replay, player = make(7, uniform=uniform), Player()
    for what in ["act", "time", "act", "end", "time", "act", "act", "time", "act"] * 3:
        replay.add(chunk(player.rows(1, what)))
        assert replay._sampler.count == len(replay._sampler.legal()) == len(replay._ring.legal(1))


@pytest.mark.parametrize("sampler", [Uniform(8), prioritized(8)])
def test_what_is_admitted_or_dropped_twice_counts_once(sampler):
    sampler.admit(np.array([1, 2]))
    sampler.admit(np.array([2, 3]))
    assert (sampler.count, sampler.legal().tolist()) == (3, [1, 2, 3])
    sampler.drop(np.array([3, 4]))
    sampler.drop(np.array([3]))
    assert (sampler.count, sampler.legal().tolist()) == (2, [1, 2])
