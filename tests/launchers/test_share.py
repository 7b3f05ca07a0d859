from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from launchers.jobs.job import Job
from launchers.jobs.resources import PORTS_PER_SLOT, Share, divide, lease, visible_gpus


def job(**base) -> Job:
    config = OmegaConf.create({"base": {"threads": None, "env_type": "UNITY", "port": 5005, **base}})
    return Job(0, Path("nowhere"), config, [], {})


def test_threads_are_divided_and_never_less_than_one():
    assert [share.threads for share in divide(3, 8)] == [2, 2, 2]
    assert [share.threads for share in divide(4, 2)] == [1, 1, 1, 1]


def test_gpus_are_taken_in_turn_and_their_memory_is_shared():
    shares = divide(3, 8, ["0", "2"])
    assert [share.gpu for share in shares] == ["0", "2", "0"]
    one = job()
    shares[1].give(one)
    assert one.env == {"CUDA_VISIBLE_DEVICES": "2", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    without = job()
    Share(0, 1).give(without)
    assert without.env == {}


def test_visible_gpus_are_those_of_the_variable(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 3")
    assert visible_gpus() == ["1", "3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_gpus() == []


def test_else_those_that_the_driver_lists(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 0\necho 1\n")
    driver.chmod(0o755)
    assert visible_gpus() == ["0", "1"]


def test_a_number_of_threads_that_was_asked_for_stays():
    asked, free = job(threads=3), job()
    for one in (asked, free):
        Share(0, 2).give(one)
    assert (asked.config.base.threads, free.config.base.threads) == (3, 2)


def test_unity_jobs_look_for_ports_in_ranges_of_their_own():
    one = job()
    Share(2, 1).give(one)
    assert one.config.base.port == 5005 + 2 * PORTS_PER_SLOT
    gym = job(env_type="GYM")
    Share(2, 1).give(gym)
    assert gym.config.base.port == 5005


@pytest.mark.parametrize("slot", [0, 1, 10, 5000])
def test_a_lease_is_a_valid_port(slot):
    assert 65000 <= lease(65000, slot) <= 65534
