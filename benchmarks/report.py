"""How benchmarks report: this machine in one line, a table on the screen, the same as CSV and Markdown."""

from __future__ import annotations

import csv
import os
import platform
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from sac.runs.commit import commit as own_commit

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
Row = Sequence[object]


def commit() -> str:
    """The short commit of this working copy, with `+` when files differ from it; `unknown` outside git."""
    return own_commit() or "unknown"


def cpu() -> str:
    """Model and number of cores."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores"


def versions(*packages: str) -> dict[str, str]:
    """Versions of those packages that this Python has."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def stamp(extra: dict[str, str]) -> str:
    """Date, commit, machine and versions: one paragraph below a table."""
    words = ", ".join(f"{name} {version}" for name, version in extra.items())
    return f"{time.strftime('%Y-%m-%d')}, commit {commit()}, {cpu()}; {words}."


def show(rows: Sequence[Row]) -> None:
    """Prints rows, the header first, in columns."""
    cells = [[_text(x) for x in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    for row in cells:
        print("  ".join(x.ljust(w) if i == 0 else x.rjust(w) for i, (x, w) in enumerate(zip(row, widths))))


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf8") as file:
        csv.writer(file, lineterminator="\n").writerows([[_text(x) for x in row] for row in rows])


def write_markdown(path: Path, title: str, parts: Sequence[str | Sequence[Row]]) -> None:
    """A page of paragraphs (strings) and tables (rows, the header first)."""
    blocks = [f"# {title}", *(part if isinstance(part, str) else markdown_table(part) for part in parts)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf8")


def markdown_table(rows: Sequence[Row]) -> str:
    lines = ["| " + " | ".join(_text(x) for x in row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def _text(x: object) -> str:
    if x is None:
        return ""
    return f"{x:.4g}" if isinstance(x, float) and abs(x) < 1000 else f"{x:.0f}" if isinstance(x, float) else str(x)
