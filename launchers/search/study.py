"""The Optuna study of a sweep: its storage, sampler and pruner. The search and its jobs open the same study."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import StudyDirection
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from sac.config.credentials import hidden, without_credentials
from sac.errors import UserError

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "cmaes": "CmaEsSampler",
    "gp": "GPSampler",
    "nsga2": "NSGAIISampler",
    "grid": None,  # the search itself goes through the combinations
}
PRUNERS = {"none": "NopPruner", "median": "MedianPruner", "hyperband": "HyperbandPruner"}
FILES = ("study.db", "journal.log")  # of a study in the folder of its search: a database, or a journal
JOURNAL = "journal:"  # prefix of a storage that is a file to which many workers append, also on a network drive
DAMAGED = ("malformed", "not a database")  # how SQLite describes a damaged file
SQLITE_LOCK_TIMEOUT_SECONDS = 60  # the jobs write into the database as well


@dataclass(frozen=True)
class StudySpec:
    """Everything that is needed to open the study, as plain values, which a job gets as JSON.

    `storage` is journal:<path> or a URL that Optuna reads. `resource` holds the environment steps of a run's first and
    last evaluation, which Hyperband divides.
    """

    name: str
    storage: str
    directions: list[str]
    sampler: str = "tpe"
    sampler_kwargs: dict[str, Any] = field(default_factory=dict)
    pruner: str = "none"
    pruner_kwargs: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    resource: tuple[int, int] = (1, 1)

    def open(self, create: bool = False) -> optuna.Study:
        """Raises UserError for a storage that cannot be opened or options that Optuna does not know."""
        pruner = self.make_pruner()
        try:
            if create:
                return optuna.create_study(
                    storage=self._storage(), pruner=pruner, study_name=self.name,
                    directions=[StudyDirection[direction.upper()] for direction in self.directions],
                    load_if_exists=True,
                )  # fmt: skip
            return optuna.load_study(study_name=self.name, storage=self._storage(), pruner=pruner)
        except Exception as error:  # SQLAlchemy has dozens of classes
            raise self._unusable(error) from error

    @contextmanager
    def in_words(self) -> Iterator[None]:
        """Turns an error of the database in the block into a UserError."""
        try:
            yield
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> UserError:
        words = self.first_line(error)
        if any(damage in words for damage in DAMAGED):
            words += "; put a copy of the file in its place, or begin another search by hydra.sweeper.study_name=..."
        return UserError(f"hydra.sweeper.storage={self.shown}: {words}")

    def first_line(self, error: Exception) -> str:
        """The first line of an error, without the secrets of the storage."""
        lines = without_credentials(str(error), self.storage).splitlines()
        return lines[0] if lines else type(error).__name__

    @property
    def shown(self) -> str:
        """The storage as it may be displayed, without its secrets."""
        return self.storage if self.storage.startswith(JOURNAL) else hidden(self.storage)

    @property
    def address(self) -> str | None:
        """The storage as optuna-dashboard reads it; None where it holds a secret."""
        if self.storage.startswith(JOURNAL):
            return self.storage.removeprefix(JOURNAL)
        try:
            return self.storage if make_url(self.shown) == make_url(self.storage) else None
        except ArgumentError:
            return None

    def _storage(self) -> BaseStorage:
        if self.storage.startswith(JOURNAL):
            path = self.storage.removeprefix(JOURNAL)
            # The default lock is a symbolic link, which needs a privilege on Windows.
            lock = JournalFileOpenLock(path) if os.name == "nt" else None
            return JournalStorage(JournalFileBackend(path, lock))
        waits = {"connect_args": {"timeout": SQLITE_LOCK_TIMEOUT_SECONDS}} if self.storage.startswith("sqlite") else {}
        _check_options(self.storage)
        return RDBStorage(self.storage, engine_kwargs=waits)

    def make_sampler(self, trial: int) -> optuna.samplers.BaseSampler | None:
        """A sampler for trial number `trial`; None for a grid.

        Its draws depend on the seed, the trial's number and the earlier trials only. A sampler with a fixed seed would
        draw the same series again whenever a search is continued.
        """
        kind = SAMPLERS[self.sampler]
        if kind is None:
            return None
        seed = int(np.random.SeedSequence([self.seed, trial]).generate_state(1)[0])
        quiet = {"warn_independent_sampling": False} if self.sampler == "cmaes" else {}  # else it warns in every trial
        return _made("sampler", getattr(optuna.samplers, kind), {**quiet, **self.sampler_kwargs, "seed": seed})

    def make_pruner(self) -> optuna.pruners.BasePruner:
        kind = PRUNERS[self.pruner]
        options = dict(self.pruner_kwargs)
        if self.pruner == "hyperband":
            first, last = self.resource
            options = {"min_resource": first, "max_resource": last} | options
        return _made("pruner", getattr(optuna.pruners, kind), options)


def _made(option: str, kind: type, options: Mapping[str, Any]) -> Any:
    """Makes a sampler or pruner. Raises UserError for an option that it does not have, or a package that it needs."""
    allowed = inspect.signature(kind).parameters
    for name in options:
        if name not in allowed:
            words = ", ".join(sorted(set(allowed) - {"seed"}))
            raise UserError(f"hydra.sweeper.{option}_kwargs.{name}: {kind.__name__} has {words}")
    if kind is optuna.samplers.GPSampler and not (find_spec("torch") and find_spec("scipy")):
        raise UserError(f"hydra.sweeper.{option}=gp needs torch and scipy: pip install -e '.[gp]'")
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise UserError(f"hydra.sweeper.{option}_kwargs={dict(options)}: {error}") from error


def _check_options(url: str) -> None:
    """Raises ValueError for an SQLite path with a `?`, at which SQLAlchemy would cut it off and open another file."""
    path, _, options = url.partition("?")
    if path.startswith("sqlite") and options:
        try:
            parse_qsl(options, strict_parsing=True)
        except ValueError as error:
            raise ValueError("after a ? options follow, name=value; in a path write ? as %3F and % as %25") from error


def sqlite(folder: Path) -> str:
    """The URL of the database in a folder, whose path may contain any letters."""
    return URL.create("sqlite", database=str(folder / FILES[0])).render_as_string()


def journal(folder: Path) -> str:
    """The storage of the journal in a folder."""
    return f"{JOURNAL}{folder / FILES[1]}"
