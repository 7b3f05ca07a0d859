import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sac.replay.sum_tree import SumTree

values = st.one_of(st.just(0.0), st.floats(1e-12, 1e12), st.integers(1, 4).map(float))


@st.composite
def histories(draw):
    size = draw(st.integers(1, 70))
    writes = st.lists(st.tuples(st.integers(0, size - 1), values), min_size=1, max_size=40)
    return size, draw(st.lists(writes, min_size=1, max_size=6))


@given(histories(), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_total_and_draws_follow_a_plain_list(history, seed):
    size, chunks = history
    tree, model = SumTree(size), [0.0] * size
    rng = np.random.default_rng(seed)
    for writes in chunks:
        tree.set(np.array([i for i, _ in writes]), np.array([v for _, v in writes]))
        for i, v in writes:
            model[i] = v  # the last write wins
        np.testing.assert_array_equal(tree.leaves, model)
        assert tree.total == pytest.approx(sum(model), rel=1e-12)
        if not any(model):
            with pytest.raises(ValueError):
                tree.sample(rng.random(3))
            continue
        fractions = np.concatenate([[0.0, np.nextafter(1.0, 0.0)], rng.random(64)])
        drawn = tree.sample(fractions)
        assert all(model[i] > 0 for i in drawn)
        ends = np.cumsum(model)
        for fraction, i in zip(fractions, drawn):  # the fraction falls on the leaf, but for rounding
            slack = 1e-12 * ends[-1]
            assert ends[i] - model[i] - slack <= fraction * ends[-1] <= ends[i] + slack


@pytest.mark.parametrize("size", [2, 3, 17, 64, 1000, 5000])
def test_integer_leaves_are_drawn_exactly(size):
    """With whole numbers nothing is rounded: fraction (j + 0.5) / total falls on the leaf that covers unit j."""
    weights = np.random.default_rng(size).integers(0, 4, size)
    tree = SumTree(size)
    tree.set(np.arange(size), weights.astype(float))
    total = weights.sum()
    drawn = tree.sample((np.arange(total) + 0.5) / total)
    np.testing.assert_array_equal(drawn, np.repeat(np.arange(size), weights))


@pytest.mark.parametrize("position", [0, 1, 499, 998, 999])
def test_rounding_never_reaches_a_zero_leaf(position):
    """One tiny leaf among zeros, after large ones came and went, drawn at both ends of [0, 1)."""
    tree = SumTree(1000)
    tree.set(np.arange(1000), np.random.default_rng(0).random(1000) * 1e9)
    assert tree.total > 0
    tree.set(np.arange(1000), 0.0)
    tree.set(np.array([position]), np.array([1e-9]))
    assert set(tree.sample(np.array([0.0, 0.3, np.nextafter(1.0, 0.0)]))) == {position}


def test_a_sum_that_was_rounded_up_leads_to_its_last_leaf():
    """1 + 0.75 ulp is rounded to 1 + 1 ulp: below the last leaf that is not zero, more is left than it holds."""
    tree = SumTree(1000)
    ulp = np.spacing(1.0)
    tree.set(np.array([0, 8]), np.array([1.0, 0.75 * ulp]))
    assert tree.total == 1.0 + ulp
    assert tree.sample(np.array([1.0]))[0] == 8


def test_writing_without_drawing_keeps_nothing_back():
    tree = SumTree(100)
    for i in range(10_000):
        tree.set(np.array([i % 100]), 1.0)
    assert len(tree._stale) < 5000
    assert tree.total == 100


def test_fraction_of_one_stays_inside():
    tree = SumTree(100)
    tree.set(np.arange(10, 40), np.full(30, 0.1))
    assert tree.sample(np.array([1.0]))[0] == 39


def test_few_and_many_writes_give_the_same_sums():
    """The two ways of refreshing agree to the last bit: the tree is a function of its leaves."""
    value = np.random.default_rng(3).random(3000)
    at_once, bit_by_bit = SumTree(3000), SumTree(3000)
    at_once.set(np.arange(3000), value)
    for part in np.array_split(np.random.default_rng(4).permutation(3000), 100):
        bit_by_bit.set(part, value[part])
        assert bit_by_bit.total > 0
    assert at_once.total == bit_by_bit.total
    np.testing.assert_array_equal(at_once._tree[at_once._roots :], bit_by_bit._tree[at_once._roots :])


def test_memory_is_foretold():
    assert SumTree.bytes(1000) == SumTree(1000)._tree.nbytes
