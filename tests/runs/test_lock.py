"""One process at a time in a run's folder; the lock of a dead one gives way."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / name) for name in ("runs", "envs", "faults")]

import hanging_run  # noqa: E402
from short_runs import PENDULUM, Runner  # noqa: E402

from sac.errors import UserError  # noqa: E402
from sac.runs import lock as module  # noqa: E402
from sac.runs.folder import RunFolder  # noqa: E402
from sac.runs.lock import hold_run_lock  # noqa: E402

AGAIN = ("env=gym/pendulum", "base.models=m", "base.name=a")
HOLD = """
import sys, time
from sac.runs.lock import hold_run_lock
from sac.runs.folder import RunFolder
with hold_run_lock(RunFolder(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    monkeypatch.setattr(module, "ENDING_SECONDS", 0.3)
    return Runner(monkeypatch, capfd, tmp_path)


@pytest.fixture
def held(tmp_path):
    """`held(folder, who)`: another process that holds the lock."""
    started = []

    def hold(folder: Path, who: str) -> subprocess.Popen:
        command = [sys.executable, "-c", HOLD, str(folder), who]
        started.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "held\n"
        return started[-1]

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.slow
def test_a_run_that_trains_is_not_resumed_by_another_process(go):
    typed = ("base.build_path=failing:Failing-v0", "sac.updates_per_step=0", "eval.stop_return=null", "base.max_step=9")
    hangs = "base.env_kwargs={where: step, how: hang, at: 7}"
    command = [sys.executable, hanging_run.__file__, *PENDULUM, *typed, hangs, "sac.save_model_per_minute=1e-9"]
    with subprocess.Popen(command, cwd=go.folder, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 200
            while not (go.folder / "hangs").exists():
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.1)
            steps = go.run().steps
            error = go(*AGAIN, "ckpt=latest").error
            assert f"process {process.pid} on " in error and "trains the run m/pendulum/a already" in error
            assert go.run().steps == steps and error.count("\n") == 1
            assert "exists already" in go(*PENDULUM).error
            assert "mean return" in go.ok("role=play", *AGAIN, "eval.episodes=1", "base.env_kwargs.at=999").out
        finally:
            process.kill()
    go.ok(*AGAIN, "ckpt=latest", "base.env_kwargs.where=nowhere")
    assert go.run().steps[-1] == 9


def test_each_role_of_a_cell_has_a_lock_of_its_own(held, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "ENDING_SECONDS", 0.2)
    folder = RunFolder(tmp_path / "run")
    for who in ("replay", "learner", "actor-1"):
        other = held(folder.path, who)
        words = rf"process {other.pid} on \S+ is {who} of the run \S+run already: .*base.name \(actors differ"
        with pytest.raises(UserError, match=words), hold_run_lock(folder, who):
            pass
    with hold_run_lock(folder, "actor-2"):
        pass
    other.kill()
    other.wait()
    with hold_run_lock(folder, "actor-1"):
        assert folder.lock("actor-1").with_suffix(".pid").read_text().startswith(f"process {os.getpid()} on ")
    left = {path.name for path in folder.lock("actor-1").parent.iterdir()}
    assert not {"actor-1.lock", "actor-1.pid", "actor-2.lock"} & left, "who ends in order leaves nothing"


def test_one_process_runs_many_jobs_in_turn_and_waits_for_one_that_ends(held, tmp_path, capsys):
    folder = RunFolder(tmp_path / "run")
    for _ in range(2):
        with hold_run_lock(folder, "train"):
            pass
    process = held(folder.path, "train")
    subprocess.Popen([sys.executable, "-c", f"import os, time; time.sleep(0.5); os.kill({process.pid}, 9)"])
    with hold_run_lock(folder, "train"):
        pass
    assert f"in use by process {process.pid} on" in capsys.readouterr().err


def test_never_two_at_once_where_many_come_and_go(tmp_path):
    """Each holder removes the file of the lock, for which others wait meanwhile."""
    code = """
import sys
from pathlib import Path
from sac.runs.lock import hold_run_lock
from sac.runs.folder import RunFolder
folder = RunFolder(sys.argv[1])
for _ in range(20):
    with hold_run_lock(folder, "train"):
        (folder.path / "alone").touch(exist_ok=False)
        (folder.path / "alone").unlink()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    several = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in several:
        _, error = process.communicate(timeout=100)
        assert "FileExistsError" not in error and (process.returncode == 0 or "already: wait for" in error), error


def test_a_drive_without_locks_gets_a_warning(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with hold_run_lock(RunFolder(tmp_path / "run"), "train"):
        pass
    assert "cannot be locked" in caplog.text and "no second process" in caplog.text


def test_a_folder_that_cannot_be_written_is_refused_in_words(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=r"cannot write the run folder .*file/run"),
        hold_run_lock(RunFolder(tmp_path / "file" / "run"), "train"),
    ):
        pass
    folder = RunFolder(tmp_path / "run")
    folder.lock("train").mkdir(parents=True)  # root may write everywhere, but no lock into a folder
    with (
        pytest.raises(UserError, match=r"cannot be locked: .*choose another base.models"),
        hold_run_lock(folder, "train"),
    ):
        pass
