"""A replay whose batches keep a fixed share of rows of a second one: loaded rows, or those of other learners."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sac.replay.replay import Replay
from sac.types import Batch, Step, loaded_windows


class TwoReplays:
    """The run's own replay and a second one, of which `share` of each batch comes as soon as it has a window.

    The first windows of a batch are those of the second; their indices are negative. `name` names it in checkpoints.
    """

    def __init__(self, own: Replay, second: Replay, share: float, name: str):
        self.own, self.second, self.share, self.name = own, second, share, name
        self.loaded_into = own  # which of both takes the rows of replay.load
        self.nbytes = own.nbytes + second.nbytes

    def __len__(self) -> int:
        """Rows of the run's own."""
        return len(self.own)

    @property
    def ready(self) -> bool:
        return self.own.ready

    @property
    def log_prob_known(self) -> bool:
        return self.own.log_prob_known and self.second.log_prob_known

    def metrics(self) -> dict[str, float]:
        return {**self.own.metrics(), f"replay/{self.name}_rows": len(self.second)}

    def add(self, step: Step) -> int:
        """See Replay.add."""
        return self.own.add(step)

    def close_open_streams(self) -> int:
        """See Replay.close_open_streams."""
        return self.own.close_open_streams()

    def sample(self, batch_size: int, batches: int) -> Batch:
        """Draws windows [K, B, ...], see Replay.sample; those of each replay have importance weights of their own."""
        n = loaded_windows(self.share, batch_size) if self.second.ready else 0
        if not n:
            return self.own.sample(batch_size, batches)
        second, own = self.second.sample(n, batches), self.own.sample(batch_size - n, batches)
        second = second._replace(index=-1 - second.index)
        joined = own.columns()
        for name, rows in second.columns().items():
            joined[name] = np.concatenate([rows, joined[name]], axis=1)
        return Batch.of(joined)

    def update(self, index: np.ndarray, td_error: np.ndarray) -> None:
        """See Replay.update."""
        for replay, rows, numbers in self._parts(index):
            replay.update(numbers, td_error[rows])

    def refresh(self, index: np.ndarray, state: np.ndarray) -> None:
        """See Replay.refresh."""
        for replay, rows, numbers in self._parts(index):
            replay.refresh(numbers, state[rows])

    def _parts(self, index: np.ndarray) -> list[tuple[Replay, np.ndarray, np.ndarray]]:
        """Both replays, which of `index` [K, B] are theirs, and the arrival numbers of these."""
        theirs = index < 0
        return [(self.second, theirs, -1 - index[theirs]), (self.own, ~theirs, index[~theirs])]

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """See Replay.state; one part of a checkpoint holds both."""
        (arrays, scalars), (more, numbers) = self.own.state(), self.second.state()
        return arrays | {self._prefix + name: array for name, array in more.items()}, {**scalars, self.name: numbers}

    def restore(self, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]) -> None:
        """See Replay.restore. A state without a second replay, as of a run that had none, restores the own one."""
        self.own.restore({n: a for n, a in arrays.items() if not n.startswith(self._prefix)}, scalars)
        if self.name in scalars:
            more = {n.removeprefix(self._prefix): a for n, a in arrays.items() if n.startswith(self._prefix)}
            self.second.restore(more, scalars[self.name])

    @property
    def _prefix(self) -> str:
        """Begins the names of the second replay's arrays in a checkpoint."""
        return f"{self.name}/"


class WithLoaded(TwoReplays):
    """A second replay of rows that were loaded before the run and are never overwritten.

    Ball et al., arXiv:2302.02948, section 4.1, where the share is a half.
    """

    def __init__(self, own: Replay, loaded: Replay, share: float):
        super().__init__(own, loaded, share, "loaded")
        self.loaded_into = loaded


class WithOthers(TwoReplays):
    """A second replay of the rows that the other learners of a population have collected."""

    def __init__(self, own: Replay, others: Replay, share: float):
        super().__init__(own, others, share, "others")
