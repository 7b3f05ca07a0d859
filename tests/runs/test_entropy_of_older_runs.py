"""Runs from before `sac.soft_target` learn on as they did: entropy of every kind stays in their targets."""

from __future__ import annotations

import pytest
import yaml
from short_runs import TINY, Runner

from sac.report.curves import read_run
from sac.report.diagnosis import diagnose

NEW = ("soft_target", "target_entropy_ratio_end", "target_entropy_ratio_updates")


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    return Runner(monkeypatch, capfd, tmp_path)


@pytest.mark.slow
def test_a_run_that_did_not_know_the_key_keeps_its_targets(go):
    go.ok("env=gym/cart_pole", *TINY, "eval.stop_return=null", "base.max_step=20")
    stored = go.run("cart_pole/a").path / "config.yaml"
    config = yaml.safe_load(stored.read_text())
    assert [config["sac"].pop(key) for key in NEW] == [None, None, 1_000_000]
    stored.write_text(yaml.safe_dump(config))
    assert diagnose(read_run(stored.parent)) == [], "the report reads it too"
    go.ok("env=gym/cart_pole", "base.models=m", "base.name=a", "base.max_step=30", "ckpt=latest")
    sac = yaml.safe_load(stored.read_text())["sac"]
    assert [sac[key] for key in NEW] == [True, None, 1_000_000]
