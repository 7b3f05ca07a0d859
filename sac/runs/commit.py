"""The commit of this project that is running."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def commit() -> str | None:
    """The short hash of the working copy's commit, with `+` when files differ from it; None outside of git."""
    try:
        if not _git("ls-files", "sac/runs/commit.py"):  # an installed package may be inside another repository
            return None
        return f"{_git('rev-parse', '--short', 'HEAD')}{'+' * bool(_git('status', '--porcelain', '-uno'))}" or None
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
