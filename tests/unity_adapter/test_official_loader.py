"""ML-Agents' own loader reads the .demo files that role=play writes.

It needs another environment: `MLAGENTS_PYTHON=/path/to/python pytest -m nightly tests/unity_adapter`, where that Python
has mlagents 0.28.0 or 1.1.0.
"""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.runs.short_runs import TINY, Runner

PYTHON = os.environ.get("MLAGENTS_PYTHON")
pytestmark = [pytest.mark.nightly, pytest.mark.skipif(PYTHON is None, reason="MLAGENTS_PYTHON names no Python")]
LOADER = """
import json, sys
from mlagents.trainers.buffer import BufferKey
from mlagents.trainers.demo_loader import demo_to_buffer, load_demonstration
spec, pairs, total = load_demonstration(sys.argv[1])
_, buffer = demo_to_buffer(sys.argv[1], 1)
actions = BufferKey.CONTINUOUS_ACTION if spec.action_spec.continuous_size else BufferKey.DISCRETE_ACTION
print(json.dumps({
    "records": len(pairs), "total": total, "shapes": [list(s.shape) for s in spec.observation_specs],
    "continuous": spec.action_spec.continuous_size, "branches": list(spec.action_spec.discrete_branches),
    "reward": float(sum(buffer[BufferKey.ENVIRONMENT_REWARDS])), "dones": int(sum(buffer[BufferKey.DONE])),
    "widths": sorted({len(action) for action in buffer[actions]}),
}))
"""
SCENES = {
    "roller": ([[8]], 2, [], [2]),
    "grid_world": ([[3, 20, 20]], 0, [5], [1]),
    "gripper": ([[2]], 1, [2], [1]),
}


@pytest.mark.parametrize("scene", SCENES)
def test_the_official_loader_reads_it(monkeypatch, capfd, tmp_path, scene):
    shapes, continuous, branches, widths = SCENES[scene]
    go = Runner(monkeypatch, capfd, tmp_path)
    go.ok(f"env={scene}", *TINY, "sac.updates_per_step=0", "base.max_step=30", "eval.stop_return=null")
    told = go.ok("role=play", f"env={scene}", "base.models=m", "base.name=a", "eval.episodes=8",
                 "eval.max_episode_steps=20", "record=demo").out  # fmt: skip
    returns = [float(x.split("return ")[1].split(",")[0]) for x in told.splitlines() if x.startswith("episode ")]
    path = tmp_path / "m" / scene / "a" / "demonstrations" / "played-1.demo"
    done = subprocess.run([PYTHON, "-c", LOADER, str(path)], capture_output=True, text=True, timeout=200, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["records"] == found["total"] and found["dones"] == 8
    assert (found["shapes"], found["continuous"], found["branches"]) == (shapes, continuous, branches)
    assert found["reward"] == pytest.approx(sum(returns), abs=1e-2) and found["widths"] == widths
