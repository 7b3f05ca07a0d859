"""What a user sees while it trains: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

RETURN = "episode/return"
EVAL_RETURN = "eval/return"
EVERY = 2.0  # seconds between two plain lines, and over which rates are taken
SILENCE = 10.0  # seconds after which a plain line comes though no episode has ended


class ConsoleSink:
    """Steps, rates, returns and time left; `max_step` -1 means endless.

    Lines follow `scalars` that bring a return, or a silence; the live line follows every `progress`.
    """

    def __init__(self, max_step: int = -1, console: Console | None = None, clock: Callable[[], float] = time.monotonic):
        self._console = console or Console(file=sys.stdout)
        self._clock = clock
        self._total = max_step if max_step > 0 else None
        self._shown: dict[str, float] = {}
        self._step = self._updates = 0
        self._began = 0.0
        self._rates: tuple[float, float] | None = None
        self._mark: tuple[float, int, int] | None = None  # time, step, updates at the last rate
        self._printed = self._refreshed = float("-inf")
        self._held = True  # something is known that no line has told
        self._live = _live(self._console, self._total) if self._console.is_terminal else None

    def progress(self, step: int, updates: int) -> None:
        self._step, self._updates = step, updates
        now = self._clock()
        if self._mark is None:
            self._began, self._mark = now, (now, step, updates)
        elif now - self._mark[0] >= EVERY:
            self._take_rates(now)
        if not self._live and now - max(self._printed, self._began) >= SILENCE:
            self._print()
        if self._live and now - self._refreshed >= 0.2:
            self._refreshed = now
            self._live.update(self._live.task_ids[0], completed=step, text=self._line())

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        news = {key: float(values[key]) for key in (RETURN, EVAL_RETURN) if key in values}
        self._shown.update(news)
        self.progress(max(step, self._step), self._updates)
        if not news or self._live:
            return
        if EVAL_RETURN in news or self._clock() - self._printed >= EVERY:
            self._print()
        else:
            self._held = True

    def close(self, exit_code: int, reason: str, result: Mapping[str, Any]) -> None:
        if self._live:
            self._live.update(self._live.task_ids[0], completed=self._step, text=self._line())
            self._live.stop()
        elif self._held and self._mark is not None:
            now = self._clock()
            if self._rates is None and self._mark is not None and now > self._mark[0]:
                self._take_rates(now)
            self._print()

    def _take_rates(self, now: float) -> None:
        then, step, updates = self._mark
        fresh = ((self._step - step) / (now - then), (self._updates - updates) / (now - then))
        old = self._rates or fresh
        self._rates = (0.5 * (old[0] + fresh[0]), 0.5 * (old[1] + fresh[1]))
        self._mark = (now, self._step, self._updates)

    def _print(self) -> None:
        self._printed, self._held = self._clock(), False
        of = f"/{self._total:,}" if self._total else ""
        self._console.print(Text(f"step {self._step:,}{of}  {self._line()}"), soft_wrap=True)

    def _line(self) -> str:
        parts = []
        if RETURN in self._shown:
            parts.append(f"return {self._shown[RETURN]:.4g}")
        if EVAL_RETURN in self._shown:
            parts.append(f"eval {self._shown[EVAL_RETURN]:.4g}")
        if self._rates:
            parts.append(f"{self._rates[0]:,.0f} steps/s  {self._rates[1]:,.0f} updates/s")
            if self._total and self._rates[0] > 0:
                parts.append(f"{_duration((self._total - self._step) / self._rates[0])} left")
        return "  ".join(parts)


def _live(console: Console, total: int | None) -> Progress:
    """A started progress line at the bottom of the terminal; what others print appears above it."""
    columns = [TextColumn("step"), MofNCompleteColumn(), TextColumn("{task.fields[text]}")]
    if total:
        columns[1:1] = [BarColumn(20), TaskProgressColumn()]
    progress = Progress(*columns, console=console, refresh_per_second=4)
    progress.add_task("train", total=total, text="")
    progress.start()
    return progress


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}d " * bool(days) + f"{hours}:{minutes:02d}:{seconds:02d}"
