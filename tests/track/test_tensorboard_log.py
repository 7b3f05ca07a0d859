"""Event files as TensorBoard's own reader sees them."""

from __future__ import annotations

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sac.track.tensorboard_log import TensorBoardSink


def load(folder):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return events


def scalars(events, tag):
    return [(e.step, round(e.value, 4)) for e in events.Scalars(tag)]


def test_scalars_and_images_read_back(tmp_path):
    sink = TensorBoardSink(tmp_path)
    for step in (10, 20):
        sink.scalars({"critic/loss": step / 4, "q/mean": float("nan")}, step)
    sink.images({"seen": np.zeros((5, 6, 3), np.uint8), "gray": np.ones((5, 6, 1), np.uint8)}, 20)
    sink.close(0, "", {})
    events = load(tmp_path)
    assert scalars(events, "critic/loss") == [(10, 2.5), (20, 5.0)]
    assert np.isnan(events.Scalars("q/mean")[0].value)
    assert [(i.step, i.height, i.width) for i in events.Images("seen")] == [(20, 5, 6)]
    assert events.Images("gray")[0].encoded_image_string.startswith(b"\x89PNG")


def test_a_resume_makes_later_steps_of_older_files_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr("time.time_ns", lambda: 10**18)  # two files within one tick of the clock
    first = TensorBoardSink(tmp_path)
    for step in range(0, 60, 10):
        first.scalars({"a": 1.0}, step)
    first.close(1, "", {})
    second = TensorBoardSink(tmp_path, resume_step=30)
    second.scalars({"a": 2.0}, 40)
    second.close(0, "", {})
    assert len(list(tmp_path.iterdir())) == 2
    assert scalars(load(tmp_path), "a") == [(0, 1), (10, 1), (20, 1), (30, 1), (40, 2)]


def test_what_was_written_is_on_disk_within_seconds_and_a_cut_tail_hurts_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr("sac.track.tensorboard_log.FLUSH_SECONDS", 0.0)
    sink = TensorBoardSink(tmp_path)
    for step in range(5):
        sink.scalars({"a": 1.0}, step)
    (file,) = tmp_path.iterdir()
    copy = tmp_path / "killed" / file.name
    copy.parent.mkdir()
    copy.write_bytes(file.read_bytes()[:-3])
    assert len(scalars(load(copy.parent), "a")) >= 3
    sink.close(0, "", {})
