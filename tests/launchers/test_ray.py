"""The launcher `ray`: jobs as single processes, on several Ray nodes of this one machine."""

from __future__ import annotations

import csv
import importlib.util
import os
import signal
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from launchers.jobs.job import DONE, FAILED, INTERRUPTED, Job
from launchers.jobs.resources import Share
from tests.launchers.multiruns import ROOT

pytestmark = [
    pytest.mark.timeout(290),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install -e '.[ray]'"),
]
LONG = "base.max_step=100000"


@pytest.fixture(scope="module")
def nodes():
    """Three nodes with one core each."""
    from tests.launchers.ray_clusters import Nodes

    nodes = Nodes(1, [{"num_cpus": 1}] * 2)
    yield nodes
    nodes.end()


@pytest.fixture
def start(tmp_path):
    """`start(address, "seed=1,2", ...)`, which leaves no command behind when a test fails."""
    from tests.launchers.ray_clusters import RayJobs

    started = []

    def start(address, *arguments):
        started.append(RayJobs(tmp_path.resolve(), address, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.end()


def test_a_job_whose_code_is_not_trusted_here_fails_alone_and_is_never_placed(tmp_path, monkeypatch):
    from launchers.ray_cluster.job import RayJob

    monkeypatch.chdir(tmp_path)
    run = tmp_path / "m" / "s" / "a"
    run.mkdir(parents=True)
    (run / "config.yaml").touch()
    (run / "nn.py").write_text("class ModelQ: ...\n")
    config = OmegaConf.create({"role": "train", "ckpt": "latest", "base": {"models": "m", "scene": "s", "name": "a"}})
    job = RayJob(Job(3, tmp_path / "jobs" / "3", config, [], {}), Share(0, 1), {"CPU": 1.0}, restarts=5)
    job.start()
    assert job.poll().state == job.status().state == FAILED and "base.trust=true" in job.poll().error
    assert job.job.config.base.name == "a"  # the very run that was named
    job.end()


def gone(run, seconds: float = 15) -> None:
    """Waits until no process of a job is left."""
    until = time.monotonic() + seconds
    while run.children():
        assert time.monotonic() < until, run.children()
        time.sleep(0.1)


def test_a_ray_of_its_own_runs_all_jobs_and_those_that_fail_stop_nobody(start):
    run = start(None, "seed=1,2", "sac.gamma=2,0.9")
    assert run.wait() == 1
    assert "2 of 4 jobs failed" in run.said and "Traceback" not in run.said
    assert [run.status(number).state for number in range(4)] == [FAILED, DONE, FAILED, DONE]
    assert "sac.gamma=2.0: allowed is a number between 0 and 1" in (run.newest / "jobs/0/job.log").read_text()
    assert f"python {ROOT / 'run.py'} role=play env=gym/pendulum" in (run.newest / "jobs/1/job.log").read_text()
    bad, good = csv.DictReader((run.newest / "summary.csv").open())
    assert (bad["experiment"], bad["jobs"], bad["failed"]) == ("sac.gamma=2", "2", "2")
    assert (good["experiment"], good["jobs"], good["failed"]) == ("sac.gamma=0.9", "2", "0")
    gone(run)


def test_what_no_machine_of_its_own_can_hold_is_refused_and_a_cluster_waits_for_a_node(start, nodes, monkeypatch):
    run = start(None, "seed=1,2", "hydra.launcher.custom={late: 1}")
    assert run.wait() == 1
    assert "error: hydra.launcher: each job asks for 1 CPU, 1 late, which this machine does not have" in run.said
    monkeypatch.setenv("FORCE_COLOR", "1")  # a live table, also into a file
    run = start(nodes.address, "seed=1,2", "hydra.launcher.custom={late: 1}", "hydra.launcher.num_gpus=0.5")
    run.wait_for("waits for Ray to place it")
    assert "no node has room for a job, which asks for 1 CPU, 0.5 GPU, 1 late" in " ".join(run.said.split())
    nodes.add_node(num_cpus=2, num_gpus=1, resources={"late": 1})
    run.wait_until(run.children)
    variables = Path(f"/proc/{run.children()[0]}/environ").read_text().split("\0")
    assert {"CUDA_VISIBLE_DEVICES=0", "TF_FORCE_GPU_ALLOW_GROWTH=true"} <= set(variables)
    assert run.wait() == 0, run.said


def test_ctrl_c_ends_all_in_order_and_says_how_each_goes_on(start, nodes):
    run = start(nodes.address, LONG, "seed=1,2,3", "hydra.launcher.n_jobs=2", "base.name=c")
    run.wait_until(lambda: run.saved(0) and run.saved(1))
    run.process.send_signal(signal.SIGINT)
    assert run.wait(60) == 130, run.said
    gone(run)
    assert [run.status(number).state for number in (0, 1)] == [INTERRUPTED] * 2
    assert len(run.runs) == 2 and run.said.count("ckpt=latest") == 2  # the third never began
    assert f"job 1 goes on with: python {ROOT / 'run.py'} ckpt=latest env=gym/pendulum base.name=c-1" in run.said


def test_the_same_command_goes_on_after_kill(start, nodes):
    words = (nodes.address, "base.max_step=400", "seed=1,2", "base.name=k", "ckpt=auto")
    first = start(*words)
    first.wait_until(lambda: first.saved(0))
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    before = first.runs[0].steps[-1]
    again = start(*words)
    assert again.wait() == 0, again.said
    assert [path.path.name for path in again.runs] == ["k-0", "k-1"]
    assert [path.result["env_steps"] for path in again.runs] == [400, 400]
    assert f"resumed at step {before}" in again.runs[0].log
    gone(again)


def test_a_job_whose_ray_actor_was_killed_goes_on_and_without_restarts_it_fails(start, nodes):
    run = start(nodes.address, "base.max_step=300", "seed=1,2", "base.name=r")
    run.wait_until(lambda: run.saved(0) and run.ray_actor(0))
    os.kill(run.ray_actor(0), signal.SIGKILL)
    assert run.wait() == 0, run.said
    assert [path.result["env_steps"] for path in run.runs] == [300, 300]
    assert "resumed at step" in run.runs[0].log
    run = start(nodes.address, LONG, "seed=1", "base.name=once", "hydra.launcher.restarts=0")
    run.wait_until(lambda: run.saved(0) and run.ray_actor(0))
    os.kill(run.ray_actor(0), signal.SIGKILL)
    assert run.wait(60) == 1
    assert "killed by the loss of its Ray actor or node" in run.said and "Traceback" not in run.said
    gone(run)


def lose_a_node(run, nodes) -> None:
    """Removes a node on which a job runs that has saved."""
    running = lambda: [n for n in range(12) if run.saved(n) and (p := run.ray_actor(n)) and nodes.can_lose(p)]  # noqa: E731
    run.wait_until(running)
    nodes.remove_node_of(run.ray_actor(running()[0]))


def test_no_job_of_a_grid_is_lost_with_a_node(start, nodes):
    run = start(nodes.address, "base.max_step=200", "seed=range(12)", "base.name=g", "hydra.launcher.restarts=1")
    run.wait_for(" done after", times=2)
    lose_a_node(run, nodes)
    nodes.add_node(num_cpus=1)
    assert run.wait() == 0, run.said
    (row,) = csv.DictReader((run.newest / "summary.csv").open())
    assert (row["jobs"], row["failed"], len(row["each"].split())) == ("12", "0", 12)
    assert [path.result["env_steps"] for path in run.runs] == [200] * 12
    assert run.said.count("it goes on from its newest checkpoint (restart 1)") >= 1
    assert any("resumed at step" in path.log for path in run.runs)
    gone(run)


def test_no_trial_of_a_search_is_lost_with_a_node_or_with_the_command(start, nodes, tmp_path):
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    words = (
        nodes.address, "base.max_step=200", "eval.per_step=50", "sac.gamma=interval(0.9,0.99)",
        "hydra/sweeper=optuna", "hydra.sweeper.n_trials=12", "hydra.sweeper.study_name=s",
        "hydra.launcher.restarts=1",
        "hydra.sweeper.pruner=median", "hydra.sweeper.pruner_kwargs={n_startup_trials: 3}",
    )  # fmt: skip
    first = start(*words)
    first.wait_for("began", times=5)
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    run = start(*words)
    run.wait_for(" after", times=2)
    lose_a_node(run, nodes)
    nodes.add_node(num_cpus=1)
    assert run.wait() == 0, run.said
    assert run.said.count("it goes on from its newest checkpoint (restart 1)") >= 1
    journal = JournalStorage(JournalFileBackend(str(tmp_path / "m/pendulum/sweeps/s/journal.log")))
    trials = optuna.load_study(study_name="s", storage=journal).trials
    assert [trial.number for trial in trials] == list(range(12))
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    assert all(50 in trial.intermediate_values for trial in trials)
    gone(run)
