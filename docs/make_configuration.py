"""Writes docs/configuration.md: every key with its default, its range and its meaning.

Defaults and meanings come from the YAML files of conf/, ranges from the dataclasses that check the keys. Run
`python docs/make_configuration.py` after a change of either; tests/docs holds the page up to date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "configuration.md"
KEY = re.compile(r"^(?P<name>[a-z_]+): *(?P<default>\"[^\"]*\"|\{[^#]*\}|\[[^#]*\]|[^#]*?)? *(?:# *(?P<meaning>.*))?$")
MORE = re.compile(r"^ +# *(?P<meaning>.*)$")  # a comment that goes on in the next line
NESTED = re.compile(r"^  (?P<rest>[a-z_]+: .*)$")

HEAD = """# Configuration

<!-- Written by docs/make_configuration.py from conf/ and the dataclasses that check it. Do not edit by hand. -->

Every key can be set on the command line as `section.key=value`. Unknown keys are refused with the nearest one that
exists, and values out of range with what is allowed. `python run.py env=roller --cfg job` prints the whole resolved
config of a scene. A value that the shell would read (blanks, braces, quotes) needs quotes around the whole word:
`'base.name="test_{time}"'`.

A scene's file in `conf/env/` names only what differs from these defaults. The keys of the original project keep their
names; a default `???` has to be set, which every scene's file does.
"""
SECTIONS = (  # title, file in conf/, prefix of its keys, what it is about
    ("Top level", "run/default", "", "Which role runs, from which state, with which seed."),
    ("base", "base/default", "base.", "The scene, its agents, names and limits, and the distributed roles."),
    ("reset", None, "reset.", ""),
    ("replay", "replay/default", "replay.", "The replay memory."),
    ("sac", "sac/default", "sac.", "The algorithm. [The algorithm](algorithm.md) explains the parts."),
    ("eval", "eval/default", "eval.", "Deterministic evaluation, in an environment of its own."),
    ("track", "track/default", "track.", "Where the numbers of a run go."),
    ("net", "net/default", "net.", "Where the distributed roles find one another. See [Distributed](distributed.md)."),
)
OPTIONS = (  # title, file in conf/hydra/, module and class that check it, prefix, what it is about
    ("Launcher processes", "launcher/processes", "launchers.jobs.options:ProcessOptions", "hydra.launcher.",
     "Each job of `-m` in a process of its own; this is the default. See [Many runs](many-runs.md)."),
    ("Launcher roles", "launcher/roles", "launchers.cells.options:RoleOptions", "hydra.launcher.",
     "`hydra/launcher=roles`: each job as a cell on this machine. See [Distributed](distributed.md)."),
    ("Launcher population", "launcher/population", "launchers.cells.options:PopulationOptions", "hydra.launcher.",
     "`hydra/launcher=population`: each job as a population of single processes. See [Populations](populations.md)."),
    ("Launcher ray", "launcher/ray", "launchers.ray_cluster.options:RayJobOptions", "hydra.launcher.",
     "`hydra/launcher=ray`: each job as one process on a Ray cluster. See [Ray](ray.md#jobs)."),
    ("Launcher ray_roles", "launcher/ray_roles", "launchers.ray_cluster.options:RayCellOptions", "hydra.launcher.",
     "`hydra/launcher=ray_roles`: each job as a cell or a population of cells on Ray. See [Ray](ray.md#cells)."),
    ("Launcher kubernetes", "launcher/kubernetes", "launchers.kubernetes_manifests.options:KubernetesOptions",
     "hydra.launcher.", "`hydra/launcher=kubernetes`: prints manifests. See [Kubernetes](kubernetes.md)."),
    ("Search", "sweeper/optuna", "launchers.search.options:SearchOptions", "hydra.sweeper.",
     "`sweep=...` or `hydra/sweeper=optuna`: a search with Optuna. See [Many runs](many-runs.md#searches)."),
)  # fmt: skip
RESET = """Free-form: names and numbers that are sent to the environment before every reset (Unity: environment
parameters, Gymnasium: the `options` of `reset`), for example `reset.gravity=9.8`."""


class Key(NamedTuple):
    """One line of a table."""

    name: str
    default: str
    meaning: str


def written(path: Path) -> Iterator[Key]:
    """The keys of a YAML file with the comments behind them, in the order of the file."""
    found: list[Key] = []
    for line in path.read_text(encoding="utf8").splitlines():
        more, key, nested = MORE.match(line), KEY.match(line), NESTED.match(line)
        if more and found:
            last = found.pop()
            found.append(last._replace(meaning=f"{last.meaning} {more['meaning']}".strip()))
        elif nested and found and not line.lstrip().startswith("- "):  # of a mapping: shown as one default
            last = found.pop()
            value, _, comment = nested["rest"].partition("#")
            inside = f"{last.default}, {value.strip()}".removeprefix(", ")
            found.append(last._replace(default=inside, meaning=f"{last.meaning} {comment.strip()}".strip()))
        elif key and key["name"] not in ("defaults", "_target_"):
            found.append(Key(key["name"], key["default"] or "", (key["meaning"] or "").removeprefix("new: ")))
    yield from found


def allowed(field) -> str:
    """What a key takes, in words."""
    from sac.config.validation import TYPES

    kind = next((words for start, words in TYPES.items() if field.type.startswith(start)), "")
    words = field.metadata["allowed"].rstrip(",")
    kind = "" if kind == "text" and words else kind
    return " ".join(filter(None, (kind, words))) + (" or null" if "None" in field.type else "")


def cell(text: str) -> str:
    """Text as a cell of a Markdown table: no bar ends the cell, and no `<` outside of code begins a tag."""
    parts = text.replace("|", "\\|").strip().split("`")
    return "`".join(part if i % 2 else part.replace("<", "&lt;") for i, part in enumerate(parts))


def table(prefix: str, keys: list[Key], cls) -> str:
    known = {field.name: field for field in fields(cls)}
    lines = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
    for name, default, meaning in keys:
        code = f"`{default}`" if default else ""
        lines.append(f"| `{prefix}{name}` | {cell(code)} | {cell(allowed(known[name]))} | {cell(meaning)} |")
    return "\n".join(lines)


def page() -> str:
    """The whole page."""
    import importlib
    from typing import get_type_hints

    from sac.config.schema import Config

    parts, hints = [HEAD], get_type_hints(Config)
    for title, file, prefix, about in SECTIONS:
        if file is None:
            parts.append(f"## {title}\n\n{RESET}\n")
            continue
        keys = list(written(ROOT / "conf" / f"{file}.yaml"))
        if not prefix:
            keys.insert(0, Key("role", "train", "what this process does; `role=play` plays a run"))
        parts.append(f"## {title}\n\n{about}\n\n{table(prefix, keys, hints.get(title, Config))}\n")
    parts.append("## Launchers and searches\n\nThese keys count with `-m` only.\n")
    for title, file, where, prefix, about in OPTIONS:
        module, _, name = where.partition(":")
        keys = list(written(ROOT / "conf" / "hydra" / f"{file}.yaml"))
        cls = getattr(importlib.import_module(module), name)
        parts.append(f"### {title}\n\n{about}\n\n{table(prefix, keys, cls)}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.write_text(page(), encoding="utf8")
