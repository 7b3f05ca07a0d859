"""Arrays in a memory-mapped file; they outlive the process that wrote them."""

from __future__ import annotations

import errno
import json
import logging
import mmap
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sac.errors import UserError
from sac.files import make_folder, write_atomically
from sac.replay.ring import Columns

log = logging.getLogger(__name__)
COUNTER_BYTES = 256  # of the beginning of the file: counters lie there and no rows
ALIGNMENT_BYTES = 64  # of every array in the file, so that no number lies across two cache lines
DISK_FULL_ERRNOS = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows has no EDQUOT
FORMAT_VERSION = 1  # of layout.json; a file without a version has version 1
ZEROS_CHUNK_BYTES = 2**20
CURE = "remove that folder (its rows are lost) to begin with an empty replay"


def map_arrays(
    folder: Path, header: Columns, columns: Columns, capacity: int
) -> tuple[mmap.mmap, dict[str, np.ndarray]]:
    """Maps the file `rows` of `folder`: arrays `header` [*shape] and `columns` [capacity, *shape].

    A new file holds zeros. In an old one, all stores of a killed process are there in their order, since the kernel
    owns the pages. `layout.json` describes the arrays; where it is lost or damaged, it is written again if the file has
    the size that this run expects. Raises UserError when the folder holds other arrays, or when the disk is too small.
    """
    layout = {
        "format": FORMAT_VERSION,
        "capacity": capacity,
        "columns": {name: [list(shape), dtype] for name, (shape, dtype) in {**header, **columns}.items()},
    }
    shapes = {**header, **{name: ((capacity, *shape), dtype) for name, (shape, dtype) in columns.items()}}
    rows, layout_file = folder / "rows", folder / "layout.json"
    starts, size = _starts(shapes)
    found, there = _read_layout(layout_file), rows.stat().st_size if rows.is_file() else 0
    if found:
        _compare(folder, found, layout)
        if there != size:
            raise UserError(f"{rows} is damaged: it is missing or does not have {size} bytes; {CURE}")
    else:
        if _holds_rows(rows):
            if there != size:
                raise UserError(
                    f"{layout_file} is missing or damaged, and {rows} has {there} bytes where this run expects {size}: "
                    f"set replay.capacity (now {capacity}) and the environment as they were when these rows came, "
                    f"or {CURE}"
                )
            log.warning("%s is missing or damaged: the rows fit this run and are used", layout_file)
        elif there != size:  # an earlier start was killed here: the layout is written last
            make_folder(folder)
            rows.unlink(missing_ok=True)
            _allocate(rows, size, capacity)
        write_atomically(layout_file, json.dumps(layout, indent=1))
    with rows.open("r+b") as file:
        memory = mmap.mmap(file.fileno(), size)
    return memory, {name: np.ndarray(shape, dtype, memory, starts[name]) for name, (shape, dtype) in shapes.items()}


def _read_layout(path: Path) -> Mapping[str, Any]:
    """The layout, or {} where it cannot be read. Raises UserError for the layout of a newer version."""
    try:
        found = dict(json.loads(path.read_bytes()))
        version = found.get("format", FORMAT_VERSION)
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise UserError(
                f"{path.parent} was made by a newer version of this program (the format of its layout is "
                f"{version}, this version reads {FORMAT_VERSION}): use that version. Nothing was changed"
            )
        return found if isinstance(found["columns"], dict) and isinstance(found["capacity"], int) else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _holds_rows(path: Path) -> bool:
    """Whether a row was ever stored in the file; the counters at its beginning are then not zero."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return any(file.read(COUNTER_BYTES))


def _starts(shapes: Columns) -> tuple[dict[str, int], int]:
    """The offset of each array in bytes, and the size of the file."""
    starts, end = {}, 0
    for name, (shape, dtype) in shapes.items():
        starts[name] = end
        end += -(-int(np.prod(shape)) * np.dtype(dtype).itemsize // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    return starts, end


def _compare(folder: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raises UserError where two layouts differ."""
    if found["capacity"] != expected["capacity"]:
        raise UserError(
            f"replay.capacity={expected['capacity']}: the replay in {folder} was made with replay.capacity="
            f"{found['capacity']}; go on with that value, or {CURE}"
        )
    there, here = found["columns"], expected["columns"]
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            raise UserError(
                f"the replay in {folder} is of another environment or of other networks: column '{name}' has "
                f"{_words(there.get(name))} there, and {_words(here.get(name))} in this run; {CURE}"
            )


def _words(column: list[Any] | None) -> str:
    return "no place" if column is None else f"shape {tuple(column[0])} {column[1]}"


def _allocate(path: Path, size: int, capacity: int) -> None:
    """Writes a file of zeros without holes: on a full disk, a store into a hole would end the process (SIGBUS).

    Raises UserError when the disk is too small.
    """
    free = shutil.disk_usage(path.parent).free
    try:
        if free < size:
            raise OSError(errno.ENOSPC, "too small")
        with path.open("xb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                for start in range(0, size, ZEROS_CHUNK_BYTES):
                    file.write(bytes(min(ZEROS_CHUNK_BYTES, size - start)))
    except OSError as error:
        path.unlink(missing_ok=True)
        if error.errno not in DISK_FULL_ERRNOS:
            raise
        raise UserError(
            f"replay.capacity={capacity} needs {size} bytes of disk, {path.parent} has {free} free bytes: "
            "set a smaller replay.capacity, or make room"
        ) from None
