"""Hyperparameters that change while an agent learns, as those of a member of a population do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sac.agent.hyperparameters import Hyperparameters
from sac.backend import tf


class LiveNumbers:
    """Variables in place of some hyperparameters: compiled functions read them at each call and need no new trace.

    `hyper` are the hyperparameters that contain these variables. The first `values` are given by name. A window has as
    many rows as hyper.n_step needs, so no later value of n_step may be larger.
    """

    def __init__(self, hyper: Hyperparameters, values: Mapping[str, float]):
        self._variables = {name: tf.Variable(float(x), trainable=False, name=name) for name, x in values.items()}
        read = {name: variable for name, variable in self._variables.items() if name != "init_log_alpha"}
        fields = {"present_n_step" if name == "n_step" else name: variable for name, variable in read.items()}
        self.hyper = replace(hyper, **fields)

    def values(self) -> dict[str, float]:
        """The present values by name, rounded to float32."""
        return {name: float(variable.numpy()) for name, variable in self._variables.items()}

    def assign(self, values: Mapping[str, float]) -> None:
        """Sets numbers by name."""
        for name, value in values.items():
            self._variables[name].assign(value)
