"""role=train: collect, learn, evaluate and save in one process."""

from __future__ import annotations

import logging
import math
import sys
import time
from contextlib import ExitStack

import numpy as np

from sac import assemble
from sac.checkpoint import Checkpoints, check_disk
from sac.clock import Clock
from sac.config import Config
from sac.evaluation import Scores, evaluate
from sac.interruption import Interruption
from sac.learner import Learner
from sac.networks_file import find_networks
from sac.rollout import Experience, Rollout
from sac.run_folder import RunFolder, resolved_name
from sac.run_log import run_log

log = logging.getLogger(__name__)
RECENT = 20  # training episodes in the shown return
PLAIN_LINE_EVERY = 2.0  # seconds between two records of training returns


def train(config: Config) -> float | None:
    """Trains until a limit, success or a signal; returns the mean of the last evaluation window.

    Raises UserError for what the user can mend; ends the process with 130 or 75 after SIGINT or SIGTERM.
    """
    folder, resume = _folder(config)
    with ExitStack() as stack:
        stack.enter_context(run_log(folder.text_log if config.logger_in_file else None))
        interruption = stack.enter_context(Interruption())
        training = Training(config, folder, stack, interruption)
        if resume is not None:
            training.resume(resume)
        tracker = stack.enter_context(assemble.make_tracker(config, folder, training.steps))
        reason = training.run(tracker)
        result = training.result(reason)
        tracker.close(interruption.exit_code, reason, result)
    folder.write_result(result)
    print(_farewell(config, folder, result), flush=True)
    if interruption.requested:
        sys.exit(interruption.exit_code)
    return result["objective"]


def _folder(config: Config) -> tuple[RunFolder, str | int | None]:
    """The run's folder, and the checkpoint to go on from (None: a new run, whose folder is made here)."""
    resume = config.ckpt
    if resume == "auto":
        resume = "latest" if Checkpoints(RunFolder.of(config).checkpoints).all() else None
        if resume is None and RunFolder.of(config).config.exists():
            return RunFolder.of(config), None  # a run that ended before its first checkpoint begins again
    if resume is None:
        config.base.name = resolved_name(config.base.name)
        config.seed = config.sac.seed = assemble.run_seed(config)
        config.repeat = 0  # it is in the seed now
        folder = RunFolder.of(config)
        networks = find_networks(config.base.nn, config.base.env)
        folder.create(config, networks)
        return folder, None
    return RunFolder.of(config), resume


class Training:
    """The objects of one run and its loop. Steps count transitions of all agents."""

    def __init__(self, config: Config, folder: RunFolder, stack: ExitStack, interruption: Interruption):
        from sac import backend

        self.config, self.folder, self.interruption = config, folder, interruption
        assemble.limit_threads(config.base.threads)
        backend.start(config.base.threads)
        seed, self.clock = config.sac.seed, Clock()
        networks = folder.networks if folder.networks.exists() else None
        env = assemble.make_env(config, seed=seed, log_folder=folder.path)
        stack.callback(env.close)
        self.agent = assemble.make_agent(config, env.spec, networks, seed)
        n_agents, state_size = env.n_agents, self.agent.state_size
        self.replay = assemble.make_replay(config, env.spec, state_size, n_agents, seed)
        check_disk(folder.path, self._checkpoint_bytes())
        limiter = assemble.make_limiter(config, n_agents)
        self.learner = Learner(self.agent, self.replay, limiter, config.replay.batch_size, self.clock)
        self.exploring = assemble.make_exploring(config, self.agent, seed)
        base = config.base
        self.rollout = Rollout(
            env, self.exploring, max_step_each_iter=base.max_step_each_iter,
            reset_on_iteration=base.reset_on_iteration, seed=seed, clock=self.clock,
        )  # fmt: skip
        self.evaluation = Evaluation(config, self.agent, env, folder, stack, interruption)
        self.checkpoints = Checkpoints(folder.checkpoints)
        self.progress = Progress()
        self._last_save, self._saved_updates = time.monotonic(), 0

    @property
    def steps(self) -> int:
        return self.progress.steps

    # --- the loop

    def run(self, tracker) -> str:
        """Trains to the end and returns why it ended; the last state is saved whatever the reason."""
        reason = self._limit_reached()
        began = time.monotonic()
        for experience in self.rollout if not reason else ():
            self._learn_from(experience)
            tracker.progress(self.steps, self.learner.updates)
            self._report(tracker)
            if self.evaluation.due(self.steps):
                self._evaluate(tracker)
            reason = self._end() or ""
            if reason:
                break
            self._save_if_due()
        if not self.interruption.requested and self.evaluation.behind(self.steps):
            self._evaluate(tracker)
            reason = self.interruption.name or reason
        self.progress.seconds += time.monotonic() - began
        self._save()
        return reason

    def _learn_from(self, experience: Experience) -> None:
        earned = self.replay.add(experience.step)
        self.progress.took_in(experience, earned)
        self.learner.limiter.earn(earned, self.replay.ready)
        self.learner.work()

    def _end(self) -> str | None:
        if self.interruption.requested:
            return self.interruption.name
        stop = self.config.eval.stop_return
        scores = self.evaluation.scores
        if stop is not None and scores.full and scores.mean >= stop:
            return "solved"
        return self._limit_reached()

    def _limit_reached(self) -> str:
        base = self.config.base
        if 0 < base.max_step <= self.steps:
            return "max_step"
        return "max_iter" if 0 < base.max_iter <= self.progress.iterations else ""

    def _report(self, tracker) -> None:
        progress, every = self.progress, self.config.sac.write_summary_per_step
        returns = progress.news()
        if returns:
            tracker.scalars(returns, self.steps)
        if self.learner.updates - progress.summarised >= every:
            progress.summarised = self.learner.updates
            tracker.scalars(self.learner.metrics() | progress.rates(self.learner.updates) | self.clock.drain(), self.steps)

    def _evaluate(self, tracker) -> None:
        with self.clock("evaluate"):
            statistics = self.evaluation.run(self.steps)
        if statistics:
            tracker.scalars(statistics, self.steps)

    # --- saving

    def _parts(self) -> dict:
        parts = {
            "agent": self.agent, "limiter": self.learner.limiter, "exploring": self.exploring,
            "rollout": self.rollout, "evaluation": self.evaluation, "progress": self.progress,
        }  # fmt: skip
        return parts | {"replay": self.replay} if self.config.replay.save else parts

    def _checkpoint_bytes(self) -> int:
        """Room for two checkpoints: the one on disk and the one being written."""
        arrays, _ = self.agent.state()
        ring = self.replay.nbytes if self.config.replay.save else 0
        return 2 * (ring + sum(a.nbytes for a in arrays.values())) + 10_000_000

    def _save_if_due(self) -> None:
        sac = self.config.sac
        minutes = (time.monotonic() - self._last_save) / 60
        if self.learner.updates - self._saved_updates >= sac.save_model_per_step or minutes >= sac.save_model_per_minute:
            self._save()

    def _save(self) -> None:
        """Writes a checkpoint; a disk that refuses costs this checkpoint, not the run."""
        try:
            with self.clock("save"):
                self.checkpoints.save(self._parts(), self.steps, self.evaluation.scores.mean)
        except OSError as error:
            log.warning("this checkpoint could not be written (%s); training goes on, earlier ones stay", error)
        self._last_save, self._saved_updates = time.monotonic(), self.learner.updates

    def resume(self, which: str | int) -> None:
        """Continues from a checkpoint. Raises UserError when none fits."""
        self.checkpoints.load(self._parts(), which)
        rows = self.rollout.close_restored()
        if rows is not None:
            self.replay.add(rows)
            log.warning("resumed at step %d: open episodes were closed as truncations", self.steps)
        self._saved_updates = self.learner.updates

    def result(self, reason: str) -> dict:
        """What result.json says."""
        scores = self.evaluation.scores
        return {
            "reason": reason,
            "success": reason == "solved" or (self.config.eval.stop_return is None and not self.interruption.requested),
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
        }


class Progress:
    """Counters of a run and the training returns since the last report."""

    def __init__(self):
        self.steps = self.episodes = self.iterations = self.summarised = 0
        self.seconds = 0.0
        self._returns: list[float] = []
        self._lengths: list[int] = []
        self._reported, self._mark = 0, (time.monotonic(), 0, 0)
        self._last_news = 0.0

    def took_in(self, experience: Experience, transitions: int) -> None:
        self.steps += transitions
        self.iterations += experience.iteration_ended
        for episode in experience.episodes:
            if episode.complete:
                self.episodes += 1
                self._returns.append(episode.total_reward)
                self._lengths.append(episode.length)

    def news(self) -> dict[str, float]:
        """Mean return and length of the latest training episodes, if some ended since the last time (not too often)."""
        now = time.monotonic()
        if self.episodes == self._reported or now - self._last_news < PLAIN_LINE_EVERY:
            return {}
        self._reported, self._last_news = self.episodes, now
        self._returns, self._lengths = self._returns[-RECENT:], self._lengths[-RECENT:]
        return {"episode/return": float(np.mean(self._returns)), "episode/length": float(np.mean(self._lengths))}

    def rates(self, updates: int) -> dict[str, float]:
        then, steps, before = self._mark
        now = time.monotonic()
        self._mark = now, self.steps, updates
        seconds = max(now - then, 1e-9)
        return {"rate/steps": (self.steps - steps) / seconds, "rate/updates": (updates - before) / seconds}

    def state(self):
        names = ("steps", "episodes", "iterations", "summarised", "seconds")
        return {}, {name: getattr(self, name) for name in names}

    def restore(self, arrays, scalars) -> None:
        vars(self).update(scalars)
        self._reported, self._mark = self.episodes, (time.monotonic(), self.steps, scalars["summarised"])


class Evaluation:
    """Deterministic evaluation in an environment of its own, made when it is first needed.

    A scene that exists only once (the Unity editor) is evaluated in the training environment's place: not here.
    """

    def __init__(self, config: Config, agent, env, folder: RunFolder, stack: ExitStack, interruption: Interruption):
        self.config, self.agent, self.folder, self.interruption = config, agent, folder, interruption
        self.scores = Scores(config.eval.window)
        self._stack, self._env = stack, None
        self._next = config.eval.per_step
        self._last = -1  # step of the last evaluation

    def due(self, steps: int) -> bool:
        return 0 < self.config.eval.per_step and steps >= self._next

    def behind(self, steps: int) -> bool:
        """Whether the end of training still lacks its evaluation."""
        return self.config.eval.per_step > 0 and self._last != steps

    def run(self, steps: int) -> dict[str, float]:
        """Plays the configured number of episodes; nothing is recorded when a signal cuts it short."""
        c = self.config
        while self.due(steps):
            self._next += c.eval.per_step
        seed = c.sac.seed + assemble.EVALUATION_SEED
        if self._env is None:
            n = assemble.evaluation_agents(c)
            self._env = assemble.make_env(c, seed=seed, n_agents=n, log_folder=self.folder.path)
            self._stack.callback(self._env.close)
            self._env.reset(seed)
        greedy = assemble.make_greedy(c, self.agent, seed + steps)
        episodes = evaluate(self._env, greedy, c.eval.episodes, lambda: self.interruption.requested)
        if len(episodes) < c.eval.episodes:
            return {}
        self._last = steps
        return self.scores.add(episodes)

    def state(self):
        return {"returns": np.array(self.scores.returns, np.float64)}, {"next": self._next, "last": self._last}

    def restore(self, arrays, scalars) -> None:
        self.scores.returns.extend(arrays["returns"].tolist())
        self._next, self._last = scalars["next"], scalars["last"]


def _farewell(config: Config, folder: RunFolder, result: dict) -> str:
    """The last lines on the screen: how it ended, where it lies, how to go on."""
    words = {
        "solved": "solved", "max_step": "reached base.max_step", "max_iter": "reached base.max_iter",
    }.get(result["reason"], f"ended by {result['reason']}")  # fmt: skip
    mean = result["eval_return_mean"]
    score = "no evaluation" if mean is None or math.isnan(mean) else (
        f"evaluation return {mean:.4g} ± {result['eval_return_std']:.2g} over the last {result['eval_episodes']} episodes"
    )  # fmt: skip
    where = f"env={config.base.env} base.name={config.base.name}"
    if config.base.models != "models":
        where += f" base.models={config.base.models}"
    return (
        f"{words} after {result['env_steps']:,} steps and {result['seconds']:.0f} s: {score}\n"
        f"run:    {folder.path}\n"
        f"play:   python run.py role=play {where}\n"
        f"resume: python run.py {where} ckpt=latest"
    )
