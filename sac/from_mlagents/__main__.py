"""`python -m sac.from_mlagents trainer.yaml --behavior NAME` writes conf/env/<scene>.yaml from ML-Agents' settings."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sac.config.command_line import CONF
from sac.config.validation import check_assignable
from sac.errors import UserError
from sac.files import write_atomically
from sac.from_mlagents.convert import Converted, convert
from sac.screen import unbreakable_screen

SCENE_LETTERS = re.compile(r"[^a-z0-9_]+")
FREE_FORM = "reset.", "base.nn_kwargs.", "base.build_path"
WIDTH = 100  # letters of a line before its comment


def main(arguments: Sequence[str] | None = None) -> int:
    """Converts and writes. Returns the exit code, 1 after a UserError, whose text is printed."""
    typed = _parser().parse_args(arguments)
    try:
        converted = convert(_read(typed.file), typed.behavior)
        scene = typed.scene or SCENE_LETTERS.sub("_", converted.behavior.lower()).strip("_")
        if not scene:
            raise UserError(f"the behaviour {converted.behavior} gives no name for a file: name the scene by --scene")
        text = as_yaml(converted, scene, typed.file.name)
        out = typed.out or CONF / "env" / f"{scene}.yaml"
        _write(text, out, typed.force)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    print(text)
    for note in converted.notes:
        print(f"note: {note}")
    print(f"wrote {out}; {_how_to_train(out)}")
    return 0


def _how_to_train(out: Path) -> str:
    """The command that trains an env file, for files in conf/env and elsewhere."""
    path, ours = out.resolve(), (CONF / "env").resolve()
    if path.is_relative_to(ours):
        return f"train it with: python run.py env={path.relative_to(ours).with_suffix('').as_posix()}"
    if path.parent.name == "env":
        return f"train it with: python run.py --config-dir {shlex.quote(str(path.parent.parent))} env={path.stem}"
    return "to train it, move it into a folder called env, whose parent --config-dir names"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sac.from_mlagents", description="Writes an env file from a trainer configuration of ML-Agents."
    )
    parser.add_argument("file", type=Path, help="the YAML file that mlagents-learn reads")
    parser.add_argument("--behavior", help="which behaviour, where the file has several")
    parser.add_argument("--scene", help="the scene's name here (default: the behaviour's in small letters)")
    parser.add_argument("--out", type=Path, help="the file to write (default: conf/env/<scene>.yaml)")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")
    return parser


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML file: {' '.join(str(error).split())}") from error


def _write(text: str, out: Path, force: bool) -> None:
    if out.exists() and not force:
        raise UserError(f"{out} exists: choose another --scene or --out, or replace it by --force")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, text)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from error


def as_yaml(converted: Converted, scene: str, source: str) -> str:
    """The env file, with the origin of each value as a comment. Raises UserError for a value that its key refuses."""
    keys: dict[str, Any] = {"base.env_type": "UNITY", "base.scene": scene} | converted.keys
    for key, value in keys.items():
        if "${" in str(value):
            raise UserError(f"{key}={value}: an interpolation (${{...}}) is not taken over from a trainer file")
        if not key.startswith(FREE_FORM):
            check_assignable(key, value)
    tree = _nested(keys)
    lines = [
        "# @package _global_",
        f"# The behaviour {converted.behavior} of {source}, as python -m sac.from_mlagents read it.",
    ]
    lines += [f"# {note}" for note in converted.notes]
    lines += _lines(tree, converted.origins, "")
    return "\n".join(lines) + "\n"


def _nested(keys: Mapping[str, Any]) -> dict[str, Any]:
    """{"sac.gamma": 1} as {"sac": {"gamma": 1}}; names below reset may contain dots."""
    tree: dict[str, Any] = {}
    for key, value in keys.items():
        section, _, leaf = key.partition(".")
        if not leaf:
            tree[section] = value
            continue
        inner = tree.setdefault(section, {})
        if leaf.startswith("nn_kwargs."):
            inner, leaf = inner.setdefault("nn_kwargs", {}), leaf.removeprefix("nn_kwargs.")
        inner[leaf] = value
    return tree


def _lines(tree: Mapping[str, Any], origins: Mapping[str, str], prefix: str) -> list[str]:
    lines = []
    for name, value in tree.items():
        key, indent = f"{prefix}{name}", "  " * prefix.count(".")
        if isinstance(value, Mapping) and key not in origins:
            lines += [f"{indent}{_plain(name)}:", *_lines(value, origins, f"{key}.")]
        else:
            line = f"{indent}{_plain(name)}: {_plain(value)}"
            origin = origins.get(key)
            lines.append(f"{line:<40}  # {origin}" if origin and len(line) <= WIDTH else line)
    return lines


def _plain(value: Any) -> str:
    """A value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False).strip()
    return text.removesuffix("...").strip()


if __name__ == "__main__":
    with unbreakable_screen():
        code = main()
    sys.exit(code)
