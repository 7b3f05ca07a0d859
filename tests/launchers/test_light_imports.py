"""A multirun loads Optuna and its database only when it searches, and Ray only when Ray launches its jobs."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.launchers.multiruns import ENV, PENDULUM, ROOT

TRACED = ENV | {"PYTHONPROFILEIMPORTTIME": "1"}  # Python writes a line about each module that it imports


def imported(text: str) -> set[str]:
    """The top-level packages and modules in Python's lines `import time: self | cumulative | module`."""
    lines = [line for line in text.splitlines() if line.startswith("import time:")]
    modules = {line.rpartition("|")[2].strip() for line in lines}
    return modules | {module.partition(".")[0] for module in modules}


HAS_RAY = importlib.util.find_spec("ray") is not None
NEEDS_RAY = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: pip install -e '.[ray]'")


@pytest.mark.parametrize("launcher", ["processes", "roles", pytest.param("ray", marks=NEEDS_RAY)])
def test_jobs_and_their_parent_load_neither_optuna_nor_sqlalchemy_and_ray_only_where_it_launches(tmp_path, launcher):
    """Two real jobs, whose config is refused before anything is trained."""
    words = ["-m", *PENDULUM, "sac.gamma=2,3", f"hydra/launcher={launcher}", "hydra.launcher.n_jobs=1"]
    done = subprocess.run(
        [sys.executable, ROOT / "run.py", *words], cwd=tmp_path, env=os.environ | TRACED, capture_output=True,
        text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 1 and "2 of 2 jobs failed" in done.stderr
    parent = imported(done.stderr)
    assert {"hydra", "launchers.jobs.pool"} <= parent and not {"optuna", "sqlalchemy"} & parent
    assert ("ray" in parent) == (launcher == "ray")
    logs = list(tmp_path.glob("m/pendulum/multirun/*/jobs/**/job.log"))
    assert len(logs) >= 2
    for log in logs:
        child = imported(log.read_text())
        assert "sac.roles" in child and not {"optuna", "sqlalchemy", "ray"} & child
