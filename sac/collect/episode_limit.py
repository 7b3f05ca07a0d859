"""How long an episode of evaluation or play may last."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

log = logging.getLogger(__name__)


@dataclass
class EpisodeLimit:
    """`steps` of an episode, and the words that say where that number comes from. It says once that it was reached."""

    steps: int
    reason: str
    _said: bool = field(default=False, init=False)

    def reached(self) -> None:
        """An episode was ended by it."""
        if not self._said:
            self._said = True
            log.warning(
                "an episode of evaluation or play ended after %s steps (%s); it counts as truncated, like later ones. "
                "To change the limit set eval.max_episode_steps",
                f"{self.steps:,}",
                self.reason,
            )


NO_LIMIT = EpisodeLimit(1 << 62, "none")
