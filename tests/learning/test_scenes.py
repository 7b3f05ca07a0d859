"""Training meets the goals of the scenes with hybrid actions, several behaviours and groups."""

from __future__ import annotations

import pytest
import yaml

from sac.from_mlagents.__main__ import main
from tests.from_mlagents.trainer_files import configuration
from tests.runs.short_runs import Runner

pytestmark = [pytest.mark.learning, pytest.mark.timeout(300)]


@pytest.mark.parametrize("scene", ["gripper", "workshop", "lifters"])
def test_a_scene_is_solved(monkeypatch, capfd, tmp_path, scene):
    go = Runner(monkeypatch, capfd, tmp_path)
    go.ok(f"env={scene}", "base.models=m", "base.name=a", "seed=1", "track.tensorboard=false", "track.wandb=disabled")
    assert go.run(f"{scene}/a").result["reason"] == "solved"


def test_a_converted_trainer_configuration_solves_its_scene(monkeypatch, capfd, tmp_path):
    # measured: 100 after 40,007 steps
    go = Runner(monkeypatch, capfd, tmp_path)
    player = {"env_settings": {"env_path": "player:ball3d", "num_areas": 12}}
    (tmp_path / "trainer.yaml").write_text(yaml.safe_dump(configuration("3DBall", "sac") | player))
    assert main([str(tmp_path / "trainer.yaml"), "--out", str(tmp_path / "conf" / "env" / "ball.yaml")]) == 0
    told = capfd.readouterr().out
    assert f"python run.py --config-dir {tmp_path / 'conf'} env=ball" in told
    go.ok(
        "--config-dir", str(tmp_path / "conf"), "env=ball", "base.models=m", "base.name=a", "seed=1",
        "track.tensorboard=false", "track.wandb=disabled", "eval.episodes=12", "eval.window=12", "eval.per_step=20000",
        "eval.stop_return=90",
    )  # fmt: skip
    assert go.run("3dball/a").result["reason"] == "solved"
