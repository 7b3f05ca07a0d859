"""The role `replay`: one process that keeps the replay of a cell. It needs no TensorFlow."""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from sac import assemble
from sac.config.schema import Config
from sac.distributed.replay_server import ReplayServer
from sac.distributed.service_host import ServiceHost
from sac.files import OftenWritten, make_folder, write_atomically
from sac.replay import DurableReplay, RateLimiter
from sac.replay.durable_stats import DurableStats
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
from sac.wire.server import Server

log = logging.getLogger(__name__)


def replay(config: Config, observer: Observer | None = None) -> None:
    """Serves the replay until the learner says that the run is over.

    A signal ends it too, with exit code 130 or 75.

    Its rows lie in `<run>/replay` and are used again after any kind of end. Raises UserError when it cannot listen or
    the rows in the folder do not fit.
    """
    observer, folder = observer or Observer(), cell_folder(config)
    with ExitStack() as stack:
        folder.path.mkdir(parents=True, exist_ok=True)
        observer.began(folder.path, config)
        stack.enter_context(run_log(folder.role_log("replay") if config.logger_in_file else None, Console()))
        interruption = stack.enter_context(Interruption())
        stack.enter_context(hold_run_lock(folder, "replay"))
        host = ReplayHost(config, folder.path / "replay")
        stack.callback(host.close)
        host.serve(make_directory(config, folder), lambda: interruption.requested, lambda: host.report(observer))
        observer.close(interruption.exit_code, interruption.name or "end", host.result())
    if interruption.requested:
        raise SystemExit(interruption.exit_code)


class ReplayHost(ServiceHost[ReplayServer]):
    """The replay's server, and the replay behind it, which exists once a learner has described its columns."""

    def __init__(self, config: Config, folder: Path):
        super().__init__("replay", config.net.bind, make_keys(config))
        self.config, self.folder = config, folder
        self._replay: DurableReplay | None = None
        self._stats: DurableStats | None = None
        self._counters = OftenWritten(folder / "limiter.json")
        self._description = folder / "description.json"

    def known_description(self) -> Description | None:
        """The saved description with the present config's values; None for a damaged file."""
        if not self._description.exists():
            return None
        try:
            found = Description.of(self._description.read_text(encoding="utf8"))
            spec_of(found.shared), int(found.told["state_size"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s is damaged (%s): the learner tells it anew", self._description, error)
            return None
        return Description({**found.shared, **shared_config(self.config)}, found.told)

    def remember(self, description: Description) -> None:
        write_atomically(self._description, description.text())

    def make_service(self, server: Server, description: Description) -> ReplayServer:
        """Raises ValueError for another config than ours, UserError when rows do not fit or the disk is too small."""
        self._check_config(description)
        config, spec, state_size = self.config, spec_of(description.shared), int(description.told["state_size"])
        make_folder(self.folder)
        self._replay = assemble.make_durable_replay(config, spec, state_size, self.folder)
        self._stats = assemble.make_durable_stats(config, spec, self._replay, self.folder)
        limiter = make_cell_limiter(config, description.told.get("agents_of_the_scene") or config.base.n_agents)
        self._restore(limiter, self._replay)
        server.codec = codec_of_replay(config, spec, state_size)
        service = ReplayServer(
            server, self._replay, limiter, self._stats, config.replay.batch_size, max_step=config.base.max_step,
            max_lead=config.replay.max_lead if config.replay.limiter == "ratio" else None,
        )  # fmt: skip
        service.catch_up()
        server.left = service.left
        return service

    def report(self, observer: Observer) -> None:
        """Saves the counters, and tells clients and observer how things stand."""
        if self.service is None or self.server is None:
            observer.note("waits for the learner")
            return
        self._save()
        numbers = self.service.metrics()
        self.server.counters = {name: float(value) for name, value in numbers.items()}
        observer.progress(int(numbers["transitions"]), self.service.limiter.updates)
        blocked = f", {len(self.service.blocked)} actors wait" if self.service.blocked else ""
        observer.note(f"{numbers['replay/rows']:,} rows, {self.service.limiter.ratio:.3g} updates a step{blocked}")

    def result(self) -> dict[str, int]:
        return {"env_steps": self._replay.transitions} if self.service is not None and self._replay is not None else {}

    def close(self) -> None:
        if self.service is not None:
            self._save(last=True)
        if self._replay is not None:
            self._replay.close()
        super().close()

    def _check_config(self, description: Description) -> None:
        ours = Description(shared_config(self.config), {})
        theirs = Description({k: v for k, v in description.shared.items() if k in ours.shared}, {})
        differences = theirs.differences(ours)
        if differences:
            raise ValueError(f"learner and replay differ in {'; '.join(differences)}")

    def _restore(self, limiter: RateLimiter, replay: DurableReplay) -> None:
        """Restores the limiter's counters. If their file is damaged, they are computed from the rows."""
        file = self._counters.path
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

    def _save(self, last: bool = False) -> None:
        """Saves counters and statistics. If writing fails, the old file stays, and the next start catches up as after a
        kill.
        """
        assert self.service is not None and self._stats is not None
        try:
            self._counters.write(json.dumps(self.service.limiter.state()[1]), last=last)
            self._stats.save_if_due()
        except OSError as error:
            log.warning("the replay's counters could not be written: %s", error)
