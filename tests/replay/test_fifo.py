"""Windows that have just become complete, each handed out once, against the naive model."""

import numpy as np
import pytest
from ring_model import SPEC, STATE, Model, Player, Row, chunk, make

from sac.replay import Fifo, Replay


class Waiting:
    """The plain model: rows come one by one; what is legal for the first time waits, until it is handed out or gone."""

    def __init__(self, capacity: int, steps: int):
        self.model, self.known, self.waiting = Model(capacity, steps), set(), []

    def add(self, rows) -> None:
        for row in rows:
            self.model.add([row])
            self.look()

    def look(self) -> None:
        legal = self.model.windows()
        self.waiting += sorted(set(legal) - self.known)
        self.known |= set(legal)
        self.waiting = [number for number in self.waiting if number in legal]

    def take(self, n: int) -> list[int]:
        taken, self.waiting = self.waiting[:n], self.waiting[n:]
        return taken


def fresh(capacity: int, steps: int, burn_in: int = 0) -> tuple[Replay, Fifo]:
    newcomers = Fifo(capacity)
    return Replay(SPEC, STATE, newcomers, steps=steps, burn_in=burn_in), newcomers


@pytest.mark.parametrize("seed", range(40))
def test_random_streams_give_every_window_once_and_in_order(seed):
    rng = np.random.default_rng(seed)
    steps, burn_in, capacity = int(rng.integers(1, 5)), int(rng.integers(4)), int(rng.integers(8, 40))
    (replay, newcomers), twin = fresh(capacity, steps, burn_in), make(capacity, steps, burn_in, uniform=True)
    naive, player, handed = Waiting(capacity, steps), Player(), 0
    for _ in range(80):
        whats = rng.choice(["act", "end", "time"], int(rng.integers(1, 6)), p=[0.8, 0.1, 0.1])
        rows = [row for what in whats for row in player.rows(int(rng.integers(3)), what)][:capacity]
        if rows[-1].discount == 0 and not rows[-1].final:  # the cut took a true end's final row
            rows.pop()
        for memory in (replay, twin):
            memory.add(chunk(rows))
        naive.add(rows)
        if rng.random() < 0.1:
            naive.model.close([1])
            naive.look()
            replay.close_open_streams([1]), twin.close_open_streams([1])
        assert replay.ready == bool(naive.waiting) and newcomers.count == len(naive.waiting)
        if replay.ready and rng.random() < 0.5:
            n = newcomers.count if rng.random() < 0.7 else int(rng.integers(1, newcomers.count + 1))
            batch, expected = replay.sample(n), naive.take(n)
            assert batch.index.tolist() == expected
            handed += n
            right = twin.windows(batch.index, np.ones(n, np.float32))._asdict()
            for name, column in batch._asdict().items():
                for one, other in (
                    [(column, right[name])] if name != "obs" else zip(column.values(), right[name].values())
                ):
                    np.testing.assert_array_equal(one, other, err_msg=name)
    assert handed > 40


def test_several_batches_share_them_and_more_than_there_are_is_refused():
    replay, newcomers = fresh(20, 2)
    player = Player()
    for _ in range(9):
        replay.add(chunk(player.rows(0, "act")))
    with pytest.raises(ValueError, match=r"2 x 4 new windows.* 7 wait"):
        replay.sample(4, 2)
    assert replay.sample(3, 2).index.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert newcomers.count == 1 and replay.legal.tolist() == [6]


@pytest.mark.parametrize("capacity", [12, 9, 30])
def test_a_restored_replay_still_owes_what_it_owed(capacity):
    replay, newcomers = fresh(12, 2)
    player = Player()
    for what in ["act"] * 6 + ["time"] + ["act"] * 7:
        replay.add(chunk(player.rows(player.tag % 2, what)))
        if player.tag == 10:
            replay.sample(newcomers.count)
    owed = replay.windows(replay._ring.number(newcomers.legal()), None).obs["x"][:, 0, 0]
    assert len(owed) > 3
    arrays, scalars = replay.state()
    arrays = {name: np.array(x) for name, x in arrays.items()}
    again, those = fresh(capacity, 2)
    again.restore(arrays, scalars)
    oldest = again._ring.columns["obs/x"][: len(again), 0].min()
    found = again.sample(those.count).obs["x"][:, 0, 0]
    np.testing.assert_array_equal(found, owed[owed >= oldest])
    others, all_new = fresh(12, 2)
    others.take_over(arrays, scalars)
    assert all_new.count == len(others._ring.legal(2)) > len(owed)


def test_who_waited_before_keeps_its_turn_when_it_is_restored():
    """Row 1 is complete before row 0 is."""
    replay, newcomers = fresh(20, 1)
    replay.add(chunk([Row(1, 0), Row(2, 1), Row(2, 2), Row(1, 3)]))
    assert newcomers.legal().tolist() == [1, 0]
    again, restored = fresh(20, 1)
    again.restore(*replay.state())
    assert restored.legal().tolist() == [1, 0]
