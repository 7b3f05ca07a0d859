"""The page of a report: one HTML file that includes its pictures."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sac.report.curves import RunCurves
from sac.report.diagnosis import Finding, WarningKind
from sac.report.groups import Group, differing, grouped
from sac.report.pictures import DARK, LIGHT, colors_of, inside_picture, returns_picture, whole_picture
from sac.report.summary import GroupRow, RunRow, findings_of, group_row, run_row

TEMPLATE = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
).get_template("page.html")  # fmt: skip


@dataclass
class ThemedPicture:
    """A picture for the light and one for the dark theme, as data URIs; `words` describe it."""

    light: str
    dark: str
    words: str


@dataclass
class SceneSection:
    """The part of the page about one environment."""

    name: str
    rows: list[GroupRow]
    pictures: list[ThemedPicture] = field(default_factory=list)


@dataclass
class WarningSection:
    """A kind of warning and the runs that have it."""

    kind: WarningKind
    seen: list[tuple[str, Finding]]  # name of the run, finding


@dataclass
class Report:
    """The content of a page, and a PNG of all pictures."""

    scenes: list[SceneSection]
    alarms: list[WarningSection]
    keys: list[tuple[str, list[str]]]
    groups: list[Group]
    runs: list[RunRow]
    png: bytes

    def html(self) -> str:
        """The whole page."""
        return TEMPLATE.render(report=self, when=time.strftime("%Y-%m-%d %H:%M"))


def make_report(runs: Sequence[RunCurves]) -> Report:
    """The report about these runs, of which there must be at least one."""
    groups = grouped(runs)
    found = {id(group): findings_of(group) for group in groups}
    below = common_parent([run.path for run in runs])
    shown = {id(run): _below(run.path, below) for run in runs}
    by_scene = {scene: [g for g in groups if g.scene == scene] for scene in dict.fromkeys(g.scene for g in groups)}
    scenes = [
        SceneSection(
            name,
            [group_row(g, color, [f for _, f in found[id(g)]]) for g, color in zip(members, colors_of(members))],
            _pictures(members),
        )
        for name, members in by_scene.items()
    ]
    alarms: dict[WarningKind, WarningSection] = {}
    for group in groups:
        for run, finding in found[id(group)]:
            alarms.setdefault(finding.kind, WarningSection(finding.kind, [])).seen.append((shown[id(run)], finding))
    rows = [run_row(run, _title(group, scenes), shown[id(run)]) for group in groups for run in group.runs]
    return Report(
        scenes, list(alarms.values()), differing(groups), groups, rows, whole_picture(list(by_scene.values()))
    )


def common_parent(paths: Sequence[Path]) -> Path:
    """The innermost folder that contains all these run folders; a single run folder itself."""
    return Path(os.path.commonpath([path.resolve() for path in paths]))


def _below(path: Path, parent: Path) -> str:
    """The path of a run inside `parent`; its name where both are the same."""
    inner = path.resolve().relative_to(parent).as_posix()
    return path.name if inner == "." else inner


def _title(group: Group, scenes: Sequence[SceneSection]) -> str:
    """The label of a group, with its scene where the report has several."""
    return group.label if len(scenes) == 1 or group.label == group.scene else f"{group.scene}: {group.label}"


def _pictures(groups: Sequence[Group]) -> list[ThemedPicture]:
    """The pictures of one scene that have anything to show."""
    found = []
    for make, words in ((returns_picture, "Learning curves"), (inside_picture, "Losses, temperatures, Q and rates")):
        light = make(groups, LIGHT)
        if light:
            found.append(ThemedPicture(_uri(light), _uri(make(groups, DARK)), f"{words} of {groups[0].scene}"))
    return found


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
