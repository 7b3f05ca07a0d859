"""What Unity ML-Agents (com.unity.ml-agents 3 and 4) demands of a model: names, types and shapes of its tensors.

Unity runs a model once when it is assigned to an agent, and reads the constants from that run's outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sac.runs.scene_file import SceneLayout

VERSION_NUMBER = 3.0  # of models with continuous and discrete actions (ML-Agents 2.0 and later)
MAX_OPSET = 15  # the newest that every engine names as supported, from Sentis 1 to Inference Engine 2.2
IR_VERSION = 8  # the file format that goes with it

MASKS, RECURRENT_IN, RECURRENT_OUT = "action_masks", "recurrent_in", "recurrent_out"
CONTINUOUS, CONTINUOUS_MODE = "continuous_actions", "deterministic_continuous_actions"
DISCRETE, DISCRETE_MODE = "discrete_actions", "deterministic_discrete_actions"
VERSION, MEMORY_SIZE = "version_number", "memory_size"
CONTINUOUS_SHAPE, DISCRETE_SHAPE = "continuous_action_output_shape", "discrete_action_output_shape"


@dataclass(frozen=True)
class TensorLayout:
    """An input or output [B, *shape] of a model, where B is any number of agents."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(['B', *map(str, self.shape)])}]"


@dataclass(frozen=True)
class Contract:
    """The inputs, the outputs and the constants of a model, in the order of ML-Agents' own exporter."""

    inputs: tuple[TensorLayout, ...]
    outputs: tuple[TensorLayout, ...]  # what depends on the inputs
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, scene: SceneLayout, memory_size: int) -> Contract:
        """The contract of a policy for `scene` whose state between two steps has `memory_size` numbers."""
        inputs = [TensorLayout(f"obs_{i}", shape) for i, shape in enumerate(scene.shapes)]
        outputs: list[TensorLayout] = []
        constants = {VERSION: [VERSION_NUMBER], MEMORY_SIZE: [memory_size]}
        if n := scene.spec.continuous:
            outputs += [TensorLayout(CONTINUOUS, (n,)), TensorLayout(CONTINUOUS_MODE, (n,))]
            constants[CONTINUOUS_SHAPE] = [n]
        if scene.branches:
            inputs.append(TensorLayout(MASKS, (sum(scene.branches),)))
            k = len(scene.branches)
            outputs += [TensorLayout(DISCRETE, (k,), "int32"), TensorLayout(DISCRETE_MODE, (k,), "int32")]
            constants[DISCRETE_SHAPE] = list(scene.branches)
        if memory_size:
            inputs.append(TensorLayout(RECURRENT_IN, (1, memory_size)))
            outputs.append(TensorLayout(RECURRENT_OUT, (1, memory_size)))
        arrays = {name: np.array(value, np.float32) for name, value in constants.items()}
        return cls(tuple(inputs), tuple(outputs), arrays)

    @property
    def output_names(self) -> list[str]:
        """All outputs in the order of the file.

        Unity takes the first output whose name contains the one that it looks for, so `continuous_actions` stands
        before `deterministic_continuous_actions`.
        """
        order = (
            VERSION, MEMORY_SIZE, CONTINUOUS, CONTINUOUS_SHAPE, CONTINUOUS_MODE, DISCRETE, DISCRETE_SHAPE,
            DISCRETE_MODE, RECURRENT_OUT,
        )  # fmt: skip
        there = {tensor.name for tensor in self.outputs} | self.constants.keys()
        return [name for name in order if name in there]
