"""The population on disk: <run>/evolver with its state and networks, and <run>/lineage.csv."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from sac.errors import UserError
from sac.files import make_folder, replacing, write_atomically
from sac.population.evolution import Evolution
from sac.population.lineage import as_csv, read_lineage
from sac.population.strategy import Networks
from sac.wire.codec import Columns
from sac.wire.handshake import Description

log = logging.getLogger(__name__)
RETRY_SECONDS = 0.5  # between two attempts to write to a disk that refuses
ATTEMPTS_PER_WARNING = 20  # of such attempts
FORMAT_VERSION = 1  # of the files


class PopulationStore:
    """Saves and loads a population.

    Each file of networks has the number of its change in its name, and is valid only if state.json holds that number.
    So state.json is written last, and a crash before that leaves the former population.
    """

    def __init__(self, run: Path):
        self.path, self.lineage_csv = run / "evolver", run / "lineage.csv"
        self._state, self._description = self.path / "state.json", self.path / "description.json"
        make_folder(self.path)
        self._saved_generation = 0
        self.give_up: Callable[[], bool] = lambda: False  # whether to stop waiting for a disk that refuses

    def load(self, evolution: Evolution) -> None:
        """Restores the population, if one was saved.

        Raises UserError for files that cannot be read, and for a population that began with another strategy.
        """
        if not self._state.exists():
            return
        with self._user_errors():
            state = _parse_or_copy(self._state, json.loads)
            if state.get("format", FORMAT_VERSION) > FORMAT_VERSION:
                raise UserError(
                    f"the population in {self.path} was made by a newer version of this program (its format is "
                    f"{state['format']}, this version reads {FORMAT_VERSION}): use that version. Nothing was changed"
                )
            began, now = state.get("strategy"), evolution.strategy.name  # older versions did not write it
            if began is not None and began != now:
                raise UserError(
                    f"{now}: the population in {self.path} began with {began}: type that to go on, or another "
                    "base.name to begin anew"
                )
            evolution.restore(state, self._arrays(state["generation"]), read_lineage(self.lineage_csv))
        self._saved_generation = evolution.generation
        log.info("goes on with generation %d of %d learners", evolution.generation, len(evolution.members))

    def description(self) -> Description | None:
        """The saved description of the learners; None before the first learner.

        Raises UserError for a file that cannot be read.
        """
        if not self._description.exists():
            return None
        with self._user_errors(f"remove {self._description}, as learners tell it anew, or "):
            description = _parse_or_copy(self._description, Description.of)
            columns_of(description)  # so that a damaged one is noticed here
            return description

    def describe(self, description: Description) -> None:
        """Saves the description of the learners. Raises UserError as `save` does."""
        self._retry(lambda: _write_twice(self._description, description.text()))

    def save(self, evolution: Evolution, become: Mapping[str, Networks | None]) -> None:
        """Saves the population with the new networks of learners (None: a fresh beginning); all of it or nothing.

        Waits for a disk that refuses. Raises UserError when `give_up()` is true meanwhile.
        """
        self._retry(lambda: self._save(evolution, become))

    def networks(self, learner: str, assigned: int) -> Networks | None:
        """The networks of a learner's change with this number; None for a damaged file."""
        return _read_arrays(self._networks_file(learner, assigned))

    def summary(self, evolution: Evolution) -> str:
        """The best return with mean and median of all, since the best of many alone would look like progress."""
        returns = evolution.returns()
        best = evolution.best()
        if best is None:
            return f"{evolution.generation} generations; no learner was evaluated"
        values = list(returns.values())
        return (
            f"{evolution.generation} generations; the best of {len(values)} is {best[0]} with a mean return of "
            f"{best[1]:.4g}; their mean is {np.mean(values):.4g}, their median {np.median(values):.4g} (the best of "
            f"several is above these by chance alone)"
            + (f"\nlineage: {self.lineage_csv}, lineage.png" if evolution.lineage else "")
        )

    def write_lineage(self, evolution: Evolution) -> None:
        """Writes lineage.csv. Raises OSError."""
        write_atomically(self.lineage_csv, as_csv(evolution.lineage))

    def _retry(self, write: Callable[[], None]) -> None:
        """Writes, as often as the disk refuses. Learners train on meanwhile, and hear of nothing that is not saved."""
        for attempt in count():
            try:
                write()
                if attempt:
                    log.warning("the population is saved again")
                return
            except OSError as error:
                words = f"the population cannot be saved in {self.path}: {error}"
                if self.give_up():
                    raise UserError(f"{words}; what was decided last is not there") from error
                if attempt % ATTEMPTS_PER_WARNING == 0:
                    log.warning("%s; nothing is decided until it can", words)
                time.sleep(RETRY_SECONDS)

    @contextmanager
    def _user_errors(self, hint: str = "") -> Iterator[None]:
        """Turns the errors of reading damaged files into UserError."""
        try:
            yield
        except (OSError, EOFError, BadZipFile, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"the population in {self.path} cannot be read ({error}): {hint}remove that folder to begin with a "
                "new one"
            ) from error

    def _save(self, evolution: Evolution, become: Mapping[str, Networks | None]) -> None:
        for learner, networks in become.items():
            if networks is not None:
                _write_arrays(self._networks_file(learner, evolution.members[learner].assigned), networks)
        generation = evolution.generation
        changed = bool(become) or generation != self._saved_generation
        if generation != self._saved_generation:  # overwrites the file of a generation that was never saved completely
            _write_arrays(self._generation_file(generation), evolution.strategy.arrays())
        if changed:
            self.write_lineage(evolution)
        _write_twice(self._state, json.dumps({"format": FORMAT_VERSION, **evolution.state()}) + "\n")
        self._saved_generation = generation
        if changed:
            self._remove_old_networks(evolution)

    def _arrays(self, generation: int) -> Networks | None:
        """The arrays of the strategy; None where they are damaged: the next generation will make others."""
        if not generation:
            return None
        path = self._generation_file(generation)
        if not path.exists():
            raise ValueError(f"{path.name} is missing")
        return _read_arrays(path)

    def _networks_file(self, learner: str, assigned: int) -> Path:
        return self.path / f"{learner}.{assigned}.npz"

    def _generation_file(self, generation: int) -> Path:
        return self.path / f"generation.{generation}.npz"

    def _remove_old_networks(self, evolution: Evolution) -> None:
        """Removes the files that the state no longer names."""
        kept = {self._generation_file(evolution.generation)}
        kept |= {self._networks_file(name, member.assigned) for name, member in evolution.members.items()}
        for path in self.path.glob("*.npz"):
            if path not in kept:
                path.unlink()


def columns_of(description: Description) -> tuple[Columns, Columns]:
    """The arrays of the networks that a learner gives, and the columns of the rows that it shares; both may be none.

    Raises ValueError, KeyError, TypeError or AttributeError for a description of something else.
    """
    return _columns(description.shared["networks"]), _columns(description.shared.get("rows", {}))


def _columns(described: Mapping[str, Any]) -> Columns:
    return {str(name): (tuple(map(int, shape)), str(np.dtype(dtype))) for name, (shape, dtype) in described.items()}


def _copy_of(path: Path) -> Path:
    return path.with_name(f"copy_of_{path.name}")


def _write_twice(path: Path, text: str) -> None:
    """Writes the file, and a copy that is read where a disk has damaged the file."""
    write_atomically(path, text)
    write_atomically(_copy_of(path), text)


def _parse_or_copy(path: Path, parse: Callable[[str], Any]) -> Any:
    """The parsed file, or else its parsed copy. Raises the errors of `parse` when both are damaged."""
    try:
        return parse(path.read_text(encoding="utf8"))
    except ValueError as error:
        if not _copy_of(path).exists():
            raise
        log.warning("%s is damaged (%s): its copy is used", path, error)
        return parse(_copy_of(path).read_text(encoding="utf8"))


def _write_arrays(path: Path, arrays: Networks) -> None:
    named: dict[str, Any] = dict(arrays)
    with replacing(path) as new, new.open("wb") as file:
        np.savez(file, **named)


def _read_arrays(path: Path) -> Networks | None:
    """None for a damaged file."""
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except Exception as error:  # NumPy and zipfile raise many kinds of errors for a damaged file
        log.warning("%s is damaged (%s)", path, error)
        return None
