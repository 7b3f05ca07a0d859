"""metrics.csv: one row for each call, new columns as they appear, readable at any time and after any kill."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from sac.files import replacing

log = logging.getLogger(__name__)
STEP_COLUMN = "env_step"
READ_BLOCK_BYTES = 4096


class CsvSink:
    """Appends rows to `path`, which may exist already.

    For a new column the file is rewritten with a longer header, by a temporary file and a rename; older rows stay
    shorter. `resume_step` is the step of the checkpoint from which a run resumes: rows of later steps are removed.
    """

    def __init__(self, path: Path | str, resume_step: int | None = None) -> None:
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._columns = [STEP_COLUMN]
        self._index = {STEP_COLUMN: 0}
        if not self._path.exists() or not _cut_half_line(self._path):
            _set_aside(self._path)
            self._rewrite(rows=False)
        else:
            with self._path.open(newline="", encoding="utf-8", errors="replace") as file:
                self._add_columns(next(csv.reader(file))[1:])
            if resume_step is not None:
                self._rewrite(rows=True, last_step=resume_step)
        self._file = self._open()

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Appends a row of these values and writes it to the file."""
        new = [name for name in values if name not in self._index]
        if new:
            self._add_columns(new)
            self._file.close()  # Windows cannot replace an open file
            self._rewrite(rows=True)
            self._file = self._open()
        row = [""] * len(self._columns)
        row[0] = str(int(step))
        for name, value in values.items():
            row[self._index[name]] = f"{float(value):.9g}"
        csv.writer(self._file, lineterminator="\n").writerow(row)
        self._file.flush()

    def close(self, exit_code: int, reason: str, result: Mapping[str, Any]) -> None:
        self._file.close()

    def _add_columns(self, names: list[str]) -> None:
        for name in names:
            self._index[name] = len(self._columns)
            self._columns.append(name)

    def _open(self) -> TextIO:
        return self._path.open("a", newline="", encoding="utf-8")

    def _rewrite(self, rows: bool, last_step: int | None = None) -> None:
        """Writes the header of the current columns, then the old rows up to `last_step` if `rows`."""
        with replacing(self._path) as new, new.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(self._columns)
            if rows:
                file.writelines(_rows(self._path, last_step))


def _rows(path: Path, last_step: int | None) -> Iterator[str]:
    """The lines below the header, up to `last_step` if that is given."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        next(csv.reader(file))  # a header with quotes may span lines
        for line in file:
            step = line.partition(",")[0].strip()
            if step.isdigit() and (last_step is None or int(step) <= last_step):  # a power cut may leave zero bytes
                yield line


def _set_aside(path: Path) -> None:
    """Renames a file with a damaged header, because its rows may still be of use."""
    if path.exists() and path.stat().st_size:
        aside = path.with_name(path.name + ".damaged")
        path.replace(aside)
        log.warning("%s has no header with %s: it was moved to %s", path, STEP_COLUMN, aside)


def _cut_half_line(path: Path) -> bool:
    """Removes an incomplete last line. False when no header with the step column remains."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:  # searches backwards for the last end of a line
            begin = max(0, end - READ_BLOCK_BYTES)
            file.seek(begin)
            found = file.read(end - begin).rfind(b"\n")
            if found >= 0:
                file.truncate(begin + found + 1)
                file.seek(0)
                return file.read(len(STEP_COLUMN)) == STEP_COLUMN.encode()
            end = begin
    return False
