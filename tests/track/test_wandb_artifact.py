"""track.wandb_artifacts: which files of a run go up, and that they play."""

from __future__ import annotations

import json
import os
import shutil
import sys

import pytest

from sac.assemble import model_files
from sac.runs.folder import RunFolder
from tests.runs.short_runs import PENDULUM, Runner
from tests.track.wandb_log import held


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    hooks = sys.exit, sys.excepthook  # wandb puts its own there
    yield Runner(monkeypatch, capfd, tmp_path)
    sys.exit, sys.excepthook = hooks


def folder_with(path, evaluations: dict[int, float | None]) -> RunFolder:
    """A run folder whose checkpoints, by step, were evaluated so."""
    for step, evaluation in evaluations.items():
        saved = path / "checkpoints" / f"step_{step:012d}"
        saved.mkdir(parents=True)
        (saved / "manifest.json").write_text(json.dumps({"evaluation": evaluation}))
        for name in ("agent.npz", "replay.npz"):
            (saved / name).touch()
    (path / "config.yaml").touch()
    return RunFolder(path)


@pytest.mark.parametrize(
    ("evaluations", "chosen"),
    [({10: 1.0, 20: 5.0, 30: 2.0}, 20), ({10: None, 20: None}, 20), ({10: 0.0, 20: None}, 10)],
)
def test_the_best_checkpoint_without_the_memory_goes_up_else_the_latest(tmp_path, evaluations, chosen):
    files = model_files(folder_with(tmp_path, evaluations))
    saved = f"checkpoints/step_{chosen:012d}"
    assert set(files) == {f"{saved}/manifest.json", f"{saved}/agent.npz", "config.yaml"}
    assert all(path == tmp_path / name for name, path in files.items())


def test_nothing_goes_up_before_the_first_checkpoint(tmp_path):
    assert model_files(folder_with(tmp_path, {})) == {}


@pytest.mark.slow
def test_what_goes_up_is_a_run_that_plays(go):
    (go.folder / "mine.py").write_text(
        "from sac.nets.defaults import ModelQ as Default\n\n\nclass ModelQ(Default):\n    pass\n"
    )
    words = ("base.max_step=40", "sac.updates_per_step=0", "eval.per_step=20", "base.nn=mine.py")
    told = go.ok(*PENDULUM, *words, "track.wandb=offline", "track.wandb_artifacts=true")
    assert told.out.splitlines()[-1].startswith("upload: wandb sync m/pendulum/a/wandb/offline-run-")
    (artifact,) = held(go.run().path).artifacts
    again = go.folder / "m" / "pendulum" / "again"
    for entry in artifact.manifest.contents:
        (again / entry.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(entry.local_path, again / entry.path)
    assert (again / "nn.py").exists() and (again / "config.yaml").exists() and not list(again.rglob("replay*"))
    shutil.rmtree(go.run().path)
    told = go.ok("role=play", "env=gym/pendulum", "base.models=m", "base.name=again")
    assert "playing m/pendulum/again, checkpoint of step 40" in told.out.replace(os.sep, "/")


@pytest.mark.slow
def test_it_is_off_unless_asked_for(go):
    go.ok(*PENDULUM, "base.max_step=10", "sac.updates_per_step=0", "track.wandb=offline")
    assert held(go.run().path).artifacts == []
    words = go(*PENDULUM, "base.name=b", "track.wandb_artifacts=perhaps").error
    assert words.startswith("track.wandb_artifacts=perhaps: allowed is true or false")
