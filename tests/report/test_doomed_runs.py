"""Runs made to collapse on purpose get their warning, one that is well gets none; all are read on one page."""

from __future__ import annotations

import browser
import pytest
from doomed import COMMON, MAY_GIVE, RESUMED, RUNS
from short_runs import Runner

from sac.report.__main__ import main
from sac.report.curves import read_run
from sac.report.diagnosis import diagnose


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    return Runner(monkeypatch, capfd, tmp_path)


def titles(folder) -> set[str]:
    return {finding.kind.title for finding in diagnose(read_run(folder))}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_run_gets_the_warnings_that_it_deserves(go, name):
    changes, expected = RUNS[name]
    go.ok(*COMMON, f"base.name={name}", *changes)
    folder = go.run(f"pendulum/{name}").path
    assert titles(folder) - MAY_GIVE.get(name, set()) == expected
    expected = titles(folder)
    assert main([str(folder)]) == 0
    text = browser.dom(folder / "report.html", go.folder)
    assert all(f"<h3>{title}</h3>" in text for title in expected)
    assert text.count('class="alarm"') == len(expected)
    assert read_run(folder).commit, "the commit that trained it"


@pytest.mark.slow
def test_another_ratio_after_a_resume_is_noticed(go):
    first, second = RESUMED
    go.ok(*COMMON, *first)
    assert titles(go.run().path) == set()
    go.ok("env=gym/pendulum", "base.models=m", "base.name=a", *second)
    assert titles(go.run().path) == {"Updates per step are off target"}


@pytest.mark.slow
@pytest.mark.parametrize("cause", ["sac.learning_rate=1e30", "base.env_kwargs={scale: 1e38}"])
def test_a_run_that_diverged_is_noticed(go, cause):
    assert go(*COMMON, "base.max_step=400", "replay.td_error_max=1e30", cause).code == 1
    assert titles(go.run().path) == {"Numbers are not finite"}
    assert main([str(go.run().path)]) == 0
