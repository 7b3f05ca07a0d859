"""The variables of layers and optimizers under flat names, as a checkpoint holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from sac.errors import UserError

if TYPE_CHECKING:  # processes without TensorFlow import this module too
    from sac.backend import keras


assignments = 0  # how often `assign` has changed variables in this process


def variables(owners: Mapping[str, keras.layers.Layer | keras.optimizers.Optimizer]) -> dict[str, keras.Variable]:
    """{owner/number: variable} of the named layers and optimizers, without learning rates: the config sets those."""
    kept = {name: [v for v in owner.variables if v.name != "learning_rate"] for name, owner in owners.items()}
    return {f"{name}/{i}": variable for name, found in kept.items() for i, variable in enumerate(found)}


def arrays(named: Mapping[str, keras.Variable]) -> dict[str, np.ndarray]:
    """The values of named variables."""
    return {name: np.asarray(variable) for name, variable in named.items()}


def assign(named: Mapping[str, keras.Variable], values: Mapping[str, np.ndarray]) -> None:
    """Sets each variable to the value of its name.

    Raises UserError, and changes nothing, when the names or shapes of variables and values differ.
    """
    wrong = [
        f"{name}: saved {values[name].shape if name in values else 'nothing'}, now {tuple(variable.shape)}"
        for name, variable in named.items()
        if name not in values or values[name].shape != tuple(variable.shape)
    ]
    if wrong or len(named) != len(values):
        raise UserError(f"the checkpoint does not fit these networks ({'; '.join(wrong[:3]) or 'other weights'})")
    global assignments
    assignments += 1
    for name, variable in named.items():
        variable.assign(values[name])
