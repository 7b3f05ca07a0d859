"""`python -m sac.export RUN` on runs that run.py has made."""

from __future__ import annotations

import json

import onnx
import pytest

from sac.export.__main__ import main
from tests.runs.short_runs import PENDULUM, TINY, Runner

pytestmark = pytest.mark.slow
NO_UPDATES = "sac.updates_per_step=0"


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    return Runner(monkeypatch, capfd, tmp_path)


def exported(capfd, *arguments) -> tuple[int, str, str]:
    capfd.readouterr()
    code = main([str(argument) for argument in arguments])
    return code, *capfd.readouterr()


def test_a_run_becomes_a_checked_file(go, capfd):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=60")
    code, out, err = exported(capfd, "m/pendulum/a")
    assert code == 0 and err == "", err
    assert "checkpoint of step 60" in out and "wrote m/pendulum/a/pendulum.onnx" in out
    assert "1,000 observations in the memory of step_000000000060" in out and "it keeps ML-Agents' contract" in out
    model = onnx.load("m/pendulum/a/pendulum.onnx")
    found = {entry.key: entry.value for entry in model.metadata_props}
    assert found["scene"] == "pendulum" and found["step"] == "60" and found["run"] == "m/pendulum/a"
    assert set(found) == {"run", "scene", "step", "commit", "sac-runner"}


def test_actions_are_in_units_of_the_environment(go, capfd):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=5")
    scene = json.loads((go.run().path / "scene.json").read_text())
    assert scene["action_bounds"] == [[-2.0], [2.0]] and scene["spec"]["sensors"][0]["shape"] == [3]
    assert exported(capfd, "m/pendulum/a", "--checkpoint", "latest", "--out", "pendulum.onnx")[0] == 0


def test_a_unity_scene_needs_no_player_for_its_export(go, capfd):
    go.ok("env=grid_world", *TINY, NO_UPDATES, "base.max_step=40", "base.n_agents=2", "replay.save=false",
          "eval.stop_return=null")  # fmt: skip
    (go.run("grid_world/a").path / "config.yaml").write_text(
        (go.run("grid_world/a").path / "config.yaml").read_text().replace("player:grid_world", "player:none")
    )
    code, out, err = exported(capfd, "m/grid_world/a")
    assert code == 0, err
    assert "obs_0 float32 [B, 3, 20, 20], action_masks float32 [B, 5]" in out
    assert "random observations (the run keeps no memory)" in out


def test_an_older_run_starts_its_environment_once(go, capfd):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=5")
    scene = go.run().path / "scene.json"
    before = scene.read_text()
    scene.unlink()
    assert "this run has no scene.json" in exported(capfd, "m/pendulum/a")[1]
    assert scene.read_text() == before
    scene.write_text("{")
    code, _, err = exported(capfd, "m/pendulum/a")
    assert code == 1 and "scene.json cannot be read" in err and "remove it" in err


def test_other_formats(go, capfd):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=5")
    assert "numpy_player.py, which plays it" in exported(capfd, "m/pendulum/a", "--format", "numpy")[1]
    assert (go.run().path / "pendulum.npz").exists() and (go.run().path / "numpy_player.py").exists()
    assert "its signature takes obs_0" in exported(capfd, "m/pendulum/a", "--format", "savedmodel")[1]
    assert (go.run().path / "pendulum" / "saved_model.pb").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["m/pendulum/b"], "m/pendulum/b is no run folder; give one by base.name=..., newest first: a"),
        (["m/pendulum/a", "--checkpoint", "7"], "no such step"),
        (["m/pendulum/a", "--checkpoint", "newest"], "--checkpoint newest: allowed is best, latest or a step"),
        (["m/pendulum/a", "--check", "nothing.onnx"], "cannot read nothing.onnx"),
        (["m/pendulum/a", "--out", "m/pendulum/a/config.yaml/x.onnx"], "cannot write"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(go, capfd, arguments, words):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=5")
    code, _, err = exported(capfd, *arguments)
    assert code == 1 and words in err and "Traceback" not in err, err


def test_a_broken_file_fails_the_check(go, capfd):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=5")
    assert exported(capfd, "m/pendulum/a")[0] == 0
    model = onnx.load("m/pendulum/a/pendulum.onnx")
    model.graph.output.pop(0)
    onnx.save(model, "broken.onnx")
    code, out, _ = exported(capfd, "m/pendulum/a", "--check", "broken.onnx")
    assert code == 1 and "wrong: output version_number is missing" in out


def test_foreign_code_is_not_run_without_consent(go, capfd, tmp_path):
    go.ok(*PENDULUM, NO_UPDATES, "base.max_step=5")
    nn = go.run().path / "nn.py"
    nn.write_text("from pathlib import Path\nPath('was_run').touch()\n")
    code, _, err = exported(capfd, "m/pendulum/a")
    assert code == 1 and "say so (once for this code): python -m sac.export m/pendulum/a --trust" in err
    assert not (tmp_path / "was_run").exists()
    assert exported(capfd, "m/pendulum/a", "--trust")[0] == 0 and (tmp_path / "was_run").exists()
    assert exported(capfd, "m/pendulum/a")[0] == 0
