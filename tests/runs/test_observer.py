"""Who watches a run is told where it lies and what it does, and may end it."""

from __future__ import annotations

import pytest

from sac.roles.train import train
from sac.track.observer import Observer
from tests.runs.short_runs import PENDULUM, Runner


class Watcher(Observer):
    """Gives a run up at step `hopeless_at`."""

    def __init__(self, hopeless_at: int):
        self.hopeless_at, self.seen, self.asked, self.end = hopeless_at, {}, [], None

    def began(self, folder, config):
        self.folder = folder

    def promising(self, step, score):
        self.asked.append((step, score))
        return step < self.hopeless_at

    def scalars(self, values, step):
        self.seen |= values

    def close(self, exit_code, reason, result):
        self.end = exit_code, reason, result


@pytest.mark.parametrize(("hopeless_at", "steps", "reason"), [(40, 40, "pruned"), (60, 60, "max_step")])
def test_an_observer_ends_a_hopeless_run_but_not_one_that_has_come_to_its_end(
    monkeypatch, capfd, tmp_path, hopeless_at, steps, reason
):
    watcher, go = Watcher(hopeless_at), Runner(monkeypatch, capfd, tmp_path)
    monkeypatch.setattr("sac.roles.run", lambda config: train(config, observer=watcher))
    go.ok(*PENDULUM, "base.max_step=60", "eval.per_step=20", "sac.updates_per_step=0")
    result = go.run().result
    assert (result["reason"], result["env_steps"]) == (reason, steps) and result["success"] == (reason == "max_step")
    assert [step for step, _ in watcher.asked] == list(range(20, steps + 1, 20))
    assert watcher.asked[-1][1] == watcher.seen["eval/return"]
    assert watcher.end == (0, reason, result) and str(watcher.folder).endswith("pendulum/a")
    assert go.run().steps == [steps]
