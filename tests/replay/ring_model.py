"""What the replay should do, in plain Python: a list of histories, nothing vectorised, nothing overwritten."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sac.replay import Prioritized, Replay, Uniform
from sac.types import Sensor, Spec, Step

SPEC = Spec(sensors=(Sensor("x", (2,)), Sensor("reward", (2, 2, 1), "uint8")), continuous=2, branches=(2, 3))
STATE = 3


def prioritized(capacity: int, **changes) -> Prioritized:
    settings = {"alpha": 0.6, "beta": 0.4, "beta_increment_per_sampling": 0.01}
    return Prioritized(capacity, **settings | {"td_error_min": 0.01, "td_error_max": 1.0} | changes)


def make(capacity: int, steps: int = 1, burn_in: int = 0, seed: int = 0, uniform: bool = False) -> Replay:
    sampler = Uniform(capacity) if uniform else prioritized(capacity)
    return Replay(SPEC, STATE, sampler, steps=steps, burn_in=burn_in, seed=seed)


@dataclass
class Row:
    """`tag` is unique and stands for everything that a row carries."""

    stream: int
    tag: int
    final: bool = False
    discount: float = 1.0
    number: int = -1

    @property
    def reward(self) -> float:
        return 0.0 if self.final else self.tag % 7 - 3.0


def chunk(rows: list[Row]) -> Step:
    """Rows as the replay takes them."""
    k = len(rows)
    tag = np.array([row.tag for row in rows], np.float32)
    acts = np.array([not row.final for row in rows], np.float32).reshape(k)
    return Step(
        stream=np.array([row.stream for row in rows], np.int64),
        obs={
            "x": np.stack([tag, -tag], axis=-1),
            "reward": np.broadcast_to((tag % 251)[:, None, None, None], (k, 2, 2, 1)).astype(np.uint8),
        },
        mask=np.stack([tag % 2 == i % 2 for i in range(SPEC.choices)], axis=-1),
        raw_action=np.stack([tag * acts, tag * acts + 1], axis=-1),
        discrete=np.stack([tag * acts, tag * acts], axis=-1).astype(np.int32),
        log_prob=np.stack([-tag, tag], axis=-1),
        state=np.stack([tag] * STATE, axis=-1),
        previous=np.stack([tag / 2] * SPEC.action_size, axis=-1),
        reward=np.array([row.reward for row in rows], np.float32),
        discount=np.array([row.discount for row in rows], np.float32),
        last=np.array([row.final for row in rows], bool),
    )


@dataclass
class Model:
    capacity: int
    steps: int
    total: int = 0
    histories: list[list[Row]] = field(default_factory=list)
    open: dict[int, list[Row]] = field(default_factory=dict)

    def add(self, rows: list[Row]) -> None:
        for row in rows:
            row.number = self.total
            self.total += 1
            history = self.open.get(row.stream)
            if history is None or not self.live(history[-1]):
                history = self.open[row.stream] = []
                self.histories.append(history)
            history.append(row)
            if row.final:
                del self.open[row.stream]

    def live(self, row: Row) -> bool:
        return row.number >= self.total - self.capacity

    def close(self, streams: list[int]) -> None:
        for stream in streams:
            history = self.open.pop(stream, None)
            if history and self.live(history[-1]):
                history[-1].final, history[-1].discount = True, 1.0

    def window(self, history: list[Row], start: int) -> list[Row] | None:
        """T + 1 rows, the final one repeated; None where they are not all there."""
        rows = history[start : start + self.steps + 1]
        missing = self.steps + 1 - len(rows)
        if rows[0].final or (missing and not rows[-1].final):
            return None
        return rows + [rows[-1]] * missing

    def windows(self) -> dict[int, tuple[list[Row], list[Row]]]:
        """Legal starts: arrival number -> (live rows before it in its history, its window)."""
        found = {}
        for history in self.histories:
            for i, row in enumerate(history):
                if self.live(row) and (rows := self.window(history, i)):
                    found[row.number] = ([before for before in history[:i] if self.live(before)], rows)
        return found


class Player:
    """Plays episodes by a script of (stream, what) with what = act, end (true), time (limit); deals out rows."""

    def __init__(self):
        self.tag = 0

    def rows(self, stream: int, what: str) -> list[Row]:
        act = Row(stream, self._tag(), discount=0.0 if what == "end" else 1.0)
        if what == "act":
            return [act]
        return [act, Row(stream, self._tag(), final=True, discount=act.discount)]

    def _tag(self) -> int:
        self.tag += 1
        return self.tag


def check_windows(replay: Replay, model: Model) -> None:
    """Every legal window of the replay is the model's, column by column, and there are no others."""
    expected = model.windows()
    assert replay.legal.tolist() == sorted(expected)
    assert replay.ready == bool(expected)
    if not expected:
        return
    index = np.array(sorted(expected))
    batch = replay.windows(index, np.ones(len(index), np.float32))
    b, T = replay.burn_in, replay.steps
    for i, number in enumerate(index):
        before, rows = expected[number]
        before = before[-b:] if b else []
        pad = b - len(before)
        oldest = (before + rows)[0]
        full = [oldest] * pad + before + rows
        want = chunk(full)
        np.testing.assert_array_equal(batch.obs["x"][i], want.obs["x"])
        np.testing.assert_array_equal(batch.obs["reward"][i], want.obs["reward"])
        np.testing.assert_array_equal(batch.mask[i], want.mask)
        # a final row's action columns mean nothing: only its reward is given
        acts = ~want.last[:-1]
        for name in ("raw_action", "discrete", "log_prob", "discount"):
            np.testing.assert_array_equal(getattr(batch, name)[i][acts], getattr(want, name)[:-1][acts])
        np.testing.assert_array_equal(batch.reward[i], want.reward[:-1])
        np.testing.assert_array_equal(batch.valid[i], [0.0] * pad + [float(not r.final) for r in full[pad : b + T]])
        np.testing.assert_array_equal(batch.state[i], [oldest.tag] * STATE)
        np.testing.assert_array_equal(batch.stored[i], [rows[0].tag] * STATE)
        np.testing.assert_array_equal(batch.previous[i], want.previous)
