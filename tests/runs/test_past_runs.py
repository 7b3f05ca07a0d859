"""A run folder that commit c84476e left (pendulum, 60 steps) resumes bit for bit and plays."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from short_runs import Runner

PAST = Path(__file__).parents[1] / "data" / "c84476e" / "train"
STEPS = 60  # of the past run
NAMED = ("env=gym/pendulum", "base.models=m", "base.name=past", "base.threads=null")  # TensorFlow runs here already


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    shutil.copytree(PAST, tmp_path / "m" / "pendulum" / "past")
    return Runner(monkeypatch, capfd, tmp_path)


def test_a_past_run_resumes_bit_for_bit(go):
    before = go.run("pendulum/past").arrays()
    go.ok(*NAMED, "ckpt=latest", f"base.max_step={STEPS + 4}", "sac.updates_per_step=0", "eval.per_step=-1")
    after = go.run("pendulum/past").arrays()
    assert go.run("pendulum/past").steps == [STEPS, STEPS + 4]
    networks = [name for name in before if name.startswith("agent/") and "normalizer" not in name]  # this counts on
    rows = [name for name in before if name.startswith("replay/") and len(before[name]) == STEPS]
    assert len(networks) > 20 and len(rows) > 8
    for name in networks:
        assert after[name].tobytes() == before[name].tobytes(), name
    for name in rows:
        if name.rpartition("/")[2] not in ("next", "legal", "priority"):  # they grow with what comes after
            assert after[name][:STEPS].tobytes() == before[name].tobytes(), name
    assert go.run("pendulum/past").scalars()["moments"]["count"] == STEPS + 4


def test_a_past_run_plays_as_it_did(go):
    """The mean return is what c84476e itself printed of this folder."""
    told = go.ok(*NAMED, "role=play", "eval.episodes=2").out
    assert float(re.search(r"mean return (\S+)", told)[1]) == pytest.approx(-1348, abs=2)


def test_a_run_of_before_there_were_strategies_keeps_that_of_then(go):
    file = go.run("pendulum/past").path / "config.yaml"
    file.write_text(re.sub(r"^  evolver_strategy: cem\n", "", file.read_text(), count=1, flags=re.M))
    assert "evolver_strategy" not in file.read_text()
    go.ok(*NAMED, "ckpt=latest", f"base.max_step={STEPS + 4}", "sac.updates_per_step=0", "eval.per_step=-1")
    assert OmegaConf.load(file).base.evolver_strategy == "cem"
