"""Training meets the goals of the scenes with hybrid actions, several behaviours and groups."""

from __future__ import annotations

import pytest

from tests.runs.short_runs import Runner

pytestmark = [pytest.mark.learning, pytest.mark.timeout(300)]


@pytest.mark.parametrize("scene", ["gripper", "workshop", "lifters"])
def test_a_scene_is_solved(monkeypatch, capfd, tmp_path, scene):
    go = Runner(monkeypatch, capfd, tmp_path)
    go.ok(f"env={scene}", "base.models=m", "base.name=a", "seed=1", "track.tensorboard=false", "track.wandb=disabled")
    assert go.run(f"{scene}/a").result["reason"] == "solved"
