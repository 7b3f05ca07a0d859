"""Soft Actor-Critic for Unity ML-Agents and Gymnasium, configured by Hydra."""

__version__ = "0.1.0"
