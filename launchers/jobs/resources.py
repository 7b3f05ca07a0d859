"""How jobs that run at once divide a machine: threads, GPUs, ports."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from launchers.jobs.job import Job

PORTS = 50  # a Unity job looks for its ports from base.port + so many times its slot on


@dataclass(frozen=True)
class Share:
    """What the job in one slot may use."""

    slot: int
    threads: int
    gpu: str | None = None

    def give(self, job: Job) -> None:
        """Writes the share into the job; a number of threads that was asked for stays."""
        base: DictConfig = job.config.base
        if base.get("threads") is None:
            base.threads = self.threads
        if base.get("env_type") == "UNITY":
            base.port = lease(base.port, self.slot)
        if self.gpu is not None:  # without the second, TensorFlow would take a shared device's whole memory
            job.env |= {"CUDA_VISIBLE_DEVICES": self.gpu, "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def lease(port: int, slot: int) -> int:
    """First port of a slot's own range; ranges wrap below the highest port."""
    room = max((65534 - port) // PORTS, 1)
    return port + slot % room * PORTS


def divide(n_jobs: int, cores: int, gpus: Sequence[str] = ()) -> list[Share]:
    """A share for each of `n_jobs` slots."""
    threads = max(cores // n_jobs, 1)
    return [Share(slot, threads, gpus[slot % len(gpus)] if gpus else None) for slot in range(n_jobs)]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """Ids of NVIDIA devices: those of CUDA_VISIBLE_DEVICES if it is set, else all that the driver lists."""
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is not None:
        return [gpu.strip() for gpu in asked.split(",") if gpu.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return listed.stdout.split() if listed.returncode == 0 else []
