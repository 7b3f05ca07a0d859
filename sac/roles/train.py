"""role=train: collect, learn, evaluate and save in one process."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from sac import assemble
from sac.checkpoint import Checkpoints, check_disk
from sac.clock import Clock
from sac.config import Config
from sac.errors import UserError
from sac.evaluator import Evaluator
from sac.farewell import farewell
from sac.interruption import Interruption
from sac.learner import Learner, diverged
from sac.networks_file import find_networks
from sac.outlook import Outlook
from sac.progress import Progress
from sac.rollout import Experience, Rollout
from sac.run_folder import RunFolder, resolved_name
from sac.run_log import run_log
from sac.source import commit
from sac.track.observer import Observer
from sac.track.tracker import Tracker
from sac.types import Env

log = logging.getLogger(__name__)


def train(
    config: Config, make_env: Callable[..., Env] = assemble.make_env, observer: Observer | None = None
) -> float | None:
    """Trains until a limit, success or a signal; returns the mean of the last evaluation window.

    `make_env` is called like `assemble.make_env`; `observer` watches. Raises UserError for what the user can
    mend; ends the process with 130 or 75 after SIGINT or SIGTERM.
    """
    folder, resume, networks = _folder(config)
    observer, console = observer or Observer(), Console()
    observer.began(folder.path, config)
    with ExitStack() as stack:
        try:
            stack.enter_context(run_log(folder.text_log if config.logger_in_file else None, console))
            interruption = stack.enter_context(Interruption())
            training = Training(config, folder, networks, stack, interruption, make_env, observer)
            if resume is not None:
                training.resume(resume)
            else:
                training.fill_memory()
        except BaseException:
            if resume is None:
                folder.release()
            raise
        tracker = stack.enter_context(assemble.make_tracker(config, folder, training.steps, console, observer))
        reason = training.run(tracker)
        result = training.result(reason)
        tracker.close(interruption.exit_code, reason, result)
        folder.write_result(result)
    print(farewell(config, folder, result), flush=True)
    if interruption.requested:
        sys.exit(interruption.exit_code)
    return result["objective"]


def _folder(config: Config) -> tuple[RunFolder, str | int | None, Path | None]:
    """The run's folder, the checkpoint to go on from (None: a new run, whose folder is made here), its networks.

    A new run takes the networks from where they were found, so that messages name the user's file.
    """
    resume, folder = config.ckpt, RunFolder.of(config)
    if resume == "auto":
        resume = "latest" if Checkpoints(folder.checkpoints).all() else None
    if resume is not None or (config.ckpt == "auto" and folder.config.exists()):
        return folder, resume, folder.own_networks()  # without checkpoint: a run that ended before its first one
    config.base.name = resolved_name(config.base.name)
    config.seed = config.sac.seed = assemble.run_seed(config)
    config.repeat = 0  # it is in the seed now
    folder, networks = RunFolder.of(config), find_networks(config.base.nn, config.base.env)
    folder.create(config, networks)
    return folder, None, networks


class Training:
    """The objects of one run and its loop. Steps count transitions of all agents."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        networks: Path | None,
        stack: ExitStack,
        interruption: Interruption,
        make_env: Callable[..., Env] = assemble.make_env,
        observer: Observer | None = None,
    ):
        self.config, self.folder, self.interruption = config, folder, interruption
        self.observer, self._promising = observer or Observer(), True
        self._stack, self._make_env = stack, partial(make_env, config, log_folder=folder.path)
        assemble.start_tensorflow(config.base.threads)
        seed, self.clock, self.progress = config.sac.seed, Clock(), Progress()
        self.env = self._make_env(seed=seed)
        stack.callback(self.env.close)
        self.agent = agent = assemble.make_agent(config, self.env.spec, networks, seed)
        self.replay = assemble.make_replay(config, self.env.spec, agent.state_size, self.env.n_agents, seed)
        self.checkpoints = Checkpoints(folder.checkpoints)
        check_disk(folder.path, self._checkpoint_bytes())
        limiter = assemble.make_limiter(config, self.env.n_agents)
        self.moments = assemble.make_moments(config, self.env.spec)
        self.learner = Learner(
            agent, self.replay, limiter, config.replay.batch_size, self.clock, moments=self.moments,
            refresh_state=config.sac.refresh_state,
        )  # fmt: skip
        self.exploring = assemble.make_exploring(config, agent, seed)
        self.rollout = self._new_rollout(seed)
        self.evaluator = Evaluator(
            config.eval.per_step, config.eval.episodes, config.eval.window, seed + assemble.EVALUATION_SEED,
            self._evaluation_env, partial(assemble.make_greedy, config, agent), lambda: interruption.requested,
            partial(Outlook, config.sac.gamma, agent.appraise),
        )  # fmt: skip
        self._fill_until = 0  # step up to which a memory that was lost fills before it is learnt from
        self._commit = commit()
        self._saved: tuple | None = None  # what the last checkpoint on disk stands for
        self._last_save, self._saved_updates = time.monotonic(), 0

    @property
    def steps(self) -> int:
        return self.progress.steps

    def _new_rollout(self, seed: int | None = None) -> Rollout:
        base = self.config.base
        return Rollout(
            self.env, self.exploring, max_step_each_iter=base.max_step_each_iter,
            reset_on_iteration=base.reset_on_iteration, seed=seed, clock=self.clock,
        )  # fmt: skip

    # --- the loop

    def run(self, tracker: Tracker) -> str:
        """Trains to the end and returns why it ended; the last state is saved whatever the reason.

        Raises UserError when training has diverged or the last state could not be saved.
        """
        reason = self._limit_reached()
        while not reason:
            experience = self.rollout.advance()
            self._learn_from(experience)
            tracker.progress(self.steps, self.learner.updates)
            self._report(tracker)
            if self._evaluation_due(experience):
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

    def _learn_from(self, experience: Experience) -> None:
        earned = self.replay.add(experience.step)
        self.moments.add(experience.step)
        self.progress.took_in(experience, earned)
        self.learner.limiter.earn(earned, self.replay.ready and self.steps > self._fill_until)
        self.learner.work()

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
        if 0 < base.max_step <= self.steps:
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
            tracker.scalars(self.learner.metrics() | self.progress.rates(updates) | self.clock.drain(), self.steps)
            tracker.images(self.learner.pictures(), self.steps)

    # --- evaluation

    def _evaluation_env(self) -> Env:
        """An environment of its own; a scene that exists only once (the Unity editor) is played in itself."""
        config = self.config
        if config.base.editor:
            return self.env
        seed, n_agents = config.sac.seed + assemble.EVALUATION_SEED, assemble.evaluation_agents(config)
        env = self._make_env(seed=seed, n_agents=n_agents, port=config.base.port + 1)
        self._stack.callback(env.close)
        return env

    def _evaluation_due(self, experience: Experience) -> bool:
        return self.evaluator.due(self.steps) and (experience.iteration_ended or not self.config.base.editor)

    def _evaluate(self, tracker: Tracker) -> None:
        with self.clock("evaluate"):
            statistics = self.evaluator.run(self.steps)
        if statistics:
            tracker.scalars(statistics, self.steps)
            self._promising = self.observer.promising(self.steps, statistics["eval/return"])
        if self.config.base.editor:  # training goes on in new episodes
            self.replay.close_open_streams()
            self.rollout = self._new_rollout()

    # --- saving

    def _parts(self) -> dict:
        parts = {
            "agent": self.agent, "limiter": self.learner.limiter, "exploring": self.exploring,
            "rollout": self.rollout, "moments": self.moments, "evaluation": self.evaluator, "progress": self.progress,
        }  # fmt: skip
        return parts | {"replay": self.replay} if self.config.replay.save else parts

    def _checkpoint_bytes(self) -> int:
        """Room still needed for two checkpoints with a full memory: the one on disk and the one being written."""
        arrays, _ = self.agent.state()
        one = sum(a.nbytes for a in arrays.values()) + self.replay.nbytes * self.config.replay.save
        there = sum(file.stat().st_size for file in self.folder.checkpoints.rglob("*.npz"))
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
            log.warning("this checkpoint could not be written (%s); training goes on, earlier ones stay", error)
        self._last_save, self._saved_updates = time.monotonic(), self.learner.updates

    def _save_last(self) -> None:
        if self._saved == self._now():
            return
        try:
            self._save()
        except OSError as error:
            raise UserError(
                f"the last state could not be saved in {self.checkpoints.folder}: {error}; earlier ones stay"
            ) from error

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

    def fill_memory(self) -> None:
        """What a new run begins with, where the config names something."""
        assemble.fill_replay(self.config, self.env, self.replay, self.agent.state_size, self.moments)

    def resume(self, which: str | int) -> None:
        """Continues from a checkpoint. Raises UserError when none fits."""
        loaded = self.checkpoints.load(self._parts(), which)
        assemble.check_log_prob(self.config, self.replay)
        self.checkpoints.continue_from(loaded)
        if not len(self.replay):
            self._fill_until = self.steps + self.learner.limiter.learning_starts
        self._saved = self._now()
        rows = self.rollout.close_restored()
        if rows is not None:
            self.replay.add(rows)
            log.warning("resumed at step %d: open episodes were closed as truncations", self.steps)
        self._saved_updates = self.learner.updates
        self.folder.write_config(self.config)

    def result(self, reason: str) -> dict:
        """What result.json says."""
        scores = self.evaluator.scores
        return {
            "reason": reason,
            "success": reason == "solved"
            or (self.config.eval.stop_return is None and reason != "pruned" and not self.interruption.requested),
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
