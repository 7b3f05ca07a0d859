"""`python -m sac.report models/<scene>/...` writes report.html and report.png about run folders."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sac.errors import UserError
from sac.report.curves import RunCurves, find_runs, read_run
from sac.report.page import Report, common_parent, make_report
from sac.screen import unbreakable_screen


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the report. Returns the exit code, which is 1 after a UserError, whose text is printed."""
    typed = _parser().parse_args(arguments)
    try:
        folders = find_runs(typed.runs)
        report = make_report(_readable(folders))
        out = typed.out or common_parent(folders)
        written = _write(report, out)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for alarm in report.alarms:
        for run, finding in alarm.seen:
            print(f"warning: {run}: {alarm.kind.title}: {finding.seen}")
    print("\n".join(f"wrote {path}" for path in written))
    return 0


def _readable(folders: Sequence[Path]) -> list[RunCurves]:
    """The runs that can be read; a warning names the others. Raises UserError when there is none."""
    runs = []
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except UserError as error:
            if len(folders) == 1:
                raise
            print(f"warning: {folder} is left out: {error}", file=sys.stderr)
    if not runs:
        raise UserError("none of these runs can be read")
    return runs


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sac.report", description="Learning curves and warnings of runs.")
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, or folders that hold some (models/<scene>)")
    parser.add_argument("--out", type=Path, help="where report.html and report.png go (default: what holds all runs)")
    return parser


def _write(report: Report, out: Path) -> list[Path]:
    page, picture = out / "report.html", out / "report.png"
    try:
        out.mkdir(parents=True, exist_ok=True)
        page.write_text(report.html(), encoding="utf8")
        picture.write_bytes(report.png)
    except OSError as error:
        raise UserError(f"cannot write into {out}: {error.strerror or error}") from error
    return [page, picture]


if __name__ == "__main__":
    with unbreakable_screen():
        code = main()
    sys.exit(code)
