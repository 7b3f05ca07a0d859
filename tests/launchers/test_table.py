"""What the table of a multirun shows of jobs and of their processes."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from launchers.jobs import table as tables
from launchers.jobs.job import DONE, RUNNING, Job, Status
from launchers.jobs.table import Table

EVOLVER = Status(RUNNING, note="generation 5, 2 learners", seconds=7)
LEARNER = Status(RUNNING, step=1200, rate=60.4, return_=-321.0, seconds=7)


class Shown:
    """A running job with an evolver and a learner."""

    def __init__(self, job):
        self.job = job

    def status(self):
        return LEARNER

    def processes(self):
        return [("evolver", EVOLVER), ("1: train", LEARNER)]


@pytest.fixture
def job(tmp_path):
    return Job(0, tmp_path, None, ["env=gym/pendulum"], {})


def cells(screen: StringIO, what: str) -> list[str]:
    """The newest row about `what`."""
    row = next(line for line in reversed(screen.getvalue().splitlines()) if what in line)
    return [cell.strip() for cell in row.split("│")[1:-1]]


def test_in_a_terminal_each_process_has_a_row_and_an_evolver_no_steps(job):
    screen = StringIO()
    with Table(1, Console(file=screen, force_terminal=True, color_system=None, width=140)) as table:
        table.began(job)
        table.refresh([Shown(job)])
        assert cells(screen, "evolver") == ["", "evolver: generation 5, 2 learners", RUNNING, "", "", "", "", "7 s"]
        assert cells(screen, "1: train") == ["", "1: train", RUNNING, "1,200", "", "", "60", "7 s"]
        table.ended(job, Status(DONE, step=3000, result={"objective": -150.0}))
    assert cells(screen, "env=gym/pendulum")[2:4] == [DONE, "3,000"]
    assert "1 of 1 jobs ended" in screen.getvalue()


def test_without_a_terminal_lines_tell_how_far_each_process_is(job, monkeypatch):
    monkeypatch.setattr(tables, "PLAIN_LINE_INTERVAL_SECONDS", 0.0)
    screen = StringIO()
    with Table(1, Console(file=screen, width=140)) as table:
        table.began(job)
        table.refresh([Shown(job)])
        table.ended(job, Status(DONE, step=3000, seconds=9.0, result={"objective": -150.0}))
    assert screen.getvalue().splitlines() == [
        f"job 0 began: env=gym/pendulum  log: {job.screens}",
        "job 0 at step 1,200, return -321, 60 steps/s",
        "  evolver: generation 5, 2 learners",
        "  1: train: at step 1,200, return -321, 60 steps/s",
        "job 0 done after 3,000 steps and 9 s, objective -150",
    ]
