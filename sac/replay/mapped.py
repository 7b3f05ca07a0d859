"""Arrays in a memory-mapped file, which outlive the process that wrote them."""

from __future__ import annotations

import errno
import json
import mmap
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sac.errors import UserError
from sac.replay.ring import Columns

ALIGNMENT = 64  # of every array in the file: a number never lies across two cache lines
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) if hasattr(errno, "EDQUOT") else (errno.ENOSPC, errno.EFBIG)
ANEW = "remove that folder (its rows are lost) to begin with an empty replay"


def map_arrays(
    folder: Path, header: Columns, columns: Columns, capacity: int
) -> tuple[mmap.mmap, dict[str, np.ndarray]]:
    """`header` arrays [*shape] and `columns` [capacity, *shape] in a file of `folder`: zeros, or what is there.

    What a killed process has stored is there in the order it was stored (the kernel owns the pages). Raises UserError
    when the folder holds other arrays, or when the disk is too small.
    """
    layout = {
        "capacity": capacity,
        "columns": {name: [list(shape), dtype] for name, (shape, dtype) in {**header, **columns}.items()},
    }
    shapes = {**header, **{name: ((capacity, *shape), dtype) for name, (shape, dtype) in columns.items()}}
    rows, note = folder / "rows", folder / "layout.json"
    starts, size = _starts(shapes)
    if note.exists():
        _compare(folder, json.loads(note.read_text()), layout)
        if not rows.is_file() or rows.stat().st_size != size:
            raise UserError(f"{rows} is damaged: it is missing or does not have {size} bytes; {ANEW}")
    else:  # the layout is written last: without it the file is half made
        folder.mkdir(parents=True, exist_ok=True)
        rows.unlink(missing_ok=True)
        _allocate(rows, size, capacity)
        new = note.with_suffix(".new")
        new.write_text(json.dumps(layout, indent=1))
        new.replace(note)
    with rows.open("r+b") as file:
        memory = mmap.mmap(file.fileno(), size)
    return memory, {name: np.ndarray(shape, dtype, memory, starts[name]) for name, (shape, dtype) in shapes.items()}


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
