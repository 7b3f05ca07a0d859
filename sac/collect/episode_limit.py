"""The limit of an episode's steps in evaluation and play."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

log = logging.getLogger(__name__)


@dataclass
class EpisodeLimit:
    """At most `steps` steps for an episode; `reason` names the setting that this number comes from."""

    steps: int
    reason: str
    _warned: bool = field(default=False, init=False)

    def reached(self) -> None:
        """Warns, the first time only, that the limit has ended an episode."""
        if not self._warned:
            self._warned = True
            log.warning(
                "an episode of evaluation or play ended after %s steps (%s); it counts as truncated, like later ones. "
                "To change the limit set eval.max_episode_steps",
                f"{self.steps:,}",
                self.reason,
            )


UNLIMITED_STEPS = 1 << 62  # no episode is longer
NO_LIMIT = EpisodeLimit(UNLIMITED_STEPS, "none")
