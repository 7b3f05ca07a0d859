"""The options of the launcher `kubernetes`: types and ranges. Their defaults are in conf/."""

# ruff: noqa: RUF009 - each call of key() makes a new dataclasses.field

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sac.config.keys import at_least, key


def _matching(words: str, pattern: str) -> Any:
    return key(words, lambda x: re.fullmatch(pattern, x) is not None)


def _dns_name() -> Any:
    return _matching("a DNS name of a-z 0-9 -", r"(?=.{1,63}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def _cores() -> Any:
    return _matching("an amount of cores above 0, e.g. 2, 0.5 or 500m,", r"(?=.*[1-9])\d+(\.\d{1,3}|m)?")


def _bytes() -> Any:
    return _matching("an amount of bytes above 0, e.g. 4Gi or 500M,", r"(?=.*[1-9])\d+(\.\d+)?([kMGTPE]|[KMGTPE]i)?")


@dataclass
class KubernetesOptions:
    """The section hydra.launcher; conf/hydra/launcher/kubernetes.yaml says what each key means."""

    image: str = _matching("the name of an image", r"[\w./:@-]+")
    command: list[str] = key("the words of a command", lambda words: len(words) > 0)
    namespace: str | None = _dns_name()
    actors: int = at_least(1)
    secret: str = _dns_name()
    env_secret: str | None = _dns_name()
    grace: int = at_least(1)
    replay_cpu: str = _cores()
    replay_memory: str = _bytes()
    replay_storage: str = _bytes()
    learner_cpu: str = _cores()
    learner_memory: str = _bytes()
    learner_storage: str = _bytes()
    learner_gpus: int = at_least(0)
    gpu_resource: str = _matching("the name of a resource, e.g. nvidia.com/gpu,", r"[a-z0-9.-]+/[\w.-]+")
    actor_cpu: str = _cores()
    actor_memory: str = _bytes()
    storage_class: str | None = _matching("the name of a storage class", r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")

    def amounts(self, role: str) -> dict[str, str]:
        """The amounts of CPU, memory and GPUs of a role's container, under the names that Kubernetes gives them."""
        found = {"cpu": getattr(self, f"{role}_cpu"), "memory": getattr(self, f"{role}_memory")}
        gpus = self.learner_gpus if role == "learner" else 0
        return found | ({self.gpu_resource: str(gpus)} if gpus else {})

    def storage(self, role: str) -> str:
        return getattr(self, f"{role}_storage")

    def threads(self, role: str) -> int:
        """Threads of a role: its whole cores, at least one."""
        cores = getattr(self, f"{role}_cpu")
        return max(1, int(cores[:-1]) // 1000 if cores.endswith("m") else int(float(cores)))
