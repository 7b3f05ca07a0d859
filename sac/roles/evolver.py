"""The role `evolver`: lets a population of learners evolve, each of which is in a cell of its own. No TensorFlow."""

from __future__ import annotations

import csv
import io
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields
from itertools import count
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from rich.console import Console

from sac import assemble
from sac.config.schema import Config
from sac.errors import UserError
from sac.files import make_folder, replacing, write_atomically
from sac.population.cem import Descent, Evolution, Networks, Rules
from sac.population.server import EvolverServer
from sac.roles.cell_config import cell_folder, evolver_directory, make_keys
from sac.runs.lock import only_one
from sac.runs.log_file import run_log
from sac.runs.signals import Interruption
from sac.track.observer import Observer
from sac.wire.codec import Columns
from sac.wire.handshake import Description
from sac.wire.messages import control, evolver_codec
from sac.wire.server import Server

log = logging.getLogger(__name__)
LOOKS = 0.5  # seconds between two looks at what is not a message, and at a disk that refuses
COMPLAINS = 20  # looks at such a disk until that is said once more
FAREWELL = 2.0  # seconds in which learners that come back are waited for when all have ended
MEAN, STD = "mean/", "std/"
FORMAT = 1  # of the population on disk


def evolver(config: Config, observer: Observer | None = None) -> None:
    """Evolves until all learners have ended, or a signal comes (then it exits with its code).

    The population lies in `<run>/evolver` and is there again after any kind of end; `<run>/lineage.csv` and
    `lineage.png` say who descends from whom. Raises UserError when it cannot listen or what lies there is damaged.
    """
    observer, folder = observer or Observer(), cell_folder(config)
    with ExitStack() as stack:
        folder.path.mkdir(parents=True, exist_ok=True)
        observer.began(folder.path, config)
        console = Console()
        stack.enter_context(run_log(folder.role_log("evolver") if config.logger_in_file else None, console))
        interruption = stack.enter_context(Interruption())
        stack.enter_context(only_one(folder, "evolver"))
        keeper = EvolverHost(config, folder.path)
        stack.callback(keeper.close)
        keeper.serve(interruption, observer, evolver_directory(config, folder))
        keeper.shelf.draw(keeper.evolution)
        console.print(keeper.shelf.words(keeper.evolution), soft_wrap=True)
        observer.close(interruption.exit_code, interruption.name or "end", {})
    if interruption.requested:
        raise SystemExit(interruption.exit_code)


def rules_of(config: Config) -> Rules:
    b = config.base
    return Rules(
        length=b.evolver_cem_length, best=b.evolver_cem_best, min_length=b.evolver_cem_min_length,
        seconds=60 * b.evolver_cem_time, remove_worst=b.evolver_remove_worst, keep_elites=b.evolver_keep_elites,
        min_std=b.evolver_min_std, strategy=b.evolver_strategy,
    )  # fmt: skip


class PopulationStore:
    """The population on disk: a small file that counts, and the networks that it names."""

    def __init__(self, run: Path):
        self._run, self._path = run, run / "evolver"
        self._state, self._lineage = self._path / "state.json", run / "lineage.csv"
        self._description = self._path / "description.json"
        make_folder(self._path)
        self._saved = 0  # the newest generation on the disk
        self.given_up: Callable[[], bool] = lambda: False  # a disk that refuses is waited for until then

    def load(self, evolution: Evolution) -> None:
        """Raises UserError for files that cannot be read."""
        if not self._state.exists():
            return
        with self._in_words():
            state = _either(self._state, json.loads)
            if state.get("format", FORMAT) > FORMAT:
                raise UserError(
                    f"the population in {self._path} was made by a newer version of this program (its format is "
                    f"{state['format']}, this version reads {FORMAT}): use that version. Nothing was changed"
                )
            evolution.restore(state, self._distribution(state["generation"]), _lineage(self._lineage))
        self._saved = evolution.generation
        log.info("goes on with generation %d of %d learners", evolution.generation, len(evolution.members))

    def description(self) -> tuple[Description, Columns] | None:
        """What the learners are, and the networks they have. Raises UserError for a file that cannot be read."""
        if not self._description.exists():
            return None
        with self._in_words(f"remove {self._description}, as learners tell it anew, or "):
            description = _either(self._description, Description.of)
            return description, columns_of(description)

    def describe(self, description: Description) -> None:
        self._patiently(lambda: self._write_twice(self._description, description.text()))

    def save(self, evolution: Evolution, become: Mapping[str, Networks | None]) -> None:
        """Raises UserError where the disk still refuses when it is `given_up`."""
        self._patiently(lambda: self._save(evolution, become))

    def _patiently(self, write: Callable[[], None]) -> None:
        """Learners train on meanwhile, and hear of nothing that is not saved."""
        for tried in count():
            try:
                write()
                if tried:
                    log.warning("the population is saved again")
                return
            except OSError as error:
                words = f"the population cannot be saved in {self._path}: {error}"
                if self.given_up():
                    raise UserError(f"{words}; what was decided last is not there") from error
                if tried % COMPLAINS == 0:
                    log.warning("%s; nothing is decided until it can", words)
                time.sleep(LOOKS)

    @contextmanager
    def _in_words(self, hint: str = "") -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, BadZipFile, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"the population in {self._path} cannot be read ({error}): {hint}remove that folder to begin with a "
                "new one"
            ) from error

    def _save(self, evolution: Evolution, become: Mapping[str, Networks | None]) -> None:
        """The state comes last: what it does not name does not count."""
        for learner, networks in become.items():
            if networks is not None:
                self._write(self._networks(learner, evolution.members[learner].assigned), networks)
        generation = evolution.generation
        changed = bool(become) or generation != self._saved
        if generation != self._saved:  # a file of that name may be of a generation that never came to be
            mean, std = evolution.distribution
            both = {MEAN + name: x for name, x in mean.items()} | {STD + name: x for name, x in std.items()}
            self._write(self._generation(generation), both)
        if changed:
            write_atomically(self._lineage, _as_csv(evolution.lineage))
        self._write_twice(self._state, json.dumps({"format": FORMAT, **evolution.state()}) + "\n")
        self._saved = generation
        if changed:
            self._clear(evolution)

    def networks(self, learner: str, assigned: int) -> Networks | None:
        return _arrays(self._networks(learner, assigned))

    def words(self, evolution: Evolution) -> str:
        """How it ended; without the mean beside it the best of many would look like progress."""
        returns = evolution.returns()
        if not returns:
            return f"{evolution.generation} generations; no learner was evaluated"
        best, values = next(iter(returns)), list(returns.values())
        return (
            f"{evolution.generation} generations; the best of {len(values)} is {best} with a mean return of "
            f"{values[0]:.4g}; their mean is {np.mean(values):.4g}, their median {np.median(values):.4g} (the best of "
            f"several is above these by chance alone)\nlineage: {self._lineage}, lineage.png"
        )

    def draw(self, evolution: Evolution) -> None:
        """The lineage as a picture, which a disk that refuses costs."""
        if not evolution.lineage:
            return
        from sac.report import lineage  # Matplotlib takes a second

        try:
            write_atomically(self._lineage, _as_csv(evolution.lineage))  # what was damaged of it is gone
            lineage.draw(self._lineage, self._run / "lineage.png")
        except OSError as error:
            log.warning("the lineage could not be drawn: %s", error)

    def _distribution(self, generation: int) -> tuple[Networks, Networks] | None:
        if not generation:
            return None
        path = self._generation(generation)
        if not path.exists():
            raise ValueError(f"{path.name} is missing")
        arrays = _arrays(path)
        if arrays is None:  # the next generation makes another
            return None
        return tuple({name.removeprefix(p): x for name, x in arrays.items() if name.startswith(p)} for p in (MEAN, STD))

    def _networks(self, learner: str, assigned: int) -> Path:
        return self._path / f"{learner}.{assigned}.npz"

    def _generation(self, generation: int) -> Path:
        return self._path / f"generation.{generation}.npz"

    def _write(self, path: Path, arrays: Networks) -> None:
        with replacing(path) as new, new.open("wb") as file:
            np.savez(file, **arrays)

    def _write_twice(self, path: Path, text: str) -> None:
        """The file counts; the copy is for a disk that loses some bytes of it."""
        write_atomically(path, text)
        write_atomically(_copy_of(path), text)

    def _clear(self, evolution: Evolution) -> None:
        """What the state does not name any more."""
        kept = {self._generation(evolution.generation)}
        kept |= {self._networks(name, member.assigned) for name, member in evolution.members.items()}
        for path in self._path.glob("*.npz"):
            if path not in kept:
                path.unlink()


def _copy_of(path: Path) -> Path:
    return path.with_name(f"copy_of_{path.name}")


def _either(path: Path, parse: Callable[[str], Any]) -> Any:
    """What the file says, or else its copy. Raises what `parse` raises of the file."""
    try:
        return parse(path.read_text(encoding="utf8"))
    except ValueError as error:
        if not _copy_of(path).exists():
            raise
        log.warning("%s is damaged (%s): its copy is used", path, error)
        return parse(_copy_of(path).read_text(encoding="utf8"))


def _arrays(path: Path) -> Networks | None:
    """None for a damaged file."""
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except Exception as error:  # a damaged file makes its reader raise anything
        log.warning("%s is damaged (%s)", path, error)
        return None


def columns_of(description: Description) -> Columns:
    """Raises ValueError, KeyError, TypeError or AttributeError where none are described."""
    networks = description.shared["networks"].items()
    columns = {str(name): (tuple(map(int, shape)), str(np.dtype(dtype))) for name, (shape, dtype) in networks}
    if not columns:
        raise ValueError("no networks")
    return columns


def _as_csv(lineage: list[Descent]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Descent)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(line) for line in lineage)
    return text.getvalue()


def _lineage(path: Path) -> list[Descent]:
    """What is intact of it: it is a record, of which nothing depends."""
    text = path.read_bytes().decode(errors="replace").replace("\0", "") if path.exists() else ""
    kinds = {field.name: {"int": int, "float": float, "str": str}[field.type] for field in fields(Descent)}
    intact, damaged = [], 0
    for row in csv.DictReader(io.StringIO(text)):
        try:
            intact.append(Descent(**{name: kinds[name](value) for name, value in row.items()}))
        except (ValueError, KeyError, TypeError):
            damaged += 1
    if damaged or (path.exists() and not text):
        log.warning("%s is damaged: %d lines of it are lost", path, damaged)
    return intact


class EvolverHost:
    """The server and what it serves, which is known as soon as a learner has described it."""

    def __init__(self, config: Config, run: Path):
        self.config, self.shelf = config, PopulationStore(run)
        self.evolution = Evolution(rules_of(config), assemble.run_seed(config))
        self.shelf.load(self.evolution)
        self.server: Server | None = None
        self.service: EvolverServer | None = None

    def serve(self, interruption: Interruption, observer: Observer, directory) -> None:
        self.server = Server(
            "evolver", control(), directory, None, host=self.config.net.bind, keys=make_keys(self.config),
            arrived=self._arrived, described=self._described,
        )  # fmt: skip
        self.shelf.given_up = lambda: interruption.requested
        if (known := self.shelf.description()) is not None:
            self.server.description = known[0]
            self._open(known[1])
        looked, until = 0.0, float("inf")
        while not interruption.requested and time.monotonic() < until:
            requests = self.server.receive(0.1)
            if self.service is not None:
                self.service.answer(requests)
                over = self.service.over
                until = min(until, time.monotonic() + FAREWELL) if over else float("inf")
            if time.monotonic() - looked > LOOKS:
                looked = time.monotonic()
                self._look(observer)

    def close(self) -> None:
        if self.server is not None:
            self.server.close()

    def _described(self, description: Description) -> None:
        self._open(columns_of(description))
        self.shelf.describe(description)

    def _open(self, columns: Columns) -> None:
        self.server.codec = evolver_codec(columns)
        self.service = EvolverServer(self.server, self.evolution, self.shelf)

    def _arrived(self, peer) -> None:
        if self.service is not None:
            self.service.arrived(peer)

    def _look(self, observer: Observer) -> None:
        evolution, best = self.evolution, next(iter(self.evolution.returns().items()), None)
        observer.progress(evolution.generation, 0)
        words = f"generation {evolution.generation}, {len(evolution.members)} learners"
        observer.note(words + (f", best {best[0]}: {best[1]:.4g}" if best else ""))
