"""Arrays in a memory-mapped file, which outlive the process that wrote them."""

from __future__ import annotations

import errno
import json
import logging
import mmap
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sac.errors import UserError
from sac.files import make_folder, write_atomically
from sac.replay.ring import Columns

log = logging.getLogger(__name__)
COUNTERS = 256  # bytes at the beginning of the file that hold no row
ALIGNMENT = 64  # of every array in the file: a number never lies across two cache lines
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) if hasattr(errno, "EDQUOT") else (errno.ENOSPC, errno.EFBIG)
FORMAT = 1  # of the layout; a file without this number is of the first one
ANEW = "remove that folder (its rows are lost) to begin with an empty replay"


def map_arrays(
    folder: Path, header: Columns, columns: Columns, capacity: int
) -> tuple[mmap.mmap, dict[str, np.ndarray]]:
    """`header` arrays [*shape] and `columns` [capacity, *shape] in a file of `folder`: zeros, or what is there.

    What a killed process has stored is there in the order it was stored (the kernel owns the pages). A layout that is
    lost or damaged is written anew where the rows have the size that this run expects. Raises UserError when the folder
    holds other arrays, or when the disk is too small.
    """
    layout = {
        "format": FORMAT,
        "capacity": capacity,
        "columns": {name: [list(shape), dtype] for name, (shape, dtype) in {**header, **columns}.items()},
    }
    shapes = {**header, **{name: ((capacity, *shape), dtype) for name, (shape, dtype) in columns.items()}}
    rows, note = folder / "rows", folder / "layout.json"
    starts, size = _starts(shapes)
    found, there = _layout(note), rows.stat().st_size if rows.is_file() else 0
    if found:
        _compare(folder, found, layout)
        if there != size:
            raise UserError(f"{rows} is damaged: it is missing or does not have {size} bytes; {ANEW}")
    else:
        if _holds_rows(rows):
            if there != size:
                raise UserError(
                    f"{note} is missing or damaged, and {rows} has {there} bytes where this run expects {size}: set "
                    f"replay.capacity (now {capacity}) and the environment as they were when these rows came, or {ANEW}"
                )
            log.warning("%s is missing or damaged: the rows fit this run and are used", note)
        elif there != size:  # the making was cut off: the layout is written last
            make_folder(folder)
            rows.unlink(missing_ok=True)
            _allocate(rows, size, capacity)
        write_atomically(note, json.dumps(layout, indent=1))
    with rows.open("r+b") as file:
        memory = mmap.mmap(file.fileno(), size)
    return memory, {name: np.ndarray(shape, dtype, memory, starts[name]) for name, (shape, dtype) in shapes.items()}


def _layout(note: Path) -> Mapping:
    """What the folder says of its arrays; nothing where it cannot be read. Raises UserError for a newer version's."""
    try:
        found = dict(json.loads(note.read_bytes()))
        if not isinstance(found.get("format", FORMAT), int) or found.get("format", FORMAT) > FORMAT:
            raise UserError(
                f"{note.parent} was made by a newer version of this program (the format of its layout is "
                f"{found['format']}, this version reads {FORMAT}): use that version. Nothing was changed"
            )
        return found if isinstance(found["columns"], dict) and isinstance(found["capacity"], int) else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _holds_rows(path: Path) -> bool:
    """Whether anything was ever stored there: the file begins with the counters of what was."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return any(file.read(COUNTERS))


def _starts(shapes: Columns) -> tuple[dict[str, int], int]:
    """Where each array begins, and where the file ends."""
    starts, end = {}, 0
    for name, (shape, dtype) in shapes.items():
        starts[name] = end
        end += -(-int(np.prod(shape)) * np.dtype(dtype).itemsize // ALIGNMENT) * ALIGNMENT
    return starts, end


def _compare(folder: Path, found: Mapping, expected: Mapping) -> None:
    if found["capacity"] != expected["capacity"]:
        raise UserError(
            f"replay.capacity={expected['capacity']}: the replay in {folder} was made with replay.capacity="
            f"{found['capacity']}; go on with that value, or {ANEW}"
        )
    there, here = found["columns"], expected["columns"]
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            raise UserError(
                f"the replay in {folder} is of another environment or of other networks: column '{name}' has "
                f"{_words(there.get(name))} there, and {_words(here.get(name))} in this run; {ANEW}"
            )


def _words(column: list | None) -> str:
    return "no place" if column is None else f"shape {tuple(column[0])} {column[1]}"


def _allocate(path: Path, size: int, capacity: int) -> None:
    """A file of zeros whose blocks exist: a hole in it would be a SIGBUS once the disk is full."""
    free = shutil.disk_usage(path.parent).free
    try:
        if free < size:
            raise OSError(errno.ENOSPC, "too small")
        with path.open("xb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                for start in range(0, size, 2**20):
                    file.write(bytes(min(2**20, size - start)))
    except OSError as error:
        path.unlink(missing_ok=True)
        if error.errno not in FULL:
            raise
        raise UserError(
            f"replay.capacity={capacity} needs {size} bytes of disk, {path.parent} has {free} free bytes: "
            "set a smaller replay.capacity, or make room"
        ) from None
