"""A screen that is gone or full costs the words, not the run."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from short_runs import PENDULUM, RunFiles

from sac.screen import UnbreakableStream, unbreakable_screen

ROOT = Path(__file__).parents[2]
RUN = [sys.executable, str(ROOT / "run.py")]
FULL = Path("/dev/full")


@pytest.mark.slow
def test_a_reader_that_has_seen_enough(tmp_path):
    """`python run.py ... | head -1`, of standard output and error."""
    typed = [*PENDULUM, "sac.updates_per_step=0", "base.max_step=600", "base.max_step_each_iter=100"]
    with subprocess.Popen(
        [*RUN, *typed], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline()
        process.stdout.close()
        error = process.stderr.read()
        assert process.wait(timeout=200) == 0 and "Traceback" not in error and "Broken" not in error
    run = RunFiles(tmp_path / "m" / "pendulum" / "a")
    assert run.result["reason"] == "max_step" and run.steps == [600]


@pytest.mark.slow
@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")
def test_a_full_screen(tmp_path):
    with FULL.open("w") as full:
        done = subprocess.run(
            [*RUN, *PENDULUM, "sac.updates_per_step=0", "base.max_step=250", "base.n_agents=0"],
            cwd=tmp_path, stdout=full, stderr=full, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 1, "a mistake stays a mistake"
        for typed in (["--help"], [*PENDULUM, "sac.updates_per_step=0", "base.max_step=5"]):
            done = subprocess.run(
                [*RUN, *typed], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, timeout=200, check=False
            )
            assert done.returncode == 0 and b"Traceback" not in done.stderr and b"Exception" not in done.stderr
    assert RunFiles(tmp_path / "m" / "pendulum" / "a").result["reason"] == "max_step"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
def test_a_signal_where_output_and_error_are_closed(tmp_path):
    run = RunFiles(tmp_path / "m" / "pendulum" / "a")
    typed = shlex.join([*RUN, *PENDULUM, "sac.updates_per_step=0", "base.max_step_each_iter=100"])
    with subprocess.Popen(f"exec {typed} >&- 2>&-", shell=True, cwd=tmp_path) as process:
        deadline = time.monotonic() + 200
        while not ((run.path / "metrics.csv").exists() and run.rows):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        process.terminate()
        assert process.wait(timeout=100) == 75
    assert run.result["reason"] == "SIGTERM" and run.steps == [run.result["env_steps"]]


def test_a_pipe_without_a_reader_swallows_what_is_written():
    reader, writer = os.pipe()
    os.close(reader)
    stream = UnbreakableStream(os.fdopen(writer, "w"))
    for _ in range(3):
        assert stream.write("words\n") == 6
        stream.flush()
    stream.close()


def test_the_screen_is_as_before_afterwards(capsys):
    before = sys.stdout, sys.stderr
    with unbreakable_screen():
        print("words")
        assert sys.stdout.encoding == before[0].encoding
    assert (sys.stdout, sys.stderr) == before and capsys.readouterr().out == "words\n"
