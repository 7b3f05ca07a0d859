"""Fills the replay before training, from an earlier run or from a dataset. NumPy only."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from sac.errors import UserError
from sac.replay import Replay, columns, fitted
from sac.replay.running_stats import RunningStats
from sac.runs.checkpoint import Checkpoints
from sac.types import Spec, Step

log = logging.getLogger(__name__)
MINARI, DEMO = "minari:", "demo:"


class Episodes(Protocol):
    """The episodes of a dataset: `steps` yields them in chunks, `len` counts the rows that were read."""

    def steps(self, capacity: int, /) -> Iterable[Step]: ...
    def __len__(self) -> int: ...


def fill(
    replay: Replay, source: str, spec: Spec, state_size: int, stats: RunningStats,
    open_dataset: Callable[[str], Episodes],
) -> None:  # fmt: skip
    """Fills an empty replay from `source`: a run folder, or minari:<id> or demo:<path>, which `open_dataset` reads.

    All loaded episodes count as closed, and their windows get the priority of new rows; when the replay cannot hold all
    rows, the newest stay. The rows do not count as environment steps, but `stats` includes them. Raises UserError
    when the source is missing or damaged or does not fit.
    """
    if source.startswith((MINARI, DEMO)):
        there = _from_dataset(replay, source, open_dataset(source), state_size)
    else:
        there = _from_run(replay, Path(source).expanduser(), spec, state_size)
    if there > replay.capacity:
        log.warning("replay.load=%s: of %d rows the newest %d fit replay.capacity", source, there, len(replay))
    if not replay.ready:
        raise UserError(f"replay.load={source}: not one window to learn from is in there ({there} rows)")
    for step in replay.stored():
        stats.add(step)
    log.info("replay.load=%s: %d rows were loaded", source, len(replay))


def _from_run(replay: Replay, folder: Path, spec: Spec, state_size: int) -> int:
    checkpoints = Checkpoints(folder / "checkpoints")
    if not checkpoints.all():
        raise UserError(f"replay.load={folder}: no checkpoints are there; {_runs_near(folder)}")
    saved, arrays, scalars = checkpoints.newest_with("replay")
    arrays = fitted(columns(spec, state_size), spec.branches, arrays, str(folder))
    replay.take_over(arrays, scalars)
    log.info("replay.load=%s: taken from %s", folder, saved.path.name)
    return len(arrays["last"])


def _runs_near(folder: Path) -> str:
    """A hint for the user that names the newest runs near `folder`."""
    runs = [p.parent for place in (folder, folder.parent) for p in place.glob("*/checkpoints")]
    runs.sort(key=lambda run: run.stat().st_mtime, reverse=True)
    near = f", for example {', '.join(map(str, runs[:5]))}" if runs else ""
    return f"give the folder of a run, models/<scene>/<name>{near}, minari:<dataset-id> or demo:<path>"


def _from_dataset(replay: Replay, source: str, episodes: Episodes, state_size: int) -> int:
    if state_size:
        raise UserError(
            f"replay.load={source}: these networks have a recurrent state, and a dataset keeps none of the "
            "states that its actions were chosen in: train without sac.use_rnn, or load the memory of a recurrent run"
        )
    for step in episodes.steps(replay.capacity):
        replay.add_foreign(step)
    replay.close_open_streams()
    return len(episodes)
