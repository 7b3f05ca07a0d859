"""The variables of an agent by name: all of them for a checkpoint, and the parts that other processes need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sac.agent.temperature import Temperatures
from sac.backend import keras
from sac.extras.extra import Extras
from sac.nets import saving
from sac.nets.contract import Networks


@dataclass(frozen=True)
class AgentVariables:
    """Finds variables by the names that they have in checkpoints and in messages: `owner/number`."""

    networks: Networks
    extras: Extras
    temperatures: Temperatures
    optimizers: Mapping[str, keras.optimizers.Optimizer]
    updates: keras.Variable
    critics_choose: bool  # the critics choose the discrete actions, so acting needs them

    def all(self) -> dict[str, keras.Variable]:
        """Every variable: networks, extras, temperatures, optimizers and the count of updates."""
        optimizers = {f"optimizer_{name}": optimizer for name, optimizer in self.optimizers.items()}
        layers = self.networks.parts() | self.extras.layers() | {"temperatures": self.temperatures}
        return saving.variables(layers | optimizers) | {"updates": self.updates}

    def acting(self, td_errors: bool = False) -> dict[str, keras.Variable]:
        """The variables that another process needs to act as this agent does, or also to compute its TD errors."""
        layers = self.networks.parts()
        if td_errors:
            return saving.variables(layers | self.extras.layers() | {"temperatures": self.temperatures})
        prefixes = ("rep", "policy", "normalizer", *["critic"] * self.critics_choose)
        needed = {name: layer for name, layer in layers.items() if name.startswith(prefixes)}
        return saving.variables(needed | self.extras.layers())

    def evolving(self, learned_temperatures: bool) -> dict[str, keras.Variable]:
        """The variables that a population exchanges: networks, and temperatures if they are learned.

        The statistics of observations are not among them: each member counts its own.
        """
        layers = {name: layer for name, layer in self.networks.parts().items() if name != "normalizer"}
        if learned_temperatures:
            layers["temperatures"] = self.temperatures
        return {name: v for name, v in saving.variables(layers).items() if "float" in str(v.dtype)}
