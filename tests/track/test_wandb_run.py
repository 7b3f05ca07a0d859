"""Weights & Biases offline: what its log on disk holds; online: what a server gets, and that none delays for long."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sac.track import wandb_run
from sac.track.tracker import Tracker
from sac.track.wandb_run import WandbSink, resolve_mode, sync_command, unsynced, wandb_sink
from tests.track.wandb_log import held, logs, read
from tests.track.wandb_server import Server


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


@pytest.fixture
def server(monkeypatch):
    """Nobody's W&B, and a key for it."""
    server = Server()
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    yield server
    server.die()


def service() -> int:
    """Process id of this process's wandb service."""
    command = ["ps", "-ww", "-A", "-o", "pid=,ppid=,args="]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listing.splitlines()]
    mine = [(int(pid), name) for pid, parent, name in rows if int(parent) == os.getpid()]
    (found,) = [pid for pid, name in mine if "wandb-core" in name and "defunct" not in name]  # killed by another test
    return found


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_resume_keeps_the_id(tmp_path):
    """One id, of which `wandb sync` makes one run; each session leaves a record of its own to upload."""
    ids = []
    for _ in range(2):
        sink = WandbSink(tmp_path, "offline", "p", {})
        ids.append(sink.run_id)
        sink.close(0, "", {})
        time.sleep(1.1)  # folders are named by the second
    assert ids[0] == ids[1] == read(logs(tmp_path)[1]).run.run_id
    first, second = unsynced(tmp_path)
    assert [path.parent for path in logs(tmp_path)] == [first, second]
    (first / f"run-{ids[0]}.wandb.synced").touch()  # what `wandb sync` leaves
    assert unsynced(tmp_path) == [second] and unsynced(tmp_path / "no such run") == []


def records(*runs: str) -> list[Path]:
    return [Path(f"models/pendulum/{run}/wandb/offline-run-2{i}") for i, run in enumerate(runs)]


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (["a"], "models/pendulum/a/wandb/offline-run-20"),
        (["a b", "a b"], "'models/pendulum/a b/wandb/offline-run-20' 'models/pendulum/a b/wandb/offline-run-21'"),
        (["a", "a", "a"], "models/pendulum/a/wandb/offline-run-*"),
        (["a-0", "a-1", "a-10"], "models/pendulum/a-[0-9]*/wandb/offline-run-*"),
        (["s-0001-0", "s-0001-1", "s-0002-0"], "models/pendulum/s-[0-9]*/wandb/offline-run-*"),
        (["2026-0", "2026-1", "2026-2"], "models/pendulum/2026-[0-9]*/wandb/offline-run-*"),
        (["my run7", "my run8", "c-9"], "'models/pendulum/my run'[0-9]*/wandb/offline-run-* "
         "models/pendulum/c-9/wandb/offline-run-*"),
    ],
)  # fmt: skip
def test_the_command_that_uploads(runs, words):
    assert sync_command(records(*runs)) == f"wandb sync {words}"


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
def test_the_pattern_finds_a_groups_records_and_no_others(tmp_path):
    wanted = records("my run-0", "my run-1", "my run-12")
    for folder in (*wanted, *records("my run", "my run-b-1", "your run-0")):
        (tmp_path / folder).mkdir(parents=True)
    shown = sync_command(wanted).replace("wandb sync", "printf '%s\\n'")
    listing = subprocess.run(["sh", "-c", shown], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert sorted(listing.splitlines()) == sorted(map(str, wanted))


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="ps and SIGKILL")
def test_a_killed_service_drops_the_sink_and_training_goes_on(tmp_path, caplog):
    tracker = Tracker([WandbSink(tmp_path, "offline", "p", {})])
    os.kill(service(), signal.SIGKILL)
    time.sleep(0.3)
    begin = time.monotonic()
    for step in range(20):
        tracker.scalars({"a": 1.0}, step)
        time.sleep(0.02)
    tracker.close()
    assert time.monotonic() - begin < 5
    assert tracker.sinks == () and caplog.text.count("Weights & Biases failed") == 1


def test_the_best_model_goes_up_as_an_artifact(tmp_path):
    source = tmp_path / "checkpoint"
    source.mkdir()
    (source / "agent.npz").write_bytes(b"weights")
    (source / "nn.py").write_text("# networks")
    files = {"checkpoints/step_7/agent.npz": source / "agent.npz", "nn.py": source / "nn.py"}
    sink = WandbSink(tmp_path / "run", "offline", "p", {}, files=lambda: files)
    sink.close(0, "max_step", {"env_steps": 7})
    shutil.rmtree(source)  # a run that goes on replaces its checkpoints
    found = held(tmp_path / "run")
    (artifact,) = found.artifacts
    assert (artifact.type, artifact.name, artifact.run_id) == ("model", f"model-{sink.run_id}", sink.run_id)
    assert '"env_steps":7' in artifact.metadata and found.code == 0
    copies = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    assert set(copies) == set(files) and copies["checkpoints/step_7/agent.npz"].read_bytes() == b"weights"
    assert all(path.is_relative_to(tmp_path / "run" / "wandb") for path in copies.values()), "they go with the run"
    assert "WANDB_DATA_DIR" not in os.environ


def test_without_a_checkpoint_there_is_no_artifact(tmp_path, caplog):
    WandbSink(tmp_path, "offline", "p", {}, files=dict).close(1, "crash", {})
    assert held(tmp_path).artifacts == [] and "not recorded" not in caplog.text


def test_an_artifact_that_fails_leaves_a_finished_run(tmp_path, caplog):
    files = {"agent.npz": tmp_path / "gone.npz"}
    WandbSink(tmp_path, "offline", "p", {}, files=lambda: files).close(0, "solved", {"objective": 3.0})
    found = held(tmp_path)
    assert found.code == 0 and found.artifacts == [] and found.summary["objective"] == 3.0
    assert caplog.text.count("the model was not recorded") == 1


def test_what_is_not_uploaded_in_time_is_told(tmp_path, monkeypatch, caplog):
    sink = WandbSink(tmp_path, "offline", "p", {})
    finish = sink._run.finish

    def slow(exit_code):
        finish(exit_code=exit_code)
        raise TimeoutError("Timed out finishing run.")

    monkeypatch.setattr(sink._run, "finish", slow)
    sink.close(0, "", {})
    assert f"wandb sync --include-online {logs(tmp_path)[0].parent}" in caplog.text


def test_what_a_server_gets(tmp_path, server):
    (tmp_path / "nn.py").write_text("# networks")
    files = {"nn.py": tmp_path / "nn.py"}
    named = {"name": "x", "group": "group", "job_type": "train", "tags": ["a"]}
    sink = wandb_sink(tmp_path / "run", "auto", "proj", {"sac": {"gamma": 0.9}}, **named, files=lambda: files)
    for step in (10, 20):
        sink.scalars({"eval/return": step / 2}, step)
    sink.close(0, "max_step", {"env_steps": 20})
    first, *_ = server.runs
    assert (first["name"], first["project"], first["groupName"]) == (sink.run_id, "proj", "group")
    assert (first["displayName"], first["jobType"], first["tags"]) == ("x", "train", ["a"])
    assert json.loads(first["config"])["sac"]["value"] == {"gamma": 0.9}
    assert [(row["env_step"], row["eval/return"]) for row in server.history[sink.run_id]] == [(10, 5), (20, 10)]
    assert server.exits[sink.run_id] == [0]
    summary = json.loads(server.uploads["wandb-summary.json"])
    assert summary["env_steps"] == 20 and summary["exit_reason"] == "max_step"
    assert server.uploads["artifact/nn.py"] == b"# networks"
    assert server.artifacts[0]["artifactTypeName"] == "model"
    assert unsynced(tmp_path / "run") == [], "there is nothing left to upload"


@pytest.mark.slow
def test_a_resumed_run_goes_on_behind_what_the_server_has(tmp_path, server):
    for step in (10, 20):
        sink = wandb_sink(tmp_path, "auto", "p", {})
        sink.scalars({"a": 1.0}, step)
        sink.close(0, "", {})
        time.sleep(1.1)  # folders are named by the second
    assert {run: [row["env_step"] for row in rows] for run, rows in server.history.items()} == {sink.run_id: [10, 20]}


@pytest.mark.slow
def test_the_command_uploads_all_sessions_of_an_offline_run(tmp_path, server):
    (tmp_path / "nn.py").write_text("# networks")
    files = {"nn.py": tmp_path / "nn.py"}
    for step in (10, 20):
        sink = WandbSink(tmp_path / "run", "offline", "proj", {}, group="group", files=lambda: files)
        sink.scalars({"a": 1.0}, step)
        sink.close(0, "", {})
        time.sleep(1.1)  # folders are named by the second
    words = shlex.split(sync_command(unsynced(tmp_path / "run")))
    assert words[:2] == ["wandb", "sync"] and len(words) == 4
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {run["name"] for run in server.runs} == {sink.run_id}
    assert [row["env_step"] for row in server.history[sink.run_id]] == [10, 20] and server.exits[sink.run_id] == [0, 0]
    assert server.uploads["artifact/nn.py"] == b"# networks" and len(server.artifacts) == 2
    assert unsynced(tmp_path / "run") == []


@pytest.mark.slow
def test_a_server_that_dies_delays_the_end_by_no_more_than_its_time(tmp_path, server, monkeypatch, caplog):
    monkeypatch.setitem(wandb_run.SETTINGS, "finish_timeout", 2.0)
    sink = wandb_sink(tmp_path, "online", "p", {})
    sink.scalars({"a": 1.0}, 1)
    server.die()
    begin = time.monotonic()
    for step in range(2, 100):
        sink.scalars({"a": 1.0}, step)
    assert time.monotonic() - begin < 2, "training does not hear of it"
    sink.close(0, "max_step", {})
    assert time.monotonic() - begin < 10
    record = logs(tmp_path)[0]
    assert f"wandb sync --include-online {record.parent}" in caplog.text
    found = read(record)
    assert [row["env_step"] for row in found.history] == list(range(1, 100)) and found.code == 0


def test_without_wandb_training_goes_on(tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "wandb", None)  # its import fails
        assert Tracker.open([lambda: wandb_sink(tmp_path, "auto", "p", {})]).sinks == ()
    assert "cannot be opened" in caplog.text


def test_a_full_disk_at_the_start_costs_the_sink(tmp_path, monkeypatch, caplog):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        assert Tracker.open([lambda: wandb_sink(tmp_path, "offline", "p", {})]).sinks == ()
    assert "cannot be opened" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit")
def test_a_disk_that_fills_up_stops_nothing(tmp_path, caplog):
    """The service notes what it could not write in a log of its own, and the sink hears nothing of it."""
    import resource

    tracker = Tracker([WandbSink(tmp_path, "offline", "p", {})])
    resource.prlimit(service(), resource.RLIMIT_FSIZE, (30_000, 30_000))
    begin = time.monotonic()
    for step in range(200):
        tracker.scalars({f"area/metric_{i}": 1.0 for i in range(30)}, step)
    tracker.close(0, "max_step", {})
    assert time.monotonic() - begin < 10
    (log,) = logs(tmp_path)
    assert 20_000 < log.stat().st_size <= 30_000


@pytest.mark.skipif(sys.platform == "win32", reason="ps and SIGKILL")
def test_a_service_killed_before_the_end_delays_nothing(tmp_path, caplog):
    (tmp_path / "agent.npz").write_bytes(b"weights")
    files = {"agent.npz": tmp_path / "agent.npz"}
    tracker = Tracker([WandbSink(tmp_path, "offline", "p", {}, files=lambda: files)])
    tracker.scalars({"a": 1.0}, 1)
    os.kill(service(), signal.SIGKILL)
    time.sleep(0.3)
    begin = time.monotonic()
    tracker.close(0, "max_step", {})
    assert time.monotonic() - begin < 5
    assert "Weights & Biases failed in close" in caplog.text


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


def test_a_configured_mode_beats_the_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "disabled")  # as for this suite
    assert wandb_sink(tmp_path, "auto", "p", {}) is None
    sink = wandb_sink(tmp_path, "offline", "p", {})
    sink.scalars({"a": 1.0}, 3)
    sink.close(0, "", {})
    assert [row["env_step"] for row in held(tmp_path).history] == [3] and held(tmp_path).code == 0


def test_signals_stay_ours(tmp_path):
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    sink = WandbSink(tmp_path, "offline", "p", {})
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
    sink.close(0, "", {})
