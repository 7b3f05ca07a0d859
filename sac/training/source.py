"""Where a run's transitions come from: the protocol, and a source with an environment of this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from sac.collect.exploration import Exploring
from sac.collect.rollout import Rollout
from sac.replay import RateLimiter, Replay
from sac.replay.running_stats import RunningStats
from sac.replay.two_replays import TwoReplays
from sac.runs.checkpoint_files import Part
from sac.seeds import resumed_seed
from sac.training.curriculum import Curriculum
from sac.training.learner import Diverged, Learner
from sac.training.progress import Progress
from sac.types import Step


class TransitionSource(Protocol):
    """Brings transitions to the replay, and lets the learner learn from them."""

    @property
    def replay_bytes(self) -> int:
        """Bytes that its checkpoint part named `replay` takes on disk when the replay is full."""

    def advance(self) -> bool:
        """Takes in new transitions and learns from them; returns whether an iteration ended."""

    def done(self, max_step: int) -> bool:
        """Whether `max_step` transitions have come and all updates that they earned were done."""

    def on_divergence(self, error: Diverged) -> bool:
        """Returns whether the source gives the diverged agent other networks; else the run loads a checkpoint."""

    def parts(self) -> dict[str, Any]:
        """The parts of a checkpoint that belong to the source, by name."""

    def resumed(self) -> str:
        """Called after the parts were restored; returns a warning for the user, or an empty string."""

    def begin_episodes(self) -> None:
        """Starts new episodes, since others were played in the environment meanwhile."""

    def break_off(self) -> None:
        """Closes open episodes without the environment, which may have failed in the middle of a step."""

    def metrics(self) -> Mapping[str, float]:
        """Numbers to log besides the learner's."""


class LocalSource:
    """A rollout in this process whose rows go into a replay in this process.

    What a turn has earned is learnt before the next turn. `make_rollout(seed=None)` begins new episodes. When a lesson
    of the curriculum begins, the environment gets its values by `set_reset`.
    """

    def __init__(
        self, make_rollout: Callable[..., Rollout], exploring: Exploring, replay: Replay | TwoReplays,
        stats: RunningStats, limiter: RateLimiter, learner: Learner, progress: Progress, curriculum: Curriculum,
        seed: int, saves_replay: bool,
    ):  # fmt: skip
        self.make_rollout, self.exploring, self.replay, self.stats = make_rollout, exploring, replay, stats
        self.limiter, self.learner, self.progress, self.curriculum = limiter, learner, progress, curriculum
        self._seed, self._saves_replay = seed, saves_replay
        self.rollout = make_rollout(seed=seed)
        self.on_rows: Callable[[Step], None] = lambda _: None  # is told the rows of each turn
        self.on_resumed: Callable[[], None] = lambda: None  # is called when the replay was restored
        self._refill_until_step = 0  # a resumed run without its replay does not learn before this step

    @property
    def replay_bytes(self) -> int:
        return self.replay.nbytes if self._saves_replay else 0

    def advance(self) -> bool:
        rollout_step = self.rollout.advance()
        transitions = self.replay.add(rollout_step.step)
        self.stats.add(rollout_step.step)
        self.on_rows(rollout_step.step)
        self.progress.add(rollout_step, transitions)
        returns = [episode.total_reward for episode in rollout_step.episodes if episode.complete]
        if self.curriculum.add(returns, self.progress.steps):
            self._begin_lesson()
        self.limiter.add_steps(transitions, self.replay.ready and self.progress.steps > self._refill_until_step)
        self.learner.work()
        return rollout_step.iteration_ended

    def on_divergence(self, error: Diverged) -> bool:
        return False

    def done(self, max_step: int) -> bool:
        return self.progress.steps >= max_step

    def parts(self) -> dict[str, Part]:
        parts: dict[str, Part] = {"exploring": self.exploring, "rollout": self.rollout, "moments": self.stats}
        if self.curriculum.metrics():
            parts["curriculum"] = self.curriculum
        return parts | {"replay": self.replay} if self._saves_replay else parts

    def _begin_lesson(self) -> None:
        self.rollout.env.set_reset(self.curriculum.values())  # type: ignore[attr-defined]  # of both adapters

    def resumed(self) -> str:
        self.on_resumed()
        if self.curriculum.metrics():
            self._begin_lesson()
        if not len(self.replay):
            self._refill_until_step = self.progress.steps + self.limiter.learning_starts
        rows = self.rollout.close_restored(resumed_seed(self._seed, self.progress.steps))
        if rows is None:
            return ""
        self.replay.add(rows)
        return "open episodes were closed as truncations"

    def begin_episodes(self) -> None:
        self.replay.close_open_streams()
        self.rollout = self.make_rollout()

    def break_off(self) -> None:
        rows = self.rollout.break_off()
        if rows is not None:
            self.replay.add(rows)
        self.replay.close_open_streams()  # streams whose last rows the failure has lost

    def metrics(self) -> Mapping[str, float]:
        return self.curriculum.metrics()
