"""The first command of the README in a terminal, the command that it prints at the end, and a multirun: as typed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def typed(command: str) -> list[str]:
    """A command line of the README or the screen, run by this Python."""
    words = shlex.split(command)
    assert words[:2] == ["python", "run.py"]
    return [sys.executable, str(ROOT / "run.py"), *words[2:]]


def in_a_terminal(command: str, folder: Path, seconds: float) -> tuple[int, str]:
    """Exit code, and everything that the screen was sent."""
    import pty

    master, slave = pty.openpty()
    env = os.environ | {"TERM": "xterm", "COLUMNS": "160", "LINES": "40"}
    process = subprocess.Popen(typed(command), cwd=folder, stdin=slave, stdout=slave, stderr=slave, env=env)
    os.close(slave)
    shown, deadline = b"", time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            try:
                received = os.read(master, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not received:
                break
            shown += received
        return process.wait(timeout=10), shown.decode()
    finally:
        process.kill()
        os.close(master)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
def test_env_roller_learns_and_the_printed_command_plays_it(tmp_path):
    began = time.monotonic()
    code, shown = in_a_terminal("python run.py env=roller seed=1 base.name='first run' base.port=23005", tmp_path, 280)
    assert code == 0, shown[-3000:]
    assert "Traceback" not in shown and "WARNING" not in shown
    assert "\x1b[2K" in shown and re.search(r"\d+/400000", shown), "a live line"
    lines = [re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", line).strip() for line in shown.replace("\r", "").split("\n")]
    (solved,) = [line for line in lines if line.startswith("solved after")]
    (play,) = [line.removeprefix("play:").strip() for line in lines if line.startswith("play:")]
    assert re.search(r"evaluation return (0\.9[5-9]|1)", solved)
    assert time.monotonic() - began < 300, "the goal is five minutes on two cores"
    command = [sys.executable, str(ROOT / "run.py"), *shlex.split(play)[2:]]
    played = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert played.returncode == 0, played.stderr
    assert float(re.search(r"^mean return (\S+) ± \S+ over 100 episodes$", played.stdout, re.M)[1]) >= 0.9


@pytest.mark.slow
def test_a_multirun_in_one_process_with_threads(tmp_path):
    """Threads cannot change once TensorFlow runs: equal ones are fine, others are refused in words."""
    command = (
        "python run.py -m env=gym/pendulum base.threads=1,1,2 base.name=t base.max_step=5 sac.updates_per_step=0 "
        "eval.per_step=-1 hydra/launcher=basic"
    )
    done = subprocess.run(typed(command), cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: base.threads=2: TensorFlow runs in this process already, with another number" in done.stderr
    runs = tmp_path / "models" / "pendulum"
    assert sorted(path.parent.name for path in runs.glob("t-*/result.json")) == ["t-0", "t-1"]
    assert not (runs / "t-2" / "config.yaml").exists(), "its name is free again"
