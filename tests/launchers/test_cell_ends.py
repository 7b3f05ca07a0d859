"""How a cell counts as ended, by processes that only say so."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from launchers.cells import role_jobs
from launchers.cells.cell import Cell
from launchers.cells.process import Process
from launchers.jobs.job import CHILD_MODULE, DONE, FAILED, RUNNING, Job, Status
from launchers.jobs.resources import Share


class Told:
    """A process that ends as it is told."""

    def __init__(self):
        self.now, self.asked = Status(RUNNING), False

    def status(self) -> Status:
        return self.now

    def silent_seconds(self) -> float:
        return 0.0

    def poll(self) -> Status | None:
        return self.now if self.now.over else None

    def ask_to_end(self) -> None:
        self.asked = True

    def end(self) -> None: ...


@pytest.fixture
def cell(tmp_path):
    """A cell and its processes by role."""
    config = OmegaConf.create({"net": {"number": 1}, "ckpt": None})
    told = {role: Told() for role in ("replay", "learner", "actor")}
    job, share = Job(0, tmp_path, config, [], {}), Share(0, 1)
    cell = Cell(job, share, [Process(role, job, share, start=lambda *_, t=t: t) for role, t in told.items()])
    cell.start()
    return cell, told


def test_after_success_the_others_are_asked_to_end(cell):
    cell, told = cell
    told["learner"].now = Status(DONE, result={"objective": 3.0})
    assert cell.poll() is None and told["actor"].asked and not told["replay"].asked
    told["actor"].now = Status(DONE)
    assert cell.poll() is None and told["replay"].asked
    told["replay"].now = Status(DONE)
    assert cell.poll().state == DONE and cell.poll().result == {"objective": 3.0}


def test_a_replay_that_fails_as_it_ends_is_a_failure_of_the_cell(cell):
    cell, told = cell
    told["learner"].now, told["actor"].now = Status(DONE, result={"objective": 3.0}), Status(DONE)
    cell.poll()
    told["replay"].now = Status(FAILED, error="OSError: disk full", traceback="...")
    cell.poll()
    outcome = cell.poll()
    assert outcome.state == FAILED and outcome.error == "replay, as it ended: OSError: disk full"
    assert outcome.result == {"objective": 3.0} and outcome.traceback == "..."


def test_a_replay_that_is_killed_as_it_ends_has_lost_no_row(cell):
    cell, told = cell
    told["learner"].now, told["actor"].now = Status(DONE), Status(DONE)
    cell.poll()
    told["replay"].now = Status(FAILED, error="killed by SIGKILL")
    cell.poll()
    assert cell.poll().state == DONE


def test_an_actor_that_fails_as_it_ends_is_none(cell):
    cell, told = cell
    told["learner"].now, told["actor"].now, told["replay"].now = Status(DONE), Status(FAILED), Status(DONE)
    for _ in range(3):
        cell.poll()
    assert cell.poll().state == DONE


def test_in_a_search_the_learner_of_a_cell_runs_the_module_that_reports(tmp_path, monkeypatch):
    monkeypatch.setattr(role_jobs, "trusted", lambda job: job)
    config = OmegaConf.create({"role": "train", "net": {"number": 1}, "ckpt": None})
    job = Job(0, tmp_path, config, [], {}, trial={"number": 3}, module="launchers.search.trial_child")
    threads = {"replay": 1, "learner": 2, "actor": 1}
    processes = role_jobs.processes_of(job, Share(0, 4), ("replay", "learner", "actor"), 2, threads, 10.0)
    assert [process.name for process in processes] == ["replay", "learner", "actor 1", "actor 2"]
    plain, reporting = (CHILD_MODULE, None), ("launchers.search.trial_child", {"number": 3})
    assert [(process.job.module, process.job.trial) for process in processes] == [plain, reporting, plain, plain]
