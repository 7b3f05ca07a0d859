"""Where a training run's transitions come from, and learning from them: here, an environment of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from sac.collect.rollout import Rollout
from sac.replay import Replay
from sac.replay.running_stats import RunningStats
from sac.seeds import resumed_seed
from sac.training.learner import Diverged, Learner
from sac.training.progress import Progress


class TransitionSource(Protocol):
    """`replay_bytes`: what its part named `replay` takes on disk; `parts` are what must survive."""

    replay_bytes: int

    def advance(self) -> bool:
        """Takes in what there is and learns from it; whether an iteration ended with it."""

    def done(self, max_step: int) -> bool:
        """Whether `max_step` transitions have come and what they earned was learnt."""

    def on_divergence(self, error: Diverged) -> bool:
        """Whether somebody makes something else of a learner that has diverged; else it goes back to a checkpoint."""

    def parts(self) -> dict: ...

    def resumed(self) -> str:
        """Called when the parts have been restored; returns what is worth a warning."""

    def begin_episodes(self) -> None:
        """Somebody else has played in the environment: what was open is over."""

    def break_off(self) -> None:
        """The environment is gone, in the midst of a step perhaps: what was open is over."""

    def metrics(self) -> Mapping[str, float]:
        """What is worth logging beside the learner's own."""


class LocalSource:
    """A rollout whose rows go into a replay of this process; each turn is learnt from before the next."""

    def __init__(
        self, make_rollout: Callable[..., Rollout], exploring, replay: Replay, moments: RunningStats, learner: Learner,
        progress: Progress, seed: int, saves_replay: bool,
    ):  # fmt: skip
        self.make_rollout, self.exploring, self.replay, self.moments = make_rollout, exploring, replay, moments
        self.learner, self.progress, self._saves_replay = learner, progress, saves_replay
        self._seed = seed
        self.rollout = make_rollout(seed=seed)
        self._fill_until = 0  # step up to which a memory that was lost fills before it is learnt from

    @property
    def replay_bytes(self) -> int:
        return self.replay.nbytes * self._saves_replay

    def advance(self) -> bool:
        turn = self.rollout.advance()
        earned = self.replay.add(turn.step)
        self.moments.add(turn.step)
        self.progress.took_in(turn, earned)
        self.learner.limiter.add_steps(earned, self.replay.ready and self.progress.steps > self._fill_until)
        self.learner.work()
        return turn.iteration_ended

    def on_divergence(self, error: Diverged) -> bool:
        return False

    def done(self, max_step: int) -> bool:
        return self.progress.steps >= max_step

    def parts(self) -> dict:
        parts = {"exploring": self.exploring, "rollout": self.rollout, "moments": self.moments}
        return parts | {"replay": self.replay} if self._saves_replay else parts

    def resumed(self) -> str:
        if not len(self.replay):
            self._fill_until = self.progress.steps + self.learner.limiter.learning_starts
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
        self.replay.close_open_streams()  # of which the last rows were lost on their way

    def metrics(self) -> Mapping[str, float]:
        return {}
