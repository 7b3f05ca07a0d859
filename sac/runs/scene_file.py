"""The file scene.json of a run: what the agents of its scene observe and do, so that an export needs no player."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sac.errors import UserError
from sac.files import write_atomically
from sac.types import Env, Sensor, Spec


@dataclass(frozen=True)
class SceneLayout:
    """The sensors and actions of a scene, as its networks get them (`spec`) and as the scene itself has them.

    `branches` are the scene's own, which `spec` may have joined into one. `action_bounds` are the lowest and highest
    values of the continuous actions in the environment's units; None where these are [-1, 1].
    """

    spec: Spec
    shapes: tuple[tuple[int, ...], ...]  # of each sensor as the scene sends it; pictures are (channels, H, W)
    branches: tuple[int, ...] = ()
    action_bounds: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @classmethod
    def of(cls, env: Env) -> SceneLayout:
        """The layout of an environment that has been started."""
        spec, bounds = env.spec, getattr(env, "action_bounds", None)
        sent = getattr(env, "sensor_shapes", None) or [sensor.shape for sensor in spec.sensors]
        pictures = [(s.shape[2], *s.shape[:2]) if s.is_image else tuple(sent[i]) for i, s in enumerate(spec.sensors)]
        own = getattr(env, "scene_branches", spec.branches)
        low_high = None if bounds is None else tuple(tuple(map(float, side)) for side in bounds)
        return cls(spec, tuple(pictures), tuple(own), low_high)  # type: ignore[arg-type]

    @property
    def joined(self) -> bool:
        """Whether the networks see all branches of the scene as one."""
        return self.branches != self.spec.branches

    def write(self, path: Path) -> None:
        """Raises OSError."""
        write_atomically(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> SceneLayout:
        """Raises UserError for a file that is damaged or of another version."""
        try:
            found = json.loads(path.read_text(encoding="utf8"))
            spec = found.pop("spec")
            sensors = tuple(Sensor(**_tuples(sensor)) for sensor in spec.pop("sensors"))
            made = cls(Spec(sensors, **_tuples(spec)), **_tuples(found))
            sizes = [made.spec.continuous, *made.branches, *made.spec.branches, *(n for s in made.shapes for n in s)]
            if not all(type(size) is int and size >= 0 for size in sizes):
                raise ValueError("it holds other things than sizes")
            return made
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            what = f"{path} cannot be read ({error})"
            raise UserError(
                f"{what}: remove it, and the next train, play or export of this run writes it anew"
            ) from error


def _tuples(found: dict[str, Any]) -> dict[str, Any]:
    """The same mapping with tuples in place of lists, as JSON has no tuples."""
    return {name: _tuple(value) for name, value in found.items()}


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value
