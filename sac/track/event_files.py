"""Removes the steps beyond a checkpoint from TensorBoard event files when a run resumes from it.

A SessionLog.START event in the file is not enough: TensorBoard's default loader ignores it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event, SessionLog

from sac.files import replacing

LENGTH = struct.Struct("<Q")  # of a record's data; a checksum follows the length, and another one the data
CHECKSUM_BYTES = 4


def remove_later_steps(folder: Path, last_step: int) -> None:
    """Rewrites the event files of a folder without the values of steps beyond `last_step`. Raises OSError.

    A file that begins with the first step of a resumed run shows from where on older files are out of date, so earlier
    resumes whose steps were not removed are corrected as well.
    """
    for path in sorted(folder.glob("events.out.tfevents.*"), reverse=True):  # newest first
        begun_at = [event.step for _, event in _records(path) if event is not None and _is_start(event)]
        if any(_is_beyond(event, last_step) for _, event in _records(path)):
            temporary = folder / f".rewritten.{os.getpid()}"  # TensorBoard reads all files with tfevents in their names
            with replacing(path, temporary=temporary) as new, new.open("wb") as file:
                file.writelines(record for record, event in _records(path) if not _is_beyond(event, last_step))
        last_step = min([last_step, *(step - 1 for step in begun_at)])


def _is_start(event: Event) -> bool:
    return event.session_log.status == SessionLog.START


def _is_beyond(event: Event | None, last_step: int) -> bool:
    return event is not None and event.HasField("summary") and event.step > last_step


def _records(path: Path) -> Iterator[tuple[bytes, Event | None]]:
    """Each record as bytes, and its event; None for a record that is damaged or incomplete."""
    with path.open("rb") as file:
        while head := file.read(LENGTH.size + CHECKSUM_BYTES):
            if len(head) < LENGTH.size + CHECKSUM_BYTES:
                yield head, None
                return
            (size,) = LENGTH.unpack(head[: LENGTH.size])
            rest = file.read(min(size, os.fstat(file.fileno()).st_size) + CHECKSUM_BYTES)
            try:
                event = Event.FromString(rest[:size]) if len(rest) == size + CHECKSUM_BYTES else None
            except DecodeError:
                event = None
            yield head + rest, event
