"""Soft actor-critic: networks, optimizers and temperatures with the functions that use them."""

from sac.agent.agent import Agent
from sac.agent.hyperparameters import Hyperparameters

__all__ = ["Agent", "Hyperparameters"]
