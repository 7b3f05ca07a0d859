"""Checkpoints against kills, damage (F12) and full disks (F11); NumPy alone, so each fault costs a split second."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import saving_for_ever
from saving_for_ever import parts

from sac.checkpoint import ASIDE, KEEP, Checkpoints, check_disk
from sac.errors import UserError
from tests.full_disk import small_files


def saved(folder, steps, evaluations=None) -> Checkpoints:
    checkpoints = Checkpoints(folder)
    for i, step in enumerate(steps):
        checkpoints.save(parts(float(step), 100), step, evaluations[i] if evaluations else None)
    return checkpoints


def loaded(checkpoints, which="latest"):
    """(step, agent's value, memory's value) after a load; the memory is 0 where none was kept."""
    fresh = parts(0.0, 100)
    found = checkpoints.load(fresh, which)
    for part in fresh.values():
        assert (part.array == part.value).all()
    return found.step, fresh["agent"].value, fresh["replay"].value


def flip(path, offset=None):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if offset is None else offset] ^= 1
    path.write_bytes(data)


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


# kills


def test_kill_9_at_any_moment_of_a_checkpoint(tmp_path):
    """Six processes, each killed at another moment after a temporary folder has appeared."""
    moments, last = [], 0
    for i in range(6):
        process = subprocess.Popen([sys.executable, saving_for_ever.__file__, str(tmp_path)])
        begun, deadline = tmp_path / f".tmp-{last + 2 + i % 2}", time.monotonic() + 30
        while not begun.exists():
            assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.007 * i)
        process.kill()
        process.wait()
        moments.append(sorted(path.name for path in tmp_path.glob(".tmp-*/*")))
        checkpoints = Checkpoints(tmp_path)
        step, agent, memory = loaded(checkpoints)
        assert step == agent == memory, "the newest is whole, its memory included"
        assert step > last
        last = step
    assert any(moments), "no kill hit a checkpoint that was being written"
    checkpoints.save(parts(1.0), last + 1, None)
    assert not list(tmp_path.glob(".tmp-*")), "what a kill left is cleared away"


def test_the_same_step_again_is_never_a_moment_without_one(tmp_path, monkeypatch):
    checkpoints = saved(tmp_path, [5])
    removed = []
    real = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda path, **k: (removed.append(len(checkpoints.all())), real(path, **k)))
    for value in (6.0, 7.0):
        checkpoints.save(parts(value, 100), 5, None)
    assert removed == [2, 2], "removed once the new one is there"
    assert loaded(checkpoints) == (5, 7.0, 7.0) and [path.name for path in tmp_path.iterdir()] == [
        "step_000000000005.2"
    ]
    assert loaded(checkpoints, 5) == (5, 7.0, 7.0)


# damage


@pytest.mark.parametrize("file", ["agent.npz", "replay.npz", "scalars.json", "manifest.json"])
@pytest.mark.parametrize("damage", [truncate, flip, os.unlink])
def test_a_damaged_newest_falls_back_and_says_so(tmp_path, caplog, file, damage):
    checkpoints = saved(tmp_path, [1, 2])
    damage(tmp_path / "step_000000000002" / file)
    if (file, damage) == ("replay.npz", os.unlink):  # as in every older one
        assert loaded(checkpoints) == (2, 2.0, 0.0)
        assert "holds no replay" in caplog.text
        return
    if (file, damage) == ("manifest.json", flip):  # a digit of a sum or a bracket
        flip(tmp_path / "step_000000000002" / file, 10)
    assert loaded(checkpoints) == (1, 1.0, 0.0)
    assert "checkpoint step_000000000002 is damaged" in caplog.text and "trying the one before" in caplog.text
    assert "step_000000000001 holds no replay (only the newest does): it starts empty" in caplog.text


def test_every_byte_of_the_manifest_matters_or_does_not_hurt(tmp_path):
    checkpoints = saved(tmp_path, [1, 2])
    path = tmp_path / "step_000000000002" / "manifest.json"
    whole = path.read_bytes()
    for i in range(0, len(whole), 7):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        step, agent, _ = loaded(checkpoints)
        assert step == agent, f"byte {i}"


def test_a_folder_with_another_steps_name_is_not_trusted(tmp_path, caplog):
    checkpoints = saved(tmp_path, [1, 2])
    (tmp_path / "step_000000000002").rename(tmp_path / "step_000000000009")
    assert loaded(checkpoints)[0] == 1 and "format 1, step 2; expected 1, 9" in caplog.text


def test_all_damaged_is_one_line(tmp_path):
    checkpoints = saved(tmp_path, [1, 2, 3])
    for path in tmp_path.glob("step_*/agent.npz"):
        flip(path)
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged \(3 tried\)$"):
        loaded(checkpoints)
    with pytest.raises(UserError, match="holds no checkpoint"):
        loaded(Checkpoints(tmp_path / "nothing"))


def test_a_chosen_step_is_not_replaced_by_another(tmp_path):
    checkpoints = saved(tmp_path, [1, 2])
    flip(tmp_path / "step_000000000002" / "agent.npz")
    with pytest.raises(UserError, match="damaged"):
        loaded(checkpoints, 2)
    with pytest.raises(UserError, match=r"ckpt=7: no such step .* there are \[1, 2\]"):
        loaded(checkpoints, 7)


def test_going_on_from_an_earlier_one_sets_the_later_ones_aside(tmp_path, caplog):
    checkpoints = saved(tmp_path, [1, 2, 3])
    fresh = parts(0.0, 100)
    checkpoints.continue_from(checkpoints.load(fresh, 1))
    assert [s.step for s in checkpoints.all()] == [1] and "step_000000000003 was moved to" in caplog.text
    assert {path.name for path in (tmp_path / ASIDE).iterdir()} == {"step_000000000002", "step_000000000003"}
    assert (tmp_path / ASIDE / "step_000000000003" / "replay.npz").exists(), "nothing is lost yet"
    checkpoints.save(parts(2.0, 100), 2, None)
    assert loaded(checkpoints) == (2, 2.0, 2.0)
    assert not list((tmp_path / ASIDE).glob("*/replay.npz"))
    checkpoints.continue_from(checkpoints.all()[-1])
    assert [s.step for s in checkpoints.all()] == [1, 2]


# what stays


def test_the_last_ten_and_the_best_stay_and_the_newest_keeps_the_memory(tmp_path):
    evaluations = [None, 5.0, 9.0, 1.0, 9.0, *[2.0] * 20]
    checkpoints = saved(tmp_path, range(25), evaluations)
    assert [s.step for s in checkpoints.all()] == [4, *range(25 - KEEP, 25)], "the newer of two equals is the best"
    assert [path.parent.name[-2:] for path in tmp_path.glob("*/replay.npz")] == ["24"]
    assert loaded(checkpoints, "best")[:2] == (4, 4.0) and loaded(checkpoints, 24) == (24, 24.0, 24.0)
    flip(tmp_path / "step_000000000004" / "agent.npz")
    assert loaded(checkpoints, "best") == (24, 24.0, 24.0), "then the newest"
    assert loaded(saved(tmp_path / "none", [1, 2]), "best") == (2, 2.0, 2.0)


def test_the_manifest_names_every_file(tmp_path):
    saved(tmp_path, [1])
    folder = tmp_path / "step_000000000001"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["sha256"]) == {"agent.npz", "replay.npz", "scalars.json"} and manifest["step"] == 1


# full disks


def test_a_disk_that_fills_leaves_the_one_before_and_nothing_else(tmp_path):
    checkpoints = saved(tmp_path, [1])
    with small_files(100_000), pytest.raises(OSError):
        checkpoints.save(parts(2.0), 2, None)
    assert [path.name for path in tmp_path.iterdir()] == ["step_000000000001"]
    assert loaded(checkpoints) == (1, 1.0, 1.0)


def test_the_disk_is_checked_at_start(tmp_path):
    check_disk(tmp_path, 1000)
    with pytest.raises(
        UserError, match=r"MB are free, the checkpoints of this run need up to \d{8,} MB.*replay.save=false"
    ):
        check_disk(tmp_path, 10**14)


def test_arrays_come_back_with_their_types(tmp_path, caplog):
    part = parts()["agent"]
    part.array = np.array([1, 2], np.uint8)
    Checkpoints(tmp_path).save({"agent": part}, 1, float("nan"))
    fresh = parts()["agent"]
    with caplog.at_level(logging.WARNING):
        Checkpoints(tmp_path).load({"agent": fresh}, "best")
    assert fresh.array.dtype == np.uint8 and not caplog.text


def test_the_same_step_written_very_often_has_its_newest_last(tmp_path):
    """As a kill leaves it before the older one is removed: number 10 comes behind number 9."""
    checkpoints = saved(tmp_path, [5])
    first = checkpoints.all()[0].path
    for number in (9, 10):
        shutil.copytree(first, first.with_name(f"{first.name}.{number}"))
    assert [one.path.name for one in checkpoints.all()] == [first.name + more for more in ("", ".9", ".10")]
    assert checkpoints.select("latest")[0].path.name.endswith(".10")


def test_the_newest_that_holds_a_part_is_found(tmp_path):
    checkpoints = saved(tmp_path, [1, 2, 3])
    assert checkpoints.newest_with("agent")[0].step == 3
    flip(checkpoints.all()[-1].path / "agent.npz")
    found, arrays, _ = checkpoints.newest_with("agent")
    assert found.step == 2 and next(iter(arrays.values())).max() == 2.0
