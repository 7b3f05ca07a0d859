"""Replay memory: NumPy only."""

from sac.replay.capacity_check import check_capacity, check_memory
from sac.replay.compatibility import fitted
from sac.replay.durable import DurableReplay
from sac.replay.durable_stats import DurableMoments
from sac.replay.fifo import Newcomers
from sac.replay.prioritized import Prioritized
from sac.replay.rate_limiter import Free, Limiter
from sac.replay.replay import Replay, Sampler, columns
from sac.replay.uniform import Uniform

__all__ = [
    "DurableMoments",
    "DurableReplay",
    "Free",
    "Limiter",
    "Newcomers",
    "Prioritized",
    "Replay",
    "Sampler",
    "Uniform",
    "check_capacity",
    "check_memory",
    "columns",
    "fitted",
]
