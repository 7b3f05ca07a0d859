"""The launcher `ray_roles`, on several Ray nodes of this one machine."""

from __future__ import annotations

import importlib.util
import os
import signal

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from launchers.jobs.job import Job
from launchers.ray_cluster.cells import RayCells
from launchers.ray_cluster.options import RayCellOptions
from sac.config.validation import checked
from sac.errors import UserError
from tests.faults.test_cell_faults import BROKEN
from tests.launchers.multiruns import ROOT, Multirun

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: pip install -e '.[ray]'")


def options(*changes: str) -> RayCellOptions:
    shipped = OmegaConf.load(ROOT / "conf" / "hydra" / "launcher" / "ray_roles.yaml")
    del shipped["_target_"]
    merged = OmegaConf.merge(shipped, OmegaConf.from_dotlist(list(changes)))
    return checked(RayCellOptions, merged, "hydra.launcher.")


def test_the_shipped_options_are_valid_and_reserve_a_gpu_for_the_learner_only():
    resources = options().resources
    assert {role: own.bundle(1.0).get("GPU") for role, own in resources.items()} == {
        "replay": None, "learner": 1.0, "actor": None, "evolver": None
    }  # fmt: skip
    assert "GPU" not in resources["learner"].bundle(0.0)
    assert options("resources.actor.custom={arm: 2}").resources["actor"].bundle(0.0) == {"CPU": 1.0, "arm": 2}


@pytest.mark.parametrize(
    ("change", "told"),
    [("placement=DENSE", "hydra.launcher.placement=DENSE"), ("actors=0", "hydra.launcher.actors=0"),
     ("learners=0", "hydra.launcher.learners=0"), ("restarts.evolver=-2", "hydra.launcher.restarts="),
     ("resources.evolver.num_cpus=0", "hydra.launcher.resources.evolver.num_cpus=0"),
     ("restarts.learner=-2", "hydra.launcher.restarts="),
     ("resources.learner.num_cpus=0", "hydra.launcher.resources.learner.num_cpus=0"),
     ("resources.actor.custom={arm: many}", "hydra.launcher.resources.actor.custom="),
     ("resources.actor.cpus=1", "unknown key hydra.launcher.resources.actor.cpus")],
)  # fmt: skip
def test_wrong_options_are_named(change, told):
    with pytest.raises(UserError, match=told):
        options(change)


def test_a_job_is_checked_by_the_options_that_there_are():
    """Also where Ray is not installed: the check is that of the launcher `roles`."""
    cells = object.__new__(RayCells)
    cells.options = options("actors=3")
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        config = compose("config", ["env=gym/pendulum", "base.max_actors_each_learner=3"])
    job = Job(0, None, config, [], {})
    cells.check(job)
    job.config.base.max_actors_each_learner = 2
    with pytest.raises(UserError, match=r"hydra\.launcher\.actors=3"):
        cells.check(job)


def test_a_population_asks_for_the_cores_of_all_cells_and_of_the_evolver():
    cells = object.__new__(RayCells)
    cells._roles = ("replay", "learner", "actor")
    cells.options = options()
    assert cells._cores_of_a_job() == 1 + 2 + 2
    cells.options = options("learners=3", "resources.evolver.num_cpus=0.5")
    assert cells._cores_of_a_job() == 3 * 5 + 0.5


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_it_is_said_how_to_install_it(tmp_path):
    run = Multirun(tmp_path, "hydra/launcher=ray_roles")
    assert run.wait() == 1
    assert "error: hydra/launcher=ray_roles needs Ray: pip install -e '.[ray]'" in run.said


@needs_ray
def test_an_address_at_which_nobody_is_is_refused(tmp_path):
    run = Multirun(tmp_path, "hydra/launcher=ray_roles", "hydra.launcher.address=127.0.0.1:1")
    assert run.wait() == 1
    assert "error: hydra.launcher.address=127.0.0.1:1: " in run.said and "Traceback" not in run.said


@needs_ray
def test_an_actor_gets_no_secret_of_a_server_and_files_are_private(tmp_path, monkeypatch):
    from launchers.ray_cluster.cell import keys_for, make_keys

    keys = make_keys()
    assert set(keys_for("learner", keys)) == {f"{a}.key{b}" for a in ("client", "server") for b in ("", "_secret")}
    assert set(keys_for("actor", keys)) == {"client.key_secret", "server.key"}
    assert keys_for("actor", None) is None


@needs_ray
def test_a_cell_listens_at_its_nodes_with_keys_or_at_loopback_without(tmp_path):
    from launchers.jobs.job import Job
    from launchers.ray_cluster.cell_replica import Network

    def settled(name, keys):
        net = {"evolver_records": "a disk of all nodes"}
        job = Job(0, tmp_path, OmegaConf.create({"net": net}), [], {"net.bind": "1.2.3.4", "seed": 1})
        (tmp_path / name).mkdir()
        Network(keys).settle(job, tmp_path / name)
        assert job.typed == {"seed": 1}  # what was typed would go before
        return job.config.net

    net = settled("one", None)
    assert (net["directory"], net["bind"], net["keys"]) == ("ray", "127.0.0.1", None)
    assert net["evolver_records"] is None  # the evolver is found where the other servers of the cell are
    net = settled("many", {"server.key": "public"})
    assert net["bind"] != "0.0.0.0" and net["keys"] == str(tmp_path / "many" / "keys")
    assert (tmp_path / "many" / "keys").stat().st_mode & 0o777 == 0o700
    file = tmp_path / "many" / "keys" / "server.key"
    assert file.read_text() == "public" and file.stat().st_mode & 0o777 == 0o600


@pytest.fixture(scope="module")
def nodes():
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    from tests.launchers.ray_clusters import Nodes

    nodes = Nodes()
    yield nodes
    nodes.end()


@pytest.fixture
def start(nodes, tmp_path):
    from tests.launchers.ray_clusters import RunningRayCell

    started = []

    def start(*arguments):
        started.append(RunningRayCell(tmp_path.resolve(), nodes, *arguments))
        return started[-1]

    yield start
    for cell in started:
        cell.end()


def test_a_cell_over_several_nodes_runs_to_its_end(start):
    cell = start("base.max_step=200")
    assert cell.wait() == 0, cell.said
    (files,) = cell.runs
    assert files.result["env_steps"] >= 200 and files.result["updates"] > 0
    assert "127.0.0.1" not in cell.replay_addresses()[0]  # nodes have addresses that others can reach
    assert {path.name for path in cell.job("replay").parent.iterdir()} == {"replay", "learner", "actor-1", "actor-2"}
    cell.all_gone(10)


def test_after_ctrl_c_a_cell_saves_and_ends_and_after_kill_nothing_is_left(start):
    cell = start()
    cell.works()
    assert cell.interrupt() == 130
    assert cell.runs[0].steps and cell.status("learner")["state"] == "interrupted"
    cell.all_gone(10)
    again = start("ckpt=latest", "base.name=cell-0")
    again.wait_until(lambda: len(again.children()) == 4)
    os.kill(again.process.pid, signal.SIGKILL)
    again.process.wait()
    again.all_gone(15)


def test_a_bug_in_a_role_ends_the_cell(start, tmp_path):
    (tmp_path / "nn.py").write_text(BROKEN)
    cell = start(f"base.nn={tmp_path / 'nn.py'}")
    assert cell.wait() == 1
    assert "Traceback" in cell.said and "a bug in the update" in "\n".join(cell.said.rstrip().splitlines()[-6:])
    cell.all_gone(10)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_lost_worker_and_a_lost_node_are_replaced(start, nodes):
    cell = start()
    cell.works()
    cell.recovers("Ray worker killed", lambda pid: os.kill(pid, signal.SIGKILL), limit=3, found=10)
    cell.moves()
    cell.recovers("node removed", nodes.remove_node_of, limit=30, found=35)
    cell.moves()
    assert cell.interrupt() == 130
    cell.all_gone(10)
