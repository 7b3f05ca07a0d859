"""What both ends of a connection must agree on, and how they differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sac.types import Sensor, Spec


@dataclass(frozen=True)
class Description:
    """`shared` holds values by name that must be the same at both ends, `told` values that one end tells the other."""

    shared: Mapping[str, Any]
    told: Mapping[str, Any]

    @property
    def hash(self) -> str:
        return hashlib.sha256(json.dumps(self.shared, sort_keys=True).encode()).hexdigest()[:16]

    def text(self) -> str:
        return json.dumps({"shared": self.shared, "told": self.told})

    @classmethod
    def of(cls, text: str) -> Description:
        """The description that `text()` returned. Raises ValueError for other text."""
        try:
            found = json.loads(text)
        except RecursionError:
            raise ValueError("not a description") from None
        if not isinstance(found, dict) or not all(isinstance(found.get(k), dict) for k in ("shared", "told")):
            raise ValueError("not a description")
        return cls(found["shared"], found["told"])

    def differences(self, other: Description) -> list[str]:
        """`name: our value | the other's value` for each name whose values differ; of mappings for each inner name."""
        mine, others = (_flat(json.loads(json.dumps(d.shared))) for d in (self, other))
        nothing = "nothing"
        return [
            f"{name}: {mine.get(name, nothing)} | {others.get(name, nothing)}"
            for name in sorted(mine.keys() | others.keys())
            if mine.get(name, nothing) != others.get(name, nothing)
        ]


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by name, those of a mapping by its name and their own."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= {f"{name} {key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
    return found


def described_spec(spec: Spec) -> dict[str, Any]:
    """A Spec as plain values by name; a sensor's bounds are included where they differ from its dtype's default."""
    usual = {s.name: Sensor(s.name, s.shape, s.dtype).bounds for s in spec.sensors}
    sensors = {
        f"observation {s.name}": [list(s.shape), s.dtype, *([s.bounds] if s.bounds != usual[s.name] else [])]
        for s in spec.sensors
    }
    order = {"observations": [s.name for s in spec.sensors]}
    return sensors | order | {"continuous actions": spec.continuous, "discrete branches": list(spec.branches)}


def spec_of(shared: Mapping[str, Any]) -> Spec:
    """The Spec that `described_spec` described. Raises ValueError, KeyError or TypeError for other values."""
    sensors = tuple(_sensor_of(name, *shared[f"observation {name}"]) for name in shared["observations"])
    return Spec(sensors, int(shared["continuous actions"]), tuple(map(int, shared["discrete branches"])))


def _sensor_of(name: str, shape: Sequence[int], dtype: str, bounds: Sequence[Any] | None = None) -> Sensor:
    low_and_high = None
    if bounds is not None:
        low, high = (tuple(map(float, b)) if isinstance(b, Sequence) else float(b) for b in bounds)
        low_and_high = low, high
    return Sensor(name, tuple(map(int, shape)), str(dtype), low_and_high)
