"""Replay memory: NumPy only."""

from sac.replay.durable import DurableReplay
from sac.replay.durable_moments import DurableMoments
from sac.replay.foreign import fitted
from sac.replay.limiter import Free, Limiter
from sac.replay.memory import check_capacity, check_memory
from sac.replay.newcomers import Newcomers
from sac.replay.prioritized import Prioritized
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
