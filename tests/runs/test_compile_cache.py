"""Compiled functions on disk: found again by the next process, and never the reason why a run fails."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from sac.runs import compile_cache
from sac.runs.compile_cache import CACHE, FLAGS, cache_folder, make_room, remove_damaged, use_compile_cache

ROOT = Path(__file__).parents[2]


def entry(folder, name, content=b"machine code", used=None):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.pb"
    path.write_bytes(content)
    if used is not None:
        os.utime(path, (used, used))
    return path


def names(folder):
    return sorted(path.name for path in folder.rglob("*.pb"))


def test_a_changed_entry_is_removed_and_the_others_stay(tmp_path):
    entry(tmp_path, "good"), entry(tmp_path, "bad")
    remove_damaged(tmp_path)
    assert (tmp_path / "good.pb.crc32").read_text() == f"{zlib.crc32(b'machine code'):08x}"
    entry(tmp_path, "bad", b"machine cofe")
    remove_damaged(tmp_path)
    assert names(tmp_path) == ["good.pb"] and not (tmp_path / "bad.pb.crc32").exists()
    entry(tmp_path, "bad", b"compiled anew")
    remove_damaged(tmp_path)
    remove_damaged(tmp_path)
    assert names(tmp_path) == ["bad.pb", "good.pb"]


def test_what_was_not_used_for_the_longest_time_makes_room(tmp_path):
    for kind, name, used in [("a", "old", 1), ("b", "older", 0), ("a", "new", 3), ("b", "newest", 4)]:
        entry(tmp_path / kind, name, b"x" * 100, used)
    remove_damaged(tmp_path / "b")  # reads all entries, which must not count as use
    assert (tmp_path / "b" / "older.pb").stat().st_atime == 0
    make_room(tmp_path, max_bytes=400)
    assert len(names(tmp_path)) == 4
    make_room(tmp_path, max_bytes=200)
    assert names(tmp_path) == ["new.pb", "newest.pb"]
    assert not (tmp_path / "b" / "older.pb.crc32").exists()


@pytest.fixture
def flags(tmp_path, monkeypatch):
    """What `use_compile_cache` leaves in the environment of a process without TensorFlow."""
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv(FLAGS, "--tf_xla_clustering_debug=false")
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)

    def found(setting="auto", threads=None):
        use_compile_cache(setting, threads)
        return os.environ[FLAGS]

    return found


def test_the_folder_belongs_to_a_kind_of_machine(flags, tmp_path, monkeypatch):
    folders = set()
    for threads, xla_flags in [(1, ""), (2, ""), (2, "--xla_cpu_enable_fast_math=true")]:
        monkeypatch.setenv(FLAGS, "--tf_xla_clustering_debug=false")
        monkeypatch.setenv("XLA_FLAGS", xla_flags)
        own, folder, devices = flags(threads=threads).split()
        assert own == "--tf_xla_clustering_debug=false" and devices.endswith("=CPU")
        folders.add(folder)
    assert len(folders) == len(list((tmp_path / "cache").iterdir())) == 3
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700 or os.name == "nt"


def test_null_and_flags_of_the_user_leave_it_alone(flags, monkeypatch):
    assert flags(None) == "--tf_xla_clustering_debug=false"
    own = "--tf_xla_persistent_cache_directory=/mine"
    monkeypatch.setenv(FLAGS, own)
    assert flags() == own


@pytest.mark.parametrize("trouble", ["space", "file", "unknown version"])
def test_what_cannot_be_used_is_no_error(trouble, flags, tmp_path, monkeypatch, caplog):
    if trouble == "space":
        monkeypatch.setenv(CACHE, str(tmp_path / "my cache"))
    elif trouble == "file":
        (tmp_path / "cache").write_text("not a folder")
    else:
        monkeypatch.setattr(compile_cache, "TENSORFLOW", ("no-such-package",))
    with caplog.at_level("INFO"):
        assert flags() == "--tf_xla_clustering_debug=false"
    assert "compiled functions are not kept on disk" in caplog.text


def test_it_lies_in_the_cache_folder_of_the_user(monkeypatch, tmp_path):
    monkeypatch.delenv(CACHE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder().name == "xla" and "sac-runner" in cache_folder().parts


PROGRAM = """
import sys
from sac.runs.compile_cache import use_compile_cache
use_compile_cache("auto", None)
from sac.backend import Compiled, tf
for _ in range(int(sys.argv[1])):  # other functions before it must not matter
    tf.function(lambda x: x + 1)(tf.zeros(2))
w = tf.Variable(tf.ones((8, 8)))
def step(x):
    w.assign_add(x)
    return tf.reduce_sum(tf.tanh(x @ w))
print(float(Compiled(step, jit=True)((), tf.fill((8, 8), 0.01))), float(tf.reduce_sum(w)))
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def run(cache, functions_before=0):
    words = [sys.executable, "-c", PROGRAM, str(functions_before)]
    done = subprocess.run(words, cwd=ROOT, env=os.environ | {CACHE: str(cache)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for said in ("text-format", "InitializeLog", "Target machine feature"):
        assert said not in done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_next_process_finds_what_was_compiled(cache):
    first = run(cache)
    compiled = {path.name: path.stat().st_mtime_ns for path in cache.rglob("*.pb")}
    assert compiled
    assert run(cache, functions_before=3) == first
    assert {path.name: path.stat().st_mtime_ns for path in cache.rglob("*.pb")} == compiled


@pytest.mark.slow
@pytest.mark.parametrize("rest", [0.0, 0.5])
def test_torn_entries_that_nobody_has_seen_whole_are_compiled_anew(cache, rest):
    first = run(cache)
    for path in cache.rglob("*.pb"):
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * rest)])
        path.with_name(path.name + compile_cache.CHECKSUM).unlink(missing_ok=True)
    assert run(cache) == first
    assert all(path.stat().st_size > 1000 for path in cache.rglob("*.pb"))


@pytest.mark.slow
def test_two_processes_write_at_once(tmp_path):
    words = [sys.executable, "-c", PROGRAM, "0"]
    env = os.environ | {CACHE: str(tmp_path)}
    both = [subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert len({process.communicate(timeout=120)[0] for process in both}) == 1
    assert all(process.returncode == 0 for process in both)
    assert run(tmp_path)
