"""A search: trials asked of Optuna when a process is free, run as jobs, told back. A repeated command goes on."""

from __future__ import annotations

import logging
import math
import statistics
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import FrozenTrial, TrialState

from launchers.jobs import job as states
from launchers.jobs.compose import Composition
from launchers.jobs.job import Job, Status
from launchers.search.options import SearchOptions
from launchers.search.reporter import ERROR, STORAGE
from launchers.search.space import grid, suggest, typed_forms
from launchers.search.study import FILES
from sac.config.command_line import is_free
from sac.config.overrides import value_text
from sac.config.parameter_space import ParameterSpace
from sac.errors import UserError

log = logging.getLogger(__name__)
WORKER, OVERRIDES, RUNS = "worker", "overrides", "runs"  # user attributes of a trial
WAIT = 600  # seconds for another worker that is just asking
# Keys that may differ from call to call:
ASIDE = ("base.name", "base.models", "base.threads", "base.port", "base.trust", "track.", "hydra.")


@dataclass
class Open:
    """A trial whose jobs run: one for each seed."""

    began: int = 0
    failed: bool = False
    ended: list[tuple[Job, Status]] = field(default_factory=list)


class Search:
    """What a sweep's command line sets for every trial, and the study of what it varies.

    Any number of processes that share `options.folder` may search one study at once. Each holds a lock of its own there
    while it lives; a trial that runs, but whose worker's lock is free, was left by one that was killed: it is taken
    over and goes on. Who asks or takes over holds `asking.lock`, so no trial goes to two workers.
    """

    def __init__(self, composition: Composition, options: SearchOptions, arguments: list[str]):
        parsed = OverridesParser.create(composition.context.config_loader).parse_overrides(arguments)
        sweeps = [override for override in parsed if override.is_sweep_override()]
        self._typed = [override.input_line for override in parsed if not override.is_sweep_override()]
        self.composition, self.options, config = composition, options, composition.config
        self.space = ParameterSpace.of(config, typed_forms(sweeps))
        self.folder = Path(options.folder)
        _check(config)
        self.spec = options.spec(self.folder, config.eval.per_step, config.base.max_step)
        self.spec.make_sampler(0)
        self._grid = grid(self.space) if options.sampler == "grid" else None
        self.total = options.n_trials if self._grid is None else min(options.n_trials, len(self._grid))
        self._seed = config.seed if config.seed is not None else 0  # the same for all trials: they compare better
        self._open: dict[int, Open] = {}
        self._me, self._until = uuid.uuid4().hex, math.inf
        try:
            (self.folder / "workers").mkdir(parents=True, exist_ok=True)
            self._asking = FileLock(self.folder / "asking.lock", timeout=WAIT)
            with self._asking, self.spec.in_words():
                self.study = self._opened()
        except OSError as error:
            raise UserError(f"hydra.sweeper.folder={self.folder}: {error.strerror or error}") from error

    def _opened(self) -> optuna.Study:
        """Raises UserError when the study was begun as another one (its trials would not compare) or was emptied."""
        for file in FILES:
            if _is_empty(self.folder / file) and any((self.folder / "jobs").glob("*")):
                raise UserError(
                    f"{self.folder / file} is empty, as after a power cut, though trials of this study have run: put a "
                    "copy of the file in its place, or begin another search by hydra.sweeper.study_name=..."
                )
        study = self.spec.open(create=True)
        told = {
            "random_params": str(self.space),
            "hydra.sweeper.objectives": dict(self.options.objectives),
            "hydra.sweeper.seeds_per_trial": self.options.seeds_per_trial,
            "settings": sorted(line for line in self._typed if not line.lstrip("+").startswith(ASIDE)),
        }
        if self.options.storage not in (None, "journal"):
            told["hydra.sweeper.folder"] = str(self.folder.resolve())
        for name, value in told.items():
            before = study.user_attrs.get(name, value)
            if before != value:
                raise UserError(
                    f"the study {self.spec.name} was begun with other {name}: {before}; now {value}. "
                    "Choose another hydra.sweeper.study_name, or the same again"
                )
            study.set_user_attr(name, value)
        return study

    # --- asking

    @property
    def jobs_left(self) -> int:
        """How many jobs this search may still begin, if no other worker helps."""
        over = sum(trial.state.is_finished() for trial in self.study.get_trials(deepcopy=False))
        return max(self.total - over, 0) * self.options.seeds_per_trial

    def run(self, pool) -> None:
        """`pool(jobs, total)` yields jobs as they end; see Processes.stream."""
        self._until = time.monotonic() + 60 * (self.options.minutes or math.inf)
        with FileLock(self._lock_of(self._me)):
            for job, status in pool(self._jobs(), self.jobs_left):
                self._ended(job, status)

    def _jobs(self) -> Iterator[Job]:
        while (trial := self._next()) is not None:
            number, overrides, again = trial
            open_ = self._open.setdefault(number, Open())
            for seed in range(self.options.seeds_per_trial):
                if open_.failed:
                    break
                try:
                    job = self.job(number, overrides, seed, again)
                except Exception as error:  # what Hydra cannot compose is this trial's fault, not the search's
                    self._fail(number, open_, str(error).splitlines()[0])
                    break
                open_.began += 1
                yield job

    def _next(self) -> tuple[int, list[str], bool] | None:
        """Number and overrides of the next trial, and whether it goes on; None when no more may begin."""
        try:
            with self._asking:
                if time.monotonic() >= self._until:
                    return None
                return self._taken_over() or self._asked()
        except Timeout:
            log.warning("another worker has held %s for %d s: this one begins no more", self._asking.lock_file, WAIT)
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
        waiting = any(trial.state == TrialState.WAITING for trial in trials)  # queued by somebody for whoever asks
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
        """Writes this worker's name to a trial; returns its overrides, drawn if it has none yet."""
        storage = self.study._storage
        drawn = storage.get_trial(trial_id).user_attrs.get(OVERRIDES)
        if drawn is None:
            if trial is None:  # its worker was killed while it asked
                self.study.sampler = self._sampler(number)
                trial = optuna.trial.Trial(self.study, trial_id)
            values = suggest(self.space, trial)
            drawn = ["++" * is_free(name, value) + f"{name}={value_text(value)}" for name, value in values.items()]
            storage.set_trial_user_attr(trial_id, OVERRIDES, drawn)
        strange = {line.lstrip("+").partition("=")[0] for line in drawn} - set(self.space.distributions)
        if strange:  # who may write into the database must not choose what runs here
            raise UserError(
                f"trial {number} of {self.spec.name} sets {', '.join(sorted(strange))}, which is not searched"
            )
        storage.set_trial_user_attr(trial_id, WORKER, self._me)
        return drawn

    def _is_orphan(self, trial: FrozenTrial) -> bool:
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
        """The job of a trial's seed, composed from its overrides; `again`: it goes on."""
        seeds = self.options.seeds_per_trial
        name = f"{self.spec.name}-{trial:04}" + (f"-{seed}" if seeds > 1 else "")
        more = [f"base.name={value_text(name)}", f"seed={self._seed}", f"repeat={seed}"] + ["ckpt=auto"] * again
        told = {
            "study": asdict(replace(self.spec, storage="")), "number": trial, "id": self._id(trial), "seed": seed,
            "seeds": seeds, "reports": self.options.compares_returns,
        }  # fmt: skip
        shown = [rounded(override) for override in overrides] + ([f"repeat={seed}"] if seeds > 1 else [])
        job = self.composition.job(
            trial * seeds + seed, [*self._typed, *overrides, *more], self.folder / "jobs", shown, named=True,
            group=self.spec.name, module="launchers.search.trial_child", trial=told,
        )  # fmt: skip
        job.env[STORAGE] = self.spec.storage  # its password is written nowhere
        return job

    def _id(self, number: int) -> int:
        return self.study._storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)

    # --- telling

    def _ended(self, job: Job, status: Status) -> None:
        """The trial is told when the last of its seeds has ended; one that was interrupted goes on another time."""
        number = job.trial["number"]
        open_ = self._open[number]
        open_.ended.append((job, status))
        if status.state == states.DONE and None in self._values(status).values():
            status.state, status.error = states.FAILED, f"no finite {', '.join(self.options.objectives)}"
        if status.state == states.FAILED:
            self._fail(number, open_, f"job {job.number}: {status.error}")
        if any(s.state == states.INTERRUPTED for _, s in open_.ended):
            return
        if len(open_.ended) == open_.began == self.options.seeds_per_trial and not open_.failed:
            self._tell(number, open_)

    def _fail(self, number: int, open_: Open, why: str) -> None:
        """At once: whatever seeds of it still run hear of it at their next evaluation."""
        if not open_.failed:
            open_.failed = True
            if not self._is_over(number):
                self.study._storage.set_trial_user_attr(self._id(number), ERROR, why)
                self.study.tell(number, state=TrialState.FAIL)

    def _tell(self, number: int, open_: Open) -> None:
        if self._is_over(number):  # somebody else, e.g. a dashboard, has ended it
            return
        self.study._storage.set_trial_user_attr(self._id(number), RUNS, sorted(s.folder for _, s in open_.ended))
        if any(status.state == states.PRUNED for _, status in open_.ended):
            self.study.tell(number, state=TrialState.PRUNED)
        else:
            each = [self._values(status) for _, status in open_.ended]
            self.study.tell(number, [statistics.median(v[name] for v in each) for name in self.options.objectives])

    def _is_over(self, number: int) -> bool:
        return self.study._storage.get_trial(self._id(number)).state.is_finished()

    def _values(self, status: Status) -> Mapping[str, float | None]:
        """The objectives of a run; None for one that is missing or not finite."""
        values = {name: status.result.get(name) for name in self.options.objectives}
        return {k: v if isinstance(v, int | float) and math.isfinite(v) else None for k, v in values.items()}


def _is_empty(file: Path) -> bool:
    return file.is_file() and not file.stat().st_size


def _check(config) -> None:
    if config.role != "train":
        raise UserError(f"role={config.role}: a search trains")
    if config.ckpt is not None:
        raise UserError(f"ckpt={config.ckpt}: trials begin anew, and those that were cut off go on by themselves")
    if config.eval.per_step <= 0:
        raise UserError("a search compares evaluations: set eval.per_step to a number of steps")
    if config.base.max_step <= 0 and config.base.max_iter <= 0:
        raise UserError("a trial must end: set base.max_step or base.max_iter")


def rounded(override: str) -> str:
    """`key=0.00024346608` -> `key=0.0002435`, for the eye."""
    name, _, value = override.partition("=")
    try:
        return f"{name}={float(value):.4g}"
    except ValueError:
        return override
