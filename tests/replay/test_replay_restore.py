"""Batches through the facade: shapes, write-back, and what a restart may not change."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ring_model import STATE, Model, Player, Row, check_windows, chunk, make
from test_windows import scripts


def fill(replay, turns=60, seed=0, player=None):
    player, rng = player or Player(), np.random.default_rng(seed)
    for _ in range(turns):
        for stream in range(3):
            replay.add(chunk(player.rows(stream, rng.choice(["act", "end", "time"], p=[0.9, 0.05, 0.05]))))
    return player


def equal(one, other):
    for a, b in zip(one, other):
        if isinstance(a, dict):
            equal(a.values(), b.values())
        else:
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def saved(replay):
    """Through what a checkpoint can hold: copies of arrays, and JSON."""
    arrays, scalars = replay.state()
    return {name: array.copy() for name, array in arrays.items()}, json.loads(json.dumps(scalars))


def test_shapes_and_dtypes():
    replay = make(100, steps=3, burn_in=2)
    fill(replay)
    for lead, batch in (((5,), replay.sample(5)), ((1, 5), replay.sample(5, 1)), ((4, 5), replay.sample(5, 4))):
        assert {name: (a.shape, a.dtype.name) for name, a in batch.obs.items()} == {
            "x": ((*lead, 6, 2), "float32"),
            "reward": ((*lead, 6, 2, 2, 1), "uint8"),
        }
        shapes = {name: (array.shape, array.dtype.name) for name, array in batch._asdict().items() if name != "obs"}
        assert shapes == {
            "mask": ((*lead, 6, 5), "bool"),
            "previous": ((*lead, 6, 7), "float32"),
            "stored": ((*lead, STATE), "float32"),
            "raw_action": ((*lead, 5, 2), "float32"),
            "discrete": ((*lead, 5, 2), "int32"),
            "log_prob": ((*lead, 5, 2), "float32"),
            "reward": ((*lead, 5), "float32"),
            "discount": ((*lead, 5), "float32"),
            "valid": ((*lead, 5), "float32"),
            "state": ((*lead, STATE), "float32"),
            "weight": (lead, "float32"),
            "index": (lead, "int64"),
        }


@pytest.mark.parametrize("uniform", [True, False])
def test_batches_drawn_ahead_equal_batches_drawn_one_by_one(uniform):
    ahead, single = make(100, uniform=uniform, seed=3), make(100, uniform=uniform, seed=3)
    fill(ahead)
    fill(single)
    batch = ahead.sample(16, 4)
    one_by_one = [single.sample(16) for _ in range(4)]
    np.testing.assert_array_equal(batch.index, [b.index for b in one_by_one])
    np.testing.assert_array_equal(batch.weight, [b.weight for b in one_by_one])
    assert not (batch.index[0] == batch.index[1]).all()
    np.testing.assert_array_equal(ahead.sample(16).index, single.sample(16).index)
    other = make(100, uniform=uniform, seed=4)
    fill(other)
    assert not (other.sample(16).index == batch.index[0]).all()


def test_errors_reach_live_rows_only_and_later_batches_win():
    replay = make(30)
    player = fill(replay, 8)
    index = replay.legal[:2]
    replay.update(np.stack([index, index]), np.array([[0.9, 0.8], [0.02, 0.03]], np.float32))
    leaves = replay._sampler._tree.leaves
    np.testing.assert_allclose(leaves[index % 30], np.array([0.02, 0.03]) ** 0.6, rtol=1e-6)
    fill(replay, 12, player=player)  # the two are overwritten
    before = leaves.copy()
    replay.update(index, np.array([0.5, 0.5]))
    np.testing.assert_array_equal(leaves, before)
    replay.refresh(index, np.full((2, STATE), 77.0))
    newest = replay.legal[-2:]
    assert not (replay._ring.columns["state"] == 77).any()
    replay.refresh(newest, np.full((2, STATE), 78.0))
    assert ((replay._ring.columns["state"] == 78).all(axis=1)).sum() == 2


def cycle(replay, player, turns):
    """What a learner does, with everything that can depend on the past."""
    batches = []
    for turn in range(turns):
        fill(replay, 2, seed=turn, player=player)
        batch = replay.sample(8, 2)
        replay.update(batch.index, np.cos(batch.index * 1.7) * batch.weight)
        batches.append(batch)
    return batches


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("turns", [5, 60])  # before and after the ring wrapped
def test_a_restored_replay_continues_bit_for_bit(uniform, turns):
    original = make(200, 3, 2, seed=9, uniform=uniform)
    player = Player()
    cycle(original, player, turns)
    arrays, scalars = saved(original)
    assert all(len(a) <= len(original) for a in arrays.values())
    copy = make(200, 3, 2, seed=9, uniform=uniform)
    fill(copy, 70)  # a restore leaves nothing of what was there
    copy.restore(arrays, scalars)
    twin = Player()
    twin.tag = player.tag
    for one, other in zip(cycle(original, player, 20), cycle(copy, twin, 20)):
        equal(one, other)
    equal([original.state()[0]], [copy.state()[0]])
    assert original.state()[1] == copy.state()[1]


@pytest.mark.slow
@given(scripts(), st.integers(0, 119), st.integers(3, 60), st.booleans())
@settings(max_examples=300, deadline=None)
def test_restored_anywhere_windows_stay_the_models(script, cut, capacity, keep_capacity):
    """At any point of any history, into a ring of the same or another size, then on with the same script."""
    old_capacity, T, b, acts, _, _ = script
    capacity = old_capacity if keep_capacity else capacity
    replay, model, player = make(old_capacity, T, b), Model(old_capacity, T), Player()
    for turn, (stream, what) in enumerate(acts):
        rows = player.rows(stream, what)
        replay.add(chunk(rows))
        model.add(rows)
        if turn == cut % len(acts):
            arrays, scalars = saved(replay)
            replay = make(capacity, T, b)
            replay.restore(arrays, scalars)
            rebase(model, capacity)
            check_windows(replay, model)
    check_windows(replay, model)


def rebase(model, capacity):
    """The model after a restore into `capacity`: rows that did not fit never were."""
    if capacity == model.capacity:
        return
    size = min(model.total, model.capacity, capacity)
    shift = model.total - size
    model.capacity, model.total = capacity, size
    for history in model.histories:
        for row in history:
            row.number -= shift
        history[:] = [row for row in history if row.number >= 0]
    model.histories = [history for history in model.histories if history]
    model.open = {stream: history for stream, history in model.open.items() if history}


def test_another_window_length_and_sampler_may_be_restored():
    uniform = make(100, 2, uniform=True)
    fill(uniform)
    longer = make(100, 5)
    longer.restore(*saved(uniform))
    other = make(100, 5)
    fill(other)
    np.testing.assert_array_equal(longer.legal, other.legal)
    assert longer.sample(8).weight.tolist() == [1.0] * 8


def test_priorities_follow_their_rows_into_another_capacity():
    replay = make(50)
    fill(replay)
    index = replay.legal
    replay.update(index, (index - index[0] + 1) / 100)
    for capacity in (20, 80):
        other = make(capacity)
        other.restore(*saved(replay))
        kept = len(other.legal)
        leaves = other._sampler._tree.leaves[other.legal % capacity]
        np.testing.assert_allclose(leaves, ((index - index[0] + 1) / 100)[-kept:] ** 0.6, rtol=1e-12)
        assert 10 < kept <= len(index)


def test_a_true_end_still_waits_for_its_final_row_after_a_restore():
    replay, copy = make(20), make(20)
    replay.add(chunk(Player().rows(5, "end")[:1]))
    copy.restore(*saved(replay))
    with pytest.raises(ValueError, match="stream 5"):
        copy.add(chunk([Row(5, 2)]))
    copy.close_open_streams([5])
    assert copy.add(chunk([Row(5, 2)])) == 1


def test_closing_a_stream_whose_rows_are_gone_touches_nothing():
    replay, model, player = make(6, 2), Model(6, 2), Player()
    for stream in (1, 2, 2, 2, 2, 2, 2, 2):
        rows = player.rows(stream, "act")
        replay.add(chunk(rows))
        model.add(rows)
    assert replay.close_open_streams([1, 99]) == 0
    check_windows(replay, model)
    assert not replay._ring.columns["last"].any()


def test_open_episodes_are_closed_as_truncations():
    replay, model, player = make(60, 3), Model(60, 3), Player()
    for what in ("act", "act", "act", "time", "act", "act"):
        for stream in (1, 2):
            rows = player.rows(stream, what)
            replay.add(chunk(rows))
            model.add(rows)
    restored = make(60, 3)
    restored.restore(*saved(replay))
    assert restored.close_open_streams() == 2
    model.close([1, 2])
    check_windows(restored, model)
    newest = len(restored) - 1
    columns = restored._ring.columns
    assert columns["last"][newest]
    assert columns["discount"][newest] == 1
    assert not columns["continuous"][newest].any()
    assert restored.close_open_streams() == 0
    rows = player.rows(1, "act")  # the same id plays on: a new episode
    restored.add(chunk(rows))
    model.add(rows)
    check_windows(restored, model)
    assert restored._ring.prev[newest + 1] == -1
