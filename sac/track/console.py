"""Shows progress while a run trains: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

RETURN_METRIC = "episode/return"
EVAL_RETURN_METRIC = "eval/return"
LINE_INTERVAL_SECONDS = 2.0  # between two plain lines, and between two measurements of the rates
MAX_SILENCE_SECONDS = 10.0  # without a return; then a plain line is printed all the same
REFRESH_SECONDS = 0.2  # between two changes of the live line
REFRESHES_PER_SECOND = 4  # of the terminal


class ConsoleSink:
    """Shows steps, rates, returns and the time left; a `max_step` of -1 means that the run has no end.

    A plain line is printed after `scalars` with a return, or after a silence. The live line follows every `progress`.
    """

    def __init__(
        self, max_step: int = -1, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console or Console(file=sys.stdout)
        self._clock = clock
        self._total = max_step if max_step > 0 else None
        self._shown: dict[str, float] = {}
        self._step = self._updates = 0
        self._began = 0.0
        self._rates: tuple[float, float] | None = None
        self._mark: tuple[float, int, int] | None = None  # time, step and updates when the rates were last measured
        self._printed = self._refreshed = float("-inf")
        self._unprinted = True  # whether there is news that no line has shown
        self._live = _live(self._console, self._total) if self._console.is_terminal else None

    def progress(self, step: int, updates: int) -> None:
        """Counts of environment steps and of updates so far."""
        self._step, self._updates = step, updates
        now = self._clock()
        if self._mark is None:
            self._began, self._mark = now, (now, step, updates)
        elif now - self._mark[0] >= LINE_INTERVAL_SECONDS:
            self._take_rates(now)
        if not self._live and now - max(self._printed, self._began) >= MAX_SILENCE_SECONDS:
            self._print()
        if self._live and now - self._refreshed >= REFRESH_SECONDS:
            self._refreshed = now
            self._live.update(self._live.task_ids[0], completed=step, text=self._line())

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        news = {key: float(values[key]) for key in (RETURN_METRIC, EVAL_RETURN_METRIC) if key in values}
        self._shown.update(news)
        self.progress(max(step, self._step), self._updates)
        if not news or self._live:
            return
        if EVAL_RETURN_METRIC in news or self._clock() - self._printed >= LINE_INTERVAL_SECONDS:
            self._print()
        else:
            self._unprinted = True

    def close(self, exit_code: int, reason: str, result: Mapping[str, Any]) -> None:
        if self._live:
            self._live.update(self._live.task_ids[0], completed=self._step, text=self._line())
            self._live.stop()
        elif self._unprinted and self._mark is not None:
            now = self._clock()
            if self._rates is None and self._mark is not None and now > self._mark[0]:
                self._take_rates(now)
            self._print()

    def _take_rates(self, now: float) -> None:
        assert self._mark is not None
        then, step, updates = self._mark
        fresh = ((self._step - step) / (now - then), (self._updates - updates) / (now - then))
        old = self._rates or fresh
        self._rates = (0.5 * (old[0] + fresh[0]), 0.5 * (old[1] + fresh[1]))
        self._mark = (now, self._step, self._updates)

    def _print(self) -> None:
        self._printed, self._unprinted = self._clock(), False
        of = f"/{self._total:,}" if self._total else ""
        self._console.print(Text(f"step {self._step:,}{of}  {self._line()}"), soft_wrap=True)

    def _line(self) -> str:
        parts = []
        if RETURN_METRIC in self._shown:
            parts.append(f"return {self._shown[RETURN_METRIC]:.4g}")
        if EVAL_RETURN_METRIC in self._shown:
            parts.append(f"eval {self._shown[EVAL_RETURN_METRIC]:.4g}")
        if self._rates:
            parts.append(f"{self._rates[0]:,.0f} steps/s  {self._rates[1]:,.0f} updates/s")
            if self._total and self._rates[0] > 0:
                parts.append(f"{_duration((self._total - self._step) / self._rates[0])} left")
        return "  ".join(parts)


def _live(console: Console, total: int | None) -> Progress:
    """A progress line at the bottom of the terminal, already started; other output appears above it."""
    columns = [TextColumn("step"), MofNCompleteColumn(), TextColumn("{task.fields[text]}")]
    if total:
        columns[1:1] = [BarColumn(20), TaskProgressColumn()]
    progress = Progress(*columns, console=console, refresh_per_second=REFRESHES_PER_SECOND)
    progress.add_task("train", total=total, text="")
    progress.start()
    return progress


def _duration(seconds: float) -> str:
    """Seconds as `1d 2:03:04`."""
    minutes, whole_seconds = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d " * bool(days) + f"{hours}:{minutes:02d}:{whole_seconds:02d}"
