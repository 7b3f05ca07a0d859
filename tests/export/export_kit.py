"""Small policies of every kind, exported, with observations to compare on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sac.agent import Agent
from sac.export.checker import Examples
from sac.export.examples import examples_of
from sac.export.onnx_file import to_onnx
from sac.export.policy_module import PolicyModule
from sac.nets.defaults import ModelRep
from sac.ops.discrete_choice import ByCritic
from sac.runs.checkpoint import Checkpoints
from sac.runs.scene_file import SceneLayout
from sac.types import Sensor, Spec
from tests.agent.agent_kit import make_agent, module

VECTOR, BYTES, PICTURE = Sensor("v", (3,)), Sensor("bytes", (4,), "uint8"), Sensor("picture", (20, 20, 3), "uint8")
RANGED = Sensor("ranged", (2,), bounds=((-1.0, 0.0), (1.0, 5.0)))


def recurrent(cell: str) -> dict[str, Any]:
    """The keywords of an agent with a memory."""

    class Rep(ModelRep):
        def __init__(self, spec, **kwargs):
            super().__init__(spec, cell=cell, units=6, **kwargs)

    return {"nn": module(ModelRep=Rep), "networks": {"recurrent": True}}


class Measured:
    """Statistics of observations, as training counts them."""

    def __init__(self, sensors: tuple[Sensor, ...]):
        self.mean = {s.name: np.linspace(-1, 1, math.prod(s.shape)).reshape(s.shape) for s in sensors}

    def std(self, name: str) -> np.ndarray:
        return np.full_like(self.mean[name], 0.25)


def normalised() -> Agent:
    sensors = VECTOR, replace(VECTOR, name="w")
    agent = make_agent(Spec(sensors, 2), networks={"normalized": sensors})
    agent.normalise(Measured(sensors))
    return agent


def made(spec: Spec, **kwargs: Any) -> Callable[[], Agent]:
    return lambda: make_agent(spec, **kwargs)


# name -> (agent, the scene's own branches or None, bounds of its actions)
KINDS: dict[str, tuple[Callable[[], Agent], tuple[int, ...] | None, Any]] = {
    "continuous": (made(Spec((VECTOR, BYTES, RANGED), 2)), None, None),
    "in units of the environment": (made(Spec((VECTOR,), 2)), None, ((-2.0, 0.0), (2.0, 10.0))),
    "normalised": (normalised, None, None),
    "discrete": (made(Spec((VECTOR,), 0, (5,))), None, None),
    "branches": (made(Spec((VECTOR,), 0, (9, 9))), None, None),
    "joined branches": (made(Spec((VECTOR,), 0, (12,))), (3, 2, 2), None),
    "hybrid": (made(Spec((VECTOR,), 2, (3,))), None, None),
    "hybrid, joined": (made(Spec((VECTOR,), 2, (6,))), (3, 2), None),
    "by the critics": (made(Spec((VECTOR,), 1, (4,)), choice=ByCritic), None, None),
    "pictures": (made(Spec((PICTURE, VECTOR), 0, (5,))), None, None),
    "gru": (made(Spec((VECTOR,), 2), **recurrent("gru")), None, None),
    "lstm": (made(Spec((VECTOR,), 2), **recurrent("lstm")), None, None),
    "recurrent hybrid, joined": (made(Spec((VECTOR,), 1, (6,)), **recurrent("gru")), (3, 2), None),
    "extra sensor": (made(Spec((VECTOR, replace(VECTOR, name="hidden")), 2, extra=("hidden",))), None, None),
}


class Exported:
    """One kind of policy with its scene, its module and its examples."""

    def __init__(self, kind: str, folder: Path):
        make, branches, bounds = KINDS[kind]
        self.agent = make()
        spec = self.agent.spec
        shapes = tuple((s.shape[2], *s.shape[:2]) if s.is_image else s.shape for s in spec.sensors)
        self.scene = SceneLayout(spec, shapes, spec.branches if branches is None else branches, bounds)
        self.module = PolicyModule(self.agent, self.scene)
        self.contract = self.module.contract
        self.examples: Examples = examples_of(self.agent, self.scene, Checkpoints(folder / "none"))
        self.path = folder / "policy.onnx"

    def write(self, change: Callable[[Any], None] = lambda model: None) -> Path:
        """Writes the ONNX file, changed by hand."""
        model = to_onnx(self.module)
        change(model)
        self.path.write_bytes(model.SerializeToString())
        return self.path
