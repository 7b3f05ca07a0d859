"""All jobs at a glance: a live table in a terminal, a line for each beginning and end elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text

from launchers.jobs import job as states
from launchers.jobs.job import Job, Status

EVERY = 0.5  # seconds between two looks at the jobs
PLAIN_EVERY = 60.0  # seconds between two lines about running jobs where there is no terminal
STYLES = {states.RUNNING: "cyan", states.DONE: "green", states.PRUNED: "yellow", states.FAILED: "red"}
SHOWN = 30  # rows of the live table: what runs, and the latest that ended


class Shown(Protocol):
    """What runs a job."""

    job: Job

    def status(self) -> Status: ...
    def parts(self) -> list[tuple[str, Status]]: ...


class Table:
    """`total` None: a number that is not known."""

    def __init__(self, total: int | None = None, console: Console | None = None):
        self._console, self._total = console or Console(), total
        self._rows: dict[int, tuple[Job, Status]] = {}
        self._parts: dict[int, list[tuple[str, Status]]] = {}  # of running jobs
        self._looked, self._told = 0.0, time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Table:
        if self._console.is_terminal:
            self._live = Live(self._table(), console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_) -> None:
        if self._live:
            self._live.update(self._table(), refresh=True)
            self._live.stop()

    def began(self, job: Job) -> None:
        self._rows[job.number] = job, Status(states.RUNNING)
        self._print(f"job {job.number} began: {_words(job)}  log: {job.screens}")

    def ended(self, job: Job, status: Status) -> None:
        self._rows[job.number] = job, status
        objective = status.result.get("objective")
        score = "" if objective is None else f", objective {objective:.4g}"
        error = f": {status.error}" if status.error else ""
        self._print(
            f"job {job.number} {status.state} after {status.step:,} steps and {status.seconds:.0f} s{score}{error}"
        )

    def refresh(self, running: Sequence[Shown]) -> None:
        now = time.monotonic()
        if now - self._looked < EVERY:
            return
        self._looked = now
        self._parts = {}
        for one in running:
            self._rows[one.job.number] = one.job, one.status()
            self._parts[one.job.number] = one.parts()
        if self._live:
            self._live.update(self._table(), refresh=True)
        elif now - self._told >= PLAIN_EVERY:
            self._told = now
            for one in running:
                number = one.job.number
                self._print(f"job {number} {_progress(self._rows[number][1])}")
                for name, status in self._parts[number]:
                    self._print(f"  {name}: {_progress(status)}")

    def _print(self, line: str) -> None:
        if not self._live:
            self._console.print(Text(line), soft_wrap=True)

    def _table(self) -> RichTable:
        over = sum(status.over for _, status in self._rows.values())
        of = f" of {self._total}" if self._total is not None else ""
        table = RichTable(title=f"{over}{of} jobs ended", title_justify="left", expand=False)
        table.add_column("job", justify="right")
        table.add_column("what", overflow="fold", max_width=60)
        table.add_column("state")
        for name in ("step", "return", "eval", "steps/s", "time"):
            table.add_column(name, justify="right")
        rows = sorted(self._rows.items(), key=lambda row: (row[1][1].over, row[0]))
        running = [row for row in rows if not row[1][1].over]
        ended = [row for row in rows if row[1][1].over]
        for number, (job, s) in sorted(running + ended[-max(SHOWN - len(running), 0) :]):
            what = Text(_words(job) if not s.error else f"{_words(job)}\n{s.error}")
            of = f"/{s.max_step:,}" if s.max_step > 0 else ""
            numbers = [_number(s.return_), _number(s.score), "" if s.rate is None else f"{s.rate:,.0f}"]
            state = Text(s.state, STYLES.get(s.state, ""))
            table.add_row(str(number), what, state, f"{s.step:,}{of}", *numbers, f"{s.seconds:.0f} s")
            for name, part in self._parts.get(number, ()) if not s.over else ():
                rate = "" if part.rate is None else f"{part.rate:,.0f}"
                state = Text(part.state, STYLES.get(part.state, ""))
                what = Text(f"  {name}" + f": {part.note}" * bool(part.note))
                table.add_row("", what, state, f"{part.step:,}", "", "", rate, f"{part.seconds:.0f} s")
        return table


def _words(job: Job) -> str:
    return " ".join(job.overrides) or "the config as it stands"


def _progress(status: Status) -> str:
    parts = [f"at step {status.step:,}"]
    if status.return_ is not None:
        parts.append(f"return {status.return_:.4g}")
    if status.score is not None:
        parts.append(f"eval {status.score:.4g}")
    if status.rate is not None:
        parts.append(f"{status.rate:,.0f} steps/s")
    if status.note:
        parts.append(status.note)
    return ", ".join(parts)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
