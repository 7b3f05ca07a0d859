"""Observers of a run, such as a launcher that shows many runs, or a search that may end an unpromising one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Observer:
    """A sink that also learns the folder of the run and decides whether it goes on. This base class does nothing."""

    def began(self, folder: Path, config: Any) -> None:
        """Called when a run begins or resumes, with its folder and its config."""

    def promising(self, step: int, score: float) -> bool:
        """Called after each evaluation, with its mean return; False ends the run with the reason `pruned`."""
        return True

    def progress(self, step: int, updates: int) -> None:
        pass

    def note(self, text: str) -> None:
        """Called with a short text about what this process is doing."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        pass

    def close(self, exit_code: int, reason: str, result: Mapping[str, Any]) -> None:
        pass
