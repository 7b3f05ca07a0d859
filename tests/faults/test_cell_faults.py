"""What may happen to a cell, and what must hold then (F1-F7, F14-F16: the numbers of docs/results/faults.md)."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.faults.cells import RunningCell
from tests.figures import figure

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.timeout(400),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cell").resolve()


@pytest.fixture(scope="module")
def cell(folder):
    """One cell that survives all that the tests of this module do to it, until the last of them ends it."""
    started = RunningCell(folder)
    yield started
    started.end()
    for pid in started.processes():
        os.kill(pid, signal.SIGKILL)


def test_an_actor_that_is_killed_comes_back(cell):
    cell.works()
    for _ in range(3):
        others = {role: cell.pid(role) for role in ("replay", "learner", "actor-2")}
        step, killed = cell.step("replay"), cell.kill("actor-1")
        back = cell.seconds_until(lambda killed=killed: cell.pid("actor-1") not in (0, killed), 60)
        acting = back + cell.seconds_until(lambda: cell.step("actor-1") > 0, 60)
        figure("F1", "actor started again after", back, "s", 8)
        figure("F1", "actor acting again after", acting, "s", 20)
        assert cell.step("replay") > step, "the others have gone on"
        assert others == {role: cell.pid(role) for role in others}, "no other process was started again"


def test_a_replay_that_is_killed_keeps_every_row(cell):
    cell.moves()
    step, others = cell.step("replay"), [cell.pid(role) for role in ("learner", "actor-1", "actor-2")]
    killed = cell.kill("replay")
    began = time.monotonic()
    cell.wait_until(lambda: cell.pid("replay") not in (0, killed) and cell.step("replay") > step, 60)
    figure("F2", "replay accepts rows again after", time.monotonic() - began, "s", 8)
    cell.moves()
    assert [cell.pid(role) for role in ("learner", "actor-1", "actor-2")] == others, "they went on by themselves"


def test_a_learner_that_is_killed_goes_on_from_its_checkpoint(cell):
    cell.wait_until(lambda: len(list((cell.run / "checkpoints").glob("step_*"))) > 0, 60)
    for _ in range(2):
        updates, killed = cell.updates(), cell.kill("learner")
        began = time.monotonic()
        cell.wait_until(lambda killed=killed: cell.pid("learner") not in (0, killed), 60)
        cell.wait_until(lambda updates=updates: cell.updates() > updates + 5, 90)  # 4 were promised to the dead one
        figure("F3", "first update after", time.monotonic() - began, "s", 60)
    with (cell.run / "metrics.csv").open() as file:
        steps = [int(row["env_step"]) for row in csv.DictReader(file)]
    assert steps == sorted(steps), "what a checkpoint has taken back is not in the log"


def test_a_stopped_replay_holds_actors_up_and_nothing_is_lost(cell):
    cell.moves()
    actor, replay = cell.pid("actor-2"), cell.pid("replay")
    before, step = _memory(actor), cell.step("actor-2")
    os.kill(replay, signal.SIGSTOP)
    try:
        time.sleep(6)
        grown = (_memory(actor) - before) / 2**20
    finally:
        os.kill(replay, signal.SIGCONT)
    cell.moves()
    figure("F7", "an actor's memory has grown by", grown, "MiB", 64)
    cell.wait_until(lambda: cell.step("actor-2") > step, 30)
    assert cell.pid("replay") == replay and cell.pid("actor-2") == actor


def test_after_a_kill_of_the_parent_nothing_is_left_and_the_command_goes_on(cell, folder):
    cell.moves()
    step = cell.step("replay")
    cell.process.kill()
    cell.process.wait()
    figure("F5", "nothing is left after", cell.all_gone(5), "s", 2)
    again = RunningCell(folder)
    try:
        again.wait_for("job 0 began")
        again.wait_until(lambda: again.step("replay") >= step and again.step("learner") > 0, 120)
        again.moves(120)
        _ends_in_order(again, signal.SIGTERM, 75)
    finally:
        again.end()


def test_ctrl_c_ends_a_cell_in_order(tmp_path):
    cell = RunningCell(tmp_path.resolve())
    try:
        cell.works()
        _ends_in_order(cell, signal.SIGINT, 130)
    finally:
        cell.end()


def _ends_in_order(cell: RunningCell, number: int, code: int) -> None:
    began = time.monotonic()
    cell.process.send_signal(number)
    assert cell.wait(30) == code, cell.said
    figure("F6", f"ended in order after {signal.Signals(number).name} in", time.monotonic() - began, "s", 12)
    cell.all_gone(2)
    newest = max((cell.run / "checkpoints").glob("step_*"))
    assert (newest / "manifest.json").exists() and "Traceback" not in cell.said
    manifest, saved = json.loads((newest / "manifest.json").read_text()), cell.status("learner")
    assert saved["state"] == "interrupted" and manifest["step"] == saved["result"]["env_steps"], "saved at its end"


BROKEN = """
from sac.nets.defaults import ModelPolicy as Default

class ModelPolicy(Default):
    def call(self, z):
        if z.shape[0] == 8:
            raise RuntimeError("a bug in the update")
        return super().call(z)
"""


def test_an_exception_in_the_learner_ends_the_cell(tmp_path):
    (tmp_path / "nn.py").write_text(BROKEN)
    cell = RunningCell(tmp_path.resolve(), f"base.nn={tmp_path / 'nn.py'}")
    try:
        cell.wait_until(lambda: cell.status("learner").get("state") == "failed", 120)
        figure(
            "F16", "all processes of the cell ended after", cell.seconds_until(lambda: not cell.children(), 30), "s", 5
        )
        assert cell.wait(30) == 1
    finally:
        cell.end()
    cell.all_gone(2)
    told, _, traceback = cell.said.rpartition("Traceback (most recent call last):")
    assert "learner: RuntimeError" in told and "see m/pendulum/multirun" in told
    assert "a bug in the update" in traceback and "table:" not in traceback, "the traceback comes last"
    assert not list((cell.run / "checkpoints").glob("step_*")), "nothing of it was saved"


def _memory(pid: int) -> int:
    """Bytes that a process holds in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
