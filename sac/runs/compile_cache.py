"""XLA's compiled functions on disk: a process with networks as an earlier one had need not compile them again.

TensorFlow writes and reads the entries by itself (its flag `tf_xla_persistent_cache_directory`). This module chooses
the folder, which belongs to one version of TensorFlow on one kind of processor, removes damaged entries, which hold
machine code, and bounds the size. Whatever goes wrong costs a compilation and never a run.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import sys
import zlib
from importlib import metadata
from pathlib import Path

import platformdirs

log = logging.getLogger(__name__)
CACHE = "SAC_CACHE"  # environment variable: the folder instead of the one in the user's cache folder
FLAGS = "TF_XLA_FLAGS"  # environment variable that TensorFlow reads once, when it is imported
FOLDER_FLAG = "--tf_xla_persistent_cache_directory"
FORMAT = 1  # another number makes all entries of older versions of this module unused
MAX_BYTES = 256 * 2**20  # of all entries; the update of default networks takes 2 MB
CHECKSUM = ".crc32"  # suffix of the file that holds an entry's checksum
TENSORFLOW = ("tensorflow", "tensorflow-cpu", "tf-nightly")  # names of packages that contain it


def use_compile_cache(setting: str | None, threads: int | None) -> None:
    """Points TensorFlow at the cache, unless `setting` is None, TensorFlow is loaded, or the user has set its flag.

    `threads` is the number of TensorFlow's threads, for which it compiles; None: all cores.
    """
    flags = os.environ.get(FLAGS, "")
    if setting is None or "tensorflow" in sys.modules or FOLDER_FLAG in flags:
        return
    try:
        root = cache_folder()
        folder = root / _kind_of_machine(threads, flags)
        if len(str(folder).split()) > 1:
            raise OSError(f"TensorFlow takes no folder with a space in its name: {folder}")
        root.mkdir(parents=True, exist_ok=True, mode=0o700)  # machine code is for nobody else to write
        folder.mkdir(exist_ok=True, mode=0o700)
        remove_damaged(folder)
        make_room(root)
    except (OSError, RuntimeError, metadata.PackageNotFoundError) as error:  # RuntimeError: the user has no home
        log.info("compiled functions are not kept on disk: %s", error)
        return
    own = f"{FOLDER_FLAG}={folder} --tf_xla_persistent_cache_device_types=CPU"
    os.environ[FLAGS] = f"{flags} {own}".strip()


def cache_folder() -> Path:
    """The folder that holds the entries of all versions and processors."""
    own = os.environ.get(CACHE)
    return Path(own) if own else platformdirs.user_cache_path("sac-runner", appauthor=False) / "xla"


def remove_damaged(folder: Path) -> None:
    """Removes entries that are not what they were when they were first seen here; notes the checksums of new ones."""
    for entry in folder.glob("*.pb"):
        try:
            status = entry.stat()
            found = f"{zlib.crc32(entry.read_bytes()):08x}"
            os.utime(entry, ns=(status.st_atime_ns, status.st_mtime_ns))  # this reading is no use, for `make_room`
            noted = entry.with_name(entry.name + CHECKSUM)
            if not noted.exists():
                noted.write_text(found)
            elif noted.read_text() != found:
                entry.unlink()
                noted.unlink()
        except FileNotFoundError:  # another process has removed it
            continue


def make_room(root: Path, max_bytes: int = MAX_BYTES) -> None:
    """Removes the entries that were not used for the longest time until the others take at most `max_bytes`."""
    used: list[tuple[float, int, Path]] = []
    for entry in root.glob("*/*.pb"):
        try:
            status = entry.stat()
        except FileNotFoundError:
            continue
        used.append((max(status.st_atime, status.st_mtime), status.st_size, entry))
    total = sum(size for _, size, _ in used)
    for _, size, entry in sorted(used):
        if total <= max_bytes:
            return
        entry.unlink(missing_ok=True)
        entry.with_name(entry.name + CHECKSUM).unlink(missing_ok=True)
        total -= size


def _kind_of_machine(threads: int | None, flags: str) -> str:
    """A name for what machine code depends on. Raises PackageNotFoundError where TensorFlow's version is unknown."""
    known = [FORMAT, _tensorflow(), platform.machine(), _processor(), threads or os.cpu_count(), flags]
    known.append(os.environ.get("XLA_FLAGS", ""))
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def _tensorflow() -> str:
    for name in TENSORFLOW:
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    raise metadata.PackageNotFoundError("tensorflow")


def _processor() -> str:
    """The processor's model and abilities, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "Features", "CPU part")  # the latter two on ARM
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(wanted)))
