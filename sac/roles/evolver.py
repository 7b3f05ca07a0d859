"""The role `evolver`: lets a population of learners evolve, each of which is in a cell of its own. No TensorFlow."""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from sac import assemble
from sac.config.live_keys import live_distributions
from sac.config.schema import Config
from sac.distributed.service_host import ServiceHost
from sac.errors import UserError
from sac.population.evolution import Evolution
from sac.population.heritage import gives_everything
from sac.population.numbers import PREFIX as NUMBERS
from sac.population.server import EvolverServer
from sac.population.store import PopulationStore, columns_of
from sac.roles.cell_config import cell_folder, evolver_directory, make_keys
from sac.roles.population import inherits_everything, rules_of, strategy_of
from sac.runs.lock import hold_run_lock
from sac.runs.log_file import run_log
from sac.runs.signals import Interruption
from sac.track.observer import Observer
from sac.wire.codec import Columns
from sac.wire.handshake import Description
from sac.wire.messages import evolver_codec
from sac.wire.server import Server

log = logging.getLogger(__name__)


def evolver(config: Config, observer: Observer | None = None) -> None:
    """Evolves until all learners have ended, or a signal comes: then the process exits with code 130 or 75.

    The population is saved in `<run>/evolver`, so that the same command continues it after any kind of end;
    `<run>/lineage.csv` and `lineage.png` record the descent of each learner. Raises UserError when the evolver cannot
    listen or the saved population is damaged.
    """
    observer, folder = observer or Observer(), cell_folder(config)
    with ExitStack() as stack:
        folder.path.mkdir(parents=True, exist_ok=True)
        observer.began(folder.path, config)
        console = Console()
        stack.enter_context(run_log(folder.role_log("evolver") if config.logger_in_file else None, console))
        interruption = stack.enter_context(Interruption())
        stack.enter_context(hold_run_lock(folder, "evolver"))
        host = EvolverHost(config, folder.path)
        stack.callback(host.close)
        host.store.give_up = lambda: interruption.requested
        host.serve(evolver_directory(config, folder), lambda: interruption.requested, lambda: host.report(observer))
        console.print(host.store.summary(host.evolution), soft_wrap=True)
        best = host.evolution.best()
        observer.close(
            interruption.exit_code, interruption.name or "end", dict(zip(("best", "mean_return"), best)) if best else {}
        )
        draw_lineage(host.store, host.evolution)  # last, since it takes seconds
    if interruption.requested:
        raise SystemExit(interruption.exit_code)


def draw_lineage(store: PopulationStore, evolution: Evolution) -> None:
    """Draws lineage.png beside lineage.csv. An error of the disk is logged as a warning."""
    if not evolution.lineage:
        return
    from sac.report import lineage  # imports Matplotlib, which takes a second

    try:
        store.write_lineage(evolution)  # once more, so that damaged lines are gone
        lineage.draw(store.lineage_csv, store.lineage_csv.with_suffix(".png"))
    except OSError as error:
        log.warning("the lineage could not be drawn: %s", error)


class EvolverHost(ServiceHost[EvolverServer]):
    """The evolver's server, and the service behind it, which exists once a learner has described its networks."""

    def __init__(self, config: Config, run: Path):
        super().__init__("evolver", config.net.bind, make_keys(config))
        self._config = config
        self.store = PopulationStore(run)
        self.evolution = Evolution(rules_of(config), strategy_of(config), assemble.run_seed(config))
        self.store.load(self.evolution)
        self._saved_columns = self._columns_of_the_saved()

    def known_description(self) -> None:
        """The first learner tells it anew, since the config may have changed."""

    def remember(self, description: Description) -> None:
        self.store.describe(description)

    def make_service(self, server: Server, description: Description) -> EvolverServer:
        """Raises ValueError for learners that do not fit this strategy or the saved population."""
        networks, rows = self._columns_of(description)
        if self._saved_columns is not None and networks != self._saved_columns:
            names = sorted({name for name, _ in networks.items() ^ self._saved_columns.items()})
            raise ValueError(
                f"the population in {self.store.path} began with other networks ({', '.join(names[:3])}): type the "
                "keys that it began with, or another base.name to begin anew"
            )
        server.codec = evolver_codec(networks, rows)
        return EvolverServer(server, self.evolution, self.store, self._config.base.evolver_learners)

    def _columns_of_the_saved(self) -> Columns | None:
        """The arrays that a learner's networks must have: those of the saved population; None where any will do.

        Raises UserError for a population that cannot go on.
        """
        saved = self.store.description() if self.evolution.strategy.evolves else None
        try:
            return None if saved is None else self._columns_of(saved)[0]
        except ValueError as error:
            raise UserError(f"the population in {self.store.path} cannot go on: {error}") from error

    def _columns_of(self, description: Description) -> tuple[Columns, Columns]:
        """The arrays of the networks that a learner gives, and the columns of its rows.

        Raises ValueError for learners that give more or less than this strategy takes.
        """
        networks, rows = columns_of(description)
        if not self.evolution.strategy.evolves:  # it takes any learners
            return networks, rows
        base, everything = self._config.base, gives_everything(networks)
        if everything != inherits_everything(self._config):
            gives = "all that they are" if everything else "their networks alone"
            start = str(base.evolver_shared_start).lower()
            raise ValueError(
                f"its learners give {gives}, which does not fit base.evolver_strategy={base.evolver_strategy} with "
                f"base.evolver_shared_start={start}: type the same base.evolver_* for the evolver and all "
                "learners, and those with which the population began"
            )
        theirs = {name.removeprefix(NUMBERS) for name in networks if name.startswith(NUMBERS)}
        mine = live_distributions(self._config).keys()
        if everything and theirs != mine:
            raise ValueError(
                f"its learners vary {_named(theirs)}, and the evolver {_named(mine)}: start the evolver and all "
                "learners with the same random_params"
            )
        return networks, rows

    def report(self, observer: Observer) -> None:
        """Tells the observer how far the evolution is."""
        evolution, best = self.evolution, self.evolution.best()
        words = f"generation {evolution.generation}, {len(evolution.members)} learners"
        observer.note(words + (f", best {best[0]}: {best[1]:.4g}" if best else ""))


def _named(keys: Collection[str]) -> str:
    return ", ".join(sorted(keys)) or "nothing"
