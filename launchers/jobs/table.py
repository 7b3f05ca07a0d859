"""Shows all jobs of a multirun: as a live table in a terminal, elsewhere as a line for each beginning and end."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text

from launchers.jobs import job as states
from launchers.jobs.job import Job, Status
from launchers.jobs.running import RunningJob

REFRESH_INTERVAL_SECONDS = 0.5
PLAIN_LINE_INTERVAL_SECONDS = 60.0  # between two lines about each running job where there is no terminal
MAX_ROWS = 30  # of the live table: all running jobs, and the latest that have ended
STYLES = {states.RUNNING: "cyan", states.DONE: "green", states.PRUNED: "yellow", states.FAILED: "red"}


class Table:
    """`total` is the number of jobs; None where it is not known, as in a search."""

    def __init__(self, total: int | None = None, console: Console | None = None):
        self._console, self._total = console or Console(), total
        self._rows: dict[int, tuple[Job, Status]] = {}
        self._processes: dict[int, list[tuple[str, Status]]] = {}  # of running jobs
        self._refreshed, self._plain_lines = 0.0, time.monotonic()  # when, at last
        self._live: Live | None = None

    def __enter__(self) -> Table:
        if self._console.is_terminal:
            self._live = Live(self._table(), console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
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

    def refresh(self, running: Sequence[RunningJob]) -> None:
        now = time.monotonic()
        if now - self._refreshed < REFRESH_INTERVAL_SECONDS:
            return
        self._refreshed = now
        self._processes = {}
        for one in running:
            self._rows[one.job.number] = one.job, one.status()
            self._processes[one.job.number] = one.processes()
        if self._live:
            self._live.update(self._table(), refresh=True)
        elif now - self._plain_lines >= PLAIN_LINE_INTERVAL_SECONDS:
            self._plain_lines = now
            for one in running:
                number = one.job.number
                self._print(f"job {number} {_progress(self._rows[number][1])}")
                for name, status in self._processes[number]:
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
        left_out = max(0, len(rows) - MAX_ROWS)  # of those that ended, the lowest numbers
        for number, (job, s) in sorted(running + ended[left_out:]):
            more = [s.error, s.note if s.state == states.WAITING else ""]
            what = Text("\n".join([_words(job), *filter(None, more)]))
            of = f"/{s.max_step:,}" if s.max_step > 0 else ""
            numbers = [_number(s.return_), _number(s.score), "" if s.rate is None else f"{s.rate:,.0f}"]
            state = Text(s.state, STYLES.get(s.state, ""))
            table.add_row(str(number), what, state, f"{s.step:,}{of}", *numbers, f"{s.seconds:.0f} s")
            for name, process in self._processes.get(number, ()) if not s.over else ():
                rate = "" if process.rate is None else f"{process.rate:,.0f}"
                state = Text(process.state, STYLES.get(process.state, ""))
                what = Text(f"  {name}" + f": {process.note}" * bool(process.note))
                step = f"{process.step:,}" if process.step else ""  # an evolver takes none
                table.add_row("", what, state, step, "", "", rate, f"{process.seconds:.0f} s")
        return table


def _words(job: Job) -> str:
    return " ".join(job.overrides) or "the config as it stands"


def _progress(status: Status) -> str:
    parts = [f"at step {status.step:,}"] if status.step or not status.note else []
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
