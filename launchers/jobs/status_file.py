"""The status of a job as a small file, which the child process writes and its parent reads."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from launchers.jobs import job
from launchers.jobs.job import Status
from sac.config.schema import Config
from sac.files import OftenWritten
from sac.track.observer import Observer

WRITE_INTERVAL_SECONDS = 0.5
RATE_INTERVAL_SECONDS = 2.0  # time over which environment steps a second are measured
LAST_WRITE_TRIES = 20
RETRY_AFTER_SECONDS = 0.1
INTERRUPTED_EXIT_CODES = (130, 75)  # after SIGINT and after SIGTERM


class StatusFile(Observer):
    """Writes status.json into the job's folder, at most twice a second; how the job ended is always written."""

    def __init__(self, folder: Path):
        self._file = OftenWritten(folder / "status.json")
        self.status = Status(job.RUNNING, process=os.getpid())
        self._began = self._rate_time = time.monotonic()
        self._rate_step: int | None = None
        self._written = float("-inf")
        self._write()

    def began(self, folder: Path, config: Config) -> None:
        self.status.folder, self.status.max_step = str(folder), config.base.max_step
        self._write()

    def progress(self, step: int, updates: int) -> None:
        now = time.monotonic()
        if now - self._written < WRITE_INTERVAL_SECONDS:
            return
        self._measure_rate(step, now)
        self.status.step = step
        self._write()

    def _measure_rate(self, step: int, now: float) -> None:
        if self._rate_step is not None and now - self._rate_time < RATE_INTERVAL_SECONDS:
            return
        if self._rate_step is not None:
            self.status.rate = (step - self._rate_step) / (now - self._rate_time)
        self._rate_time, self._rate_step = now, step

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        if "episode/return" in values:
            self.status.return_ = float(values["episode/return"])
        if "eval/return" in values:
            self.status.score = float(values["eval/return"])

    def close(self, exit_code: int, reason: str, result: Mapping[str, Any]) -> None:
        status = self.status
        status.result, status.step = dict(result), result.get("env_steps", status.step)
        if exit_code == 0:
            status.state = job.PRUNED if reason == job.PRUNED else job.DONE
        else:
            status.state = job.INTERRUPTED if exit_code in INTERRUPTED_EXIT_CODES else job.FAILED
            status.error = reason
        self._write(tries=LAST_WRITE_TRIES)

    def note(self, text: str) -> None:
        self.status.note = text
        if time.monotonic() - self._written >= WRITE_INTERVAL_SECONDS:
            self._write()

    def failed(self, why: str, traceback: str = "") -> None:
        """Records an error that the job's tracker has not closed this observer with."""
        self.status.state, self.status.error, self.status.traceback = job.FAILED, why, traceback
        self._write(tries=LAST_WRITE_TRIES)

    def _write(self, tries: int = 1) -> None:
        """Writes the status. A disk, or on Windows a reader, may prevent that; after `tries` tries it is left out."""
        self._written = time.monotonic()
        self.status.seconds = self._written - self._began
        text = json.dumps(asdict(self.status)) + "\n"
        for attempt in range(tries):
            try:
                self._file.write(text, last=self.status.over)
                return
            except OSError:
                if attempt + 1 < tries:
                    time.sleep(RETRY_AFTER_SECONDS)
