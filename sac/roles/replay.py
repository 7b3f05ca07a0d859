"""The role `replay`: one process that keeps the memory of a cell. No TensorFlow here."""

from __future__ import annotations

import json
import logging
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from sac import assemble
from sac.config.schema import Config
from sac.distributed.replay_server import ReplayServer
from sac.files import OftenWritten, make_folder, write_atomically
from sac.replay import RateLimiter
from sac.roles.cell_config import (
    cell_folder,
    codec_of_replay,
    make_cell_limiter,
    make_directory,
    make_keys,
    shared_config,
)
from sac.runs.lock import hold_run_lock
from sac.runs.log_file import run_log
from sac.runs.signals import Interruption
from sac.track.observer import Observer
from sac.wire.handshake import Description, spec_of
from sac.wire.messages import control
from sac.wire.peer import Peer
from sac.wire.server import Server

log = logging.getLogger(__name__)
LOOKS = 0.5  # seconds between two looks at what is not a message
FAREWELL = 2.0  # seconds in which those who come are told that the run is over


def replay(config: Config, observer: Observer | None = None) -> None:
    """Keeps the memory until the learner says that the run is over, or a signal comes (then it exits with its code).

    What it holds lies in `<run>/replay` and is there again after any kind of end. Raises UserError when it cannot
    listen or what lies there does not fit.
    """
    observer, folder = observer or Observer(), cell_folder(config)
    with ExitStack() as stack:
        folder.path.mkdir(parents=True, exist_ok=True)
        observer.began(folder.path, config)
        stack.enter_context(run_log(folder.role_log("replay") if config.logger_in_file else None, Console()))
        interruption = stack.enter_context(Interruption())
        stack.enter_context(hold_run_lock(folder, "replay"))
        keeper = ReplayHost(config, folder.path / "replay")
        stack.callback(keeper.close)
        keeper.serve(interruption, observer, make_directory(config, folder))
        observer.close(interruption.exit_code, interruption.name or "end", keeper.result())
    if interruption.requested:
        raise SystemExit(interruption.exit_code)


class ReplayHost:
    """The server and what it serves, which is known as soon as a learner has described it."""

    def __init__(self, config: Config, folder: Path):
        self.config, self.folder = config, folder
        self.service: ReplayServer | None = None
        self.server: Server | None = None
        self._counters = OftenWritten(folder / "limiter.json")
        self._written = folder / "description.json"

    def serve(self, interruption: Interruption, observer: Observer, directory) -> None:
        self.server = Server(
            "replay", control(), directory, None, host=self.config.net.bind, keys=make_keys(self.config),
            arrived=self._arrived, left=self._left, described=self._described,
        )  # fmt: skip
        if (before := self._before()) is not None:
            description = Description(before.shared | shared_config(self.config), before.told)  # today's settings
            self._open(description)
            self.server.description = description
        looked, until = 0.0, float("inf")
        while not interruption.requested and time.monotonic() < until:
            requests = self.server.receive(0.1)  # one of them may be what makes the service
            if self.service is not None:
                self.service.answer(requests)
            if time.monotonic() - looked > LOOKS:
                looked = time.monotonic()
                self._look(observer)
            if self.service is not None and self.service.ended:
                until = min(until, time.monotonic() + FAREWELL)
                self.server.end()

    def _before(self) -> Description | None:
        """What an earlier process was told; None where nothing is there, or a power cut has torn it."""
        if not self._written.exists():
            return None
        try:
            found = Description.of(self._written.read_text(encoding="utf8"))
            spec_of(found.shared), int(found.told["state_size"])
            return found
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s is damaged (%s): the learner tells it anew", self._written, error)
            return None

    def result(self) -> dict:
        return {"env_steps": self.service.replay.transitions} if self.service else {}

    def close(self) -> None:
        if self.service is not None:
            self._save(last=True)
            self.service.replay.close()
        if self.server is not None:
            self.server.close()

    def _described(self, description: Description) -> None:
        """A learner has come to a replay without rows. Raises ValueError when it has another config."""
        mine = Description(shared_config(self.config), {})
        theirs = Description({k: v for k, v in description.shared.items() if k in mine.shared}, {})
        differences = theirs.differences(mine)
        if differences:
            raise ValueError(f"learner and replay differ in {'; '.join(differences)}")
        self._open(description)
        write_atomically(self._written, description.text())

    def _open(self, description: Description) -> None:
        """Raises UserError when rows that lie there do not fit, or the disk is too small."""
        config, spec, size = self.config, spec_of(description.shared), int(description.told["state_size"])
        make_folder(self.folder)
        memory = assemble.make_durable_replay(config, spec, size, self.folder)
        moments = assemble.make_durable_stats(config, spec, memory, self.folder)
        limiter = make_cell_limiter(config, description.told.get("agents_of_the_scene") or config.base.n_agents)
        self.server.codec = codec_of_replay(config, spec, size)
        self.service = ReplayServer(
            self.server, memory, limiter, moments, config.replay.batch_size, max_step=config.base.max_step,
            max_lead=config.replay.max_lead if config.replay.limiter == "ratio" else None,
        )  # fmt: skip
        self._restore(limiter)
        self.service.catch_up()

    def _restore(self, limiter: RateLimiter) -> None:
        """What was counted; where that is damaged, what follows from the rows that ever came."""
        file, replay = self._counters.path, self.service.replay
        if not file.exists():
            return
        try:
            limiter.restore({}, dict(json.loads(file.read_bytes())))
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            limiter.rebuild(replay.transitions, replay.ready)
            log.warning(
                "%s is damaged (%s): counted anew from the rows, %d transitions and the %d updates that they earned",
                file, error, limiter.steps, limiter.updates,
            )  # fmt: skip

    def _look(self, observer: Observer) -> None:
        service = self.service
        if service is None:
            observer.note("waits for the learner")
            return
        self._save()
        numbers = service.metrics()
        self.server.counters = {name: float(value) for name, value in numbers.items()}
        observer.progress(int(numbers["transitions"]), service.limiter.updates)
        blocked = f", {len(service.blocked)} actors wait" if service.blocked else ""
        observer.note(f"{numbers['replay/rows']:,} rows, {service.limiter.ratio:.3g} updates a step{blocked}")

    def _save(self, last: bool = False) -> None:
        """A disk that refuses costs what a kill would: the limiter catches up, moments count again."""
        try:
            self._counters.write(json.dumps(self.service.limiter.state()[1]), last=last)
            self.service.moments.save_if_due()
        except OSError as error:
            log.warning("the replay's counters could not be written: %s", error)

    def _arrived(self, peer: Peer) -> None:
        if self.service is not None:
            self.service.arrived(peer)

    def _left(self, peer: Peer) -> None:
        if self.service is not None:
            self.service.left(peer)
