"""A search: trials asked of Optuna when a process is free, run as jobs, told back. A repeated command goes on."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import FrozenTrial, TrialState

from launchers import job as states
from launchers import study as studies
from launchers.composition import Composition
from launchers.job import Job, Status
from launchers.reporter import ERROR
from launchers.space import Space
from launchers.study import StudySpec
from sac.commands import value_text
from sac.errors import UserError

WORKER, OVERRIDES = "worker", "overrides"  # user attributes of a trial
GOALS = ("maximize", "minimize")
WAIT = 60  # seconds for another worker that is just asking


@dataclass
class Options:
    """hydra.sweeper, see conf/hydra/sweeper/optuna.yaml."""

    n_trials: int
    study_name: str | None
    folder: str
    storage: str | None = None
    objectives: dict[str, str] = field(default_factory=lambda: {"objective": "maximize"})
    sampler: str = "tpe"
    sampler_kwargs: dict[str, Any] = field(default_factory=dict)
    pruner: str = "none"
    pruner_kwargs: dict[str, Any] = field(default_factory=dict)
    seeds_per_trial: int = 1
    seed: int = 0
    minutes: float | None = None

    def __post_init__(self):
        for name, low in (("n_trials", 1), ("seeds_per_trial", 1), ("seed", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < low:
                raise UserError(f"hydra.sweeper.{name}={value}: allowed is a whole number of at least {low}")
        if self.minutes is not None and not (isinstance(self.minutes, int | float) and self.minutes > 0):
            raise UserError(f"hydra.sweeper.minutes={self.minutes}: allowed is a number above 0 or null")
        if not self.objectives or set(self.objectives.values()) - set(GOALS):
            raise UserError(f"hydra.sweeper.objectives={self.objectives}: each is maximize or minimize")
        if len(self.objectives) > 1 and self.pruner != "none":
            raise UserError(f"hydra.sweeper.pruner={self.pruner} compares one objective, but there are several")
        if self.pruner != "none" and set(self.objectives) != {"objective"}:
            raise UserError(
                f"hydra.sweeper.pruner={self.pruner} compares evaluation returns: it needs the objective `objective`"
            )

    def spec(self, folder: Path, resource: tuple[int, int]) -> StudySpec:
        storage = {None: studies.sqlite(folder), "journal": studies.journal(folder)}.get(self.storage, self.storage)
        return StudySpec(
            self.study_name, storage, list(self.objectives.values()), self.sampler, dict(self.sampler_kwargs),
            self.pruner, dict(self.pruner_kwargs), self.seed, resource,
        )  # fmt: skip


@dataclass
class Open:
    """A trial whose jobs run: one for each seed."""

    began: int = 0
    failed: bool = False
    ended: list[tuple[Job, Status]] = field(default_factory=list)


class Search:
    """`typed` is what the command line sets for every trial.

    Any number of processes may search the same study at once. Each holds a lock of its own while it lives; a trial
    that runs, but whose worker's lock is free, was left by one that was killed: it is taken over and goes on.
    """

    def __init__(self, composition: Composition, options: Options, arguments: list[str]):
        parsed = OverridesParser.create(composition.context.config_loader).parse_overrides(arguments)
        sweeps = [override for override in parsed if override.is_sweep_override()]
        self._typed = [override.input_line for override in parsed if not override.is_sweep_override()]
        self.composition, self.options, config = composition, options, composition.config
        self.space = Space.of(config, sweeps)
        self.folder = Path(options.folder)
        self._check_end(config)
        self.spec = options.spec(self.folder, (max(config.eval.per_step, 1), max(config.base.max_step, 1)))
        self.spec.make_sampler(0)
        self._grid = self.space.grid() if options.sampler == "grid" else None
        self.total = options.n_trials if self._grid is None else min(options.n_trials, len(self._grid))
        self._seed = config.seed if config.seed is not None else 0  # the same for all trials: they compare better
        self.folder.mkdir(parents=True, exist_ok=True)
        self._open: dict[int, Open] = {}
        self._me, self._until = uuid.uuid4().hex, float("inf")
        self._asking = FileLock(self.folder / "asking.lock", timeout=WAIT)
        with self._asking:
            self.study = self._opened()

    def _check_end(self, config) -> None:
        if config.eval.per_step <= 0:
            raise UserError("a search compares evaluations: set eval.per_step to a number of steps")
        if config.base.max_step <= 0 and config.base.max_iter <= 0:
            raise UserError("a trial must end: set base.max_step or base.max_iter")

    def _opened(self) -> optuna.Study:
        study = self.spec.open(create=True)
        told = {"random_params": str(self.space), "objectives": dict(self.options.objectives)}
        for name, value in told.items():
            before = study.user_attrs.get(name, value)
            if before != value:
                raise UserError(
                    f"the study {self.spec.name} in {self.folder} was begun with other {name}: {before}; now {value}. "
                    "Choose another hydra.sweeper.study_name, or the same again"
                )
            study.set_user_attr(name, value)
        return study

    # --- asking

    @property
    def jobs_left(self) -> int:
        """How many jobs this search may still begin, if no other worker helps."""
        trials = self.study.get_trials(deepcopy=False)
        over = sum(trial.state.is_finished() for trial in trials)
        return max(self.total - over, 0) * self.options.seeds_per_trial

    def run(self, pool) -> None:
        """`pool(jobs, total)` yields jobs as they end; see Processes.stream."""
        self._until = time.monotonic() + 60 * (self.options.minutes or float("inf"))
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
                open_.began += 1
                yield self.job(number, overrides, seed, again)

    def _next(self) -> tuple[int, list[str], bool] | None:
        """Number and overrides of the next trial, and whether it goes on; None when no more may begin."""
        with self._asking:
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if trial.number not in self._open and self._is_orphan(trial):
                    return trial.number, self._claim(trial._trial_id), True
            trials = self.study.get_trials(deepcopy=False)
            if time.monotonic() >= self._until or sum(t.state != TrialState.WAITING for t in trials) >= self.total:
                return None
            self.study.sampler = self.spec.make_sampler(len(trials)) or optuna.samplers.RandomSampler()
            if self._grid is not None:
                self.study.enqueue_trial(self._grid[len(trials)])
            trial = self.study.ask()
            return trial.number, self._claim(trial._trial_id, trial), False

    def _claim(self, trial_id: int, trial: optuna.Trial | None = None) -> list[str]:
        """Writes this worker's name to a trial; returns its overrides, drawn if it has none yet."""
        storage = self.study._storage
        drawn = storage.get_trial(trial_id).user_attrs.get(OVERRIDES)
        if drawn is None:
            values = self.space.suggest(trial or optuna.trial.Trial(self.study, trial_id))
            drawn = [f"{name}={value_text(value)}" for name, value in values.items()]
            storage.set_trial_user_attr(trial_id, OVERRIDES, drawn)
        storage.set_trial_user_attr(trial_id, WORKER, self._me)
        return drawn

    def _is_orphan(self, trial: FrozenTrial) -> bool:
        worker = trial.user_attrs.get(WORKER)
        if worker is None:  # its worker was killed while it asked
            return True
        if worker == self._me or not self._lock_of(worker).exists():  # a lock that is not here is another machine's
            return False
        try:
            with FileLock(self._lock_of(worker), timeout=0):
                return True
        except Timeout:
            return False

    def _lock_of(self, worker: str) -> Path:
        folder = self.folder / "workers"
        folder.mkdir(exist_ok=True)
        return folder / f"{worker}.lock"

    def job(self, trial: int, overrides: list[str], seed: int = 0, again: bool = False) -> Job:
        """The job of a trial's seed, composed from its overrides; `again`: it goes on."""
        seeds = self.options.seeds_per_trial
        name = f"{self.spec.name}-{trial:04}" + (f"-{seed}" if seeds > 1 else "")
        more = [f"base.name={name}", f"seed={self._seed}", f"repeat={seed}"] + ["ckpt=auto"] * again
        told = {
            "study": asdict(self.spec), "number": trial, "id": self._id(trial), "seed": seed, "seeds": seeds,
            "reports": set(self.options.objectives) == {"objective"},
        }  # fmt: skip
        shown = [rounded(override) for override in overrides] + ([f"repeat={seed}"] if seeds > 1 else [])
        return self.composition.job(
            trial * seeds + seed, [*self._typed, *overrides, *more], self.folder / "jobs", shown, named=True,
            group=self.spec.name, trial=told,
        )  # fmt: skip

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
        if status.state == states.FAILED and not open_.failed:
            open_.failed = True
            self.study._storage.set_trial_user_attr(self._id(number), ERROR, f"job {job.number}: {status.error}")
        if any(s.state == states.INTERRUPTED for _, s in open_.ended):
            return
        if len(open_.ended) == open_.began and (open_.failed or open_.began == self.options.seeds_per_trial):
            self._tell(number, open_)

    def _tell(self, number: int, open_: Open) -> None:
        all_states = {status.state for _, status in open_.ended}
        self.study._storage.set_trial_user_attr(self._id(number), "runs", sorted(s.folder for _, s in open_.ended))
        if open_.failed:
            self.study.tell(number, state=TrialState.FAIL)
        elif states.PRUNED in all_states:
            self.study.tell(number, state=TrialState.PRUNED)
        else:
            each = [self._values(status) for _, status in open_.ended]
            self.study.tell(number, [statistics.median(v[name] for v in each) for name in self.options.objectives])

    def _values(self, status: Status) -> Mapping[str, float | None]:
        """The objectives of a run; None for one that is missing or not finite."""
        values = {name: status.result.get(name) for name in self.options.objectives}
        return {k: v if isinstance(v, int | float) and abs(v) < float("inf") else None for k, v in values.items()}


def rounded(override: str) -> str:
    """`key=0.00024346608` -> `key=0.0002435`, for the eye."""
    name, _, value = override.partition("=")
    return f"{name}={float(value):.4g}" if "." in value or "e-" in value else override
