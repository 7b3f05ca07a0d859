"""Soft actor-critic: networks, optimizers and temperatures with the functions that use them."""

from sac.agent.agent import Agent
from sac.agent.hyperparameters import Hyper

__all__ = ["Agent", "Hyper"]
