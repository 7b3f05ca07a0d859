"""The columns of a stored row."""

from __future__ import annotations

from sac.replay.ring import Columns
from sac.types import Spec, obs_columns

# Columns of a window of L steps with L + 1 rows (one for each state), besides the sensors' columns.
STATE_COLUMNS = ("mask", "previous")
# Columns of a window of L steps with L rows.
ACTION_COLUMNS = ("continuous", "discrete", "log_prob", "reward", "discount")


def columns(spec: Spec, state_size: int) -> Columns:
    """Shape and dtype of what is stored of a row; `state_size` is the width of the recurrent state."""
    return {
        **obs_columns({sensor.name: (sensor.shape, sensor.dtype) for sensor in spec.sensors}),
        "mask": ((spec.choices,), "bool"),
        "continuous": ((spec.continuous,), "float32"),
        "discrete": ((len(spec.branches),), "int32"),
        "log_prob": ((2,), "float32"),
        "state": ((state_size,), "float32"),
        "previous": ((spec.action_size if state_size else 0,), "float32"),
        "reward": ((), "float32"),
        "discount": ((), "float32"),
        "last": ((), "bool"),
    }
