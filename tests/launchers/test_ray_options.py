"""The launcher `ray` without a cluster: its options, the room it counts on, what it needs and sends."""

from __future__ import annotations

import sys

import pytest
from omegaconf import OmegaConf

from launchers.ray_cluster import cluster
from launchers.ray_cluster.cluster import connected
from launchers.ray_cluster.options import RayJobOptions
from launchers.ray_cluster.room import Room, jobs_on, part_of_a_gpu
from launchers.search.opening import usual_storage
from sac.config.validation import checked
from sac.errors import UserError
from sac.runs.lock import ENDING_SECONDS, ending_seconds
from tests.launchers.multiruns import ROOT
from tests.launchers.searches import shipped

BIG, SMALL, GPUS = {"CPU": 8.0, "memory": 1e9}, {"CPU": 2.0}, {"CPU": 8.0, "GPU": 2.0, "arm": 1.0}


def options(*changes: str) -> RayJobOptions:
    defaults = OmegaConf.load(ROOT / "conf" / "hydra" / "launcher" / "ray.yaml")
    del defaults["_target_"]
    return checked(RayJobOptions, OmegaConf.merge(defaults, OmegaConf.from_dotlist(list(changes))), "hydra.launcher.")


def test_the_shipped_options_ask_for_a_core_and_what_there_is_of_gpus():
    made = options()
    assert made.bundle(0.0) == {"CPU": 1.0} and made.bundle(0.25) == {"CPU": 1.0, "GPU": 0.25} and made.threads == 1
    assert options("num_cpus=4", "num_gpus=0", "custom={arm: 2}").bundle(0.25) == {"CPU": 4.0, "arm": 2}
    assert options("num_cpus=2.5").threads == 2 and options("num_cpus=0.5").threads == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [("num_cpus=0", r"hydra.launcher.num_cpus=0.0: allowed is a number above 0"),
     ("num_gpus=1.5", r"hydra.launcher.num_gpus=1.5: allowed is a number of at least 0, whole where above 1, or null"),
     ("num_gpus=-1", r"hydra.launcher.num_gpus=-1"), ("n_jobs=0", r"hydra.launcher.n_jobs=0: .* at least 1 or null"),
     ("custom={arm: none}", r"hydra.launcher.custom="), ("custom={GPU: 1}", r"hydra.launcher.custom=.* other than CPU"),
     ("restarts=-2", r"hydra.launcher.restarts=-2: .* at least -1"),
     ("grace=-1", r"hydra.launcher.grace=-1"), ("address=[a]", r"hydra.launcher.address=\['a'\]: allowed is text"),
     ("restart=1", r"unknown key hydra.launcher.restart: did you mean hydra.launcher.restarts\?"),
     ("gpus=[0]", r"unknown key hydra.launcher.gpus: did you mean hydra.launcher.num_gpus\?")],
)  # fmt: skip
def test_wrong_options_are_named(change, told):
    with pytest.raises(UserError, match=told):
        options(change)


def test_without_ray_it_is_said_how_to_install_it(monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"hydra/launcher=ray needs Ray: pip install -e '\.\[ray\]'"):
        shipped("env=gym/pendulum", "sweep=sac", "hydra/launcher=ray")


def test_a_launcher_that_is_made_does_not_load_ray(monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: True)
    loaded = "ray" in sys.modules
    shipped("env=gym/pendulum", "sweep=sac", "hydra/launcher=ray")
    assert ("ray" in sys.modules) == loaded


def test_room_is_counted_node_by_node():
    assert jobs_on([BIG, SMALL], {"CPU": 1}) == 10
    assert jobs_on([BIG, SMALL], {"CPU": 3}) == 2
    assert jobs_on([BIG, SMALL, GPUS], {"CPU": 1, "GPU": 0.5}) == 4
    assert jobs_on([BIG, GPUS], {"CPU": 1, "arm": 1}) == 1
    assert jobs_on([], {"CPU": 1}) == 0


@pytest.mark.parametrize(
    ("nodes", "cores", "n_jobs", "part"),
    [([BIG], 1, 99, 0), ([GPUS], 1, 99, 0.25), ([GPUS], 4, 99, 1), ([GPUS], 1, 2, 1), ([BIG, GPUS], 1, 3, 0),
     ([{"memory": 1.0}, GPUS], 1, 3, 0.5), ([SMALL, GPUS], 4, 99, 1),
     ([GPUS, {"CPU": 6, "GPU": 1}], 1, 99, 0.1666)],
)  # fmt: skip
def test_gpus_are_shared_so_that_cores_bound_how_many_jobs_run(nodes, cores, n_jobs, part):
    found = part_of_a_gpu(nodes, {"CPU": cores}, n_jobs)
    assert found == pytest.approx(part)
    if found:
        assert min(jobs_on(nodes, {"CPU": cores, "GPU": found}), n_jobs) == min(jobs_on(nodes, {"CPU": cores}), n_jobs)


def test_room_grows_with_the_cluster(monkeypatch):
    nodes, now = [SMALL], [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    room = Room({"CPU": 1}, lambda: nodes)
    assert room.jobs() == 2
    nodes.append(BIG)
    assert room.jobs() == 2  # it looks again after a while
    now[0] = 10.0
    assert room.jobs() == 10


def test_nodes_get_what_is_ours_and_wait_for_the_locks_of_lost_machines(monkeypatch):
    monkeypatch.setenv("SAC_TEST", "1")
    monkeypatch.setenv("OTHER", "1")
    monkeypatch.delenv("SAC_LOCK_SECONDS", raising=False)
    here, there = cluster.sent_environment(False), cluster.sent_environment(True)
    assert here["SAC_TEST"] == "1" and "OTHER" not in here and "SAC_LOCK_SECONDS" not in here
    assert ending_seconds(ENDING_SECONDS) == ENDING_SECONDS
    monkeypatch.setenv("SAC_LOCK_SECONDS", there["SAC_LOCK_SECONDS"])
    assert ending_seconds(ENDING_SECONDS) == 150


@pytest.mark.parametrize(
    ("files", "several", "storage"),
    [([], False, None), (["study.db"], False, None), ([], True, "journal"), (["journal.log"], False, "journal"),
     (["journal.log"], True, "journal"), (["study.db", "journal.log"], False, None),
     (["study.db", "journal.log"], True, "journal")],
)  # fmt: skip
def test_a_search_over_machines_writes_a_journal_and_goes_on_in_the_file_that_it_has(tmp_path, files, several, storage):
    for name in files:
        (tmp_path / name).touch()
    assert usual_storage(tmp_path, several) == storage


def test_a_search_in_sqlite_does_not_go_on_over_machines(tmp_path):
    (tmp_path / "study.db").touch()
    with pytest.raises(UserError, match=r"SQLite does not work over a network drive.*hydra\.sweeper\.storage=.*sqlite"):
        usual_storage(tmp_path, True)


@pytest.mark.parametrize("launcher", ["ray", "ray_roles"])
def test_the_launchers_of_ray_say_whether_there_are_several_machines(monkeypatch, tmp_path, launcher):
    monkeypatch.setattr(cluster, "find_spec", lambda name: True)
    words = ("env=gym/pendulum", f"base.models={tmp_path}", "sweep=sac", f"hydra/launcher={launcher}")
    assert shipped(*words)._options.storage is None
    assert shipped(*words, "hydra.launcher.address=auto")._options.storage == "journal"


@pytest.mark.parametrize("mode", ["", "token"])
def test_a_token_that_an_earlier_ray_has_left_is_thought_of(tmp_path, monkeypatch, mode):
    """Ray 2.60: ray.init("local") leaves ~/.ray/auth_token, and clusters that begin there later demand it."""
    pytest.importorskip("ray")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if mode:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)

    def said() -> str:
        with pytest.raises(UserError, match=r"address=127\.0\.0\.1:1: ") as refused, connected("127.0.0.1:1", 1):
            pass
        return str(refused.value)

    assert "token" not in said()
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0" * 64)
    assert ("export RAY_AUTH_MODE=token" in said()) == (not mode)
