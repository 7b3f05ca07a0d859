"""`hydra/launcher=kubernetes`: manifests that the API's schemas accept, and arguments that really start the roles."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from launchers.kubernetes_manifests.role_arguments import KEYS, MODELS
from sac.wire.keys import Keys
from tests.config.program import Program, program  # noqa: F401
from tests.launchers.multiruns import ENV, PENDULUM, ROOT

LAUNCHER = ("-m", "env=gym/pendulum", "hydra/launcher=kubernetes")
VERSIONS = ("1.27", "1.32", "1.37")
NAMED = "import run, socket, sys; name = sys.argv.pop(1); socket.gethostname = lambda: name; run.main()"


class Cell:
    """The objects of one file."""

    def __init__(self, text: str):
        self.objects = list(yaml.safe_load_all(text))

    def all(self, kind: str) -> dict[str, dict]:
        return {o["metadata"]["name"]: o for o in self.objects if o["kind"] == kind}

    def workload(self, role: str) -> dict:
        (found,) = (o for name, o in self.all("StatefulSet").items() if name.endswith(f"-{role}"))
        return found

    def pod(self, role: str) -> dict:
        return self.workload(role)["spec"]["template"]["spec"]

    def container(self, role: str) -> dict:
        (only,) = self.pod(role)["containers"]
        return only

    def told(self, role: str) -> dict[str, str]:
        return dict(word.split("=", 1) for word in self.container(role)["args"])

    def mounted_secrets(self, role: str) -> list[str]:
        (secret,) = (volume["secret"] for volume in self.pod(role)["volumes"] if "secret" in volume)
        return [item["key"] for item in secret["items"]]


def cells(program: Program, *arguments: str) -> list[Cell]:  # noqa: F811
    outcome = program(*LAUNCHER, *arguments)
    assert outcome.code == 0, outcome.err
    assert not outcome.configs  # nothing ran
    files = sorted(Path("models").glob("pendulum/multirun/*/manifests/*.yaml"))
    assert outcome.out == "".join(file.read_text() for file in files)  # what is printed can be piped into kubectl
    return [Cell(file.read_text()) for file in files]


@pytest.fixture
def cell(program) -> Cell:  # noqa: F811
    return cells(program, "base.name=a")[0]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "more",
    [(), ("hydra.launcher.namespace=lab", "hydra.launcher.learner_gpus=1", "hydra.launcher.storage_class=fast",
          "hydra.launcher.env_secret=wandb", "hydra.launcher.actor_cpu=500m", "hydra.launcher.replay_memory=1500M")],
)  # fmt: skip
def test_the_schemas_of_kubernetes_accept_every_object(program, version, more):  # noqa: F811
    (cell,) = cells(program, *more)
    assert [o["kind"] for o in cell.objects] == ["Service", "StatefulSet"] * 3
    for one in cell.objects:
        kubernetes_validate.validate(one, version, strict=True)


def test_a_schema_refuses_what_is_wrong(cell):
    broken = cell.workload("actor")
    broken["spec"]["template"]["spec"]["terminationGracePeriod"] = 60
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_every_role_finds_the_others_by_the_names_and_ports_of_their_services(program):  # noqa: F811
    (cell,) = cells(program, "base.name=a", "net.replay_port=7000")
    assert set(cell.all("Service")) == set(cell.all("StatefulSet"))
    for role in ("replay", "learner", "actor"):
        told = cell.told(role)
        for server, port in (("replay", 7000), ("learner", 61001)):
            service = cell.all("Service")[told[f"net.{server}_host"]]
            assert service["spec"]["ports"] == [{"name": server, "port": port}]
            assert told[f"net.{server}_port"] == str(port)
            assert cell.container(server)["ports"] == [{"name": server, "containerPort": port}]
            pods = cell.workload(server)["spec"]["template"]["metadata"]["labels"]
            assert service["spec"]["selector"].items() <= pods.items()
            assert service["spec"]["clusterIP"] == "None"
        spec = cell.workload(role)["spec"]
        assert spec["serviceName"] in cell.all("Service")
        assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]


def test_selectors_of_a_multirun_meet_their_own_pods_only(program):  # noqa: F811
    found = cells(program, "base.name=a", "seed=1,2", "repeat=0,1")
    workloads = [w for cell in found for w in cell.all("StatefulSet").values()]
    labels = [tuple(w["spec"]["selector"]["matchLabels"].items()) for w in workloads]
    assert len(found) == 4 and len(set(labels)) == len({w["metadata"]["name"] for w in workloads}) == 12
    told = [cell.told("learner") for cell in found]
    assert [t["base.name"] for t in told] == ["a-0", "a-1", "a-2", "a-3"]
    assert [(t["seed"], t["repeat"]) for t in told] == [("1", "0"), ("1", "1"), ("2", "0"), ("2", "1")]


def test_options_are_where_they_belong(program):  # noqa: F811
    (cell,) = cells(
        program, "base.name=a", "hydra.launcher.actors=5", "hydra.launcher.grace=90", "hydra.launcher.image=r.io/x/y:3",
        "hydra.launcher.learner_gpus=2", "hydra.launcher.learner_cpu=4", "hydra.launcher.namespace=lab",
        "hydra.launcher.replay_storage=7Gi", "hydra.launcher.secret=mine", "hydra.launcher.command=[sac-run]",
    )  # fmt: skip
    replicas = {role: cell.workload(role)["spec"]["replicas"] for role in ("replay", "learner", "actor")}
    assert replicas == {"replay": 1, "learner": 1, "actor": 5}
    assert {o["metadata"]["namespace"] for o in cell.objects} == {"lab"}
    for role in replicas:
        pod, container = cell.pod(role), cell.container(role)
        assert pod["terminationGracePeriodSeconds"] == 90 and pod["restartPolicy"] == "Always"
        assert container["image"] == "r.io/x/y:3" and container["command"] == ["sac-run"]
        assert pod["securityContext"]["runAsNonRoot"] and not container["securityContext"]["allowPrivilegeEscalation"]
        assert "secretName: mine" in yaml.safe_dump(pod)
        sees = {e["name"]: e["value"] for e in container["env"]}.get("CUDA_VISIBLE_DEVICES")
        gpus = container["resources"]["limits"].get("nvidia.com/gpu")
        assert (gpus, sees) == (("2", None) if role == "learner" else (None, "-1"))
    assert cell.told("learner")["base.threads"] == "4" and cell.told("actor")["base.threads"] == "1"
    (claim,) = cell.workload("replay")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "7Gi"
    assert "volumeClaimTemplates" not in cell.workload("actor")["spec"]


def test_keys_are_mounted_and_no_secret_is_printed(cell, tmp_path):
    made = {path.name for path in Keys.make(tmp_path / "k").folder.iterdir()}
    assert made == set(cell.mounted_secrets("learner")) == set(cell.mounted_secrets("replay"))
    assert cell.mounted_secrets("actor") == ["server.key", "client.key_secret"]  # no actor can play the server
    for role in ("replay", "learner", "actor"):
        mounts = {m["mountPath"] for m in cell.container(role)["volumeMounts"]}
        assert mounts == {cell.told(role)["net.keys"], cell.told(role)["base.models"]} == {KEYS, MODELS}
    assert not cell.all("Secret")


def test_it_says_what_to_type(program):  # noqa: F811
    said = program(*LAUNCHER, "base.name=a", "hydra.launcher.namespace=lab").err
    assert "python -m sac.wire.keys keys && kubectl -n lab create secret generic sac-keys --from-file=keys" in said
    (folder,) = Path("models/pendulum/multirun").glob("*/manifests")
    assert f"kubectl -n lab apply -f {folder}\n" in said and "nothing was started" in said


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ('base.name="größe"', "base.name=größe-0: Kubernetes makes DNS names of it"),
        (f"base.name={'x' * 40}", "is too long for the names of a StatefulSet's pods by 11 letters"),
        ("role=learner", "role=learner: leave it out"),
        ("ckpt=best", "ckpt=best: leave it out"),
        ("net.number=2", "net.number=2: leave it out"),
        ("net.bind=127.0.0.1", "net.bind=127.0.0.1: leave it out"),
        ("net.replay_port=0", "net.replay_port=0: on Kubernetes it is a fixed one"),
        ("sac.gamma=2", "sac.gamma=2.0: allowed is a number between 0 and 1"),
        ("sweep=sac", "so there is nothing that a sweep could optimise"),
        ("+hydra.job.env_set.WANDB_API_KEY=secret", "hydra.job.env_set.WANDB_API_KEY: put it into a Secret instead"),
        ("--config-dir=.", "--config-dir: the containers know the conf/ of their image only"),
        ("hydra.searchpath=[file://.]", "the containers know the conf/ of their image only"),
        ("hydra.launcher.actors=0", "hydra.launcher.actors=0: allowed is a whole number at least 1"),
        ("hydra.launcher.actors=11", "hydra.launcher.actors=11 exceeds base.max_actors_each_learner=10"),
        ("hydra.launcher.actor_cpu=0", "hydra.launcher.actor_cpu=0: allowed is an amount of cores"),
        ("hydra.launcher.learner_memory=4GB", "hydra.launcher.learner_memory=4GB: allowed is an amount of bytes"),
        ("hydra.launcher.namespace=Lab", "hydra.launcher.namespace=Lab: allowed is a DNS name"),
        ("hydra.launcher.image=", "hydra.launcher.image=: allowed is the name of an image"),
        ("hydra.launcher.grase=1", "hydra.launcher.grase"),
    ],
)  # fmt: skip
def test_refused_in_one_line(program, typed, words):  # noqa: F811
    assert words in program.error(*LAUNCHER, *(() if "base.name" in typed else ("base.name=a",)), typed)
    assert not list(Path().rglob("manifests"))


def test_without_m_it_says_so(program):  # noqa: F811
    assert "hydra/launcher=kubernetes needs -m" in program.error("env=gym/pendulum", "hydra/launcher=kubernetes")


def test_names_hold_what_dns_takes(program):  # noqa: F811
    (cell,) = cells(program, 'base.name="My run_{time}"')
    name = cell.workload("learner")["metadata"]["name"]
    assert name.startswith("sac-pendulum-my-run-2") and name == name.lower()
    assert cell.told("learner")["base.name"].startswith('"My run_2')


def test_the_arguments_compose_to_the_config_that_was_typed(program, monkeypatch):  # noqa: F811
    typed = ("base.name=a", "sac.n_step=3", "base.env_kwargs.g=9.0", "base.nn_kwargs={ModelQ: {hidden: [8]}}", "seed=7")
    (cell,) = cells(program, *typed)
    monkeypatch.setattr(socket, "gethostname", lambda: cell.workload("actor")["metadata"]["name"] + "-3")
    for role in ("replay", "learner", "actor"):
        config = program.config(*cell.container(role)["args"])
        assert (config.role, config.ckpt, config.base.name, config.base.models) == (role, "auto", "a-0", MODELS)
        assert (config.sac.n_step, config.sac.seed, config.base.env_kwargs) == (3, 7, {"g": 9.0})
        assert config.base.nn_kwargs == {"ModelQ": {"hidden": [8]}}
        assert config.net.directory == "static" and config.net.keys == KEYS
        assert config.net.bind == ("127.0.0.1" if role == "actor" else "0.0.0.0")
        assert config.net.number == (4 if role == "actor" else 1)
    assert "host_number" not in program(*cell.container("learner")["args"], "--cfg", "job").out


def test_kubernetes_shall_not_expand_what_was_typed(program):  # noqa: F811
    (cell,) = cells(program, "base.name=a", "+base.env_kwargs.x='$(HOME) $$'")
    assert cell.told("actor")["+base.env_kwargs.x"] == "'$$(HOME) $$$'"  # $$ is its word for $


def test_a_host_without_index_is_told_so(program, monkeypatch):  # noqa: F811
    monkeypatch.setattr(socket, "gethostname", lambda: "workstation.lab-1")
    said = program("env=gym/pendulum", "role=actor", "base.name=a", "net.number=${host_number:}").err
    assert said.startswith("error: net.number: the host name workstation does not end in an index"), said


@pytest.mark.timeout(200)
def test_the_arguments_start_a_cell_that_trains_to_its_end(program, tmp_path):  # noqa: F811
    """As in the containers, but for the addresses and the places of the volumes."""
    ports = free_ports(2)
    (cell,) = cells(
        program, *PENDULUM[1:], "base.models=models", "base.name=a", f"net.replay_port={ports[0]}",
        f"net.learner_port={ports[1]}", "hydra.launcher.actors=1",
    )  # fmt: skip
    keys = Keys.make(tmp_path / "keys").folder
    processes = {}
    try:
        for role in ("actor", "learner", "replay"):
            moved = {
                "net.replay_host": "localhost", "net.learner_host": "localhost", "base.models": tmp_path / role,
                "net.keys": keys,
            }  # fmt: skip
            words = [f"{key}={moved.get(key, value)}" for key, value in cell.told(role).items()]
            host = cell.workload(role)["metadata"]["name"] + "-0"
            env = {e["name"]: e["value"] for e in cell.container(role)["env"]}
            with (tmp_path / f"{role}.txt").open("w") as screen:
                processes[role] = subprocess.Popen(
                    [sys.executable, "-c", NAMED, host, *words], cwd=ROOT, env=os.environ | ENV | env, stdout=screen,
                    stderr=subprocess.STDOUT,
                )  # fmt: skip
        for role, process in processes.items():
            assert process.wait(150) == 0, (tmp_path / f"{role}.txt").read_text()
    finally:
        for process in processes.values():
            process.kill()
    assert (tmp_path / "learner" / "pendulum" / "a-0" / "result.json").exists()
    assert (tmp_path / "replay" / "pendulum" / "a-0" / "replay").is_dir()


def test_what_the_document_shows_is_valid():
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "kubernetes.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        kubernetes_validate.validate(yaml.safe_load(block), VERSIONS[-1], strict=True)


def free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
