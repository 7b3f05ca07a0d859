"""The last lines on the screen: how a run ended, its folder, and the commands that play and resume it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sac.config.overrides import place, run_command
from sac.config.schema import Config
from sac.runs.folder import RunFolder
from sac.track.wandb_run import resolve_mode, sync_command, unsynced

REASONS = {"solved": "solved", "max_step": "reached base.max_step", "max_iter": "reached base.max_iter"}
FAILED = " failed: "  # part of the reasons that are whole sentences


def farewell(config: Config, folder: RunFolder, result: Mapping[str, Any]) -> str:
    """Several lines of text, whose commands can be copied into a shell."""
    reason = result["reason"]
    words = REASONS.get(reason, reason if FAILED in reason else f"ended by {reason}")
    score = "no evaluation"
    if result["eval_episodes"]:
        mean, std, n = result["eval_return_mean"], result["eval_return_std"], result["eval_episodes"]
        score = f"evaluation return {mean:.4g} ± {std:.2g} over the last {n} episodes"
    lines = (
        f"{words} after {result['env_steps']:,} steps and {result['seconds']:.0f} s: {score}\n"
        f"run:    {folder.path}\n"
        f"play:   {run_command(config, 'role=play')}\n"
        f"resume: {_resume(config)}"
    )
    offline = unsynced(folder.path) if resolve_mode(config.track.wandb) != "disabled" else []
    return f"{lines}\nupload: {sync_command(offline)}" if offline else lines


def _resume(config: Config) -> str:
    """The command that resumes the run; a learner's also names the addresses of its cell."""
    if config.role != "learner":
        return run_command(config, "ckpt=latest")
    return run_command(config, "role=learner", *place(config))
