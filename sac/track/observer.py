"""Who watches a run from outside: a launcher that shows many runs at once, a search that may end a hopeless one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Observer:
    """A sink that is also told where the run lies and asked whether it should go on. This one lets everything pass."""

    def began(self, folder: Path, config: Any) -> None:
        """The run's folder, and the config with which it begins or goes on."""

    def promising(self, step: int, score: float) -> bool:
        """Asked after each evaluation, whose mean return is `score`; False ends the run with the reason `pruned`."""
        return True

    def progress(self, step: int, updates: int) -> None:
        pass

    def note(self, text: str) -> None:
        """What this process is doing, in a few words."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        pass

    def close(self, exit_code: int, reason: str, result: Mapping[str, Any]) -> None:
        pass
