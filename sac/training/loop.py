"""A training run: its loop, evaluations, checkpoints and records, wherever its transitions come from."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
from rich.console import Console

from sac import assemble
from sac.collect.restarting_env import EnvironmentFailed, described
from sac.config.schema import Config
from sac.errors import Refused, UserError
from sac.evaluation.evaluator import Evaluator
from sac.evaluation.q_bias import QBias
from sac.runs.checkpoint import Checkpoints, check_disk
from sac.runs.commit import commit
from sac.runs.folder import RunFolder
from sac.runs.signals import Interruption
from sac.runs.summary import farewell
from sac.seeds import resumed_seed
from sac.timers import Clock
from sac.track.observer import Observer
from sac.track.tracker import Tracker
from sac.training.learner import Diverged, Learner, diverged
from sac.training.progress import Progress
from sac.training.source import TransitionSource
from sac.types import Batch, Env

log = logging.getLogger(__name__)
ROLL_BACKS = 3  # to the last checkpoint, after divergences
LIMITS = ("max_step", "max_iter")  # reasons to end that are no success only where another goal was set


class Training:
    """The objects of one run and its loop. Steps count transitions of all agents."""

    def __init__(
        self, config: Config, folder: RunFolder, interruption: Interruption, observer: Observer, *, agent,
        learner: Learner, experience: TransitionSource, progress: Progress, clock: Clock,
        evaluation_env: Callable[[], Env],
    ):  # fmt: skip
        self.config, self.folder, self.interruption, self.observer = config, folder, interruption, observer
        self.agent, self.learner, self.experience, self.progress, self.clock = (
            agent, learner, experience, progress, clock
        )  # fmt: skip
        self.checkpoints = Checkpoints(folder.checkpoints, beside=(folder.config, folder.networks))
        check_disk(folder.path, self._checkpoint_bytes())
        self.evaluator = Evaluator(
            config.eval.per_step, config.eval.episodes, config.eval.window, config.sac.seed + assemble.EVALUATION_SEED,
            evaluation_env, partial(assemble.make_greedy, config, agent), lambda: interruption.requested,
            partial(QBias, config.sac.gamma, agent.estimate_q), partial(assemble.episode_limit, config),
        )  # fmt: skip
        self._promising, self._rolled_back = True, 0
        self._commit = commit()
        self._saved: tuple | None = None  # what the last checkpoint on disk stands for
        self._last_save, self._saved_updates = time.monotonic(), 0
        self.failure: EnvironmentFailed | None = None  # what has ended it

    @property
    def steps(self) -> int:
        return self.progress.steps

    # --- the loop

    def run(self, tracker: Tracker) -> str:
        """Trains to the end and returns why it ended; the last state is saved whatever the reason.

        Raises UserError when training has diverged, the last state could not be saved, or another role refuses us.
        """
        try:
            return self._run(tracker)
        except Refused:  # since it was let in, if anything was learnt: another process has taken its place
            if self.learner.updates > self._saved_updates:
                self._save_last()
            raise
        except EnvironmentFailed as failure:  # networks and memory are sound
            if not self.interruption.requested:  # Ctrl-C ends the environment's own processes as well
                self.failure = failure
            log.error("%s; saving what was learnt", failure)
            self._summarise(tracker)
            try:
                self.break_off()
            except UserError as error:
                raise UserError(f"{failure.reason}; {error}") from failure
            return self.interruption.name or failure.reason

    def break_off(self) -> None:
        """Saves what there is, without an environment that has failed or does not come back."""
        self.experience.break_off()
        self._save_last()

    def _run(self, tracker: Tracker) -> str:
        reason = self._limit_reached()
        while not reason:
            iteration_ended = self._advance()
            tracker.progress(self.steps, self.learner.updates)
            self._report(tracker)
            if self._evaluation_due(iteration_ended):
                self._evaluate(tracker)
            reason = self._end()
            if not reason:
                self._save_if_due()
        if not self.interruption.requested and self.evaluator.behind(self.steps):
            self._evaluate(tracker)
            reason = self.interruption.name or ("solved" if self._solved() else reason)
        self._summarise(tracker)
        self._save_last()
        return reason

    def _advance(self) -> bool:
        """One turn; after a divergence the networks go back to the last checkpoint, a few times.

        Raises Diverged when that does not help; the windows that were learnt from lie in the run's folder then.
        """
        try:
            return self.experience.advance()
        except Diverged as error:
            if self.experience.on_divergence(error):
                return False
            if self._rolled_back == ROLL_BACKS or not self.checkpoints.all():
                self._keep(error.batches)
                raise
            self._rolled_back += 1
            saved = self.checkpoints.load({"agent": self.agent}, "latest")
            back = f"the networks of step {saved.step} are back ({self._rolled_back} of {ROLL_BACKS} times)"
            log.warning("%s; %s", error, back)
            return False

    def _keep(self, batches: Batch | None) -> None:
        """For whoever looks for the reason."""
        if batches is not None:
            np.savez(self.folder.path / "diverged.npz", **batches.columns())
            log.error("the windows of the last update lie in %s", self.folder.path / "diverged.npz")

    def _end(self) -> str:
        if self.interruption.requested:
            return self.interruption.name
        if self._solved():
            return "solved"
        return self._limit_reached() or ("" if self._promising else "pruned")

    def _solved(self) -> bool:
        goal, scores = self.config.eval.stop_return, self.evaluator.scores
        return goal is not None and scores.full and scores.mean >= goal

    def _limit_reached(self) -> str:
        base = self.config.base
        if base.max_step > 0 and self.experience.done(base.max_step):
            return "max_step"
        return "max_iter" if 0 < base.max_iter <= self.progress.iterations else ""

    def _report(self, tracker: Tracker) -> None:
        returns = self.progress.news()
        if returns:
            tracker.scalars(returns, self.steps)
        if self.learner.updates - self.progress.summarised >= self.config.sac.write_summary_per_step:
            self._summarise(tracker)

    def _summarise(self, tracker: Tracker) -> None:
        updates = self.learner.updates
        if updates > self.progress.summarised:
            self.progress.summarised = updates
            found = self.learner.metrics() | self.experience.metrics()
            tracker.scalars(found | self.progress.rates(updates) | self.clock.drain(), self.steps)
            tracker.images(self.learner.pictures(), self.steps)

    # --- evaluation

    def _evaluation_due(self, iteration_ended: bool) -> bool:
        """A scene that exists only once (the Unity editor) is evaluated in itself, between iterations."""
        return self.evaluator.due(self.steps) and (iteration_ended or not self.config.base.editor)

    def _evaluate(self, tracker: Tracker) -> None:
        with self.clock("evaluate"):
            statistics = self.evaluator.run(self.steps)
        if statistics:
            tracker.scalars(statistics, self.steps)
            self._promising = self.observer.promising(self.steps, statistics["eval/return"])
        if self.config.base.editor:  # training goes on in new episodes
            self.experience.begin_episodes()

    # --- saving

    def _parts(self) -> dict:
        own = {"agent": self.agent, "limiter": self.learner.limiter, "evaluation": self.evaluator}
        return own | {"progress": self.progress} | self.experience.parts()

    def _checkpoint_bytes(self) -> int:
        """Room still needed for two checkpoints with a full memory: the one on disk and the one being written."""
        arrays, _ = self.agent.state()
        one = sum(a.nbytes for a in arrays.values()) + self.experience.replay_bytes
        there = sum(file.stat().st_size for file in self.folder.checkpoints.glob("step_*/*.npz"))
        return one + max(0, one - there) + 10_000_000

    def _save_if_due(self) -> None:
        """A disk that refuses costs this checkpoint, not the run."""
        sac = self.config.sac
        minutes = (time.monotonic() - self._last_save) / 60
        if self.learner.updates - self._saved_updates < sac.save_model_per_step and minutes < sac.save_model_per_minute:
            return
        try:
            self._save()
        except OSError as error:
            log.warning("this checkpoint could not be written (%s); training goes on, %s", error, self._what_stays())
        except Diverged as error:
            if not self.experience.on_divergence(error):
                raise
        self._last_save, self._saved_updates = time.monotonic(), self.learner.updates

    def _save_last(self) -> None:
        if self._saved == self._now():
            return
        try:
            self._save()
        except OSError as error:
            words = f"the last state could not be saved in {self.checkpoints.folder}: {error}; {self._what_stays()}"
            raise UserError(words) from error

    def _what_stays(self) -> str:
        return "earlier ones stay" if self.checkpoints.all() else "no checkpoint exists yet"

    def _save(self) -> None:
        arrays, _ = self.agent.state()
        lost = [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
        if lost:
            raise diverged(self.learner.updates, ", ".join(lost[:3]))
        with self.clock("save"):
            self.checkpoints.save(self._parts(), self.steps, self.evaluator.scores.mean)
        self._saved = self._now()

    def _now(self) -> tuple:
        return self.steps, self.learner.updates, tuple(self.evaluator.scores.returns)

    def resume(self, which: str | int) -> None:
        """Continues from a checkpoint. Raises UserError when none fits."""
        from sac.backend import seed_everything  # TensorFlow

        loaded = self.checkpoints.load(self._parts(), which)
        self.checkpoints.continue_from(loaded)
        if "rollout" in loaded.lost:
            self.experience.begin_episodes()
        self._saved = self._now()
        warning = self.experience.resumed()
        if warning:
            log.warning("resumed at step %d: %s", self.steps, warning)
        else:
            log.info("resumed at step %d", self.steps)
        seed_everything(resumed_seed(self.config.sac.seed, self.steps))
        self._saved_updates = self.learner.updates
        self.folder.write_config(self.config)

    def result(self, reason: str) -> dict:
        """What result.json says."""
        scores = self.evaluator.scores
        return {
            "reason": reason,
            "success": reason == "solved"
            or (self.config.eval.stop_return is None and reason in LIMITS and not self.interruption.requested),
            "objective": scores.mean,
            "eval_return_mean": scores.mean,
            "eval_return_std": float(np.std(scores.returns)) if scores.returns else None,
            "eval_episodes": len(scores.returns),
            "env_steps": self.steps,
            "updates": self.learner.updates,
            "episodes": self.progress.episodes,
            "iterations": self.progress.iterations,
            "seconds": round(self.progress.seconds, 1),
            "seed": self.config.sac.seed,
            "commit": self._commit,
        }


@contextmanager
def released_on_failure(folder: RunFolder, is_new: bool):
    """A new run that could not begin gives its name back."""
    try:
        yield
    except BaseException:
        if is_new:
            folder.release()
        raise


def finish(
    training: Training, config: Config, folder: RunFolder, stack: ExitStack, console: Console, observer: Observer
) -> dict:
    """Runs to the end with the config's tracker and writes the result, which it returns.

    Raises what the environment has raised when that was the end: after saving, and after the last words. Of any other
    exception the result tells too.
    """
    tracker = stack.enter_context(assemble.make_tracker(config, folder, training.steps, console, observer))
    interruption = training.interruption

    def concluded(reason: str, exit_code: int) -> dict:
        result = training.result(reason)
        folder.write_result(result)
        tracker.close(exit_code, reason, result)
        return result

    def without_environment() -> None:
        training.break_off()
        print(farewell(config, folder, concluded(interruption.name, interruption.exit_code)), flush=True)

    interruption.rescue = without_environment
    try:
        reason = training.run(tracker)
    except Exception as error:
        folder.write_result(training.result(described(error)))
        raise
    failure = training.failure
    result = concluded(reason, 1 if failure else interruption.exit_code)
    last_words = partial(print, farewell(config, folder, result), flush=True)
    interruption.rescue = (lambda: None) if failure else last_words  # where the environment's close() hangs
    if failure:
        last_words()
        raise failure.shown
    return result


def say_farewell(config: Config, folder: RunFolder, result: dict, interruption: Interruption) -> float | None:
    """The last words, and the exit code of a signal; else returns the objective."""
    print(farewell(config, folder, result), flush=True)
    if interruption.requested:
        sys.exit(interruption.exit_code)
    return result["objective"]
