"""How the jobs that run at once divide the threads, GPUs and ports of a machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from launchers.jobs.job import Job

PORTS_PER_SLOT = 50  # a Unity job in slot k looks for free ports from base.port + 50 k on
HIGHEST_PORT = 65534


@dataclass(frozen=True)
class Share:
    """What the job in one slot of a pool may use; `gpu` is the id of a device."""

    slot: int
    threads: int
    gpu: str | None = None

    def give(self, job: Job) -> None:
        """Writes the share into the job. A number of threads that the user has set stays."""
        base: DictConfig = job.config.base
        if base.get("threads") is None:
            base.threads = self.threads
        if base.get("env_type") == "UNITY":
            base.port = lease(base.port, self.slot)
        if self.gpu is not None:  # else TensorFlow would reserve the whole memory of a device that jobs may share
            job.env |= {"CUDA_VISIBLE_DEVICES": self.gpu, "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def lease(port: int, slot: int) -> int:
    """First port of a slot's range; the ranges wrap around below the highest port."""
    n_ranges = max((HIGHEST_PORT - port) // PORTS_PER_SLOT, 1)
    return port + slot % n_ranges * PORTS_PER_SLOT


def divide(n_jobs: int, cores: int, gpus: Sequence[str] = ()) -> list[Share]:
    """A share for each of `n_jobs` slots: the cores divided evenly, the GPUs in turn."""
    threads = max(cores // n_jobs, 1)
    return [Share(slot, threads, gpus[slot % len(gpus)] if gpus else None) for slot in range(n_jobs)]


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """Ids of NVIDIA devices: those in CUDA_VISIBLE_DEVICES if it is set, else all that the driver lists."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [gpu.strip() for gpu in chosen.split(",") if gpu.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return listed.stdout.split() if listed.returncode == 0 else []
