"""A search over a real study in a real database, whose jobs are answered by the test instead of trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext, RunMode

from launchers.jobs import job as states
from launchers.jobs.compose import Composition
from launchers.jobs.job import Job, Status
from launchers.search.options import SearchOptions
from launchers.search.search import Search
from launchers.search.sweep import Sweep
from sac.config.overrides import value_text
from sac.config.validation import checked

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "conf" / "hydra" / "sweeper" / "optuna.yaml"
ARGUMENTS = ["env=gym/pendulum", "sac.learning_rate=interval(0.0001,0.001)", "sac.n_step=choice(1,3,5)"]


def loader() -> ConfigLoader:
    GlobalHydra.instance().clear()
    initialize_config_dir(str(ROOT / "conf"), version_base="1.3").__enter__()
    compose("config")
    found = GlobalHydra.instance().config_loader()
    GlobalHydra.instance().clear()
    return found


def search(folder: Path, n_trials: int = 4, arguments: list[str] = ARGUMENTS, **options) -> Search:
    config_loader = loader()
    config = config_loader.load_configuration(
        "config", [f"base.models={value_text(str(folder))}", *arguments], RunMode.MULTIRUN
    )
    context = HydraContext(config_loader=config_loader, callbacks=None)
    defaults = {k: v for k, v in yaml.safe_load(SHIPPED.read_text()).items() if k != "_target_"}
    mine = {"n_trials": n_trials, "study_name": "s", "folder": str(folder / "sweep")}
    made = checked(SearchOptions, {**defaults, **mine, **options}, "hydra.sweeper.")
    return Search(Composition(context, config), made, arguments)


def shipped(*arguments: str) -> Sweep:
    """The sweep that a command line names."""
    config_loader = loader()
    config = config_loader.load_configuration("config", list(arguments), RunMode.MULTIRUN)
    HydraConfig.instance().set_config(config)
    options = {key: value for key, value in config.hydra.sweeper.items() if key != "_target_"}
    return Sweep(HydraContext(config_loader=config_loader, callbacks=None), task, config, options)


def task(config) -> None:
    raise AssertionError("jobs have processes of their own")


def done(value: float | None, state: str = states.DONE, error: str = "") -> Status:
    return Status(state, result={"objective": value, "seconds": 1.0}, error=error)


def by(answer: Callable[[Job], Status], at_once: int = 1):
    """A pool that holds so many jobs and lets the oldest end with what `answer` says."""

    def pool(jobs: Iterable[Job], total: int | None = None) -> Iterator[tuple[Job, Status]]:
        jobs, running = iter(jobs), []
        while True:
            while len(running) < at_once and (job := next(jobs, None)) is not None:
                running.append(job)
            if not running:
                return
            job = running.pop(0)
            yield job, answer(job)

    return pool


def value_of(job: Job) -> float:
    """Best at a learning rate of 5e-4."""
    return -abs(job.config.sac.learning_rate - 5e-4)
