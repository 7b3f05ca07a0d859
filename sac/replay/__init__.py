"""Replay memory: NumPy only."""

from sac.replay.capacity_check import check_capacity, check_memory
from sac.replay.compatibility import fitted
from sac.replay.durable import DurableReplay
from sac.replay.durable_stats import DurableStats
from sac.replay.fifo import Fifo
from sac.replay.layout import columns
from sac.replay.prioritized import Prioritized
from sac.replay.rate_limiter import RateLimiter, UnlimitedRate
from sac.replay.replay import Replay
from sac.replay.sampler import Sampler
from sac.replay.uniform import Uniform

__all__ = [
    "DurableReplay",
    "DurableStats",
    "Fifo",
    "Prioritized",
    "RateLimiter",
    "Replay",
    "Sampler",
    "Uniform",
    "UnlimitedRate",
    "check_capacity",
    "check_memory",
    "columns",
    "fitted",
]
