"""A search: asks Optuna for a trial when a slot is free, runs it as jobs, and tells Optuna its result.

The same command, typed again, continues the search.
"""

from __future__ import annotations

import logging
import math
import statistics
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import FrozenTrial, TrialState

from launchers.jobs import job as states
from launchers.jobs.compose import Composition
from launchers.jobs.job import Job, Status
from launchers.search.opening import check_config, open_study
from launchers.search.options import SearchOptions
from launchers.search.reporter import ERROR, STORAGE
from launchers.search.space import grid, suggest, typed_forms
from sac.config.command_line import is_free
from sac.config.overrides import value_text
from sac.config.parameter_space import ParameterSpace
from sac.errors import UserError

log = logging.getLogger(__name__)
WORKER, OVERRIDES, RUNS = "worker", "overrides", "runs"  # user attributes of a trial
ASKING_LOCK_TIMEOUT_SECONDS = 600  # another process holds the lock while it asks for a trial
# Keys that may differ between the calls of one search:
MAY_DIFFER = ("base.name", "base.models", "base.threads", "base.port", "base.trust", "track.", "hydra.")


@dataclass
class OpenTrial:
    """A trial whose jobs run, one for each seed; `began` counts them."""

    began: int = 0
    failed: bool = False
    ended: list[tuple[Job, Status]] = field(default_factory=list)


class Search:
    """The study of what a sweep varies, and the overrides that all its trials share.

    Any number of processes ("workers") that share `options.folder` may search one study at once. Each holds a lock file
    of its own there while it lives. A trial that runs, but whose worker's lock is free, belonged to a worker that was
    killed; another worker takes it over and continues it. A worker holds `asking.lock` while it asks for a trial or
    takes one over, so that no trial goes to two workers. Raises UserError for a search that cannot run.
    """

    def __init__(self, composition: Composition, options: SearchOptions, arguments: list[str]):
        parsed = OverridesParser.create(composition.context.config_loader).parse_overrides(arguments)
        sweeps = [override for override in parsed if override.is_sweep_override()]
        self._typed = [str(override.input_line) for override in parsed if not override.is_sweep_override()]
        self.composition, self.options, config = composition, options, composition.config
        self.space = ParameterSpace.of(config, typed_forms(sweeps))
        assert options.folder is not None  # Sweep has chosen one
        self.folder = Path(options.folder)
        check_config(config)
        self.spec = options.spec(self.folder, config.eval.per_step, config.base.max_step)
        self.spec.make_sampler(0)
        self._grid = grid(self.space) if options.sampler == "grid" else None
        self.total = options.n_trials if self._grid is None else min(options.n_trials, len(self._grid))
        self._seed = (
            config.seed if config.seed is not None else 0
        )  # the same for all trials, so that they compare better
        self._open: dict[int, OpenTrial] = {}
        self._me, self._deadline = uuid.uuid4().hex, math.inf
        try:
            (self.folder / "workers").mkdir(parents=True, exist_ok=True)
            self._asking = FileLock(self.folder / "asking.lock", timeout=ASKING_LOCK_TIMEOUT_SECONDS)
            with self._asking, self.spec.in_words():
                self.study = open_study(self.spec, self.folder, self._settings())
        except OSError as error:
            raise UserError(f"hydra.sweeper.folder={self.folder}: {error.strerror or error}") from error

    def _settings(self) -> dict[str, Any]:
        """What every call of this search must have in common, so that its trials can be compared."""
        settings: dict[str, Any] = {
            "random_params": str(self.space),
            "hydra.sweeper.objectives": self.options.goals,
            "hydra.sweeper.seeds_per_trial": self.options.seeds_per_trial,
            "settings": sorted(line for line in self._typed if not line.lstrip("+").startswith(MAY_DIFFER)),
        }
        if self.options.storage not in (None, "journal"):
            settings["hydra.sweeper.folder"] = str(self.folder.resolve())
        return settings

    # --- asking

    @property
    def jobs_left(self) -> int:
        """How many jobs may still begin, if there is no other worker."""
        over = sum(trial.state.is_finished() for trial in self.study.get_trials(deepcopy=False))
        return max(self.total - over, 0) * self.options.seeds_per_trial

    def run(self, pool: Callable[[Iterable[Job], int], Iterable[tuple[Job, Status]]]) -> None:
        """Runs trials until the search is over; `pool(jobs, total)` yields jobs as they end, see Processes.stream."""
        self._deadline = time.monotonic() + 60 * (self.options.minutes or math.inf)
        with FileLock(self._lock_of(self._me)):
            for job, status in pool(self._jobs(), self.jobs_left):
                self._ended(job, status)

    def _jobs(self) -> Iterator[Job]:
        while (trial := self._next()) is not None:
            number, overrides, again = trial
            open_ = self._open.setdefault(number, OpenTrial())
            for seed in range(self.options.seeds_per_trial):
                if open_.failed:
                    break
                try:
                    job = self.job(number, overrides, seed, again)
                except Exception as error:  # Hydra cannot compose this trial; the search goes on
                    self._fail(number, open_, str(error).splitlines()[0])
                    break
                open_.began += 1
                yield job

    def _next(self) -> tuple[int, list[str], bool] | None:
        """Number and overrides of the next trial, and whether it is continued; None when no further trial may begin."""
        try:
            with self._asking:
                if time.monotonic() >= self._deadline:
                    return None
                return self._taken_over() or self._asked()
        except Timeout:
            log.warning(
                "another worker has held %s for %d s: no further trial begins here",
                self._asking.lock_file, ASKING_LOCK_TIMEOUT_SECONDS,
            )  # fmt: skip
            return None

    def _taken_over(self) -> tuple[int, list[str], bool] | None:
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.number in self._open or not self._is_orphan(trial):
                continue
            if ERROR in trial.user_attrs:  # one of its seeds had failed before
                self.study.tell(trial.number, state=TrialState.FAIL)
                continue
            return trial.number, self._claimed(trial.number, trial._trial_id), True
        return None

    def _asked(self) -> tuple[int, list[str], bool] | None:
        trials = self.study.get_trials(deepcopy=False)
        waiting = any(trial.state == TrialState.WAITING for trial in trials)  # queued in the study, e.g. by hand
        if sum(trial.state != TrialState.WAITING for trial in trials) >= self.total:
            return None
        if self._grid is not None and not waiting:
            seen = [trial.system_attrs.get("fixed_params", trial.params) for trial in trials]
            left = [combination for combination in self._grid if combination not in seen]
            if not left:
                return None
            self.study.enqueue_trial(left[0])
        self.study.sampler = self._sampler(len(trials))
        trial = self.study.ask()
        return trial.number, self._claimed(trial.number, trial._trial_id, trial), False

    def _sampler(self, trial: int) -> optuna.samplers.BaseSampler:
        return self.spec.make_sampler(trial) or optuna.samplers.RandomSampler()

    def _claimed(self, number: int, trial_id: int, trial: optuna.Trial | None = None) -> list[str]:
        """Writes this worker's name into a trial and returns its overrides, which are drawn if it has none."""
        storage = self.study._storage
        drawn = storage.get_trial(trial_id).user_attrs.get(OVERRIDES)
        if drawn is None:
            if trial is None:  # its worker was killed as it asked for the trial
                self.study.sampler = self._sampler(number)
                trial = optuna.trial.Trial(self.study, trial_id)
            values = suggest(self.space, trial)
            drawn = ["++" * is_free(name, value) + f"{name}={value_text(value)}" for name, value in values.items()]
            storage.set_trial_user_attr(trial_id, OVERRIDES, drawn)
        not_searched = {line.lstrip("+").partition("=")[0] for line in drawn} - set(self.space.distributions)
        if not_searched:  # whoever can write into the database must not choose what runs on this machine
            raise UserError(
                f"trial {number} of {self.spec.name} sets {', '.join(sorted(not_searched))}, which is not searched"
            )
        storage.set_trial_user_attr(trial_id, WORKER, self._me)
        return drawn

    def _is_orphan(self, trial: FrozenTrial) -> bool:
        """Whether no living worker runs the trial."""
        worker = trial.user_attrs.get(WORKER)
        if worker is None:
            return True
        if worker == self._me:
            return False
        try:
            with FileLock(self._lock_of(worker), timeout=0):
                return True
        except Timeout:
            return False

    def _lock_of(self, worker: str) -> Path:
        return self.folder / "workers" / f"{worker}.lock"

    def job(self, trial: int, overrides: list[str], seed: int = 0, again: bool = False) -> Job:
        """The job of a trial's seed, composed from the trial's overrides; `again` continues a run that has begun."""
        seeds = self.options.seeds_per_trial
        name = f"{self.spec.name}-{trial:04}" + (f"-{seed}" if seeds > 1 else "")
        more = [f"base.name={value_text(name)}", f"seed={self._seed}", f"repeat={seed}"] + ["ckpt=auto"] * again
        reporting = {
            "study": asdict(replace(self.spec, storage="")), "number": trial, "id": self._id(trial), "seed": seed,
            "seeds": seeds, "reports": self.options.compares_returns,
        }  # fmt: skip
        shown = [rounded(override) for override in overrides] + ([f"repeat={seed}"] if seeds > 1 else [])
        job = self.composition.job(
            trial * seeds + seed, [*self._typed, *overrides, *more], self.folder / "jobs", shown, named=True,
            group=self.spec.name, module="launchers.search.trial_child", trial=reporting,
        )  # fmt: skip
        job.env[STORAGE] = self.spec.storage  # no file holds its password
        return job

    def _id(self, number: int) -> int:
        return self.study._storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)

    # --- telling

    def _ended(self, job: Job, status: Status) -> None:
        """Tells Optuna a trial when the last of its seeds has ended. An interrupted trial stays open."""
        assert job.trial is not None
        number = job.trial["number"]
        open_ = self._open[number]
        open_.ended.append((job, status))
        if status.state == states.DONE and len(self._values(status)) < len(self.options.goals):
            status.state, status.error = states.FAILED, f"no finite {', '.join(self.options.goals)}"
        if status.state == states.FAILED:
            self._fail(number, open_, f"job {job.number}: {status.error}")
        if any(s.state == states.INTERRUPTED for _, s in open_.ended):
            return
        if len(open_.ended) == open_.began == self.options.seeds_per_trial and not open_.failed:
            self._tell(number, open_)

    def _fail(self, number: int, open_: OpenTrial, why: str) -> None:
        """Tells Optuna at once; seeds of the trial that still run end at their next evaluation."""
        if not open_.failed:
            open_.failed = True
            if not self._is_over(number):
                self.study._storage.set_trial_user_attr(self._id(number), ERROR, why)
                self.study.tell(number, state=TrialState.FAIL)

    def _tell(self, number: int, open_: OpenTrial) -> None:
        if self._is_over(number):  # a user has ended it, e.g. in a dashboard
            return
        self.study._storage.set_trial_user_attr(self._id(number), RUNS, sorted(s.folder for _, s in open_.ended))
        if any(status.state == states.PRUNED for _, status in open_.ended):
            self.study.tell(number, state=TrialState.PRUNED)
        else:
            each = [self._values(status) for _, status in open_.ended]
            self.study.tell(number, [statistics.median(v[name] for v in each) for name in self.options.goals])

    def _is_over(self, number: int) -> bool:
        return self.study._storage.get_trial(self._id(number)).state.is_finished()

    def _values(self, status: Status) -> dict[str, float]:
        """The objectives of a run, without those that are missing or not finite."""
        values = {name: status.result.get(name) for name in self.options.goals}
        return {k: v for k, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}


def rounded(override: str) -> str:
    """`key=0.00024346608` -> `key=0.0002435`, for display."""
    name, _, value = override.partition("=")
    try:
        return f"{name}={float(value):.4g}"
    except ValueError:
        return override
