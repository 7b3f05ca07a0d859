"""Writes TensorBoard event files, which are protobuf records, without TensorFlow."""

from __future__ import annotations

import io
import logging
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from sac.track.event_files import remove_later_steps

log = logging.getLogger(__name__)
FLUSH_SECONDS = 2.0  # between two flushes of the file


class TensorBoardSink:
    """Writes one event file in `folder`. From older files the values beyond `resume_step` are removed.

    It uses tensorboard's RecordWriter, because the EventFileWriter imports TensorFlow to access files.
    """

    def __init__(self, folder: Path | str, resume_step: int | None = None) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if resume_step is not None:
            try:
                remove_later_steps(folder, resume_step)
            except OSError as error:
                log.warning("TensorBoard goes on showing steps beyond %d: %s", resume_step, error)
        self._file = _new_file(folder).open("xb")
        self._records = RecordWriter(self._file)
        self._flushed = 0.0
        self._write(Event(file_version="brain.Event:2"))
        first = 0 if resume_step is None else resume_step + 1
        self._write(
            Event(step=first, session_log=SessionLog(status=SessionLog.START))
        )  # a running TensorBoard drops later steps

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        pairs = [Summary.Value(tag=name, simple_value=float(value)) for name, value in values.items()]
        self._write(Event(step=int(step), summary=Summary(value=pairs)))

    def images(self, values: Mapping[str, np.ndarray], step: int) -> None:
        pairs = []
        for name, picture in values.items():
            height, width, channels = picture.shape
            image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=_png(picture))
            pairs.append(Summary.Value(tag=name, image=image))
        self._write(Event(step=int(step), summary=Summary(value=pairs)))

    def close(self, exit_code: int, reason: str, result: Mapping[str, Any]) -> None:
        self._file.close()

    def _write(self, event: Event) -> None:
        now = time.time()
        event.wall_time = now
        self._records.write(event.SerializeToString())
        if now - self._flushed > FLUSH_SECONDS:
            self._flushed = now
            self._file.flush()


def _new_file(folder: Path) -> Path:
    """A free name that sorts after those of older files: TensorBoard reads files in the order of their names."""
    milliseconds = time.time_ns() // 10**6
    while True:
        path = folder / f"events.out.tfevents.{milliseconds:013d}.{socket.gethostname()}.{os.getpid()}"
        if not path.exists():
            return path
        milliseconds += 1


def _png(picture: np.ndarray) -> bytes:
    from PIL import Image  # imported only where pictures are logged

    buffer = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(buffer, "PNG")
    return buffer.getvalue()
