"""Every warning by hand-made metrics: it fires, says since when, and stays silent where all is well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sac.report.curves import RunCurves
from sac.report.diagnosis import CHECKS, diagnose, last_stretch, smoothed

STEPS = np.arange(1000, 21_000, 1000)  # twenty records
N = len(STEPS)
CONFIG = {"sac.gamma": 0.99, "sac.tau": 0.005, "replay.batch_size": 256, "sac.updates_per_call": 1}
HEALTHY = {
    "alpha/continuous": 0.05, "policy/entropy_continuous": -2.0, "policy/saturated": 0.3, "normalizer/clipped": 0.0,
    "critic/td_error": 0.5, "critic/loss": 1.0, "eval/q_start": 60.0, "eval/discounted_return": 55.0,
    "eval/q_rest": 5.0, "eval/length": 200.0, "replay/updates_per_step": 1.0, "replay/updates_per_step_target": 1.0,
    "episode/lost": 0.0,
}  # fmt: skip


def run(config=None, failure="", **changed) -> RunCurves:
    """Twenty records of a healthy run, some metrics replaced by a number or by twenty."""
    values = HEALTHY | {name.replace("__", "/"): value for name, value in changed.items()}
    columns = {k: (STEPS.astype(float), np.broadcast_to(np.array(v, float), N).copy()) for k, v in values.items()}
    return RunCurves(Path("r"), CONFIG | (config or {}), columns, failure=failure)


def titles(*args, **changed) -> list[str]:
    return [finding.kind.title for finding in diagnose(run(*args, **changed))]


def late(before, after, at=12):
    return np.where(np.arange(N) < at, before, after)


def test_a_healthy_run_and_an_empty_one_have_none():
    assert titles() == []
    assert diagnose(RunCurves(Path("r"), {}, {})) == []


@pytest.mark.parametrize(
    ("changed", "title", "since"),
    [
        ({"alpha__continuous": late(0.05, 5e-5)}, "Alpha has collapsed", 13_000),
        ({"alpha__discrete": late(0.05, 2e-9, 0)}, "Alpha has collapsed", 1000),
        ({"alpha__continuous": late(0.05, 7.389)}, "Alpha is at its upper end", 13_000),
        ({"policy__saturated": late(0.3, 1.0)}, "Actions are saturated", 17_000),
        ({"normalizer__clipped": late(0.0, 0.02)}, "The normaliser clips", 13_000),
        ({"eval__q_start": late(60, 120)}, "Q is far above the returns", 13_000),
        ({"eval__q_start": late(60, 1e7), "eval__discounted_return": late(55, 9e6 + 50), "eval__q_rest": late(5, 9e6)},
         "Q is far above the returns", 13_000),
        # 87 for entropy, 20 for rewards
        ({"alpha__discrete": 1.0, "policy__entropy_discrete": late(0.1, 1.0), "eval__discounted_return": 25.0},
         "Entropy outweighs the rewards", 13_000),
        ({"replay__updates_per_step": late(1.0, 0.7)}, "Updates per step are off target", 13_000),
        ({"replay__updates_per_step": late(1.0, 1.2)}, "Updates per step are off target", 13_000),
        ({"episode__lost": late(0, 1)}, "Episodes were lost", 13_000),
        ({"critic__loss": late(1.0, np.nan)}, "Numbers are not finite", 13_000),
        ({"policy__loss": late(1.0, np.inf, 19)}, "Numbers are not finite", 20_000),
    ],
)  # fmt: skip
def test_each_fires_with_its_step(changed, title, since):
    [finding] = diagnose(run(**changed))
    assert (finding.kind.title, finding.since) == (title, since)
    assert f"{since:,}" in finding.seen and finding.kind.means and "sac." in finding.kind.attempt + "sac."


@pytest.mark.parametrize(
    "changed",
    [
        {"alpha__continuous": late(1e-5, 0.05, 2)},  # two records are not a while
        {"policy__saturated": np.where(np.arange(N) % 4 == 0, 1.0, 0.7)},
        {"policy__saturated": 0.89},
        {"normalizer__clipped": np.where(np.arange(N) == 7, 0.004, 0.0)},
        {"eval__q_start": 76.0},  # 50 were earned: half of it is allowed
        {"eval__q_start": late(120, 60)},  # mended itself
        {"eval__discounted_return": 0.1, "eval__q_rest": 0.0, "eval__q_start": 1.5},  # within three TD errors
        # fifty were earned once, next to nothing is now: what Q still says is little beside the fifty
        {"eval__discounted_return": late(55, 5.1, 8), "eval__q_start": late(60, 9, 8)},
        {"alpha__discrete": 0.5, "policy__entropy_discrete": 1.0},  # 43 for entropy, 50 for rewards
        {"alpha__discrete": late(1.0, 0.1), "policy__entropy_discrete": 1.0},  # mended itself
        {"replay__updates_per_step": late(0.2, 1.0)},
        {"replay__updates_per_step": 0.0, "replay__updates_per_step_target": 0.0},
    ],
)  # fmt: skip
def test_what_is_short_small_or_over_does_not_fire(changed):
    assert titles(**changed) == []


def test_bonuses_that_q_holds_and_the_return_does_not_are_taken_off():
    """alpha * entropy = 1 for each of 200 steps, discounted: 87; an intrinsic reward likewise."""
    high = {"eval__q_start": 55 + 87 + 20}
    assert titles(**high) == ["Q is far above the returns"]
    assert titles(**high, alpha__continuous=0.5, policy__entropy_continuous=2.0) == ["Entropy outweighs the rewards"]
    assert titles(**high, curiosity__bonus=1.0) == []


@pytest.mark.parametrize(("soft", "kinds"), [(True, "cd"), (None, "c"), (False, "")])
def test_only_entropy_that_q_is_paid_for_counts(soft, kinds):
    """A bonus of 0.6 a step, 52 in all, beside rewards of 40: taken off from Q, and too much of it."""
    promised = {"eval__discounted_return": 45.0, "eval__q_start": 45 + 52 + 10}
    for kind, name in (("c", "continuous"), ("d", "discrete")):
        bonus = {f"alpha__{name}": 0.6, f"policy__entropy_{name}": 1.0}
        expected = "Entropy outweighs the rewards" if kind in kinds else "Q is far above the returns"
        assert titles({"sac.soft_target": soft}, **promised, **bonus) == [expected]


def test_critics_that_began_at_zero_get_time_to_come_down():
    """Costs of 500 in 20,000 updates: with tau = 0.005 a third is still unknown, with 0.05 nothing."""
    costs = {"eval__discounted_return": -500.0, "eval__q_rest": 0.0, "eval__q_start": -200.0}
    assert titles(**costs) == []
    assert titles({"sac.tau": 0.05}, **costs) == ["Q is far above the returns"]


def test_fused_calls_may_be_late_at_first():
    few = {"sac.updates_per_call": 2000}  # ten calls in all
    assert titles(few, replay__updates_per_step=0.5) == []


def test_a_run_that_diverged_says_so_in_its_log():
    [finding] = diagnose(run(failure="training has diverged: after 17 updates critic/loss is not finite"))
    assert finding.kind.title == "Numbers are not finite" and "after 17 updates" in finding.seen
    assert diagnose(run(failure="the run failed: wheel came off")) == []


def test_a_stretch_must_be_long_and_the_last_one_counts():
    def stretch(pattern):
        return last_stretch(np.array([c == "x" for c in pattern]))

    assert stretch("") is None and stretch("xx") is None and stretch("x.x.x.x") is None
    assert stretch("xxx") == (0, 2) and stretch("xxx..xxxx.xx") == (5, 8)
    assert stretch("." * 36 + "xxx") is None and stretch("." * 36 + "xxxx") == (36, 39)  # a tenth of forty is four


def test_shares_are_averaged_over_the_records_before():
    assert smoothed(np.array([5.0, 0, 0, 0, 0, 10, 0])).tolist() == [5, 2.5, 5 / 3, 1.25, 1, 2, 2]
    assert len(smoothed(np.zeros(0))) == 0


def test_nothing_shown_is_left_unchecked():
    assert len(set(CHECKS)) == len(CHECKS) == 9


CELL = {"actors__present": 2.0}


def test_a_cell_whose_learner_cannot_follow_is_told_apart():
    assert titles(**CELL, replay__updates_per_step=late(1.0, 0.3)) == ["The learner is slower than its actors"]
    assert titles({"replay.limiter": "free"}, **CELL, replay__updates_per_step=late(1.0, 3.0)) == []


def test_a_learner_without_work_says_so():
    """A summary each 1,000 updates at 100 a second lasts 10 s; it waits 8 of them, then 1."""
    of_time = {"rate__updates": 100.0}
    assert titles(**CELL, **of_time, learner__waited=np.arange(N) * 8.0) == ["The learner waits for its actors"]
    assert titles(**CELL, **of_time, learner__waited=np.arange(N) * 1.0) == []
