"""Looks at the machine before anything is started: packages, folders, disk, memory and the player's file."""

from __future__ import annotations

import os
import platform
import re
import shutil
import struct
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from sac.doctor.finding import Finding, note, stops, warning

PACKAGE = "sac-runner"
SHOWN = "tensorflow", "keras", "numpy", "protobuf", "mlagents-envs", "gymnasium", "hydra-core"
GB = 1e9
MAX_TIME_SCALE = 100.0  # of Unity's Time.timeScale
ELF_MACHINES = {0x3E: "x86_64", 0xB7: "aarch64", 0x03: "i686"}
SAME_MACHINE = {"amd64": "x86_64", "arm64": "aarch64", "i386": "i686"}
COMPARISONS = {
    "==": lambda a, b: a[: len(b)] == b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a[: len(b)] <= b,
}
REQUIREMENT = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?\s*([^;]*)$")


def packages() -> Iterator[Finding]:
    """Python, and each required package that is missing or of another version than was asked for."""
    yield note("versions", f"Python {platform.python_version()}, " + ", ".join(f"{n} {_version(n)}" for n in SHOWN))
    try:
        required = metadata.requires(PACKAGE) or []
        wanted = str(metadata.metadata(PACKAGE)["Requires-Python"] or "")
    except metadata.PackageNotFoundError:
        yield note("versions", f"{PACKAGE} itself is not installed: its requirements were not compared")
        return
    here = f"{sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]}"
    if not allowed(here, wanted):
        yield stops("versions", f"Python {here} is in use", f"use Python {wanted}")
    for requirement in required:
        match = REQUIREMENT.match(requirement)
        if match is None or ";" in requirement:  # of an extra, or of another platform
            continue
        name, versions = match[1], match[2].strip()
        found = _version(name)
        if found == "none":
            yield stops("versions", f"{name} is not installed", f'pip install "{name}{versions}"')
        elif not allowed(found, versions):
            yield stops("versions", f"{name} {found} is installed", f'pip install "{name}{versions}"')


def allowed(version: str, wanted: str) -> bool:
    """Whether a version such as 2.21.0 fulfils `>=2.21,<2.22`; unknown comparisons count as fulfilled."""
    for part in filter(None, (p.strip() for p in wanted.split(","))):
        match = re.match(r"(==|>=|<=|<)\s*([\d.]+)", part)
        if match and not COMPARISONS[match[1]](_numbers(version), _numbers(match[2])):
            return False
    return True


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version.split("+")[0])[:3]]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


def folders(models: Path, needed_bytes: int) -> Iterator[Finding]:
    """Whether run folders can be written, and checkpoints of so many bytes fit the disk."""
    place = models.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        yield stops("folders", f"{place} cannot be written", "choose another folder by base.models")
        return
    free = shutil.disk_usage(place).free
    words = (
        f"{free / GB:.1f} GB are free in {place}; two checkpoints with a full memory take {needed_bytes / GB:.2f} GB"
    )
    if free < needed_bytes:
        yield stops("disk", words, "free some space, or set replay.save=false or a smaller replay.capacity")
    else:
        yield note("disk", words)


def memory(needed_bytes: int, capacity: int, there: int | None) -> Iterator[Finding]:
    """Whether the full memory of the run fits the machine's."""
    if there is None:
        return
    words = f"a full memory of {capacity:,} rows takes {needed_bytes / GB:.2f} GB; this machine has {there / GB:.1f} GB"
    rows = int(capacity * there / max(1, needed_bytes))
    if needed_bytes > there:
        yield stops("memory", words, f"set replay.capacity to at most {rows // 2:,}, or make observations smaller")
    elif needed_bytes > there / 2:
        yield warning("memory", words, f"set replay.capacity to about {rows // 2:,}: TensorFlow needs memory too")
    else:
        yield note("memory", words)


def display(no_graphics: bool) -> Iterator[Finding]:
    """Whether a player that draws finds a screen."""
    has_screen = sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if not no_graphics and not has_screen:
        yield warning(
            "display", "base.no_graphics=false, and there is no screen (DISPLAY is not set): a Unity build cannot draw",
            "run it under a virtual screen (xvfb-run -a python run.py ...) without cameras: base.no_graphics=true",
        )  # fmt: skip


def time_scale(scale: float) -> Iterator[Finding]:
    """Whether Unity can run so much faster than real time."""
    if scale > MAX_TIME_SCALE:
        yield warning(
            "time scale", f"base.time_scale={scale:g}: Unity takes at most {MAX_TIME_SCALE:g}",
            "set base.time_scale=20, as ML-Agents does: physics becomes rough at larger values",
        )  # fmt: skip


def architecture(executable: Path) -> Iterator[Finding]:
    """Whether a program is made for this processor; scripts and unknown formats pass."""
    head = executable.read_bytes()[:64]
    if sys.platform == "linux" and head[:2] == b"MZ":
        cure = "build the scene for Linux, and set base.build_path.linux"
        yield stops("player", f"{executable} is a Windows program", cure)
    if head[:4] != b"\x7fELF":
        return
    (machine,) = struct.unpack_from("<H", head, 18)
    made_for = ELF_MACHINES.get(machine, f"machine {machine}")
    here = SAME_MACHINE.get(platform.machine().lower(), platform.machine().lower())
    if made_for != here:
        yield stops(
            "player", f"{executable} is made for {made_for}, and this processor is {here}",
            f"build the scene for Linux on {here}",
        )  # fmt: skip
