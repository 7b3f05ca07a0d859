"""A multirun in Weights & Biases: one run for each job, all in one group, each with its own end; and its resume."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from sac.config.schema import Config
from sac.track.wandb_run import sync_command, unsynced
from tests.runs.short_runs import TINY
from tests.track.wandb_log import Held, logs, read

ROOT = Path(__file__).parents[2]
TROUBLE = """
import gymnasium
import numpy as np


class Trouble(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, raises_at, render_mode=None):
        self.steps, self.raises_at = 0, raises_at

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        if self.steps == self.raises_at:
            raise RuntimeError("wheel came off")
        return np.zeros(2, np.float32), 1.0, self.steps % 5 == 0, False, {}


gymnasium.register("Trouble-v0", entry_point=Trouble)
"""
FAILED = "environment failed: RuntimeError: wheel came off"
WORDS = (
    *(word for word in TINY if not word.startswith(("base.name=", "eval.per_step="))), "base.name=g",
    "base.env_type=GYM", "base.scene=trouble", "base.build_path=trouble:Trouble-v0", "sac.updates_per_step=0",
    "base.threads=1", "eval.per_step=20", "sac.save_model_per_minute=0.000001", "track.console=false",
    "track.wandb=offline", "track.wandb_tags=[toy]",
)  # fmt: skip


def multirun(work: Path, *words: str) -> subprocess.CompletedProcess:
    """`python run.py -m ...` as typed in `work`, with nothing of W&B's from outside but a wish for silence."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {
        "WANDB_MODE": "disabled",  # the config says more
        "WANDB_CONFIG_DIR": str(work),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "launchers" / "plugins"), str(work), str(work.parent)]),
    }
    command = [sys.executable, str(ROOT / "run.py"), "-m", *WORDS, *words]
    return subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where a multirun of three jobs has ended, of which the first crashed in its 26th step."""
    folder = tmp_path_factory.mktemp("group")
    (folder / "trouble.py").write_text(TROUBLE)
    told = multirun(folder, "base.max_step=40", "base.env_kwargs.raises_at=26,1000,1001", "hydra.launcher.n_jobs=2")
    assert told.returncode == 1 and "1 of 3 jobs failed" in told.stderr, told.stdout + told.stderr
    return folder


def runs(folder: Path) -> list[Path]:
    return [folder / "m" / "trouble" / f"g-{i}" for i in range(3)]


def steps(held: Held, metric: str) -> list[int]:
    return [row["env_step"] for row in held.history if metric in row]


def test_three_jobs_are_three_runs_of_one_group(folder):
    (multirun_folder,) = (folder / "m" / "trouble" / "multirun").iterdir()
    first = [read(path) for run in runs(folder) for path in logs(run)[:1]]
    assert len({held.run.run_id for held in first}) == 3
    assert {held.run.run_group for held in first} == {multirun_folder.name}
    assert {held.run.job_type for held in first} == {"train"}
    assert [held.run.display_name for held in first] == ["trouble/g-0", "trouble/g-1", "trouble/g-2"]
    assert all(list(held.run.tags) == ["toy"] for held in first)
    assert [held.config["base"]["env_kwargs"]["raises_at"] for held in first] == [26, 1000, 1001]
    for held in first:
        assert set(held.config) - {"_wandb"} == {f.name for f in fields(Config)}, "every section"
        assert "${" not in str(held.config) and "???" not in str(held.config), "resolved"
        assert any(metric.glob_name == "*" and metric.step_metric == "env_step" for metric in held.metrics)
    assert [steps(held, "episode/return")[0] for held in first] == [5, 5, 5], "environment steps, not calls"
    assert [steps(held, "eval/return") for held in first] == [[20], [20, 40], [20, 40]]
    assert [held.code for held in first] == [1, 0, 0], "failed, finished, finished"
    assert [held.summary["exit_reason"] for held in first] == [FAILED] + 2 * ["max_step"]
    assert [held.summary.get("env_steps") for held in first] == [25, 40, 40]


def test_the_config_of_a_run_is_the_stored_one(folder):
    for run in runs(folder):
        held = read(logs(run)[0])
        held.config.pop("_wandb")
        assert held.config == yaml.safe_load((run / "config.yaml").read_text())


def test_each_job_tells_how_to_upload_it_and_one_command_does_for_all(folder):
    (jobs,) = (folder / "m" / "trouble" / "multirun").glob("*/jobs")
    for number, run in list(enumerate(runs(folder)))[1:]:
        lines = (jobs / str(number) / "job.log").read_text().splitlines()
        (command,) = [line.removeprefix("upload: ") for line in lines if line.startswith("upload: ")]
        (record,) = logs(run)[:1]
        assert shlex.split(command) == ["wandb", "sync", str(record.parent.relative_to(folder))]
    records = [record.relative_to(folder) for run in runs(folder) for record in unsynced(run)]
    assert sync_command(records) == "wandb sync m/trouble/g-[0-9]*/wandb/offline-run-*"


def test_a_job_that_is_resumed_goes_on_in_the_same_run(folder):
    """The one that crashed, from its last checkpoint."""
    again = folder / "again"
    shutil.copytree(runs(folder)[0], again / "m" / "trouble" / "g-0", symlinks=True)
    told = multirun(again, "base.max_step=40", "base.env_kwargs.raises_at=1002", "ckpt=auto")
    assert told.returncode == 0, told.stdout + told.stderr
    before, after = (read(path) for path in logs(runs(again)[0]))
    assert after.run.run_id == before.run.run_id and after.run.run_group == before.run.run_group
    assert (after.code, after.summary["env_steps"]) == (0, 40)
    assert steps(after, "eval/return") == [40], "not from the beginning"
