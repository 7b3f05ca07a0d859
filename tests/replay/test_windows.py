"""The linked ring against a plain model: random operations, many streams, every kind of ending."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ring_model import SPEC, Model, Player, Row, check_windows, chunk, make

from sac.replay import writer
from sac.replay.ring import NO_ROW, Ring

whats = st.sampled_from(["act"] * 6 + ["end", "time"])


@st.composite
def scripts(draw):
    streams = draw(st.integers(1, 5))
    T, b = draw(st.integers(1, 5)), draw(st.integers(0, 4))
    capacity = draw(st.integers(max(4, T), 45))
    ids = draw(st.lists(st.integers(-(2**62), 2**62), min_size=streams, max_size=streams, unique=True))
    favourite = st.sampled_from(ids[:1] * draw(st.sampled_from([0, 10])) + ids)  # a fast stream overwrites slow ones
    acts = draw(st.lists(st.tuples(favourite, whats), min_size=1, max_size=120))
    sizes = draw(st.lists(st.integers(1, min(capacity, 12)), min_size=1, max_size=20))
    closed = draw(st.lists(st.tuples(st.integers(0, 20), st.sampled_from(ids)), max_size=8))
    return capacity, T, b, acts, sizes, dict(closed)


@pytest.fixture(
    autouse=True, params=[(writer.FEW_ROWS, writer.SHORT_EPISODE_ROWS), (0, 0)], ids=["row by row", "by episode"]
)
def way(request):
    """These chunks are small, and would never be placed as large ones are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "FEW_ROWS", request.param[0])
        patch.setattr(writer, "SHORT_EPISODE_ROWS", request.param[1])
        yield


@pytest.mark.slow
@given(scripts(), st.booleans())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_history_gives_the_models_windows(script, uniform):
    capacity, T, b, acts, sizes, closed = script
    replay, model, player = make(capacity, T, b, uniform=uniform), Model(capacity, T), Player()
    rows = [row for stream, what in acts for row in player.rows(stream, what)]
    for turn in range(len(rows)):
        size = sizes[turn % len(sizes)]
        part, rows = rows[:size], rows[size:]
        if not part:
            break
        assert replay.add(chunk(part)) == sum(not row.final for row in part)
        model.add(part)
        if turn in closed:
            model.close([closed[turn]])
            replay.close_open_streams([closed[turn]])
        assert len(replay) == min(model.total, capacity)
        check_windows(replay, model)


@given(scripts())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_chunks_equal_single_rows(script):
    capacity, T, b, acts, sizes, _ = script
    together, single, player = make(capacity, T, b), make(capacity, T, b), Player()
    rows = [row for stream, what in acts for row in player.rows(stream, what)]
    while rows:
        part, rows = rows[: sizes[0]], rows[sizes[0] :]
        together.add(chunk(part))
        for row in part:
            single.add(chunk([row]))
    np.testing.assert_array_equal(together.legal, single.legal)
    states = [replay.state()[0] for replay in (together, single)]
    heads = [dict(zip(*(state.pop(f"open/{what}").tolist() for what in ("stream", "newest")))) for state in states]
    assert heads[0] == heads[1]
    for (name, one), other in zip(states[0].items(), states[1].values()):
        # a row whose neighbour was overwritten inside its chunk may keep a dead link or none: both lead nowhere
        if name in ("prev", "next"):
            one, other = (np.where(link < together._ring.oldest, -1, link) for link in (one, other))
        np.testing.assert_array_equal(one, other)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(1, 5))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_state_of_every_episode_is_legal_once_it_ended(lengths, T):
    replay, player = make(200, T), Player()
    for length in lengths:
        for _ in range(length - 1):
            replay.add(chunk(player.rows(7, "act")))
        replay.add(chunk(player.rows(7, "time")))
    last = replay._ring.columns["last"][: len(replay)]
    np.testing.assert_array_equal(replay.legal, np.flatnonzero(~last))


def test_a_slow_stream_begins_afresh():
    """Its newest row was overwritten: the next one has no past, and nothing points across the gap."""
    replay, player = make(6, 2, 3), Player()
    replay.add(chunk(player.rows(1, "act")))
    for _ in range(6):
        replay.add(chunk(player.rows(2, "act")))
    assert replay.add(chunk([Row(1, 99)])) == 1
    ring = replay._ring
    assert ring.prev[7 % 6] == -1
    assert 7 not in ring.next


def test_a_row_that_its_own_chunk_overwrites_is_not_linked():
    """Row 4 follows row 1, and row 5 of another stream takes the place of row 1 at once: it must not get row 1's link.

    The ring has four places. Before come row 1 of stream 1, rows 0 and 2 of stream 2, row 3 of stream 3.
    """
    ring = Ring({"tag": ((), "int64")}, 4)
    ring.append({"tag": np.arange(4)}, np.array([NO_ROW, NO_ROW, 0, NO_ROW]), np.zeros(4, bool))
    places = ring.append({"tag": np.array([4, 5])}, np.array([1, 2]), np.zeros(2, bool))
    assert places.tolist() == [0, 1]
    assert ring.columns["tag"].tolist() == [4, 5, 2, 3]
    assert ring.next.tolist() == [NO_ROW, NO_ROW, 5, NO_ROW], "row 2 leads to row 5, and nothing to row 4"
    assert ring.legal(1).tolist() == [2]


def test_a_memory_of_such_a_chunk_goes_on_as_it_was():
    """Which windows are whole is worked out from the links alone when a memory is read."""
    replay, reread = make(4, 1), make(4, 1)
    replay.add(chunk([Row(2, 0), Row(1, 1), Row(2, 2), Row(3, 3)]))
    replay.add(chunk([Row(1, 4), Row(2, 5)]))
    reread.restore(*replay.state())
    for one in (replay, reread):
        assert one.legal.tolist() == [2], "row 5 has no successor yet"
        one.add(chunk([Row(2, 6)]))
        assert one.legal.tolist() == [5]
        batch = one.windows(one.legal, np.ones(1, np.float32))
        assert batch.obs["x"][..., 0].tolist() == [[5, 6]]


def test_a_true_end_needs_its_final_row():
    replay, player = make(10), Player()
    end, _ = player.rows(1, "end")
    replay.add(chunk([end]))
    before = replay.state()
    with pytest.raises(ValueError, match="stream 1"):
        replay.add(chunk([Row(2, 50), Row(1, 51)]))
    assert replay.state()[1] == before[1]
    replay.add(chunk([Row(2, 50), Row(1, 51, final=True), Row(1, 52)]))
    assert replay.legal.tolist() == [0]


def test_a_stray_final_row_does_no_harm():
    replay = make(10, 3)
    assert replay.add(chunk([Row(1, 1, final=True), Row(1, 2), Row(1, 3, final=True)])) == 1
    assert replay.legal.tolist() == [1]


@pytest.mark.parametrize(
    "change",
    [
        {"reward": np.zeros(1, np.float32)},
        {"last": np.zeros((2, 1), bool)},
        {"mask": np.ones((2, SPEC.choices), np.float32)},
        {"obs": {"x": np.zeros((2, 2)), "reward": np.full((2, 2, 2, 1), 0.5)}},
        {"state": np.zeros((2, 4), np.float32)},
    ],
)
def test_a_wrong_column_is_refused_whole(change):
    replay = make(10)
    step = chunk([Row(1, 1), Row(2, 2)])
    with pytest.raises(ValueError, match="column"):
        replay.add(step._replace(**change))
    assert len(replay) == 0
    with pytest.raises(ValueError, match="do not fit"):
        replay.add(chunk([Row(1, i) for i in range(11)]))


def value(obs):
    """Any function of an observation serves as V."""
    return np.sin(obs[..., 0].astype(np.float64))


def brute_force(history, start, n, gamma):
    """Rewards of at most n steps of one episode, and V of where they lead unless that was a true end."""
    total, factor = 0.0, 1.0
    for row in history[start : start + n]:
        if row.final:
            break
        total += factor * row.reward
        factor *= gamma
        start += 1
        if row.discount == 0:
            return total
    return total + factor * np.sin(np.float64(np.float32(history[start].tag)))


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_n_step_sums_equal_brute_force(n):
    """Delta form (SPEC 3) on the windows: terminations cut, truncations bootstrap from the final observation."""
    gamma, rng = 0.9, np.random.default_rng(n)
    replay, model, player = make(300, n), Model(300, n), Player()
    for _ in range(500):
        rows = player.rows(int(rng.integers(4)), rng.choice(["act", "end", "time"], p=[0.8, 0.1, 0.1]))
        replay.add(chunk(rows))
        model.add(rows)
    batch = replay.windows(replay.legal, np.ones(len(replay.legal), np.float32))
    V = value(batch.obs["x"])
    delta = batch.valid * (batch.reward + gamma * batch.discount * V[:, 1:] - V[:, :-1])
    trace = np.concatenate([np.ones((len(V), 1)), np.cumprod(gamma * batch.discount, axis=1)[:, :-1]], axis=1)
    target = V[:, 0] + (trace * delta).sum(axis=1)
    place = {row.number: (history, i) for history in model.histories for i, row in enumerate(history)}
    expected = [brute_force(*place[number], n, gamma) for number in replay.legal]
    np.testing.assert_allclose(target, expected, rtol=1e-6, atol=1e-6)
    assert {row.discount for history in model.histories for row in history if row.final} == {0.0, 1.0}
