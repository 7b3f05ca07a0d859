"""CONTRIBUTING's recipe for an extra runs here, and what CONTRIBUTING says of its effect is true."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from sac.extras.extra import Extras
from tests.agent.agent_kit import SPECS, make_agent, single, weights, windows

GUIDE = Path(__file__).parents[2] / "CONTRIBUTING.md"


def recipe():
    diff = re.search(r"```diff\n\+\+\+ b/sac/extras/motion\.py\n(.*?)\+\+\+ b/", GUIDE.read_text(), re.S)[1]
    names: dict = {}
    exec("\n".join(line[1:] for line in diff.splitlines()), names)
    return names["Motion"]


@pytest.mark.slow
def test_the_recipes_bonus_enters_the_targets():
    batch = single(windows(SPECS["continuous"], 8, steps=1))
    plain, moving = make_agent(SPECS["continuous"]), make_agent(SPECS["continuous"], extras=Extras([recipe()(2.0)]))
    before, _ = plain.update(batch)
    after, _ = moving.update(batch)
    z = batch.obs["v"][0]
    bonus = 2.0 * np.linalg.norm(z[:, 1:] - z[:, :-1], axis=-1)
    valid = batch.valid[0] > 0
    assert after["motion/bonus"] == pytest.approx(bonus[valid].mean(), rel=1e-5)
    assert after["critic/target"] - before["critic/target"] == pytest.approx(bonus[valid].mean(), rel=1e-4)


@pytest.mark.slow
def test_an_extra_of_strength_nothing_changes_no_bit():
    batch = single(windows(SPECS["hybrid"], 8, steps=2))
    plain, idle = (make_agent(SPECS["hybrid"], extras=e, n_step=2) for e in (None, Extras([recipe()(0.0)])))
    for agent in (plain, idle):
        agent.update(batch)
    found = weights(idle)
    for name, value in weights(plain).items():
        np.testing.assert_array_equal(value, found[name], err_msg=name)
