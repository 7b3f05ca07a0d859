"""A replay whose batches keep a fixed share of rows that were loaded before the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sac.replay.replay import Replay
from sac.types import Batch, Step, loaded_windows

LOADED = "loaded/"  # begins the names of the loaded rows' arrays in a checkpoint


class WithLoaded:
    """The run's own replay and one of loaded rows, of which `share` of each batch comes.

    The first windows of a batch are the loaded ones; their indices are negative. Loaded rows are never overwritten.
    Ball et al., arXiv:2302.02948, section 4.1, where the share is a half.
    """

    def __init__(self, own: Replay, loaded: Replay, share: float):
        self.own, self.loaded, self.share = own, loaded, share
        self.nbytes = own.nbytes + loaded.nbytes

    def __len__(self) -> int:
        """Rows of the run's own."""
        return len(self.own)

    @property
    def ready(self) -> bool:
        return self.own.ready

    @property
    def log_prob_known(self) -> bool:
        return self.own.log_prob_known and self.loaded.log_prob_known

    def metrics(self) -> dict[str, float]:
        return {**self.own.metrics(), "replay/loaded_rows": len(self.loaded)}

    def add(self, step: Step) -> int:
        """See Replay.add."""
        return self.own.add(step)

    def close_open_streams(self) -> int:
        """See Replay.close_open_streams."""
        return self.own.close_open_streams()

    def sample(self, batch_size: int, batches: int) -> Batch:
        """Draws windows [K, B, ...], see Replay.sample; loaded and own ones have importance weights of their own."""
        n = loaded_windows(self.share, batch_size)
        loaded, own = self.loaded.sample(n, batches), self.own.sample(batch_size - n, batches)
        loaded = loaded._replace(index=-1 - loaded.index)
        joined = own.columns()
        for name, rows in loaded.columns().items():
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
        loaded = index < 0
        return [(self.loaded, loaded, -1 - index[loaded]), (self.own, ~loaded, index[~loaded])]

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """See Replay.state; one part of a checkpoint holds both."""
        (arrays, scalars), (more, numbers) = self.own.state(), self.loaded.state()
        return arrays | {LOADED + name: array for name, array in more.items()}, {**scalars, "loaded": numbers}

    def restore(self, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]) -> None:
        """See Replay.restore. A state without loaded rows, as of a run that kept none, restores the own ones."""
        self.own.restore({n: a for n, a in arrays.items() if not n.startswith(LOADED)}, scalars)
        if "loaded" in scalars:
            more = {n.removeprefix(LOADED): a for n, a in arrays.items() if n.startswith(LOADED)}
            self.loaded.restore(more, scalars["loaded"])
