"""The cell that commit c84476e left (cart_pole, 120 steps) goes on by its command, with every row it had."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from sac.replay import Uniform
from sac.replay.durable import DurableReplay
from sac.types import Sensor, Spec, Step, joined
from tests.launchers.multiruns import Multirun
from tests.runs.short_runs import RunFiles

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"), pytest.mark.timeout(300)]
PAST = Path(__file__).parents[1] / "data" / "c84476e" / "cell"
STEPS = 120  # of the past cell
COMMAND = (
    "env=gym/cart_pole", "hydra/launcher=roles", "hydra.launcher.actors=1", "base.name=past", "seed=1",
    "eval.per_step=-1", "eval.stop_return=null", "sac.use_normalization=true", "base.max_actors_each_learner=1",
    "replay.capacity=300", "sac.ensemble_q_num=2", "sac.ensemble_q_sample=2",
    "base.nn_kwargs={ModelPolicy: {hidden: [8]}, ModelQ: {hidden: [8]}}",
)  # fmt: skip


def rows_of(folder: Path) -> Step:
    """All rows that the replay in `folder` holds, oldest first."""
    spec = Spec((Sensor("obs", (4,)),), 0, (2,))
    replay = DurableReplay(spec, 0, Uniform(300), folder, steps=1)
    rows = joined(list(replay.arrived()))
    replay.close()
    return rows


def test_a_past_cell_goes_on(tmp_path):
    run = tmp_path.resolve() / "m" / "cart_pole" / "past-0"
    shutil.copytree(PAST, run)
    shutil.copytree(PAST / "replay", tmp_path / "before")
    before = rows_of(tmp_path / "before")
    assert np.count_nonzero(~before.last) >= STEPS
    cell = Multirun(tmp_path.resolve(), *COMMAND, f"base.max_step={STEPS + 40}")
    assert cell.wait(200) == 0, cell.said
    files = RunFiles(run)
    assert files.result["env_steps"] >= STEPS + 40 and files.result["updates"] > STEPS
    after = rows_of(run / "replay")
    k = len(before.reward) - 1  # the newest row may have become the end of an episode that was cut
    assert len(after.reward) >= k + 40
    np.testing.assert_array_equal(after.obs["obs"][:k], before.obs["obs"][:k])
    for name in ("stream", "discrete", "log_prob", "reward", "discount"):
        np.testing.assert_array_equal(getattr(after, name)[:k], getattr(before, name)[:k], name)
