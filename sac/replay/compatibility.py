"""Checks whether rows that another run has saved fit this run's environment and networks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sac.errors import UserError
from sac.replay.ring import Columns
from sac.types import OBS_PREFIX

COLUMNS_IN_WORDS = {
    "continuous": "continuous actions",
    "discrete": "branches",
    "mask": "choices of all branches",
    "state": "the recurrent state",
}
CURE_ENVIRONMENT = "load what was recorded in the same environment"
CURE_NETWORKS = "use the networks (base.nn, base.nn_kwargs) of that run"


def fitted(
    expected: Columns, branches: tuple[int, ...], arrays: Mapping[str, np.ndarray], source: str
) -> dict[str, np.ndarray]:
    """The arrays of a saved replay, in which all `expected` columns [n, ...] are present and fit.

    A column that an older version did not save is added where its width is 0. Arrays that are no columns are returned
    as they are. `branches` are the numbers of choices of the discrete branches; `source` names the saved replay in
    messages. Raises UserError that names the sensor or column, what was expected and what was found.
    """
    for name in sorted({n for n in arrays if n.startswith(OBS_PREFIX)} - expected.keys()):
        there = _kind(arrays[name].shape[1:], arrays[name].dtype)
        raise _unfit(source, name, "no such sensor", there)
    arrays, rows = dict(arrays), len(arrays["last"])
    for name, (shape, dtype) in expected.items():
        found = arrays.get(name)
        if found is None and 0 in shape:
            found = arrays[name] = np.zeros((rows, *shape), dtype)
        if found is None:
            raise _unfit(source, name, _kind(shape, dtype), "none")
        if found.shape[1:] != shape or found.dtype != dtype:
            raise _unfit(source, name, _kind(shape, dtype), _kind(found.shape[1:], found.dtype))
    chosen = arrays["discrete"][~arrays["last"]]
    for branch, (size, largest) in enumerate(zip(branches, chosen.max(axis=0, initial=0))):
        if largest >= size:
            raise UserError(
                f"replay.load={source}: branch {branch} of the actions: expected {size} choices (0 to {size - 1}), "
                f"found choice {largest}; {CURE_ENVIRONMENT}"
            )
    return arrays


def _kind(shape: tuple[int, ...], dtype: np.dtype | str) -> str:
    return f"shape {shape} {np.dtype(dtype).name}"


def _unfit(source: str, name: str, expected: str, found: str) -> UserError:
    if name.startswith(OBS_PREFIX):
        what = f"sensor '{name.removeprefix(OBS_PREFIX)}'"
    else:
        what = COLUMNS_IN_WORDS.get(name, f"column '{name}'")
    cure = CURE_NETWORKS if name in ("state", "previous") else CURE_ENVIRONMENT
    return UserError(f"replay.load={source}: {what}: expected {expected}, found {found}; {cure}")
