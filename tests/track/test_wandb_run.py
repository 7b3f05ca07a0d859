"""Weights & Biases offline: what its log on disk holds; online: that an absent server delays nothing for long."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sac.track.tracker import Tracker
from sac.track.wandb_run import WandbSink, resolve_mode, sync_command, unsynced, wandb_sink
from tests.track.wandb_log import held, logs


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    for name in [n for n in os.environ if n.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))
    hooks = sys.exit, sys.excepthook
    yield
    import wandb

    with contextlib.suppress(ConnectionError):  # a test has killed the service
        wandb.teardown()
    sys.exit, sys.excepthook = hooks


def test_an_offline_run_holds_everything(tmp_path, caplog):
    config = {"sac": {"gamma": 0.99, "seed": 3}, "base": {"name": "x"}}
    sink = WandbSink(tmp_path, "offline", "proj", config, name="x", group="sweep", job_type="train", tags=["a", "b"])
    tracker = Tracker([sink])
    with caplog.at_level("INFO"):
        for step in range(0, 50, 10):
            tracker.scalars({"critic/loss": step / 2}, step)
        tracker.close(0, "max_step", {"return": -150.0, "steps": 40})
    run, found, history, summary, code, metrics, artifacts = held(tmp_path)
    assert (run.project, run.display_name, run.run_group, run.job_type) == ("proj", "x", "sweep", "train")
    assert set(run.tags) == {"a", "b"} and run.run_id == sink.run_id
    assert found["sac"] == config["sac"] and found["base"] == config["base"]
    assert [(row["env_step"], row["critic/loss"]) for row in history] == [(s, s / 2) for s in range(0, 50, 10)]
    assert (summary["return"], summary["steps"], summary["exit_reason"]) == (-150.0, 40, "max_step")
    assert code == 0
    assert artifacts == [] and any(m.glob_name == "*" and m.step_metric == "env_step" for m in metrics)
    hints = [r.getMessage() for r in caplog.records if "wandb sync" in r.getMessage()]
    assert len(hints) == 1 and Path(hints[0].split("wandb sync ")[1]).is_dir()


def test_a_run_that_fails_is_marked_so(tmp_path):
    with pytest.raises(ZeroDivisionError), Tracker([WandbSink(tmp_path, "offline", "p", {})]) as tracker:
        tracker.scalars({"a": 1.0}, 1)
        1 / 0  # noqa: B018
    found = held(tmp_path)
    assert found.code == 1 and found.summary["exit_reason"].startswith("ZeroDivisionError")


def test_a_run_that_nobody_closed_is_marked_failed_too(tmp_path):
    program = (
        "from sac.track.wandb_run import WandbSink\n"
        f"WandbSink(r'{tmp_path}', 'offline', 'p', {{}}).scalars({{'a': 1.0}}, 1)\n"
        "raise RuntimeError('escaped')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert held(tmp_path).code == 1


def test_a_resume_keeps_the_id(tmp_path):
    ids = []
    for _ in range(2):
        sink = WandbSink(tmp_path, "offline", "p", {})
        ids.append(sink.run_id)
        sink.close(0, "", {})
        time.sleep(1.1)  # folders are named by the second
    assert ids[0] == ids[1]
    assert len(list(tmp_path.glob(f"wandb/offline-run-*/run-{ids[0]}.wandb"))) == 2


def test_an_absent_server_costs_seconds_and_leaves_an_offline_run(tmp_path, monkeypatch, caplog):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]  # nobody listens there once it is closed
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    begin = time.monotonic()
    sink = wandb_sink(tmp_path, "auto", "p", {"a": 1})
    assert time.monotonic() - begin < 12  # five for the server; wandb's own patience is 90
    sink.scalars({"b": 2.0}, 5)
    sink.close(0, "done", {})
    assert "recorded offline" in caplog.text
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    assert (folder / f"run-{sink.run_id}.wandb").stat().st_size > 500


@pytest.mark.skipif(sys.platform == "win32", reason="ps and SIGKILL")
def test_a_killed_service_drops_the_sink_and_training_goes_on(tmp_path, caplog):
    tracker = Tracker([WandbSink(tmp_path, "offline", "p", {})])
    command = ["ps", "-ww", "-A", "-o", "pid=,ppid=,args="]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listing.splitlines()]
    (service,) = [int(pid) for pid, parent, name in rows if int(parent) == os.getpid() and "wandb-core" in name]
    os.kill(service, signal.SIGKILL)
    time.sleep(0.3)
    begin = time.monotonic()
    for step in range(20):
        tracker.scalars({"a": 1.0}, step)
        time.sleep(0.02)
    tracker.close()
    assert time.monotonic() - begin < 5
    assert tracker.sinks == () and caplog.text.count("WandbSink failed") == 1


def test_auto_is_online_only_with_a_key(monkeypatch, tmp_path):
    assert resolve_mode("auto") == "offline"
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password key\n")
    assert resolve_mode("auto") == "online"
    (tmp_path / "netrc").write_text("machine elsewhere.org login user password key\n")
    assert resolve_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "key")
    assert resolve_mode("auto") == "online"
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    assert resolve_mode("auto") == "offline"
    assert resolve_mode("disabled") == "disabled" and wandb_sink(tmp_path, "disabled", "p", {}) is None


def test_signals_stay_ours(tmp_path):
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    sink = WandbSink(tmp_path, "offline", "p", {})
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
    sink.close(0, "", {})
