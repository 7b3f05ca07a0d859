"""Commands as they must be typed: quoted for Hydra's grammar and for the shell."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sac.config.schema import Config

ENVS = Path(__file__).parents[2] / "conf" / "env"
PROGRAM = "SAC_PROGRAM"  # environment variable: what a launcher tells its processes, who are called otherwise


def run_command(config: Config, *more: str) -> str:
    """The command that names this run, with `more` overrides that need no quotes.

    It works without the config folder that the run began with: play and resume take the run's own config.
    """
    base, words = config.base, list(more)
    if base.env is not None and is_shipped(base.env):
        words.append(f"env={base.env}")
    if base.env is None or _scene_of(base.env) != base.scene:
        words.append(override("base.scene", base.scene))
    words.append(override("base.name", base.name))
    if base.models != "models":
        words.append(override("base.models", base.models))
    return " ".join([program(), *words])


def same_command(name: str | None = None) -> str:
    """What was typed, once more; with `name` as base.name, when the one that was typed holds the time."""
    typed = [word for word in sys.argv[1:] if name is None or not word.lstrip("+").startswith("base.name=")]
    return " ".join([program(), *map(shlex.quote, typed), *([override("base.name", name)] if name else [])])


def place(config: Config) -> list[str]:
    """Overrides that tell a role on its own where the others are; Ray tells its processes itself."""
    if config.net.directory == "ray":
        return []
    usual = yaml.safe_load((ENVS.parent / "net" / "default.yaml").read_text(encoding="utf8"))
    return [override(f"net.{key}", value) for key, value in vars(config.net).items() if value != usual[key]]


def is_shipped(env: str) -> bool:
    """Whether `env=<env>` needs no config folder of the user's."""
    return (ENVS / f"{env}.yaml").is_file()


def _scene_of(env: str) -> str | None:
    """base.scene as `env=<env>` alone sets it: in its file, or in the one that this begins with."""
    if not is_shipped(env):
        return None
    told = yaml.safe_load((ENVS / f"{env}.yaml").read_text(encoding="utf8"))
    scene = (told.get("base") or {}).get("scene")
    before = [name.removeprefix("/env/") for name in told.get("defaults", ()) if str(name).startswith("/env/")]
    return scene if scene is not None or not before else _scene_of(before[-1])


def program() -> str:
    """How this program was called."""
    if PROGRAM in os.environ:
        return os.environ[PROGRAM]
    called = Path(sys.argv[0])
    if called.stem == "sac-run":
        found = shutil.which("sac-run")
        return "sac-run" if found is None or Path(found) == called else shlex.quote(sys.argv[0])
    return f"python {shlex.quote(sys.argv[0])}" if called.name == "run.py" else "python run.py"


def word(path: Path) -> str:
    """A path as an argument of its own."""
    return shlex.quote(f"./{path}" if str(path).startswith("-") else str(path))  # or it would be an option


def override(key: str, value: Any) -> str:
    """`key=value`; quoted for Hydra and for the shell where they would not read the bare text as this very text."""
    return shlex.quote(f"{key}={value_text(value)}")


def value_text(value: Any) -> str:
    """A value in Hydra's grammar, so that it reads back as this very value."""
    if isinstance(value, str):
        if re.fullmatch(r"[\w./-]+", value, re.ASCII) and not _is_literal(value):
            return value
        text = value.replace("${", "\\${")  # or it would be an interpolation
        return '"' + re.sub(r'(\\*)("|$)', lambda m: 2 * m[1] + m[2].replace('"', '\\"'), text) + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{value_text(k)}: {value_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(value_text, value)) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def _is_literal(text: str) -> bool:
    """Whether Hydra takes it for a number, a truth value or null."""
    try:
        float(text)
    except ValueError:
        return text.lower() in ("true", "false", "null")
    return True
