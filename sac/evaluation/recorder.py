"""Collects the rows of whole episodes while a policy plays, for demonstrations and datasets. NumPy only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sac.collect.agent_slots import Episode
from sac.types import Step, stacked

Row = tuple[Step, int]  # a Step and the position of one of its rows


class EpisodeWatcher(Protocol):
    """Sees what `fair_episodes` plays."""

    def add_rows(self, step: Step) -> None:
        """Takes in the rows of one turn, in the order of their time."""

    def add_episodes(self, episodes: Sequence[Episode]) -> None:
        """Takes in the episodes that count, which ended with the rows that were added last."""


class EpisodeRecorder:
    """Gives the rows of each episode that counts, its final row included, to `write`."""

    def __init__(self, write: Callable[[Step], None]):
        self._write = write
        self._running: dict[int, list[Row]] = {}  # by stream
        self._finished: dict[int, list[Row]] = {}  # the newest finished episode of each stream

    def add_rows(self, step: Step) -> None:
        for i, (stream, last) in enumerate(zip(step.stream.tolist(), step.last.tolist())):
            self._running.setdefault(stream, []).append((step, i))
            if last:
                self._finished[stream] = self._running.pop(stream)

    def add_episodes(self, episodes: Sequence[Episode]) -> None:
        for episode in episodes:
            rows = self._finished.pop(episode.stream, None)
            if rows is not None:
                self._write(stacked(rows))
