"""What a job tells of itself: a small file that the parent reads."""

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

EVERY = 0.5  # seconds between two writes
ENDS = {130: job.INTERRUPTED, 75: job.INTERRUPTED}


class StatusFile(Observer):
    """Writes status.json in the job's folder; the last word is always written."""

    def __init__(self, folder: Path):
        self._file = OftenWritten(folder / "status.json")
        self.status = Status(job.RUNNING, process=os.getpid())
        self._began = self._mark_time = time.monotonic()
        self._mark_step, self._written = None, float("-inf")
        self._write()

    def began(self, folder: Path, config: Config) -> None:
        self.status.folder, self.status.max_step = str(folder), config.base.max_step
        self._write()

    def progress(self, step: int, updates: int) -> None:
        now = time.monotonic()
        if now - self._written < EVERY:
            return
        status = self.status
        if self._mark_step is not None and now - self._mark_time >= 2:
            status.rate = (step - self._mark_step) / (now - self._mark_time)
        if self._mark_step is None or now - self._mark_time >= 2:
            self._mark_time, self._mark_step = now, step
        status.step = step
        self._write()

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
            status.state, status.error = ENDS.get(exit_code, job.FAILED), reason
        self._write(tries=20)

    def note(self, text: str) -> None:
        self.status.note = text
        if time.monotonic() - self._written >= EVERY:
            self._write()

    def failed(self, why: str, traceback: str = "") -> None:
        """What ended the job before or beside its tracker."""
        self.status.state, self.status.error, self.status.traceback = job.FAILED, why, traceback
        self._write(tries=20)

    def _write(self, tries: int = 1) -> None:
        """A disk that refuses, or a reader in the way (on Windows), costs the news; the last word is tried again."""
        self._written = time.monotonic()
        self.status.seconds = self._written - self._began
        text = json.dumps(asdict(self.status)) + "\n"
        for attempt in range(tries):
            try:
                return self._file.write(text, last=self.status.over)
            except OSError:
                if attempt + 1 < tries:
                    time.sleep(0.1)
        return None
