"""Opens the study of a search, and refuses a search whose trials would not compare with the study's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig

from launchers.search.study import FILES, StudySpec, sqlite
from sac.config.overrides import override
from sac.errors import UserError


def check_config(config: DictConfig) -> None:
    """Raises UserError for a config with which no search can run."""
    if config.role != "train":
        raise UserError(f"role={config.role}: a search trains")
    if config.ckpt is not None:
        raise UserError(f"ckpt={config.ckpt}: trials begin anew, and those that were cut off go on by themselves")
    if config.eval.per_step <= 0:
        raise UserError("a search compares evaluations: set eval.per_step to a number of steps")
    if config.base.max_step <= 0 and config.base.max_iter <= 0:
        raise UserError("a trial must end: set base.max_step or base.max_iter")


def usual_storage(folder: Path, several_machines: bool) -> str | None:
    """The value of hydra.sweeper.storage where none is given: the file that the folder holds already.

    Of a new study it is a journal where several machines write, since SQLite does not work over a network drive; else
    None. Raises UserError where several machines would write into a database of SQLite.
    """
    database, journal = (folder / file for file in FILES)
    if journal.exists() and not database.exists():
        return "journal"
    if several_machines and database.exists() and not journal.exists():
        here = override("hydra.sweeper.storage", sqlite(folder))
        raise UserError(
            f"{database} was begun on one machine, and SQLite does not work over a network drive: begin another search "
            f"by hydra.sweeper.study_name=..., or give {here} where all nodes are on this machine"
        )
    return "journal" if several_machines else None


def open_study(spec: StudySpec, folder: Path, settings: Mapping[str, Any]) -> optuna.Study:
    """Creates or opens the study in `folder`, and stores `settings` in it.

    Raises UserError when the study began with other settings, or when its file has been emptied.
    """
    for file in FILES:
        if _is_empty(folder / file) and any((folder / "jobs").glob("*")):
            raise UserError(
                f"{folder / file} is empty, as after a power cut, though trials of this study have run: put a "
                "copy of the file in its place, or begin another search by hydra.sweeper.study_name=..."
            )
    study = spec.open(create=True)
    for name, value in settings.items():
        before = study.user_attrs.get(name, value)
        if before != value:
            raise UserError(
                f"the study {spec.name} was begun with other {name}: {before}; now {value}. "
                "Choose another hydra.sweeper.study_name, or the same again"
            )
        study.set_user_attr(name, value)
    return study


def _is_empty(file: Path) -> bool:
    return file.is_file() and not file.stat().st_size
