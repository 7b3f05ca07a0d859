"""Run folders written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import yaml

RECORDS = 40


def write_run(path: Path, *, seed=1, scene="toy", slope=1.0, result=True, **config) -> Path:
    """A run whose return climbs to `slope` times a hundred; further keys as sac__n_step=3."""
    path.mkdir(parents=True)
    tree = {
        "seed": seed,
        "base": {"env": scene, "scene": scene, "name": path.name},
        "sac": {"seed": seed, "gamma": 0.99},
    }
    for key, value in config.items():
        section, _, leaf = key.partition("__")
        tree.setdefault(section, {})[leaf] = value
    (path / "config.yaml").write_text(yaml.safe_dump(tree))
    rng, steps = np.random.default_rng(seed), np.arange(1, RECORDS + 1) * 250
    climb = slope * 100 * (1 - np.exp(-steps / 3000)) + rng.normal(0, 3, RECORDS)
    lines = ["env_step,episode/return,critic/loss,alpha/continuous,policy/entropy_continuous,rate/steps,"
             "replay/updates_per_step,replay/updates_per_step_target,eval/return,eval/return_window"]  # fmt: skip
    for i, step in enumerate(steps):
        row = [climb[i], 1 / (1 + i), 0.3 / (1 + i) + 0.02, 1 - i / 20, 900 + 20 * rng.normal(), 1, 1]
        row += [climb[i] + 5, climb[i] + 5] if i % 4 == 3 else ["", ""]
        lines.append(",".join(map(str, [step, *row])))
    (path / "metrics.csv").write_text("\n".join(lines) + "\n")
    if result:
        told = {"reason": "max_step", "env_steps": int(steps[-1]), "seconds": 600.0, "commit": "abc1234"}
        (path / "result.json").write_text(json.dumps(told))
    return path
