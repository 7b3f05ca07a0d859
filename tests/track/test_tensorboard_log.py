"""Event files as TensorBoard's own reader sees them."""

from __future__ import annotations

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from sac.track.event_files import remove_later_steps
from sac.track.tensorboard_log import TensorBoardSink, _new_file
from tests.full_disk import small_files
from tests.track.tensorboard_server import LOADERS, tensorboard


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


def record(folder, resume_step, steps, value, tags=("a",)):
    """A part of a run, written as the program does."""
    sink = TensorBoardSink(folder, resume_step)
    for step in steps:
        sink.scalars(dict.fromkeys(tags, value), step)
    sink.close(0, "", {})


def as_an_earlier_version_did(folder, resume_step, steps, value, tags=("a",)):
    """One file, with a mark for a resume and no change to the files before."""
    with _new_file(folder).open("xb") as file:
        events = [Event(file_version="brain.Event:2")]
        if resume_step is not None:
            events.append(Event(step=resume_step + 1, session_log=SessionLog(status=SessionLog.START)))
        for step in steps:
            values = [Summary.Value(tag=tag, simple_value=value) for tag in tags]
            events.append(Event(step=step, summary=Summary(value=values)))
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())


@pytest.mark.parametrize("loader", LOADERS)
def test_points_that_a_resume_has_taken_back_are_not_shown(tmp_path, loader):
    """Also of a metric that does not come again, and after several resumes; not before the first checkpoint either."""
    record(tmp_path, None, range(0, 60, 10), 1.0, ("a", "never_again"))
    record(tmp_path, 30, (40, 50, 60), 2.0)
    record(tmp_path, 40, (50,), 3.0)
    with tensorboard(tmp_path, loader) as shown:
        assert shown.scalars() == {
            "a": [(0, 1), (10, 1), (20, 1), (30, 1), (40, 2), (50, 3)],
            "never_again": [(0, 1), (10, 1), (20, 1), (30, 1)],
        }
    record(tmp_path, 0, (5,), 4.0)
    with tensorboard(tmp_path, loader) as shown:
        assert shown.scalars() == {"a": [(0, 1), (5, 4)], "never_again": [(0, 1)]}


@pytest.mark.parametrize("loader", LOADERS)
def test_logs_of_earlier_versions_are_put_right_by_the_next_resume(tmp_path, loader):
    as_an_earlier_version_did(tmp_path, None, range(0, 60, 10), 1.0, ("a", "b"))
    as_an_earlier_version_did(tmp_path, 20, (30, 40), 2.0)
    record(tmp_path, 30, (50,), 3.0)
    with tensorboard(tmp_path, loader) as shown:
        assert shown.scalars() == {"a": [(0, 1), (10, 1), (20, 1), (30, 2), (50, 3)], "b": [(0, 1), (10, 1), (20, 1)]}


@pytest.mark.slow
@pytest.mark.parametrize("loader", LOADERS)
def test_a_tensorboard_that_watches_forgets_them_too(tmp_path, loader):
    """The fast one forgets a metric's later points when the first newer one of that metric comes."""
    record(tmp_path, None, range(0, 60, 10), 1.0)
    with tensorboard(tmp_path, loader) as shown:
        assert shown.scalars()["a"][-1] == (50, 1)
        record(tmp_path, 30, (40,), 2.0)
        shown.again()
        assert shown.scalars()["a"] == [(0, 1), (10, 1), (20, 1), (30, 1), (40, 2)]


def test_what_cannot_be_read_of_a_file_stays_in_it(tmp_path):
    record(tmp_path, None, range(0, 60, 10), 1.0)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for tail in (b"\x07", b"\xff" * 30, whole[-40:-3]):
        file.write_bytes(whole + tail)
        remove_later_steps(tmp_path, 30)
        assert file.read_bytes().endswith(tail) and scalars(load(tmp_path), "a")[-1] == (30, 1)
        assert [path.name for path in tmp_path.iterdir()] == [file.name]
    before = file.stat().st_ino
    remove_later_steps(tmp_path, 30)
    assert file.stat().st_ino == before, "a file without such points is left as it is"


def test_pictures_are_taken_back_as_well(tmp_path):
    sink = TensorBoardSink(tmp_path)
    for step in (10, 20):
        sink.images({"seen": np.zeros((5, 6, 3), np.uint8)}, step)
    sink.close(0, "", {})
    record(tmp_path, 10, (), 1.0)
    assert [image.step for image in load(tmp_path).Images("seen")] == [10]


def test_a_disk_that_refuses_costs_the_taking_back_and_no_more(tmp_path, caplog):
    record(tmp_path, None, range(400), 1.0)
    with small_files(1000):
        record(tmp_path, 300, (301,), 2.0)
    assert "TensorBoard goes on showing steps beyond 300" in caplog.text
    assert len(list(tmp_path.iterdir())) == 2 and scalars(load(tmp_path), "a")[-1] == (301, 2)


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
