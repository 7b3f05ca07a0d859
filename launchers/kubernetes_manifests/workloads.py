"""The Kubernetes objects of one cell: for each role a StatefulSet, and the headless Service that names its pods."""

from __future__ import annotations

import re
from typing import Any

from omegaconf import DictConfig

from launchers.kubernetes_manifests.options import KubernetesOptions
from launchers.kubernetes_manifests.role_arguments import KEYS, MODELS, role_arguments
from sac.errors import UserError

ROLES = ("replay", "learner", "actor")
MAX_STATEFULSET_NAME_LETTERS = 52  # with the hash of a revision the name becomes a label of at most 63 letters
USER_ID = 1000  # any user but root
SECRETS = {  # role -> files of the keys' folder that it needs
    "replay": ("server.key", "server.key_secret", "client.key", "client.key_secret"),
    "learner": ("server.key", "server.key_secret", "client.key", "client.key_secret"),
    "actor": ("server.key", "client.key_secret"),
}
Object = dict[str, Any]


def cell_name(config: DictConfig) -> str:
    """sac-<scene>-<run> in letters that DNS allows. Raises UserError for names from which that cannot be made."""
    scene, run = config.base.scene, config.base.name
    for key, value in (("base.scene", scene), ("base.name", run)):
        if not re.fullmatch(r"[A-Za-z0-9 ._-]*[A-Za-z0-9][A-Za-z0-9 ._-]*", value):
            raise UserError(f"{key}={value}: Kubernetes makes DNS names of it, it may hold A-Z a-z 0-9 . _ - only")
    name = "-".join(["sac", *re.findall("[a-z0-9]+", f"{scene} {run}".lower())])
    longest = MAX_STATEFULSET_NAME_LETTERS - len("-learner")
    if len(name) > longest:
        raise UserError(
            f"{name} is too long for the names of a StatefulSet's pods by {len(name) - longest} letters: "
            "choose a shorter base.name"
        )
    return name


def objects_of(cell: str, config: DictConfig, typed: list[str], options: KubernetesOptions) -> list[Object]:
    """All objects of the cell; `typed` are the overrides that its roles share."""
    hosts = {role: f"{cell}-{role}" for role in ROLES}
    found = []
    for role in ROLES:
        arguments = role_arguments(role, typed, config, hosts, options.threads(role))
        port = config.net[f"{role}_port"] if role != "actor" else None
        one = _Role(role, cell, arguments, port, options)
        found += [one.service(), one.workload()]
    return found


class _Role:
    def __init__(self, role: str, cell: str, arguments: list[str], port: int | None, options: KubernetesOptions):
        self.role, self.name, self.arguments, self.port, self.options = role, f"{cell}-{role}", arguments, port, options
        self.labels = {
            "app.kubernetes.io/name": "sac-runner", "app.kubernetes.io/instance": cell,
            "app.kubernetes.io/component": role,
        }  # fmt: skip

    def service(self) -> Object:
        """The Service of the role. That of the actors has no port and only names their pods."""
        spec: Object = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": self.labels}
        if self.port is not None:
            spec["ports"] = [{"name": self.role, "port": self.port}]
        return {"apiVersion": "v1", "kind": "Service", "metadata": self._metadata(), "spec": spec}

    def workload(self) -> Object:
        spec: Object = {
            "serviceName": self.name,
            "replicas": self.options.actors if self.role == "actor" else 1,
            "podManagementPolicy": "Parallel",  # the roles wait for each other
            "selector": {"matchLabels": self.labels},
            "template": {"metadata": {"labels": self.labels}, "spec": self._pod()},
        }
        if self.role != "actor":
            spec["volumeClaimTemplates"] = [self._claim()]
        return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": self._metadata(), "spec": spec}

    def _metadata(self) -> Object:
        space = {"namespace": self.options.namespace} if self.options.namespace else {}
        return {"name": self.name, **space, "labels": self.labels}

    def _pod(self) -> Object:
        items = [{"key": name, "path": name} for name in SECRETS[self.role]]
        keys = {"secretName": self.options.secret, "defaultMode": 0o440, "items": items}
        volumes: list[Object] = [{"name": "keys", "secret": keys}]
        if self.role == "actor":
            volumes.append({"name": "models", "emptyDir": {}})  # for logs only
        return {
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": self.options.grace,
            "shareProcessNamespace": True,  # else Python is process 1, which ignores SIGTERM until a handler is set
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True, "runAsUser": USER_ID, "runAsGroup": USER_ID,
                "fsGroup": USER_ID, "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [self._container()],
            "volumes": volumes,
        }  # fmt: skip

    def _container(self) -> Object:
        options, amounts = self.options, self.options.amounts(self.role)
        seen = {} if options.gpu_resource in amounts else {"CUDA_VISIBLE_DEVICES": "-1"}
        environment = {"HOME": "/tmp", "PYTHONUNBUFFERED": "1", **seen}
        made: Object = {
            "name": self.role, "image": options.image, "command": list(options.command), "args": self.arguments,
            "env": [{"name": name, "value": value} for name, value in environment.items()],
        }  # fmt: skip
        if options.env_secret:
            made["envFrom"] = [{"secretRef": {"name": options.env_secret}}]
        if self.port is not None:
            made["ports"] = [{"name": self.role, "containerPort": self.port}]
        return made | {
            "resources": {"requests": amounts, "limits": dict(amounts)},
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [
                {"name": "models", "mountPath": MODELS},
                {"name": "keys", "mountPath": KEYS, "readOnly": True},
            ],
        }

    def _claim(self) -> Object:
        """The template of a volume claim, which outlives the StatefulSet: deleting the manifests keeps the models."""
        kind = {"storageClassName": self.options.storage_class} if self.options.storage_class else {}
        storage = self.options.storage(self.role)
        spec = {"accessModes": ["ReadWriteOnce"], **kind, "resources": {"requests": {"storage": storage}}}
        return {"metadata": {"name": "models", "labels": self.labels}, "spec": spec}
