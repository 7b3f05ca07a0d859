"""Fills the memory before training: from an earlier run, or with demonstrations. NumPy only."""

from __future__ import annotations

import logging
from pathlib import Path

from sac.errors import UserError
from sac.replay import Replay, columns, fitted
from sac.replay.running_stats import RunningStats
from sac.runs.checkpoint import Checkpoints
from sac.types import Env

log = logging.getLogger(__name__)
MINARI = "minari:"


def fill(replay: Replay, source: str, env: Env, state_size: int, moments: RunningStats) -> None:
    """Fills an empty replay from `source`: a run folder, or minari:<dataset-id>.

    The rows become windows like any others, all their episodes closed and with a new row's priority; of too many the
    newest stay. They are no environment steps, but `moments` counts them. Raises UserError when the source is missing,
    damaged or does not fit.
    """
    if source.startswith(MINARI):
        there = _from_dataset(replay, source.removeprefix(MINARI), env, state_size)
    else:
        there = _from_run(replay, Path(source).expanduser(), env, state_size)
    if there > replay.capacity:
        log.warning("replay.load=%s: of %d rows the newest %d fit replay.capacity", source, there, len(replay))
    if not replay.ready:
        raise UserError(f"replay.load={source}: not one window to learn from is in there ({there} rows)")
    for step in replay.stored():
        moments.add(step)
    log.info("replay.load=%s: %d rows were loaded", source, len(replay))


def _from_run(replay: Replay, folder: Path, env: Env, state_size: int) -> int:
    checkpoints = Checkpoints(folder / "checkpoints")
    if not checkpoints.all():
        raise UserError(f"replay.load={folder}: no checkpoints are there; {_runs_near(folder)}")
    saved, arrays, scalars = checkpoints.newest_with("replay")
    arrays = fitted(columns(env.spec, state_size), env.spec.branches, arrays, str(folder))
    replay.take_over(arrays, scalars)
    log.info("replay.load=%s: taken from %s", folder, saved.path.name)
    return len(arrays["last"])


def _runs_near(folder: Path) -> str:
    """What to name instead."""
    runs = [p.parent for place in (folder, folder.parent) for p in place.glob("*/checkpoints")]
    runs.sort(key=lambda run: run.stat().st_mtime, reverse=True)
    near = f", for example {', '.join(map(str, runs[:5]))}" if runs else ""
    return f"give the folder of a run, models/<scene>/<name>{near}, or minari:<dataset-id>"


def _from_dataset(replay: Replay, dataset_id: str, env: Env, state_size: int) -> int:
    from envs.gymnasium_adapter.minari_dataset import MinariEpisodes

    bounds, reading = (getattr(env, name, None) for name in ("action_bounds", "reading"))
    episodes = MinariEpisodes(dataset_id, env.spec, bounds, reading)
    if state_size:
        raise UserError(
            f"replay.load={MINARI}{dataset_id}: these networks have a recurrent state, and a dataset keeps none of the "
            "states that its actions were chosen in: train without sac.use_rnn, or load the memory of a recurrent run"
        )
    for step in episodes.steps(replay.capacity):
        replay.add_foreign(step)
    replay.close_open_streams()
    return len(episodes)
