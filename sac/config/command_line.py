"""Checks the command line before Hydra reads it, and turns errors into one message."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import socket
import sys
import traceback
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, Override, OverrideType, Sweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from sac.config.credentials import without_credentials
from sac.config.help_text import help_text
from sac.config.hydra_keys import unknown_hydra_key
from sac.config.run_names import FOLDER_CHOSEN_BY, TIME_VARIABLE, time_and_letters
from sac.config.schema import all_keys
from sac.config.text_keys import is_text
from sac.config.typed_texts import quoted
from sac.config.validation import check_value, no_environment, unknown_key
from sac.errors import UserError

CONF = Path(__file__).parents[2] / "conf"
# Keys below which a user may add names:
FREE_FORM = ("reset", "random_params", "base.nn_kwargs", "base.env_kwargs", "base.build_path")
FREE_FORM_OPTIONS = ("hydra.sweeper.sampler_kwargs", "hydra.sweeper.pruner_kwargs", "hydra.sweeper.objectives")
FOLDERS = ("base.models", "base.scene")  # Hydra makes folders with these names before any job is checked
INSIDE_FREE_FORM = tuple(f"{name}." for name in FREE_FORM)


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """Turns an error that the user can correct into one message on the screen and exit code 1."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra raises exceptions instead of printing them
    try:
        yield
    except UserError as error:
        message = str(error)
    except (HydraException, OmegaConfBaseException) as error:
        lacks_scene = isinstance(
            error, InterpolationToMissingValueError
        )  # the name of a multirun's folder contains the scene
        message = no_environment() if lacks_scene else _in_one_line(error)
    except OSError as error:  # raised by Hydra itself, which makes folders; jobs report their own errors
        message = f"{error.filename or ''}: {error.strerror or error} ({FOLDER_CHOSEN_BY})".removeprefix(": ")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    else:
        return
    sys.stderr.write(f"error: {message}\n")
    raise SystemExit(1) from None


@contextlib.contextmanager
def job_errors() -> Iterator[None]:
    """Prints at once why this job ended: a message, or the traceback of a bug. In a multirun the other jobs go on."""
    try:
        yield
        return
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
    except Exception:
        traceback.print_exc()
    number = job_number()
    if number is None:
        raise SystemExit(1)
    raise UserError(f"job {number} failed, see above")


def _in_one_line(error: Exception) -> str:
    """Hydra's message without its search path and internals, and without the secrets of a typed URL."""
    unknown = unknown_hydra_key(str(error), CONF)
    if unknown is not None:
        return unknown
    lines = []
    for line in str(error).splitlines():
        if line.startswith(("Config search path", "    full_key")):
            break
        if line.strip() and not line.startswith("See https"):
            lines.append(line.strip())
    return without_credentials(" ".join(lines))


def begin(arguments: Sequence[str]) -> list[str]:
    """Checks the arguments, and fixes the time after which all jobs of a multirun are named.

    Returns the arguments for Hydra: with '++' before new names in free-form sections, and with quotes around texts that
    look like numbers. Raises UserError for a key or a choice that does not exist, with the most similar one.
    """
    from hydra._internal.utils import get_args_parser

    OmegaConf.register_new_resolver("host_number", host_number, replace=True)
    arguments = ["json=true" if argument == "--json" else argument for argument in arguments]
    typed = get_args_parser().parse_args(arguments)
    if typed.shell_completion:  # install=bash is no key then
        return list(arguments)
    folders = [CONF, *(Path(folder) for folder in [typed.config_dir] if folder)]
    if not folders[-1].is_dir():
        raise UserError(f"--config-dir {folders[-1]}: no such folder")
    if typed.help:
        print(help_text(folders))
        raise SystemExit(0)
    texts = as_texts(typed.overrides, _groups(folders))
    overrides = check_overrides([texts[argument] for argument in typed.overrides], folders)
    if typed.multirun:
        os.environ[TIME_VARIABLE] = time_and_letters()
    if not typed.cfg and not typed.info:
        _check_multirun(overrides, typed.multirun)
    free = {o.input_line for o in overrides if o.type is OverrideType.CHANGE and is_free(o.key_or_group, o.value())}
    arguments = [texts.get(argument, argument) for argument in arguments]
    return ["++" * (argument in free) + argument for argument in arguments]


def as_texts(typed: Sequence[str], groups: Collection[str] = ()) -> dict[str, str]:
    """Override -> the override with quotes, where a key or a group takes text and Hydra would read something else."""
    return {argument: quoted(argument) if _takes_text(argument, groups) else argument for argument in typed}


def _takes_text(argument: str, groups: Collection[str]) -> bool:
    key, _, value = argument.lstrip("+~").partition("=")
    name = key.partition("@")[0]
    is_choice = name in groups and not value.lstrip().startswith("{")  # `reset={gravity: 9.8}` names no file
    return is_text(name) or is_choice


def _check_multirun(overrides: Sequence[Override], multirun: bool) -> None:
    """Raises UserError for a search or a launcher that would silently have no effect or another one."""
    for override in overrides:
        searches = override.key_or_group == "sweep" and override.value() is not None
        if searches and override.is_sweep_override():
            raise UserError(f"{override.input_line}: one search at a time, each in a call of its own")
        if multirun and override.key_or_group in FOLDERS and not override.is_sweep_override():
            check_value(override.key_or_group, override.value())
        if not multirun and (searches or override.key_or_group in ("hydra/sweeper", "hydra/launcher")):
            raise UserError(f"{override.input_line} needs -m: python run.py -m env=... {override.input_line}")


def is_free(name: str, value: object) -> bool:
    """Whether a key may be new. A free-form key with a plain value, as in `reset=default`, names a file instead."""
    return name.startswith((*INSIDE_FREE_FORM, *FREE_FORM_OPTIONS)) or (name in FREE_FORM and isinstance(value, dict))


def check_overrides(typed: Sequence[str], folders: Sequence[Path] = (CONF,)) -> list[Override]:
    """The parsed overrides. Raises UserError for a key that does not exist or a file that is in no config folder."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        overrides = OverridesParser.create().parse_overrides(list(typed))
    except HydraException as error:
        raise UserError(
            f"{_in_one_line(error)} (quote it for the shell, e.g. 'base.name=\"test_{{time}}\"')"
        ) from error
    known, choosers = set(all_keys()), _groups(folders)
    has_search_path = any(o.key_or_group == "hydra.searchpath" for o in overrides)  # only Hydra knows the files there
    for override in overrides:
        name = override.key_or_group.split("@")[0]
        if name.startswith((*INSIDE_FREE_FORM, "hydra.", "hydra/")):
            continue
        if name in choosers:
            if not (has_search_path or override.is_delete()):
                check_choice(name, override.value(), folders)
        elif name not in known and not has_search_path:
            raise UserError(unknown_key(name, tuple(choosers)))
    return overrides


def _groups(folders: Sequence[Path]) -> set[str]:
    """Config groups: names that choose a file of conf/ instead of setting a key."""
    inside = (path.relative_to(folder).as_posix() for folder in folders for path in folder.rglob("*") if path.is_dir())
    return {name for name in inside if not name.startswith("hydra") and "__pycache__" not in name}


def check_choice(group: str, chosen: object, folders: Sequence[Path] = (CONF,)) -> None:
    """Raises UserError for a file that is in no config folder.

    `chosen` is a name or a sweep over names. Hydra itself checks mappings and other kinds of sweep.
    """
    if isinstance(chosen, dict) or (isinstance(chosen, Sweep) and not isinstance(chosen, ChoiceSweep)):
        return
    names = chosen.list if isinstance(chosen, ChoiceSweep) else [chosen]
    available = {
        path.relative_to(folder / group).with_suffix("").as_posix()
        for folder in folders
        for path in (folder / group).rglob("*.yaml")
    }
    for name in (getattr(name, "text", name) for name in names):
        if name not in available:
            near = difflib.get_close_matches(str(name), available, 1, 0.5)
            hint = f"did you mean {group}={near[0]}? " if near else ""
            choice, others = f"{group}={'null' if name is None else name}", ", ".join(sorted(available))
            raise UserError(f"{choice}: no such file conf/{choice.replace('=', '/')}.yaml; {hint}available: {others}")


def explicit_overrides(hydra: DictConfig | None = None) -> dict[str, object]:
    """The keys that a job's command line or sweep sets, without choices of groups; None means this process's job."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.override_parser.overrides_parser import OverridesParser

    found: Any = hydra or HydraConfig.get()
    typed: Any = OmegaConf.to_container(found.overrides.task, resolve=False)  # an override may hold an interpolation
    parsed = OverridesParser.create().parse_overrides(typed)
    choices = set(found.runtime.choices)
    return {o.key_or_group: o.value() for o in parsed if o.key_or_group not in choices and not o.is_delete()}


def job_number() -> int | None:
    """This job's number in its multirun; None outside of a multirun."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    return hydra.job.num if hydra.mode == RunMode.MULTIRUN else None


def host_number() -> int:
    """The index at the end of this host's name plus one, as StatefulSets of Kubernetes name their pods: 3 for actor-2.

    Raises UserError for a host name without an index.
    """
    name = socket.gethostname().split(".")[0]
    index = re.search(r"-(\d+)$", name)
    if index is None:
        raise UserError(
            f"the host name {name} does not end in an index, as a StatefulSet's <name>-0, <name>-1 ... do: "
            "give each actor a net.number of its own, 1, 2 ..."
        )
    return int(index[1]) + 1
