"""Real multiruns: jobs in processes of their own, their results, their endings."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from launchers.jobs.job import DONE, FAILED, INTERRUPTED, RUNNING, read_status
from tests.launchers.multiruns import ENV, PENDULUM, ROOT, Multirun
from tests.runs.short_runs import RunFiles

pytestmark = pytest.mark.timeout(290)
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture
def multirun(tmp_path):
    """`multirun("sac.gamma=0.9,1", ...)`, which leaves nothing behind when a test fails."""
    started = []

    def start(*arguments, **options):
        started.append(Multirun(tmp_path, *arguments, **options))
        return started[-1]

    yield start
    for each in started:
        each.end()


def test_jobs_in_parallel_give_the_bits_of_single_runs_and_those_that_fail_stop_nobody(tmp_path, multirun):
    done = multirun("repeat=range(2)", "seed=3", "sac.gamma=2,0.9")
    assert done.wait() == 1
    assert "2 of 4 jobs failed" in done.said and "Traceback" not in done.said
    assert [read_status(done.results / "jobs" / str(n)).state for n in range(4)] == [FAILED, DONE, FAILED, DONE]
    assert "sac.gamma=2.0: allowed is a number between 0 and 1" in (done.results / "jobs/0/job.log").read_text()
    assert f"python {ROOT / 'run.py'} role=play env=gym/pendulum" in (done.results / "jobs/1/job.log").read_text()
    # the summary
    picture, rows = done.results / "summary.png", list(csv.DictReader((done.results / "summary.csv").open()))
    assert picture.stat().st_size > 10_000 and str(picture.relative_to(tmp_path)) in done.said
    bad, good = rows
    assert (bad["experiment"], bad["jobs"], bad["failed"], bad["mean"]) == ("sac.gamma=2", "2", "2", "nan")
    assert (good["experiment"], good["jobs"], good["failed"]) == ("sac.gamma=0.9", "2", "0")
    each = [run.result["objective"] for run in done.runs]
    assert len(each) == 2 and float(good["mean"]) == pytest.approx(np.mean(each))
    assert float(good["standard error"]) == pytest.approx(np.std(each, ddof=1) / np.sqrt(2))
    # the same seed on its own
    single = tmp_path / "single"
    single.mkdir()
    words = [sys.executable, ROOT / "run.py", *PENDULUM, "base.name=s", "seed=3", "repeat=1", "sac.gamma=0.9"]
    subprocess.run(words, cwd=single, env=os.environ | ENV, check=True, timeout=120, stdout=subprocess.DEVNULL)
    (job,) = [run for run in done.runs if run.path.name.endswith("-3")]
    ours, alone = job.arrays(), RunFiles(single / "m" / "pendulum" / "s").arrays()
    assert ours.keys() == alone.keys() and len(ours) > 20
    assert [name for name in ours if not np.array_equal(ours[name], alone[name], equal_nan=True)] == []


def test_a_job_that_is_killed_is_told_by_its_signal(multirun):
    run = multirun("base.max_step=100000", "repeat=range(1)")
    run.wait_until(lambda: run.runs and (run.runs[0].path / "metrics.csv").exists())
    os.kill(run.children()[0], signal.SIGKILL)
    assert run.wait() == 1
    assert "killed by SIGKILL" in run.said


@posix
def test_ctrl_c_ends_all_in_order(multirun):
    run = multirun("base.max_step=100000", "repeat=range(3)", "hydra.launcher.n_jobs=2")
    run.wait_until(lambda: len(run.runs) == 2)
    statuses = lambda: [read_status(run.results / "jobs" / str(n)) for n in (0, 1)]  # noqa: E731
    run.wait_until(lambda: all(status.step > 0 for status in statuses()))
    assert all(s.state == RUNNING and s.max_step == 100000 and s.seconds > 0 for s in statuses())
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 130, run.said
    assert run.children() == []
    assert len(run.runs) == 2 and all(r.checkpoints for r in run.runs)  # the third never began
    assert run.said.count("ckpt=latest") == 2
    assert [status.state for status in statuses()] == [INTERRUPTED] * 2


@posix
def test_children_die_with_a_parent_that_was_killed(multirun):
    run = multirun("base.max_step=100000", "repeat=range(2)", "hydra.launcher.n_jobs=2")
    run.wait_until(lambda: len(run.runs) == 2 and len(run.children()) == 2)
    run.process.kill()
    run.process.wait()
    until = time.monotonic() + 10
    while run.children() and time.monotonic() < until:
        time.sleep(0.1)
    assert run.children() == []


@posix
def test_a_search_that_was_killed_goes_on_and_ends_well(tmp_path, multirun):
    """Whole: real trials, SIGKILL in the midst, the same command again, one that raises, the best one's file runs."""
    words = (
        "sac.gamma=choice(0.9,0.95)", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=5", "hydra.launcher.n_jobs=2",
        "hydra.sweeper.study_name=s", "replay.batch_size=choice(8,2000)",  # the second exceeds replay.capacity
    )  # fmt: skip
    first = multirun(*words)
    first.wait_for("job 2 began")
    time.sleep(1)
    first.end()
    second = multirun(*words)
    assert second.wait() == 0, second.said
    import optuna

    folder = tmp_path / "m" / "pendulum" / "sweeps" / "s"
    trials = optuna.load_study(study_name="s", storage=f"sqlite:///{folder / 'study.db'}").trials
    assert [trial.number for trial in trials] == list(range(5))
    too_much = [trial for trial in trials if trial.params["replay.batch_size"] == 2000]
    good = [trial for trial in trials if trial not in too_much]
    assert {trial.state.name for trial in good} == {"COMPLETE"} and good
    assert all(trial.state.name == "FAIL" and "must exceed" in trial.user_attrs["error"] for trial in too_much)
    assert all(trial.intermediate_values.keys() == {30, 60} for trial in good)
    for name in ("history.png", "parallel.png", "trials.csv"):
        assert (folder / name).stat().st_size > 100
    best = next(line for line in second.said.splitlines() if line.startswith("run it:"))
    assert f"--config-dir {folder.relative_to(tmp_path)}/conf env=best-s" in best
    third = multirun("env=best-s", "base.name=best", flags=("--config-dir", str(folder / "conf")))
    assert third.wait() == 0, third.said
    (run,) = [run for run in third.runs if run.path.name == "best-0"]
    import yaml

    used = yaml.safe_load((run.path / "config.yaml").read_text())
    assert used["sac"]["gamma"] == max(good, key=lambda t: t.value).params["sac.gamma"]
