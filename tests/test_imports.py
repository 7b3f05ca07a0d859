"""Imports point one way (docs: ARCHITECTURE), the NumPy half stays free of TensorFlow, and configs stay at the rim."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAUNCHERS = (
    "sac.credentials sac.files sac.interruption sac.random_params sac.report sac.screen sac.seeds sac.track "
    "sac.wire.directory sac.wire.keys"
)
RIM = (
    "sac.roles sac.assemble sac.command_line sac.commands sac.config sac.farewell sac.run_folder sac.text_keys "
    "sac.trust sac.typed_texts sac.validation run"
)
TF_DOOR = "sac.backend"


def each(names: str, rooms: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), rooms)


# Who may import whom; `sac.types` and `sac.errors` are open to all, the rim (which reads configs) to itself alone.
MAY_IMPORT = {
    **each("sac.types sac.errors sac.clock sac.hyper sac.interruption sac.random_params sac.run_log", ""),
    **each("sac.source sac.viewer sac.host_name sac.seeds sac.screen sac.credentials sac.episode_limit", ""),
    "sac.backend": "",
    "sac.ops": "sac.backend",
    "sac.nets": "sac.nets sac.ops sac.backend",
    "sac.extras": "sac.extras sac.nets sac.ops sac.backend",
    "sac.optimizers": "sac.backend sac.hyper",
    "sac.acting": "sac.extras sac.nets sac.ops sac.backend",
    "sac.appraisal": "sac.nets sac.ops sac.backend",
    "sac.draws": "sac.ops sac.backend",
    "sac.temperatures": "sac.ops sac.backend sac.hyper",
    "sac.features": "sac.draws sac.extras sac.nets sac.ops sac.backend sac.hyper",
    "sac.targets": "sac.draws sac.temperatures sac.nets sac.ops sac.backend sac.hyper",
    "sac.agent": "sac.acting sac.appraisal sac.draws sac.features sac.targets sac.temperatures sac.extras sac.nets "
    "sac.ops sac.optimizers sac.backend sac.hyper",
    **each("sac.behaviour sac.networks_file sac.evolution sac.moments sac.files", ""),
    **each("sac.checkpoint_files sac.track", "sac.files"),
    "sac.checkpoint": "sac.checkpoint_files sac.files",
    "sac.replay": "sac.files sac.moments",
    "sac.wire": "sac.evolution sac.files sac.moments sac.replay",
    "sac.rollout": "sac.clock sac.episode_limit",
    **each("sac.evaluation sac.outlook sac.progress", "sac.rollout sac.outlook sac.clock sac.episode_limit"),
    "sac.evaluator": "sac.rollout sac.evaluation sac.outlook sac.seeds sac.episode_limit",
    "sac.experience": "sac.learner sac.moments sac.progress sac.replay sac.rollout sac.seeds",
    "sac.learner": "sac.clock sac.replay sac.moments",
    "sac.offline": "sac.checkpoint sac.moments sac.replay envs.adapters",
    "sac.report": "sac.screen",  # reads run folders, and knows nothing of what wrote them
    "envs.adapters": "sac.run_log sac.screen sac.seeds",
    "envs.players": "",
    **each(RIM, "sac envs"),
    "envs": "sac.nets sac.backend",  # the scenes' nn.py
    "launchers": f"{RIM} {LAUNCHERS}",  # they start roles and know nothing of the algorithm
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
    allowed = f"{room} {MAY_IMPORT[room]} sac.types sac.errors"
    wrong = [x for x in imports if within(x, "sac envs launchers run") and not within(x, allowed)]
    wrong += [x for x in imports if x.split(".")[0] in OUTSIDERS and not within(name, OUTSIDERS[x.split(".")[0]])]
    return [f"{name} must not import {x}" for x in wrong]


def test_imports_point_one_way():
    assert [c for name, path in sorted(files().items()) for c in complaints(name, imported(path))] == []


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("sac.ops.returns", "sac.nets.conv"), ("sac.replay.ring", "sac.config"), ("sac.agent", "sac.config"),
     ("sac.rollout", "omegaconf"), ("sac.learner", "sac.agent"), ("sac.nets.mlp", "tensorflow"),
     ("envs.adapters.unity", "sac.rollout"), ("sac.track.console", "hydra.core"), ("sac.report.page", "sac.config"),
     ("sac.report.page", "tensorflow"), ("sac.new", "")],
)  # fmt: skip
def test_a_wrong_arrow_is_noticed(name, wrong):
    assert complaints(name, [wrong])


NUMPY_HALF = """sac.replay sac.track sac.rollout sac.behaviour sac.evaluation sac.outlook sac.learner sac.checkpoint
sac.hyper sac.moments sac.networks_file envs.adapters envs.players"""
NUMPY_RIM = "sac.run_folder sac.command_line sac.config sac.assemble sac.roles sac.report"


@pytest.mark.parametrize(
    ("rooms", "forbidden"),
    [(NUMPY_HALF, "tensorflow keras hydra omegaconf sac.config"), (NUMPY_RIM, "tensorflow keras")],
)
def test_the_numpy_half_starts_without_tensorflow_and_without_configs(rooms, forbidden):
    names = [name for name in files() if within(name, " ".join(rooms.split()))]
    names = [n for n in names if not n.startswith("envs.adapters.old_gym") or importlib.util.find_spec("gym")]
    code = f"import importlib, sys\nfor name in {sorted(names)}: importlib.import_module(name)\n"
    code += f"print(sorted(set({forbidden.split()}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip().splitlines()[-1:] == ["[]"], done.stdout + done.stderr
