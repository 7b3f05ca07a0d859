"""Whether the learners of a population can share rows (base.evolver_share_replay)."""

from __future__ import annotations

from typing import Any

from sac.errors import UserError


def check_shared_rows(config: Any, single_process: bool, evolves: bool) -> None:
    """Raises UserError where rows cannot be shared.

    `config` has attributes as Config has; a learner is a `single_process` or a cell of several; it `evolves` where an
    evolver compares it.
    """
    share, replay = config.base.evolver_share_replay, config.replay
    if not share:
        return
    told = f"base.evolver_share_replay={share}"
    if not single_process:
        raise UserError(
            f"{told}: learners share rows where each is a single process: use hydra/launcher=population, or set 0"
        )
    if not evolves:
        raise UserError(
            f"{told}: an evolver passes rows on: use hydra/launcher=population without base.evolver_enabled=false, or "
            "set 0"
        )
    if replay.keep_loaded:
        raise UserError(
            f"{told} with replay.keep_loaded={replay.keep_loaded}: a batch has one second part: set one of them to 0"
        )
    if not 0 < round(share * replay.batch_size) < replay.batch_size:
        raise UserError(
            f"{told} of replay.batch_size={replay.batch_size} leaves no window of one kind: choose another share or a "
            "larger batch"
        )
