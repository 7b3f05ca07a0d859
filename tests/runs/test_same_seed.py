"""Two runs of one seed are the same run, also where an environment draws from generators that all share."""

from __future__ import annotations

import numpy as np
import pytest
from short_runs import PENDULUM, Runner

DRAWER = (*PENDULUM, "base.build_path=tests.envs.drawers:Drawer-v0", "base.max_step=40", "base.n_agents=2")


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    return Runner(monkeypatch, capfd, tmp_path)


def rows(go, name, *more) -> dict[str, np.ndarray]:
    """What the memory of a run holds."""
    go.ok(*DRAWER, f"base.name={name}", *more)
    return {k: x for k, x in go.run(f"pendulum/{name}").arrays().items() if k.startswith("replay/")}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


@pytest.mark.slow
@pytest.mark.parametrize("draws", ["np.random", "observation_space", "'constructor: np_random'"])
def test_the_same_seed_plays_the_same_and_evaluation_changes_nothing(go, draws):
    kwargs = f"base.env_kwargs={{draws: {draws}}}"
    once = rows(go, "once", kwargs)
    assert same(once, rows(go, "again", kwargs))
    assert same(once, rows(go, "evaluated", kwargs, "eval.per_step=10", "eval.episodes=2"))
    assert not same(once, rows(go, "other", kwargs, "seed=2"))


@pytest.mark.slow
def test_what_is_evaluated_depends_on_the_seed(go):
    def returns(name, *more):
        rows(go, name, "base.env_kwargs={draws: np.random}", "eval.per_step=10", "eval.episodes=2", *more)
        return [row["eval/return"] for row in go.run(f"pendulum/{name}").rows if row.get("eval/return")]

    once = returns("once")
    assert len(set(once)) == 4 and once == returns("again") != returns("other", "seed=2")
