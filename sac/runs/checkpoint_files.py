"""Writes the files of one checkpoint, and reads all of them that are intact when a disk has lost some bytes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sac.errors import UserError
from sac.files import flush_file, flush_folder

log = logging.getLogger(__name__)
FORMAT_VERSION = 1  # of the files
NEEDED = ("agent",)  # parts that every checkpoint holds
ONLY_NEWEST = ("replay",)  # parts that older checkpoints lose, since they are large
MANIFEST, SCALARS = "manifest.json", "scalars.json"
COPY_OF = "copy_of_"  # prefix of the file name of a copy

State = tuple[Mapping[str, np.ndarray], Mapping[str, Any]]  # arrays by name, scalars ready for JSON


class Part(Protocol):
    """Something with a state that checkpoints keep."""

    def state(self) -> State: ...
    def restore(self, arrays: Mapping[str, np.ndarray], scalars: Mapping[str, Any]) -> None: ...


class Newer(UserError):  # noqa: N818 - a state of the checkpoint
    """A newer version of this program has written the checkpoint."""


class Damaged(Exception):  # noqa: N818 - a state of the checkpoint
    """A checkpoint cannot be used; the message says why."""


@dataclass
class Contents:
    """The contents of a checkpoint: arrays by part and name, scalars by part, and the reason for each damaged part."""

    scalars: Mapping[str, Mapping[str, Any]]
    arrays: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)

    def state(self, part: str) -> State:
        """The state of an intact part."""
        return self.arrays[part], self.scalars.get(part, {})


def write(path: Path, parts: Mapping[str, Part], beside: Sequence[Path], step: int, evaluation: float | None) -> None:
    """Fills the folder `path` and flushes it to the disk; `beside` are files to copy, where they exist."""
    digests: dict[str, str] = {}
    scalars: dict[str, Any] = {}
    for name, part in parts.items():
        arrays, scalars[name] = part.state()
        digests[f"{name}.npz"] = _write_arrays(path / f"{name}.npz", arrays)
    digests[SCALARS] = _write_twice(path / SCALARS, json.dumps(scalars).encode())
    for file in beside:
        if file.is_file():
            digests[file.name] = _write(path / file.name, file.read_bytes())
    manifest: dict[str, Any] = {"format": FORMAT_VERSION, "step": step, "evaluation": evaluation, "sha256": digests}
    manifest["own"] = _own_digest(manifest)
    _write_twice(path / MANIFEST, json.dumps(manifest, indent=1).encode())
    flush_folder(path)


def read(path: Path, step: int, names: Collection[str]) -> Contents:
    """Reads these parts of the checkpoint of a step, and the scalars of all; checks each file against its sha256.

    Parts that older checkpoints lose, or that an older version of this program did not know, may be missing. Raises
    Damaged when the scalars cannot be read, and Newer when a newer version of this program has written the checkpoint.
    """
    check_format(path)
    manifest = read_manifest(path)
    if not _whole_manifest(path / MANIFEST):
        instead = (
            "the copy of this file is used" if manifest else "the arrays are checked by the sums in their own files"
        )
        log.warning("checkpoint %s is damaged (%s cannot be read): %s", path.name, MANIFEST, instead)
    if manifest and (manifest.get("format"), manifest.get("step")) != (FORMAT_VERSION, step):
        told = f"format {manifest.get('format')}, step {manifest.get('step')}"
        raise Damaged(f"{told}; expected {FORMAT_VERSION}, {step}")
    digests = manifest.get("sha256", {})
    contents = Contents(_scalars(path, digests.get(SCALARS)))
    for name in names:
        file = path / f"{name}.npz"
        absent = not file.exists() if name in ONLY_NEWEST else name not in contents.scalars
        if absent and name not in NEEDED:
            continue
        try:
            contents.arrays[name] = _read_arrays(file, digests.get(file.name))
        except Exception as error:  # NumPy and zipfile raise many kinds of errors for a damaged file
            contents.damaged[name] = str(error).replace(str(path) + "/", "") or type(error).__name__
    return contents


def _own_digest(manifest: Mapping[str, Any]) -> str:
    """The sha256 of the manifest without its own digest."""
    rest = {name: value for name, value in manifest.items() if name != "own"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_manifest(path: Path) -> Mapping[str, Any]:
    """The manifest, or else its copy; empty when neither can be read."""
    return _whole_manifest(path / MANIFEST) or _whole_manifest(path / (COPY_OF + MANIFEST))


def _whole_manifest(path: Path) -> Mapping[str, Any]:
    """The manifest in this file, empty when it is damaged. Those of earlier versions have no digest of their own."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found = json.loads(path.read_bytes())
        if isinstance(found.get("sha256", {}), dict) and found.get("own", "") in ("", _own_digest(found)):
            return found
    return {}


def check_format(path: Path) -> None:
    """Raises Newer for a checkpoint of a newer version of this program."""
    for name in (MANIFEST, COPY_OF + MANIFEST):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            found = json.loads((path / name).read_bytes()).get("format")
            if isinstance(found, int | float) and found > FORMAT_VERSION:
                raise Newer(
                    f"{path} was made by a newer version of this program (its format is {found}, this version reads "
                    f"{FORMAT_VERSION}): use that version; an earlier checkpoint can be played here by role=play "
                    "ckpt=<step>. Nothing was changed"
                )


def _scalars(path: Path, digest: str | None) -> Mapping[str, Mapping[str, Any]]:
    """The scalars, or else their copy. Raises Damaged when neither is intact."""
    why = ""
    for name in (SCALARS, COPY_OF + SCALARS):
        try:
            data = (path / name).read_bytes()
            if digest is not None and hashlib.sha256(data).hexdigest() != digest:
                raise ValueError("does not match its sha256")
            found = dict(json.loads(data))
            if why:
                log.warning("checkpoint %s is damaged (%s): the copy of this file is used", path.name, why)
            return found
        except (OSError, ValueError, TypeError) as error:
            why = why or f"{name} {error}"
    raise Damaged(why)


def _digest_without_arrays() -> str:
    file = io.BytesIO()
    np.savez(file)
    return hashlib.sha256(file.getvalue()).hexdigest()


NO_ARRAYS = _digest_without_arrays()  # digest of the file of a part that has scalars only


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    named: dict[str, Any] = dict(arrays)
    with path.open("wb") as file:
        np.savez(file, **named)
        flush_file(file)
    return _digest(path)


def _read_arrays(path: Path, digest: str | None) -> dict[str, np.ndarray]:
    """Raises errors of many kinds for a damaged file."""
    if digest == NO_ARRAYS:  # then the file holds nothing that could be lost
        return {}
    if digest is not None and _digest(path) != digest:
        raise ValueError("does not match its sha256")
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _write_twice(path: Path, data: bytes) -> str:
    _write(path.with_name(COPY_OF + path.name), data)
    return _write(path, data)


def _write(path: Path, data: bytes) -> str:
    with path.open("wb") as file:
        file.write(data)
        flush_file(file)
    return hashlib.sha256(data).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
