import subprocess
import sys

import pytest
from ring_model import SPEC, STATE, prioritized

from sac.errors import UserError
from sac.replay import Replay, check_capacity, check_memory, columns
from sac.replay import capacity_check as memory_module
from sac.replay.capacity_check import machine_memory
from sac.replay.ring import Ring
from sac.types import Sensor, Spec


def test_memory_is_foretold_to_the_byte():
    layout = columns(SPEC, STATE)
    ring = Ring(layout, 37)
    assert Ring.bytes(layout, 37) == sum(column.nbytes for column in ring.columns.values())


def test_images_are_stored_once_as_bytes():
    spec = Spec(sensors=(Sensor("camera", (84, 84, 3), "uint8"),), continuous=2)
    row = Ring.bytes(columns(spec, 0), 1)
    assert 84 * 84 * 3 < row < 84 * 84 * 3 + 64


def test_too_large_a_replay_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr(memory_module, "machine_memory", lambda: 1000)
    with pytest.raises(UserError, match=r"replay\.capacity=50 "):
        Replay(SPEC, STATE, prioritized(50), steps=1)
    check_memory(1000, 50)
    with pytest.raises(UserError, match=r"at most 5 rows"):
        check_memory(10_000, 50)
    monkeypatch.setattr(memory_module, "machine_memory", lambda: None)
    check_memory(10**18, 50)  # a machine that does not tell is trusted


def test_the_machine_tells_its_memory():
    assert machine_memory() > 2**27


def test_no_sysconf_is_no_crash(monkeypatch):
    """As on Windows: another source answers, or nobody does."""
    monkeypatch.delattr("os.sysconf", raising=False)
    memory = machine_memory()
    assert memory is None or memory > 2**20


def test_capacity_must_hold_every_streams_window():
    check_capacity(101, streams=10, steps=4, burn_in=5)
    with pytest.raises(UserError, match=r"replay\.capacity=100 .*greater than 100"):
        check_capacity(100, streams=10, steps=4, burn_in=5)


def test_the_package_needs_numpy_only():
    code = "import sys, sac.replay; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'hydra')))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
