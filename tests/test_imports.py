"""Imports point one way (docs/architecture.md), the NumPy half needs no TensorFlow, and configs stay at the rim."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TF_DOOR = "sac.backend"
# Modules that everybody may import: they import nothing of this project.
FLOOR = "sac.types sac.errors sac.reset_values sac.seeds sac.timers sac.files sac.screen"
# Modules of sac.runs that read no config, so that lower rooms may import them.
CONFIG_FREE_RUNS = "sac.runs.checkpoint sac.runs.checkpoint_files sac.runs.signals sac.runs.log_file"
# The rim reads configs; what lies below gets plain objects and never sees a config.
RIM = "sac.roles sac.assemble sac.config sac.runs run"

# Which room may import which others (besides itself and FLOOR). The order is that of the house, from the ground up.
MAY_IMPORT = {
    **dict.fromkeys(FLOOR.split(), ""),
    "sac.backend": "",
    "sac.ops": "sac.backend",
    "sac.nets": "sac.ops sac.backend",
    "sac.extras": "sac.nets sac.ops sac.backend",
    "sac.agent": "sac.extras sac.nets sac.ops sac.backend",
    "sac.replay": "",
    "sac.collect": "",
    "sac.evaluation": "sac.collect",
    # A member of a population is a TransitionSource, reports evaluations and reads the agent's weights.
    "sac.population": ("sac.wire sac.evaluation sac.training sac.nets.saving sac.replay sac.config.distributions"),
    "sac.wire": "sac.replay",
    "sac.distributed": "sac.wire sac.replay sac.collect sac.training sac.nets.saving",
    "sac.track": "",
    "sac.report": "",  # reads run folders, and knows nothing of what wrote them
    "sac.training": f"sac.collect sac.evaluation sac.replay {CONFIG_FREE_RUNS}",
    **dict.fromkeys(["envs.joint_branches", "envs.png"], ""),
    "envs": "envs.gymnasium_adapter sac.nets sac.backend",  # hidden_velocity, and nn.py of scenes
    "envs.gymnasium_adapter": "envs.joint_branches",  # datasets join branches as the environment does
    "envs.unity_adapter": "envs.joint_branches envs.png",  # demonstrations join branches as the environment does
    "envs.players": "envs.png",
    "sac.config": "sac.track",  # the limits of names in Weights & Biases
    **dict.fromkeys(CONFIG_FREE_RUNS.split(), CONFIG_FREE_RUNS),
    "sac.runs": "sac.config sac.track",  # the summary names the command that uploads an offline W&B run
    "sac.assemble": "sac envs",
    "sac.roles": "sac envs",
    "sac.doctor": "sac.collect",
    "sac.from_mlagents": "sac.config",
    "sac.export": "sac.agent sac.nets sac.backend sac.assemble sac.config sac.runs sac.collect envs.joint_branches",
    "run": "sac.config sac.roles sac.runs",
    "launchers.jobs": "sac.config sac.roles sac.runs sac.track sac.report",
    "launchers.cells": "launchers.jobs sac.config sac.runs",
    "launchers.search": "launchers.jobs sac.config sac.track",
    "launchers.ray_cluster": "launchers.cells launchers.jobs sac.config sac.runs sac.wire",
    "launchers.kubernetes_manifests": "launchers.jobs sac.config sac.runs",
    "launchers.plugins": "launchers",
}
OUTSIDERS = {
    "tensorflow": TF_DOOR,
    "tensorflow_probability": TF_DOOR,
    "hydra": f"{RIM} launchers",
    "omegaconf": f"{RIM} sac.report launchers",
}


def within(name: str, rooms: str) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms.split())


def room_of(name: str) -> str | None:
    return max((room for room in MAY_IMPORT if within(name, room)), key=len, default=None)


def imported(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:  # `from sac import agent` names a module, `from sac.agent import Agent` does not
                whole = f"{node.module}.{alias.name}"
                local = (ROOT / whole.replace(".", "/")).with_suffix(".py").is_file()
                yield whole if local or (ROOT / whole.replace(".", "/")).is_dir() else node.module


def files() -> dict[str, Path]:
    found = [ROOT / "run.py", *(p for room in ("sac", "envs", "launchers") for p in ROOT.glob(f"{room}/**/*.py"))]
    return {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in found}


def complaints(name: str, imports) -> list[str]:
    room = room_of(name)
    if room is None:
        return [] if name in ("sac", "envs", "launchers") else [f"{name} has no place in MAY_IMPORT: give it one"]
    allowed = f"{room} {MAY_IMPORT[room]} {FLOOR}"
    wrong = [x for x in imports if within(x, "sac envs launchers run") and not within(x, allowed)]
    wrong += [x for x in imports if x.split(".")[0] in OUTSIDERS and not within(name, OUTSIDERS[x.split(".")[0]])]
    return [f"{name} must not import {x}" for x in wrong]


def test_imports_point_one_way():
    assert [c for name, path in sorted(files().items()) for c in complaints(name, imported(path))] == []


def arrows(of: Callable[[str], str | None]) -> dict[str, set[str]]:
    """What each module, or each room, imports: also inside functions and for type checkers only."""
    known, found = files(), {}
    for name, path in known.items():
        modules = {max((m for m in known if within(x, m)), key=len, default=None) for x in imported(path)}
        found.setdefault(of(name), set()).update(of(m) for m in modules if m is not None)
    return {name: others - {name, None} for name, others in found.items() if name is not None}


@pytest.mark.slow
@pytest.mark.parametrize("of", [room_of, lambda module: module], ids=["rooms", "modules"])
def test_there_is_no_circle(of):
    TopologicalSorter(arrows(of)).prepare()  # CycleError names the circle


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("sac.ops.returns", "sac.nets.conv"), ("sac.replay.ring", "sac.config"), ("sac.agent", "sac.config"),
     ("sac.collect.rollout", "omegaconf"), ("sac.training.learner", "sac.agent"), ("sac.nets.mlp", "tensorflow"),
     ("envs.unity_adapter.env", "sac.collect.rollout"), ("sac.track.console", "hydra.core"),
     ("sac.report.page", "sac.config"), ("sac.report.page", "tensorflow"), ("sac.wire.client", "sac.distributed"),
     ("launchers.jobs.pool", "launchers.cells.cell"), ("sac.new", "")],
)  # fmt: skip
def test_a_wrong_arrow_is_noticed(name, wrong):
    assert complaints(name, [wrong])


NUMPY_HALF = f"""{CONFIG_FREE_RUNS} sac.replay sac.track sac.collect sac.evaluation sac.training sac.wire
sac.runs.networks_file envs.gymnasium_adapter envs.unity_adapter envs.players"""
NUMPY_RIM = "sac.runs sac.config sac.assemble sac.roles sac.report sac.distributed sac.population"


@pytest.mark.parametrize(
    ("rooms", "forbidden"),
    [(NUMPY_HALF, "tensorflow keras hydra omegaconf sac.config"), (NUMPY_RIM, "tensorflow keras")],
)
def test_the_numpy_half_starts_without_tensorflow_and_without_configs(rooms, forbidden):
    names = [name for name in files() if within(name, " ".join(rooms.split()))]
    names = [n for n in names if not n.startswith("envs.gymnasium_adapter.old_gym") or importlib.util.find_spec("gym")]
    code = f"import importlib, sys\nfor name in {sorted(names)}: importlib.import_module(name)\n"
    code += f"print(sorted(set({forbidden.split()}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip().splitlines()[-1:] == ["[]"], done.stdout + done.stderr
