"""role=doctor names what was planted, and is silent where nothing is wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from sac.doctor import machine
from sac.doctor.audit import Recording, audit, episodes, same_seed
from sac.doctor.finding import Severity
from sac.types import Sensor, Spec, Step
from tests.runs.short_runs import Runner

sys.path.append(str(Path(__file__).parents[1] / "envs"))  # ailing

HEALTHY = (
    "role=doctor", "env=gym/pendulum", "base.build_path=ailing:Ailing-v0", "base.scene=ailing", "base.models=m",
    "sac.jit=false", "replay.capacity=5000", "base.n_agents=2", "seed=1", "--json",
    "base.nn_kwargs={ModelPolicy: {hidden: [8]}, ModelQ: {hidden: [8]}}",
)  # fmt: skip
# fault -> (check, severity, words of the finding)
PLANTED = {
    "time limit": ("endings", "warning", "all [0-9]+ episodes terminated after exactly 12 steps: that is a time limit"),
    "no end": ("endings", "warning", "no episode ended in 3,000 steps of 2 agents"),
    "one step": ("endings", "warning", "100% of [0-9]+ episodes end after one step"),
    "huge": ("rewards", "warning", r"rewards reach 1e\+05"),
    "tiny": ("rewards", "warning", "no reward is larger than 1e-06"),
    "same return": ("rewards", "warning", "episodes have the same return, 12"),
    "constant": ("observations", "warning", "the sensor obs never changes"),
    "large": ("observations", "warning", "of the numbers of obs are larger than 50"),
    "outside": ("observations", "warning", "lie outside of its space"),
    "not a number": ("numbers", "stops", "[0-9]+ observations or rewards were NaN or infinite"),
    "seed": ("seed", "warning", "two environments with the same seed differ from step 0 on"),
    "step": ("steps", "stops", "with random actions it raised RuntimeError: the simulator is gone"),
    "constructor": ("start", "stops", "no licence"),
    "ends of the actions": ("actions", "stops", "largest and smallest actions it raised .*the motor is overloaded"),
    "no choice": ("masks", "stops", "[0-9]+ masks allow no choice"),
    "inverted mask": ("masks", "warning", "has at most one legal choice of 4"),
}


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    return Runner(monkeypatch, capfd, tmp_path)


def examined(go, *typed) -> tuple[int, dict]:
    outcome = go(*typed)
    assert "Traceback" not in outcome.err, outcome.err
    return outcome.code, json.loads(outcome.out)


def serious(found: dict) -> list[dict]:
    return [f for f in found["findings"] if f["severity"] != "note"]


@pytest.mark.slow
def test_it_is_silent_about_a_healthy_environment(go):
    code, found = examined(go, *HEALTHY)
    assert code == 0 and found["ok"] and serious(found) == []
    assert ["vector", "obs", "3", "float32"] in [row[:4] for row in found["specs"]]
    assert found["rates"]["environment alone, steps/s"] > found["rates"]["with acting, steps/s"] > 0
    speed = next(f for f in found["findings"] if f["check"] == "speed")
    assert "updates a step take" in speed["what"]
    assert not (go.folder / "m").exists(), "it leaves nothing behind"


@pytest.mark.slow
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_named(go, fault):
    import re

    check, severity, words = PLANTED[fault]
    masked = ("base.env_kwargs.masked=true", "base.action_mask=action_masks") if check.startswith("masks") else ()
    code, found = examined(go, *HEALTHY, f"base.env_kwargs.fault={fault}", *masked)
    named = [f for f in serious(found) if re.fullmatch(check, f["check"])]
    assert any(re.search(words, f["what"]) and f["severity"] == severity and f["cure"] for f in named), found[
        "findings"
    ]
    assert code == (severity == "stops")


@pytest.mark.slow
@pytest.mark.parametrize(
    "env", ["roller", "3dball", "hallway", "grid_world", "gym/pendulum", "gym/cart_pole", "gym/mountain_car",
            "gym/acrobot", "gym/frozen_lake"]
)  # fmt: skip
def test_it_is_silent_about_shipped_scenes(go, env):
    code, found = examined(go, "role=doctor", f"env={env}", "base.models=m", "--json", "sac.jit=false", "seed=3")
    assert code == 0 and serious(found) == [], serious(found)


@pytest.mark.slow
def test_the_tables_for_people_say_the_same(go):
    told = go(*HEALTHY[:-2], *HEALTHY[-1:], "base.env_kwargs.fault=huge").out
    assert "What an agent observes and does" in told and "Findings" in told
    assert "rewards reach 1e+05" in told and "-> scale them to about 1" in told
    assert told.splitlines()[-1] == "nothing stops training; 1 warning"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no such Unity build. Looked for"),
        (lambda path: path.write_text("#!/bin/sh\n"), "is not executable. Run: chmod"),
        (lambda path: (path.write_bytes(b"MZ" + bytes(80)), path.chmod(0o755)), "is a Windows program"),
        (lambda path: (path.write_bytes(elf(0xB7)), path.chmod(0o755)), "is made for aarch64, and this processor is"),
    ],
)
def test_a_players_file_is_looked_at(go, tmp_path, make, words):
    import re

    path = tmp_path / "Build.x86_64"
    make(path)
    code, found = examined(
        go, "role=doctor", "env=roller", "base.models=m", "--json", f"base.build_path={path}", "base.timeout=10"
    )
    named = [f["what"] for f in found["findings"] if f["check"] == "player" and f["severity"] == "stops"]
    assert code == 1 and any(re.search(words, what) for what in named), found["findings"]


def elf(machine_number: int) -> bytes:
    return b"\x7fELF" + bytes(14) + machine_number.to_bytes(2, "little") + bytes(60)


# --- parts by themselves


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [("2.21.0", ">=2.21,<2.22", True), ("2.22.0", ">=2.21,<2.22", False), ("0.28.0", "==0.28.0", True),
     ("1.1.0", "==0.28.0", False), ("2.4.6", ">=2.0,<3", True), ("3.11.7", ">=3.11,<3.14", True), ("5.0", "", True)],
)  # fmt: skip
def test_versions_are_compared(version, wanted, fits):
    assert machine.allowed(version, wanted) is fits


def test_a_package_of_another_version_is_named(monkeypatch):
    monkeypatch.setattr(
        machine, "_version", lambda name: {"mlagents-envs": "1.1.0", "optuna": "none"}.get(name, "2.21.0")
    )
    found = {f.what: f.cure for f in machine.packages() if f.severity is Severity.STOPS}
    assert found["mlagents-envs 1.1.0 is installed"] == 'pip install "mlagents-envs==0.28.0"'
    assert found["optuna is not installed"].startswith('pip install "optuna')


def test_this_installation_is_fine():
    assert [f for f in machine.packages() if f.severity is not Severity.NOTE] == []


@pytest.mark.parametrize(("there", "severity"), [(1000, "STOPS"), (3000, "WARNING"), (10_000, "NOTE")])
def test_memory_is_compared(there, severity):
    (found,) = machine.memory(2000, 100, there)
    assert found.severity is Severity[severity]


def test_folders_and_disk(tmp_path):
    (fits,) = machine.folders(tmp_path / "new" / "folder", 1000)
    (full,) = machine.folders(tmp_path, 10**18)
    assert (
        fits.severity is Severity.NOTE and full.severity is Severity.STOPS and "a smaller replay.capacity" in full.cure
    )
    file = tmp_path / "file"
    file.touch()
    (blocked,) = machine.folders(file / "models", 0)
    assert blocked.severity is Severity.STOPS and "choose another folder by base.models" in blocked.cure


@pytest.mark.parametrize(("no_graphics", "screen", "count"), [(True, "", 0), (False, "", 1), (False, ":0", 0)])
def test_cameras_need_a_screen(monkeypatch, no_graphics, screen, count):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", screen)
    monkeypatch.setattr(sys, "platform", "linux")
    assert len(list(machine.display(no_graphics))) == count


@pytest.mark.parametrize(("scale", "count"), [(20.0, 0), (100.0, 0), (500.0, 1)])
def test_unity_has_a_largest_time_scale(scale, count):
    assert len(list(machine.time_scale(scale))) == count


SPEC = Spec((Sensor("v", (1,)),), 1)


def rows(stream, last, reward=0.0, discount=None, v=None) -> Step:
    k = len(stream)
    v = np.arange(k) if v is None else v
    return Step(
        np.array(stream), {"v": np.array(v, np.float32)[:, None]}, np.zeros((k, 0), bool), np.zeros((k, 1), np.float32),
        np.zeros((k, 0), np.int32), np.zeros((k, 2), np.float32), np.zeros((k, 0), np.float32),
        np.zeros((k, 0), np.float32), np.full(k, reward, np.float32),
        np.ones(k, np.float32) if discount is None else np.array(discount, np.float32), np.array(last, bool),
    )  # fmt: skip


def test_episodes_are_counted_for_each_agent():
    found = episodes(rows([0, 1, 0, 1, 0, 1], [0, 0, 1, 0, 0, 1], 2.0, [0, 1, 1, 1, 1, 1]))
    assert [(e.length, e.total, e.terminated) for e in found] == [(1, 2.0, True), (2, 4.0, False)]


def test_agents_that_vanish_and_come_anew_are_named():
    recording = Recording(SPEC, rows([0] * 9, [0] * 9), n_agents=2, lost=3, streams=40)
    found = {f.what for f in audit(recording) if f.check == "agents"}
    assert found == {
        "3 agents vanished in the middle of an episode", "40 different agents were seen, 2 at a time"
    }  # fmt: skip


def test_an_environment_that_does_not_reset_is_named():
    v = [0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8]
    recording = Recording(SPEC, rows([0] * 12, [0, 0, 1] * 4, v=v), n_agents=1)
    assert any("began with the final observation of the episode before" in f.what for f in audit(recording))


def test_the_first_difference_of_two_environments_is_named():
    same = [{"v": np.zeros(2)}, {"v": np.ones(2)}, {"v": np.ones(2)}]
    other = [*same[:2], {"v": np.array([1.0, 2.0])}]
    assert next(same_seed(same, other)).what == "two environments with the same seed differ from step 2 on"
    assert next(same_seed(same, same)).severity is Severity.NOTE
