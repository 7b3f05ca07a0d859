"""A tracker reaches every sink, and no sink can stop it."""

from __future__ import annotations

import logging
import subprocess
import sys
from functools import partial

import pytest

from sac.track.csv_file import CsvSink
from sac.track.tracker import Tracker


class Remembering:
    def __init__(self):
        self.heard = []

    def scalars(self, values, step):
        self.heard.append((dict(values), step))

    def close(self, exit_code, reason, result):
        self.heard.append((exit_code, reason, result))


class Failing(Remembering):
    def scalars(self, values, step):
        super().scalars(values, step)
        raise OSError("disk full")


def test_a_failing_sink_is_reported_once_and_dropped(caplog):
    bad, good = Failing(), Remembering()
    tracker = Tracker([bad, good])
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            tracker.scalars({"a/b": 1.0}, step)
            tracker.progress(step, 0)  # neither has it
    tracker.close(0, "max_step", {"return": 5})
    tracker.close(1, "again")
    tracker.scalars({"a/b": 1.0}, 9)
    assert len(bad.heard) == 1 and tracker.sinks == ()
    assert good.heard == [({"a/b": 1.0}, s) for s in range(3)] + [(0, "max_step", {"return": 5})]
    assert len(caplog.records) == 1 and "disk full" in caplog.text and "Failing" in caplog.text


def test_a_sink_that_cannot_be_made_is_left_out(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    tracker = Tracker.open([Remembering, partial(CsvSink, tmp_path / "file" / "metrics.csv"), lambda: None])
    assert [type(s) for s in tracker.sinks] == [Remembering]
    assert "CsvSink" in caplog.text


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (None, 0, ""),
        (ValueError("no"), 1, "ValueError: no"),
        (KeyboardInterrupt(), 130, "KeyboardInterrupt"),
        (SystemExit(143), 143, "exit 143"),
        (SystemExit(), 0, "exit 0"),
        (SystemExit("text"), 1, "exit 1"),
    ],
)
def test_the_way_out_gives_the_exit_code(error, code, reason):
    sink = Remembering()
    try:
        with Tracker([sink]):
            if error is not None:
                raise error
    except BaseException as raised:
        assert raised is error
    assert sink.heard == [(code, reason, {})]


@pytest.mark.slow
def test_tracking_does_not_import_tensorflow(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from sac.track.tracker import Tracker\n"
        "from sac.track.csv_file import CsvSink\n"
        "from sac.track.console import ConsoleSink\n"
        "from sac.track.tensorboard_log import TensorBoardSink\n"
        "from sac.track.wandb_run import wandb_sink\n"
        f"t = Tracker([CsvSink(r'{tmp_path}/m.csv'), TensorBoardSink(r'{tmp_path}/log'), ConsoleSink(),\n"
        f"             wandb_sink(r'{tmp_path}', 'offline', 'p', {{}})])\n"
        "t.scalars({'episode/return': 1.0}, 1)\n"
        "t.images({'a': np.zeros((4, 4, 3), np.uint8)}, 1)\n"
        "assert len(t.sinks) == 4\n"
        "t.close()\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'keras')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_sinks_are_called_by_their_names(monkeypatch, tmp_path, caplog):
    from sac.track import wandb_run

    def refused(*args):
        raise ValueError("no such tag")

    monkeypatch.setattr(wandb_run.WandbSink, "__init__", refused)
    Tracker.open([partial(wandb_run.wandb_sink, tmp_path, "offline", "p", {})])
    assert "Weights & Biases cannot be opened: ValueError: no such tag" in caplog.text
    caplog.clear()
    monkeypatch.setattr(wandb_run.WandbSink, "__init__", lambda self: None)
    monkeypatch.setattr(wandb_run.WandbSink, "scalars", refused)
    Tracker([wandb_run.WandbSink()]).scalars({}, 0)
    assert "Weights & Biases failed in scalars and is dropped: ValueError: no such tag" in caplog.text
    assert " at 0x" not in caplog.text
