"""TensorBoard event files of a run that goes on from a checkpoint: what the checkpoint has taken back leaves them.

A mark in the file (SessionLog.START) is not enough: TensorBoard's default loader does not know it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event, SessionLog

from sac.files import replacing

LENGTH = struct.Struct("<Q")  # of a record's data; a checksum of four bytes follows it, and another one the data
CHECKSUM = 4  # bytes


def take_back(folder: Path, last_step: int) -> None:
    """Rewrites the event files of a folder without the values of steps beyond `last_step`. Raises OSError.

    Where an earlier part of the run was taken back without this (its successor says from which step on), that part is
    put right as well.
    """
    for path in sorted(folder.glob("events.out.tfevents.*"), reverse=True):  # the newest first
        begun_at = [event.step for _, event in _records(path) if _begins(event)]
        if any(_is_beyond(event, last_step) for _, event in _records(path)):
            temporary = folder / f".rewritten.{os.getpid()}"  # TensorBoard reads whatever is called tfevents
            with replacing(path, temporary=temporary) as new, new.open("wb") as file:
                file.writelines(record for record, event in _records(path) if not _is_beyond(event, last_step))
        last_step = min([last_step, *(step - 1 for step in begun_at)])


def _begins(event: Event | None) -> bool:
    return event is not None and event.session_log.status == SessionLog.START


def _is_beyond(event: Event | None, last_step: int) -> bool:
    return event is not None and event.HasField("summary") and event.step > last_step


def _records(path: Path) -> Iterator[tuple[bytes, Event | None]]:
    """Each record as it is in the file, and the event in it; None for what is damaged or was cut off at the end."""
    with path.open("rb") as file:
        while head := file.read(LENGTH.size + CHECKSUM):
            if len(head) < LENGTH.size + CHECKSUM:
                yield head, None
                return
            (size,) = LENGTH.unpack(head[: LENGTH.size])
            rest = file.read(min(size, os.fstat(file.fileno()).st_size) + CHECKSUM)
            try:
                event = Event.FromString(rest[:size]) if len(rest) == size + CHECKSUM else None
            except DecodeError:
                event = None
            yield head + rest, event
