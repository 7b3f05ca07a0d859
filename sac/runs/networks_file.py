"""Finds and loads the user's nn.py."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from sac.errors import UserError

ENVS = Path(__file__).parents[2] / "envs"


def find_networks(nn: str, env: str | None) -> Path | None:
    """The file that `base.nn` names: a module in the scene's folder, a dotted module, or a path.

    None when nn is `nn` and the scene has no such module: then every network is the default. For a variant of a scene
    (`roller/hard`) its own folder comes first, then the scene's. Raises UserError that names every place.
    """
    tried: list[str] = []
    if nn.endswith(".py"):
        path = Path(nn).expanduser()
        if path.is_file():
            return path.resolve()
        tried.append(str(path))
    elif "." in nn:
        try:
            found = importlib.util.find_spec(nn)
        except ModuleNotFoundError:
            found = None
        if found is not None and found.origin:
            return Path(found.origin)
        tried.append(f"the module {nn}")
    else:
        folder = ENVS / (env or "")
        while folder != ENVS and ENVS in folder.parents:
            path = folder / f"{nn}.py"
            if path.is_file():
                return path
            tried.append(str(path.relative_to(ENVS.parent)))
            folder = folder.parent
        if nn == "nn":
            return None
    raise UserError(
        f"base.nn={nn}: found none of {', '.join(tried) or 'its files'}; "
        "give a module name, a dotted module or a .py file"
    )


def load_networks(path: Path | None) -> ModuleType | None:
    """Imports a networks file by its path. Raises UserError with file and line when the import fails."""
    if path is None:
        return None
    spec = importlib.util.spec_from_file_location(f"networks_{abs(hash(path))}", path)
    assert spec is not None and spec.loader is not None  # None for unknown suffixes only, and this one is .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        what = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}, line {_line(error, path)}, cannot be imported: {what}") from error
    return module


def _line(error: Exception, path: Path) -> int | None:
    """The line of the file that raised the error, also when a library raised it that this line calls."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == str(path)), None)
