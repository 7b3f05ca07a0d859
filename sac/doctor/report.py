"""What the doctor has found, as tables for people and as JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from sac.doctor.finding import Finding, Severity, any_stops

MARKS = {Severity.NOTE: "", Severity.WARNING: "warning", Severity.STOPS: "stops"}
STYLES = {Severity.NOTE: "", Severity.WARNING: "yellow", Severity.STOPS: "bold red"}
WIDTH_OF_FILES = 110  # letters of a line where the output is no screen


@dataclass(frozen=True)
class Report:
    """The table of sensors and actions, rates by name, and findings."""

    specs: Sequence[Sequence[str]]
    rates: Mapping[str, float]
    findings: Sequence[Finding]

    @property
    def stopped(self) -> bool:
        """Whether something will stop training."""
        return any_stops(self.findings)

    def text(self) -> str:
        """Tables for people."""
        console = Console(width=WIDTH_OF_FILES) if not sys.stdout.isatty() else Console()
        with console.capture() as captured:
            if self.specs:
                console.print(_table("What an agent observes and does", ("", "name", "size", "values"), self.specs))
            if self.rates:
                rates = [
                    (name, f"{value:,.4g}" if value < 100 else f"{value:,.0f}") for name, value in self.rates.items()
                ]
                console.print(_table("Rates", ("", ""), rates))
            findings = Table(title="Findings", title_justify="left", show_lines=False, padding=(0, 1))
            for name in ("", "check", "what was seen, and what to do"):
                findings.add_column(name, overflow="fold")
            for finding in sorted(self.findings, key=lambda f: -f.severity):
                words = finding.what + (f"\n-> {finding.cure}" if finding.cure else "")
                findings.add_row(MARKS[finding.severity], finding.check, words, style=STYLES[finding.severity])
            console.print(findings)
            console.print(self._verdict())
        return captured.get().rstrip()

    def _verdict(self) -> str:
        stopping, warnings = (sum(f.severity is s for f in self.findings) for s in (Severity.STOPS, Severity.WARNING))
        first = f"{_counted(stopping, 'finding')} would stop training" if stopping else "nothing stops training"
        return f"{first}; {_counted(warnings, 'warning')}"

    def json(self) -> str:
        """The same for programs."""
        found = {
            "ok": not self.stopped,
            "specs": [list(row) for row in self.specs],
            "rates": self.rates,
            "findings": [finding.plain() for finding in self.findings],
        }
        return json.dumps(found, indent=1)


def _counted(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}" + "s" * (number != 1)


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    return table
