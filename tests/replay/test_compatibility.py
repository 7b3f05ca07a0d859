"""Rows that another run has saved: closed, fresh, of the newest; and refused where they do not fit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ring_model import SPEC, STATE, Model, Player, check_windows, chunk, make
from test_replay_restore import fill, rebase, saved
from test_windows import scripts

from sac.errors import UserError
from sac.replay import columns, fitted

COLUMNS = columns(SPEC, STATE)


@pytest.mark.slow
@given(scripts(), st.integers(6, 60), st.booleans())
@settings(max_examples=200, deadline=None)
def test_windows_are_the_models_and_nothing_new_is_linked_to_them(script, capacity, keep_capacity):
    old_capacity, T, b, acts, _, _ = script
    capacity = old_capacity if keep_capacity else max(capacity, T)
    old, model, player = make(old_capacity, T, b), Model(old_capacity, T), Player()
    for stream, what in acts:
        rows = player.rows(stream, what)
        old.add(chunk(rows))
        model.add(rows)
    arrays, scalars = saved(old)
    new = make(capacity, T, b)
    new.take_over(fitted(COLUMNS, SPEC.branches, no_choices(arrays), "x"), scalars)
    rebase(model, capacity)
    model.close(list(model.open))
    check_rows(new, model)
    for stream, _ in acts[:10]:  # the same streams play on
        rows = player.rows(stream, "act")
        new.add(chunk(rows))
        model.add(rows)
    check_rows(new, model)


def no_choices(arrays):
    """The model's tags are no choices of a branch."""
    return {**arrays, "discrete": np.zeros_like(arrays["discrete"])}


def check_rows(replay, model):
    tag = replay._ring.columns["log_prob"][:, 1]
    acts = ~replay._ring.columns["last"]
    replay._ring.columns["discrete"][acts] = tag[acts, None]
    check_windows(replay, model)


def test_rows_are_new_ones_and_sampling_begins_anew():
    old, new = make(100, seed=1), make(100, seed=2)
    fill(old)
    for _ in range(3):
        batch = old.sample(8)
        old.update(batch.index, np.full(8, 0.5))
    new.take_over(*saved(old))
    leaves = new._sampler._tree.leaves
    assert set(leaves[leaves > 0]) == {1.0}, "td_error_max ^ alpha"
    assert (new.seed, new._draws, new._sampler.drawn, new._sampler.largest) == (2, 0, 0, None)
    assert not new._writer.open and new.log_prob_known


@pytest.mark.parametrize("turns", [5, 30])  # before and after the ring wrapped
def test_all_rows_come_out_in_the_order_of_their_arrival(turns):
    replay = make(60)
    fill(replay, turns)
    steps = list(replay.stored(7))
    assert sum(len(s.last) for s in steps) == len(replay) and max(len(s.last) for s in steps) <= 7
    number = np.arange(replay._ring.oldest, replay._ring.total)
    tags = np.concatenate([s.obs["x"][:, 0] for s in steps])
    np.testing.assert_array_equal(tags, replay._ring.columns["obs/x"][number % 60, 0])
    np.testing.assert_array_equal(np.concatenate([s.last for s in steps]), replay._ring.columns["last"][number % 60])


def test_what_is_not_known_of_foreign_rows_is_kept_until_they_are_gone():
    replay, player = make(30), Player()
    rows = [row for what in ("act", "act", "end") for row in player.rows(1, what)]
    assert replay.add_foreign(chunk(rows)) == 3 and not replay.log_prob_known
    same, smaller, other = make(30), make(3), make(30)
    same.restore(*saved(replay))
    smaller.restore(*saved(replay))
    other.take_over(*saved(replay))
    assert not (same.log_prob_known or smaller.log_prob_known or other.log_prob_known)
    fill(smaller, 1, player=player)
    assert smaller.log_prob_known, "three rows of its own have replaced them"
    fill(same, 8, player=player)
    assert not same.log_prob_known
    fill(same, 3, player=player)
    assert same.log_prob_known


def changed(name, array):
    replay = make(30)
    fill(replay, 5)
    arrays = no_choices(saved(replay)[0])
    if array is None:
        del arrays[name]
    else:
        arrays[name] = np.resize(array, (len(arrays["last"]), *array.shape[1:]))
    return arrays


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("obs/x", np.zeros((1, 3), "f4"), r"sensor 'x': expected shape \(2,\) float32, found shape \(3,\) float32"),
        ("obs/reward", np.zeros((1, 2, 2, 1), "f4"), "sensor 'reward': expected .*uint8, found .*float32"),
        ("obs/x", None, r"sensor 'x': expected shape \(2,\) float32, found none"),
        ("obs/y", np.zeros((1, 3), "f4"), r"sensor 'y': expected no such sensor, found shape \(3,\)"),
        ("continuous", np.zeros((1, 1), "f4"), r"continuous actions: expected shape \(2,\)"),
        ("discrete", np.zeros((1, 1), "i4"), r"branches: expected shape \(2,\)"),
        ("discrete", np.array([[1, 3]], "i4"), r"branch 1 .* expected 3 choices \(0 to 2\), found choice 3"),
        ("mask", np.zeros((1, 4), bool), r"choices of all branches: expected shape \(5,\)"),
        ("state", np.zeros((1, 0), "f4"), r"the recurrent state: expected shape \(3,\).*found shape \(0,\).*networks"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(name, array, words):
    with pytest.raises(UserError, match=rf"replay.load=models/a/b: {words}"):
        fitted(COLUMNS, SPEC.branches, changed(name, array), "models/a/b")


def test_columns_without_width_may_be_missing():
    replay = make(30)
    fill(replay, 5)
    arrays = no_choices(saved(replay)[0])
    got = fitted({**COLUMNS, "later": ((0,), "float32")}, SPEC.branches, arrays, "x")
    assert got["later"].shape == (len(arrays["last"]), 0)
    with pytest.raises(UserError, match=r"column 'later': expected shape \(1,\) float32, found none"):
        fitted({**COLUMNS, "later": ((1,), "float32")}, SPEC.branches, arrays, "x")


def test_what_final_rows_hold_in_place_of_an_action_is_no_choice():
    old = make(100)
    old.add(chunk(Player().rows(1, "time")))
    arrays, _ = saved(old)
    arrays["discrete"] = np.where(arrays["last"][:, None], 99, np.array(SPEC.branches) - 1).astype(np.int32)
    assert fitted(COLUMNS, SPEC.branches, arrays, "x")["discrete"].max() == 99
    arrays["discrete"][~arrays["last"]] += 1
    with pytest.raises(UserError, match="branch 0 of the actions: expected 2 choices"):
        fitted(COLUMNS, SPEC.branches, arrays, "x")
