"""What the user typed: checks the keys before Hydra advises a '+', and turns our errors into one message."""

from __future__ import annotations

import contextlib
import difflib
import sys
from collections.abc import Iterator
from pathlib import Path

from sac.config import FREE_FORM, all_keys, unknown_key
from sac.errors import UserError

CONF = Path(__file__).parent.parent / "conf"


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """A UserError becomes one message on the screen and exit code 1."""
    try:
        yield
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from None


def groups() -> set[str]:
    """Names that choose a file of conf/ instead of setting a key."""
    return {str(p.relative_to(CONF)) for p in CONF.rglob("*") if p.is_dir() and p.name != "__pycache__"}


def check_overrides(arguments: list[str]) -> None:
    """Raises UserError for a key or an environment that does not exist, naming the nearest that does."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    known, choosers = set(all_keys()), groups()
    typed = [a for a in arguments if not a.startswith("-") and "=" in a]
    try:
        overrides = OverridesParser.create().parse_overrides(typed)
    except HydraException as error:
        hint = "quote it for the shell, e.g. 'base.name=\"test_{time}\"'"
        raise UserError(f"cannot read the command line: {str(error).splitlines()[0]} ({hint})") from error
    for override in overrides:
        name = override.key_or_group
        if override.is_delete() or name.startswith(FREE_FORM) or name == "hydra":
            continue
        if name == "env" and isinstance(override.value(), str):
            _check_env(override.value())
        elif name not in known and name.split("@")[0] not in choosers:
            raise UserError(unknown_key(name))


def _check_env(name: str) -> None:
    available = sorted(str(p.relative_to(CONF / "env").with_suffix("")) for p in (CONF / "env").rglob("*.yaml"))
    if name in available or any(a.startswith("hydra.searchpath") or a.startswith("--config-dir") for a in sys.argv):
        return
    near = difflib.get_close_matches(name, available, 1, 0.5)
    hint = f"did you mean env={near[0]}? " if near else ""
    raise UserError(f"env={name}: no such file conf/env/{name}.yaml; {hint}available: {', '.join(available)}")


def explicit_overrides() -> dict[str, object]:
    """Keys that this job's command line (or sweep) set, without the choices of groups."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.override_parser.overrides_parser import OverridesParser

    hydra = HydraConfig.get()
    parsed = OverridesParser.create().parse_overrides(list(hydra.overrides.task))
    choices = set(hydra.runtime.choices)
    return {o.key_or_group: o.value() for o in parsed if o.key_or_group not in choices and not o.is_delete()}
