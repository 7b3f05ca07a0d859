"""The arithmetic behind what populations are said to gain, and the environment whose rewards come late."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import delayed
from benchmarks.population import METHODS, TASKS, Found, measured
from benchmarks.population_judges import BY_EVALUATION, BY_TRAINING, curve, newest
from benchmarks.population_report import BASELINES, apart, in_pairs, report, share_ahead


def test_delayed_rewards_sum_to_those_of_pendulum():
    late, plain = delayed.make(), delayed.make().env
    late.reset(seed=3)
    plain.reset(seed=3)
    owed, seen = 0.0, []
    for step in range(1, 101):
        action = np.array([np.sin(step)], np.float32)
        reward, expected = late.step(action)[1], plain.step(action)[1]
        owed += expected
        if step % delayed.PAID_EVERY_STEPS == 0:
            assert reward == pytest.approx(owed)
            owed = 0.0
            seen.append(step)
        else:
            assert reward == 0.0
    assert len(seen) == 5


def test_what_is_owed_is_paid_when_an_episode_ends_and_forgotten_at_a_reset():
    class Ends(delayed.gymnasium.Env):
        observation_space = action_space = delayed.gymnasium.spaces.Box(-1, 1, (1,))

        def reset(self, **_):
            self.steps = 0
            return np.zeros(1, np.float32), {}

        def step(self, _):
            self.steps += 1
            return np.zeros(1, np.float32), 1.0, self.steps == 30, False, {}

    env = delayed.DelayedReward(Ends())
    for _ in range(2):
        env.reset()
        paid = [env.step(None)[1] for _ in range(30)]
        assert paid == [0.0] * 19 + [20.0] + [0.0] * 9 + [10.0]
    env.reset()
    env.step(None)
    env.reset()
    assert sum(env.step(None)[1] for _ in range(20)) == 20.0


def test_the_interval_of_a_difference_holds_it_and_shrinks():
    rng = np.random.default_rng(0)
    few, many = ([rng.normal(5, 1, n).tolist(), rng.normal(0, 1, n).tolist()] for n in (5, 50))
    for interval in (apart, in_pairs):
        low, high = interval(*many)
        assert low < 5 < high and high - low < np.diff(interval(*few))[0]
        assert interval([1.0, 1.0], [0.0, 0.0]) == (1.0, 1.0)
    assert share_ahead([1.0, 2.0, 0.0], [1.0, 0.0, 3.0]) == 0.5


def test_what_pairs_have_in_common_does_not_widen_the_interval_of_their_difference():
    base = np.random.default_rng(1).normal(0, 100, 10)
    low, high = in_pairs(base + 3, base)
    assert (low, high) == pytest.approx((3.0, 3.0))
    low, high = apart(base + 3, base)
    assert low < -20 and high > 20


def test_the_deployed_learner_is_known_without_its_evaluations(tmp_path):
    member = {"recent": [], "latest": None, "step": -1}
    members = {
        "learner-1": member | {"recent": [0.0, 9.0, 9.0], "latest": 9.0, "step": 5},
        "learner-2": member | {"recent": [7.0, 7.0, 7.0], "latest": 7.0, "step": 5},
        "learner-3": member | {"latest": 8.0, "step": 5},  # as an older version has saved it
        "learner-4": member | {"latest": 99.0},  # of networks that it has no more
    }
    (tmp_path / "evolver").mkdir()
    (tmp_path / "evolver" / "state.json").write_text(json.dumps({"members": members}))
    assert BY_TRAINING.deployed(tmp_path, [], 2) == 0 and BY_TRAINING.deployed(tmp_path, [], 10) == 2


def recorded(folder, evaluations, training):
    """A run folder whose evaluations end at steps 10, 20, ... and whose training episodes at 5, 15, ..."""
    folder.mkdir()
    (folder / "config.yaml").write_text("seed: 1\n")
    lines = ["env_step,eval/return,episode/return"]
    for i, (evaluation, episode) in enumerate(zip(evaluations, training)):
        lines += [f"{10 * i + 5},,{episode}", f"{10 * i + 10},{evaluation},"]
    (folder / "metrics.csv").write_text("\n".join([*lines, ""]))
    return folder


def test_a_judge_never_sees_the_evaluation_that_is_the_score(tmp_path):
    one = recorded(tmp_path / "one", [1.0, 5.0, 0.0], [7.0, 7.0, 1.0])
    other = recorded(tmp_path / "other", [2.0, 4.0, 9.0], [6.0, 8.0, 2.0])
    assert BY_EVALUATION.deployed(tmp_path, [one, other], 1) == 0  # 5 against 4, whatever comes last
    assert curve(BY_EVALUATION, [one, other])[1:] == [4.0, 0.0]
    assert curve(BY_TRAINING, [one, other]) == [1.0, 4.0, 9.0]
    assert newest(BY_EVALUATION, other) == 9.0 and newest(BY_TRAINING, one) == 1.0
    alike = recorded(tmp_path / "alike", [1.0, 5.0, 99.0], [0.0, 0.0, 0.0])
    assert curve(BY_EVALUATION, [one, alike])[2] == 0.0  # equals are not told apart by what comes later


def test_a_report_is_written_from_what_was_found(tmp_path, capsys):
    found = [
        Found("wide", method, seed, score + seed, score + seed, [score - 1, score + seed], 12000, 11000, 1.0, "abc", {})
        for method, score in ((BASELINES[0], -900.0), (BASELINES[1], -500.0), ("pbt", -150.0)) for seed in range(5)
    ]  # fmt: skip
    lines = "".join(json.dumps(vars(one)) + "\n" for one in found)
    (tmp_path / "evolver.jsonl").write_text(lines)
    assert measured(tmp_path / "evolver.jsonl") == found and measured(tmp_path / "none.jsonl") == []
    report(found, TASKS, METHODS, tmp_path)
    page = (tmp_path / "evolver.md").read_text()
    assert "+350.0" in page and "5 of 5" in page and "| pbt |" in page and "## delayed" not in page
    assert (tmp_path / "evolver.png").read_bytes().startswith(b"\x89PNG") and "P(better)" in capsys.readouterr().out
