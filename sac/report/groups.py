"""Groups runs that differ in their seed only, and names groups by the keys in which they differ."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sac.report.curves import RunCurves

# Keys that do not influence what is learnt, such as names, folders and outputs.
IGNORED_KEYS = (
    "seed", "sac.seed", "repeat", "base.name", "base.models", "base.port", "ckpt", "render", "role", "logger_in_file",
)  # fmt: skip
IGNORED_PREFIXES = ("track.", "cli.")
BASELINE = "baseline"  # the group in which every key has its most frequent value
ABSENT = "(absent)"  # for a key that an older version did not have
MAX_VALUE_CHARACTERS = 60  # of a value in a label


@dataclass
class Group:
    """Runs of one configuration. `scene` names the environment, `label` the keys that differ between its groups."""

    scene: str
    label: str
    runs: list[RunCurves]

    @property
    def config(self) -> dict[str, Any]:
        """That of the first run."""
        return self.runs[0].config


def grouped(runs: Sequence[RunCurves]) -> list[Group]:
    """The groups, scene by scene, in the order of their first runs."""
    found: dict[str, list[RunCurves]] = defaultdict(list)
    for run in runs:
        found[json.dumps(_essential(run.config), sort_keys=True, default=str)].append(run)
    groups = [Group(scene_of(members[0]), "", members) for members in found.values()]
    scenes = list(dict.fromkeys(group.scene for group in groups))
    for scene in scenes:
        together = [group for group in groups if group.scene == scene]
        for group, label in zip(together, _labels(together)):
            group.label = label or scene
    return sorted(groups, key=lambda group: scenes.index(group.scene))


def _labels(groups: Sequence[Group]) -> list[str]:
    """A label of each group: the keys that differ, without those values that most groups have."""
    labels: list[list[str]] = [[] for _ in groups]
    for key, values in differing(groups):
        [(usual, count)] = Counter(values).most_common(1)
        for label, value in zip(labels, values):
            if value != usual or count <= len(groups) / 2:
                label.append(f"{key}={value[:MAX_VALUE_CHARACTERS]}")
    return [", ".join(label) or BASELINE * (len(groups) > 1) for label in labels]


def scene_of(run: RunCurves) -> str:
    """The name of the env file of a run; for a config without one, its scene."""
    return str(run.config.get("base.env") or run.config.get("base.scene") or "unknown scene")


def differing(groups: Sequence[Group]) -> list[tuple[str, list[str]]]:
    """The keys whose values are not equal in all groups, each with its values in the groups."""
    keys = dict.fromkeys(key for group in groups for key in group.config if _matters(key))
    rows = [(key, [shown(group.config.get(key, ABSENT)) for group in groups]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def shown(value: Any) -> str:
    """A value as in YAML."""
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str)


def _matters(key: str) -> bool:
    """Whether the key may influence what is learnt."""
    return key not in IGNORED_KEYS and not key.startswith(IGNORED_PREFIXES)


def _essential(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if _matters(key)}
