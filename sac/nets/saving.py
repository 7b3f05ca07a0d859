"""The numbers of layers and optimizers under flat names: what a checkpoint holds of them."""

from __future__ import annotations

import numpy as np

from sac.errors import UserError


def variables(owners: dict) -> dict:
    """Every variable of the named layers and optimizers, as `owner/number`, but the learning rate: that is config."""
    kept = {name: [v for v in owner.variables if v.name != "learning_rate"] for name, owner in owners.items()}
    return {f"{name}/{i}": variable for name, found in kept.items() for i, variable in enumerate(found)}


def arrays(named: dict) -> dict[str, np.ndarray]:
    """The values of named variables."""
    return {name: np.asarray(variable) for name, variable in named.items()}


def assign(named: dict, values) -> None:
    """Puts the values back. Raises UserError, with nothing changed, when names or shapes differ from theirs."""
    wrong = [
        f"{name}: saved {values[name].shape if name in values else 'nothing'}, now {tuple(variable.shape)}"
        for name, variable in named.items()
        if name not in values or values[name].shape != tuple(variable.shape)
    ]
    if wrong or len(named) != len(values):
        raise UserError(f"the checkpoint does not fit these networks ({'; '.join(wrong[:3]) or 'other weights'})")
    for name, variable in named.items():
        variable.assign(values[name])
