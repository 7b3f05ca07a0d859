"""The training loop: updates, evaluations, checkpoints and records of one run, wherever its transitions come from."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sac.collect.restarting_env import EnvironmentFailed
from sac.errors import Refused, UserError
from sac.evaluation.evaluator import Evaluator
from sac.runs.checkpoint import Checkpoints, check_disk
from sac.runs.checkpoint_files import Part
from sac.runs.signals import Interruption
from sac.timers import Clock
from sac.training.learner import Diverged, Learner, diverged
from sac.training.progress import Progress
from sac.training.schedule import Recorder, Schedule
from sac.training.source import TransitionSource
from sac.types import Batch

log = logging.getLogger(__name__)
MAX_ROLLBACKS = 3  # returns to the last checkpoint after a divergence; the next divergence ends the run
SPARE_DISK_BYTES = 10_000_000  # besides the arrays of the checkpoints
LIMITS = ("max_step", "max_iter")  # reasons to end that count as success only where no return was asked for


class Training:
    """The objects of one run and its loop. Steps count transitions of all agents.

    `promising(steps, mean_return)` is asked after each evaluation whether the run is worth going on with. A disk that
    cannot hold the checkpoints raises UserError.
    """

    def __init__(
        self, schedule: Schedule, run_folder: Path, interruption: Interruption, *, agent: Part, learner: Learner,
        source: TransitionSource, progress: Progress, clock: Clock, evaluator: Evaluator, checkpoints: Checkpoints,
        promising: Callable[[int, float], bool],
    ):  # fmt: skip
        self.schedule, self.run_folder, self.interruption = schedule, run_folder, interruption
        self.agent, self.learner, self.source = agent, learner, source
        self.progress, self.clock, self.evaluator, self.checkpoints = progress, clock, evaluator, checkpoints
        check_disk(run_folder, self._checkpoint_bytes())
        self._ask_promising, self._promising = promising, True
        self._rollbacks = 0
        self._saved: tuple | None = None  # the counters of the newest checkpoint
        self._saved_at_seconds, self._saved_at_updates = time.monotonic(), 0
        self.failure: EnvironmentFailed | None = None  # the failure that has ended the run

    @property
    def steps(self) -> int:
        return self.progress.steps

    # --- the loop

    def run(self, recorder: Recorder) -> str:
        """Trains to the end and returns the reason why it ended; the last state is saved whatever the reason.

        Raises UserError when training has diverged, when the last state could not be saved, or when another role
        refuses this process.
        """
        try:
            return self._run(recorder)
        except Refused:  # another process has taken this one's place; what was learnt before is worth saving
            if self.learner.updates > self._saved_at_updates:
                self._save_last()
            raise
        except EnvironmentFailed as failure:  # the networks and the replay are intact
            if not self.interruption.requested:  # Ctrl-C ends the environment's own processes as well
                self.failure = failure
            log.error("%s; saving what was learnt", failure)
            self._summarise(recorder)
            try:
                self.break_off()
            except UserError as error:
                raise UserError(f"{failure.reason}; {error}") from failure
            return self.interruption.name or failure.reason

    def break_off(self) -> None:
        """Saves the state without the environment, which has failed or does not return from a call."""
        self.source.break_off()
        self._save_last()

    def _run(self, recorder: Recorder) -> str:
        reason = self._limit_reached()
        while not reason:
            iteration_ended = self._advance()
            recorder.progress(self.steps, self.learner.updates)
            self._report(recorder)
            if self._evaluation_due(iteration_ended):
                self._evaluate(recorder)
            reason = self._end_reason()
            if not reason:
                self._save_if_due()
        if not self.interruption.requested and self.evaluator.behind(self.steps):
            self._evaluate(recorder)
            reason = self.interruption.name or ("solved" if self._solved() else reason)
        self._summarise(recorder)
        self._save_last()
        return reason

    def _advance(self) -> bool:
        """Takes in one turn and learns from it; returns whether an iteration ended.

        After a divergence the networks are loaded from the last checkpoint, MAX_ROLLBACKS times at most. The next
        divergence writes its windows into the run's folder and is raised as Diverged.
        """
        try:
            return self.source.advance()
        except Diverged as error:
            if self.source.on_divergence(error):
                return False
            if self._rollbacks == MAX_ROLLBACKS or not self.checkpoints.all():
                self._write_windows(error.batches)
                raise
            self._rollbacks += 1
            saved = self.checkpoints.load({"agent": self.agent}, "latest")
            back = f"the networks of step {saved.step} are back ({self._rollbacks} of {MAX_ROLLBACKS} times)"
            log.warning("%s; %s", error, back)
            return False

    def _write_windows(self, batches: Batch | None) -> None:
        """Writes the windows of the update that diverged, so that the user can look for the cause."""
        if batches is not None:
            arrays: dict[str, Any] = batches.columns()
            np.savez(self.run_folder / "diverged.npz", **arrays)
            log.error("the windows of the last update lie in %s", self.run_folder / "diverged.npz")

    def _end_reason(self) -> str:
        if self.interruption.requested:
            return self.interruption.name
        if self._solved():
            return "solved"
        return self._limit_reached() or ("" if self._promising else "pruned")

    def _solved(self) -> bool:
        goal, scores = self.schedule.stop_return, self.evaluator.scores
        return goal is not None and scores.mean is not None and scores.full and scores.mean >= goal

    def _limit_reached(self) -> str:
        limits = self.schedule
        if limits.max_steps > 0 and self.source.done(limits.max_steps):
            return "max_step"
        return "max_iter" if 0 < limits.max_iterations <= self.progress.iterations else ""

    def _report(self, recorder: Recorder) -> None:
        returns = self.progress.news()
        if returns:
            recorder.scalars(returns, self.steps)
        if self.learner.updates - self.progress.summarised >= self.schedule.summary_updates:
            self._summarise(recorder)

    def _summarise(self, recorder: Recorder) -> None:
        updates = self.learner.updates
        if updates > self.progress.summarised:
            self.progress.summarised = updates
            metrics = {**self.learner.metrics(), **self.source.metrics()}
            recorder.scalars(metrics | self.progress.rates(updates) | self.clock.drain(), self.steps)
            recorder.images(self.learner.pictures(), self.steps)

    # --- evaluation

    def _evaluation_due(self, iteration_ended: bool) -> bool:
        return self.evaluator.due(self.steps) and (iteration_ended or not self.schedule.shares_environment)

    def _evaluate(self, recorder: Recorder) -> None:
        with self.clock("evaluate"):
            statistics = self.evaluator.run(self.steps)
        if statistics:
            recorder.scalars(statistics, self.steps)
            self._promising = self._ask_promising(self.steps, statistics["eval/return"])
        if self.schedule.shares_environment:  # the evaluation has ended the training's episodes
            self.source.begin_episodes()

    # --- saving

    def _parts(self) -> dict[str, Part]:
        own: dict[str, Part] = {"agent": self.agent, "limiter": self.learner.limiter, "evaluation": self.evaluator}
        return own | {"progress": self.progress} | self.source.parts()

    def _checkpoint_bytes(self) -> int:
        """Bytes still needed for two checkpoints with a full replay: the one on disk and the one being written."""
        arrays, _ = self.agent.state()
        one = sum(a.nbytes for a in arrays.values()) + self.source.replay_bytes
        there = sum(file.stat().st_size for file in self.checkpoints.folder.glob("step_*/*.npz"))
        return one + max(0, one - there) + SPARE_DISK_BYTES

    def _save_if_due(self) -> None:
        """Saves when the schedule says so. An error of the disk costs this checkpoint; the run goes on."""
        minutes = (time.monotonic() - self._saved_at_seconds) / 60
        new_updates = self.learner.updates - self._saved_at_updates
        if new_updates < self.schedule.checkpoint_updates and minutes < self.schedule.checkpoint_minutes:
            return
        try:
            self._save()
        except OSError as error:
            log.warning("this checkpoint could not be written (%s); training goes on, %s", error, self._what_stays())
        except Diverged as error:
            if not self.source.on_divergence(error):
                raise
        self._saved_at_seconds, self._saved_at_updates = time.monotonic(), self.learner.updates

    def _save_last(self) -> None:
        if self._saved == self._counters():
            return
        try:
            self._save()
        except Diverged as error:
            if not (self.interruption.requested and self.source.on_divergence(error)):
                raise
            log.warning("the last state was not saved: %s", self._what_stays())
        except OSError as error:
            words = f"the last state could not be saved in {self.checkpoints.folder}: {error}; {self._what_stays()}"
            raise UserError(words) from error

    def _what_stays(self) -> str:
        return "earlier ones stay" if self.checkpoints.all() else "no checkpoint exists yet"

    def _save(self) -> None:
        """Writes a checkpoint. Raises Diverged for weights that are not finite, and OSError when the disk refuses."""
        arrays, _ = self.agent.state()
        lost = [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
        if lost:
            raise diverged(self.learner.updates, ", ".join(lost[:3]))
        with self.clock("save"):
            self.checkpoints.save(self._parts(), self.steps, self.evaluator.scores.mean)
        self._saved = self._counters()

    def _counters(self) -> tuple:
        """Numbers that change whenever the state does."""
        return self.steps, self.learner.updates, tuple(self.evaluator.scores.returns)

    def resume(self, which: str | int) -> None:
        """Continues from a checkpoint: `latest`, `best` or a step. Raises UserError when none fits."""
        loaded = self.checkpoints.load(self._parts(), which)
        self.checkpoints.continue_from(loaded)
        if "rollout" in loaded.lost:
            self.source.begin_episodes()
        self._saved = self._counters()
        warning = self.source.resumed()
        if warning:
            log.warning("resumed at step %d: %s", self.steps, warning)
        else:
            log.info("resumed at step %d", self.steps)
        self._saved_at_updates = self.learner.updates

    def result(self, reason: str) -> dict[str, Any]:
        """How the run ended, ready for JSON."""
        scores, limited = self.evaluator.scores, reason in LIMITS and not self.interruption.requested
        return {
            "reason": reason,
            "success": reason == "solved" or (self.schedule.stop_return is None and limited),
            "objective": scores.mean,
            "eval_return_mean": scores.mean,
            "eval_return_std": float(np.std(scores.returns)) if scores.returns else None,
            "eval_episodes": len(scores.returns),
            "env_steps": self.steps,
            "updates": self.learner.updates,
            "episodes": self.progress.episodes,
            "iterations": self.progress.iterations,
            "seconds": round(self.progress.seconds, 1),
        }
