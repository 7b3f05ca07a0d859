"""Checkpoints against kills, damage (F12) and full disks (F11); NumPy alone, so each fault costs a split second."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import saving_for_ever
from saving_for_ever import parts

from sac.errors import UserError
from sac.runs.checkpoint import ASIDE, KEPT_CHECKPOINTS, Checkpoints, check_disk
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


def as_of_an_earlier_version(path):
    """Without copies of the small files."""
    for file in path.glob("copy_of_*"):
        file.unlink()
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["own"]
    (path / "manifest.json").write_text(json.dumps(manifest, indent=1))


@pytest.mark.parametrize("damage", [truncate, flip, os.unlink])
@pytest.mark.parametrize(
    ("file", "left", "words"),
    [
        ("agent.npz", (2, 1.0, 2.0), "the agent of step 1 takes its place; all else is as it was at step 2"),
        ("replay.npz", (2, 2.0, 0.0), "the replay begins anew; all else is as it was at step 2"),
        ("scalars.json", (2, 2.0, 2.0), "the copy of this file is used"),
        ("manifest.json", (2, 2.0, 2.0), "the copy of this file is used"),
    ],
)
def test_of_a_damaged_newest_all_that_is_intact_is_used_and_that_is_said(tmp_path, caplog, file, damage, left, words):
    checkpoints = saved(tmp_path, [1, 2])
    damage(tmp_path / "step_000000000002" / file)
    assert loaded(checkpoints) == left
    if (file, damage) == ("replay.npz", os.unlink):  # as in every older one
        assert "checkpoint step_000000000002 holds no replay (only the newest does): it starts empty" in caplog.text
    else:
        assert "checkpoint step_000000000002 is damaged" in caplog.text and file in caplog.text
        assert words in caplog.text


@pytest.mark.parametrize("damage", [truncate, flip, os.unlink])
@pytest.mark.parametrize(
    ("file", "left"), [("agent.npz", (2, 1.0, 2.0)), ("scalars.json", (1, 1.0, 0.0)), ("manifest.json", (2, 2.0, 2.0))]
)
def test_a_checkpoint_of_an_earlier_version_has_no_copies(tmp_path, caplog, file, damage, left):
    checkpoints = saved(tmp_path, [1, 2])
    newest = tmp_path / "step_000000000002"
    as_of_an_earlier_version(newest)
    assert loaded(checkpoints) == (2, 2.0, 2.0) and not caplog.text
    damage(newest / file)
    if (file, damage) == ("manifest.json", flip):  # a bracket
        flip(newest / file, 0)
    assert loaded(checkpoints) == left
    fresh = parts(0.0, 100)
    checkpoints.continue_from(checkpoints.load(fresh, "latest"))
    checkpoints.save(parts(3.0, 100), 3, None)
    aside = tmp_path / ASIDE / "step_000000000002" / "replay.npz"
    assert aside.exists() == (left[0] == 1), "what was not used is not deleted"


def test_with_damaged_arrays_and_no_manifest_the_sums_in_the_arrays_file_tell(tmp_path):
    checkpoints = saved(tmp_path, [1, 2])
    newest = tmp_path / "step_000000000002"
    for file in newest.glob("*manifest.json"):
        file.unlink()
    flip(newest / "agent.npz")
    assert loaded(checkpoints) == (2, 1.0, 2.0)


class Counter:
    """A part without arrays."""

    def __init__(self, steps: int = 0):
        self.steps = steps

    def state(self):
        return {}, {"steps": self.steps}

    def restore(self, arrays, scalars) -> None:
        self.steps = scalars["steps"]


def test_parts_of_one_moment_are_never_mixed_with_those_of_another(tmp_path, caplog):
    """Counters come from scalars alone, and open episodes begin anew where they are lost."""
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        made = parts(float(step), 100) | {"rollout": parts(float(step))["agent"], "progress": Counter(step)}
        checkpoints.save(made, step, None)
    for file in ("progress.npz", "rollout.npz", "agent.npz"):
        flip(tmp_path / "step_000000000002" / file)
    fresh = parts(0.0, 100) | {"rollout": parts()["agent"], "progress": Counter()}
    found = checkpoints.load(fresh, "latest")
    assert (found.step, found.lost) == (2, ("rollout",))
    assert fresh["progress"].steps == 2 and fresh["rollout"].value == 0 and fresh["replay"].value == 2
    checkpoints.continue_from(found)
    assert (tmp_path / ASIDE / "step_000000000002" / "rollout.npz").exists(), "damaged files are kept as well"
    assert "rm -r " in caplog.text and checkpoints.load(fresh, "latest").lost == ("rollout",)


def test_the_first_checkpoint_can_do_without_its_evaluations_and_its_exploration(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path)
    names = ("evaluation", "exploring")
    checkpoints.save(parts(1.0, 100) | {name: parts(1.0)["agent"] for name in names}, 1, None)
    for name in names:
        flip(tmp_path / "step_000000000001" / f"{name}.npz")
    for which in ("latest", 1):
        fresh = parts(0.0, 100) | {name: parts()["agent"] for name in names}
        found = checkpoints.load(fresh, which)
        assert found.step == 1 and set(found.lost) == set(names)
        assert [part.value for part in fresh.values()] == [1, 1, 0, 0]
    assert "the evaluation begins anew" in caplog.text and "the exploring begins anew" in caplog.text


def test_networks_alone_come_from_the_newest_intact_checkpoint(tmp_path):
    """As play and the way back after a divergence want them: of one step, and that step is told."""
    checkpoints = saved(tmp_path, [1, 2], [5.0, 7.0])
    flip(tmp_path / "step_000000000002" / "agent.npz")
    for which in ("latest", "best"):
        agent = parts()["agent"]
        assert checkpoints.load({"agent": agent}, which).step == 1 and agent.value == 1.0


def test_every_byte_of_the_small_files_can_be_lost(tmp_path):
    checkpoints = saved(tmp_path, [1, 2], [1.0, 9.0])
    for name in ("manifest.json", "scalars.json"):
        path = tmp_path / "step_000000000002" / name
        whole = path.read_bytes()
        for i in range(0, len(whole), 7):
            path.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
            assert loaded(checkpoints) == (2, 2.0, 2.0), f"byte {i} of {name}"
            assert checkpoints.best().evaluation == 9.0
        path.write_bytes(whole)


def test_every_byte_of_an_earlier_versions_manifest_matters_or_does_not_hurt(tmp_path):
    checkpoints = saved(tmp_path, [1, 2])
    as_of_an_earlier_version(tmp_path / "step_000000000002")
    path = tmp_path / "step_000000000002" / "manifest.json"
    whole = path.read_bytes()
    for i in range(0, len(whole), 7):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        step, agent, memory = loaded(checkpoints)
        assert (step, agent) in ((1, 1.0), (2, 1.0), (2, 2.0)) and memory in (0.0, step), f"byte {i}"


# newer versions


@pytest.mark.parametrize("newer", [2, 1.5])
def test_a_checkpoint_of_a_newer_format_is_refused_and_nothing_is_touched(tmp_path, newer):
    checkpoints = saved(tmp_path, [1, 2], [9.0, 1.0])
    path = tmp_path / "step_000000000002" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "format": newer}))
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.*")}
    fresh = parts(0.0, 100)
    words = rf"step_000000000002 was made by a newer version .*its format is {newer}, this version reads 1"
    for refused in (
        lambda: checkpoints.load(fresh, "latest"),
        lambda: checkpoints.load({"agent": fresh["agent"]}, 2),
        lambda: checkpoints.newest_with("replay"),
        lambda: checkpoints.continue_from(checkpoints.load(fresh, 1)),
        lambda: checkpoints.continue_from(checkpoints.load(fresh, "best")),
    ):
        with pytest.raises(UserError, match=words):
            refused()
    assert checkpoints.load({"agent": fresh["agent"]}, "best").step == 1, "an earlier one can be played"
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.*")} == before


def test_a_folder_with_another_steps_name_is_not_trusted(tmp_path, caplog):
    checkpoints = saved(tmp_path, [1, 2])
    (tmp_path / "step_000000000002").rename(tmp_path / "step_000000000009")
    assert loaded(checkpoints)[0] == 1 and "format 1, step 2; expected 1, 9" in caplog.text


def test_all_damaged_is_one_line(tmp_path):
    checkpoints = saved(tmp_path, [1, 2, 3])
    for path in tmp_path.glob("step_*/agent.npz"):
        flip(path)
    words = r"the memory of step_000000000003 is intact, .* replay.load=.*; every .* is damaged \(3 tried\)$"
    with pytest.raises(UserError, match=words):
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
    assert (tmp_path / ASIDE / "step_000000000003" / "replay.npz").exists(), "nor is it later"
    assert f"(0.0 MB); it stays until you remove it: rm -r {tmp_path / ASIDE / 'step_000000000003'}" in caplog.text
    checkpoints.continue_from(checkpoints.load(fresh, 1))
    assert len(list((tmp_path / ASIDE).glob("step_000000000002*"))) == 2, "one of the same name takes another"
    checkpoints.save(parts(2.0, 100), 2, None)
    checkpoints.continue_from(checkpoints.all()[-1])
    assert [s.step for s in checkpoints.all()] == [1, 2]


# what stays


def test_the_last_ten_and_the_best_stay_and_the_newest_keeps_the_memory(tmp_path):
    evaluations = [None, 5.0, 9.0, 1.0, 9.0, *[2.0] * 20]
    checkpoints = saved(tmp_path, range(25), evaluations)
    assert [s.step for s in checkpoints.all()] == [4, *range(25 - KEPT_CHECKPOINTS, 25)], (
        "the newer of two equals is the best"
    )
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


def test_a_checkpoint_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    """The calls in their order: every file, its folder, the rename, the folder that holds the name."""
    calls, fsync, rename = [], os.fsync, Path.rename
    (tmp_path / "config.yaml").write_text("a: 1")

    def recorded_fsync(handle):
        calls.append(os.path.relpath(Path(f"/proc/self/fd/{handle}").readlink(), tmp_path))
        fsync(handle)

    def recorded_rename(path, target):
        calls.append(f"{path.relative_to(tmp_path)} -> {target.relative_to(tmp_path)}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "rename", recorded_rename)
    checkpoints = Checkpoints(tmp_path / "c", beside=(tmp_path / "config.yaml", tmp_path / "nn.py"))
    checkpoints.save(parts(1.0, 100), 1, None)
    made, rename_at = "c/.tmp-1", calls.index("c/.tmp-1 -> c/step_000000000001")
    files = {f"{made}/{file.name}" for file in (tmp_path / "c" / "step_000000000001").iterdir()}
    assert {f"{made}/{name}" for name in ("agent.npz", "replay.npz", "scalars.json", "config.yaml")} < files
    assert calls[0] == ".", "the name of the folder of checkpoints"
    assert set(calls[1 : rename_at - 1]) == files and calls[rename_at - 1] == made
    assert calls[rename_at + 1 :] == ["c"]


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
