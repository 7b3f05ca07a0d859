"""Commands as they must be typed: quoted for Hydra's grammar and for the shell."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sac.config import Config

ENVS = Path(__file__).parent.parent / "conf" / "env"


def run_command(config: Config, *more: str) -> str:
    """The command that names this run, with `more` overrides that need no quotes."""
    base = config.base
    known = base.env is not None and (ENVS / f"{base.env}.yaml").is_file()
    words = [
        *more,
        f"env={base.env}" if known else override("base.scene", base.scene),
        override("base.name", base.name),
    ]
    if base.models != "models":
        words.append(override("base.models", base.models))
    return " ".join([program(), *words])


def program() -> str:
    """How this program was called."""
    called = Path(sys.argv[0])
    if called.stem == "sac-run":
        return "sac-run"
    return f"python {shlex.quote(sys.argv[0])}" if called.name == "run.py" else "python run.py"


def override(key: str, value: str) -> str:
    """`key=value`; quoted for Hydra and for the shell where they would not read the bare text as this very text."""
    return shlex.quote(f"{key}={value_text(value)}")


def value_text(value: Any) -> str:
    """A value in Hydra's grammar, so that it reads back as this very value."""
    if isinstance(value, str):
        if re.fullmatch(r"[\w./-]+", value, re.ASCII) and not _is_literal(value):
            return value
        return '"' + re.sub(r'(\\*)("|$)', lambda m: 2 * m[1] + m[2].replace('"', '\\"'), value) + '"'
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
