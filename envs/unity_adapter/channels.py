"""Side channels beside the protocol: engine settings and environment parameters out, statistics in."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from envs.unity_adapter.mlagents import (
    EngineConfigurationChannel,
    EnvironmentParametersChannel,
    IncomingMessage,
    SideChannel,
)

AVERAGE, MOST_RECENT, SUM, HISTOGRAM = range(4)  # how Unity wants values of one name combined


class Statistics(SideChannel):
    """Numbers that the scene reports (`StatsRecorder` in C#), combined until they are taken."""

    def __init__(self):
        super().__init__(uuid.UUID("a1d8f7b7-cec8-50f9-b78b-d3e165a78520"))
        self.values: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def on_message_received(self, msg: IncomingMessage) -> None:
        name, value, how = msg.read_string(), msg.read_float32(), msg.read_int32()
        count = self._counts.get(name, 0)
        if count == 0 or how == MOST_RECENT:
            self.values[name] = value
        elif how == SUM:
            self.values[name] += value
        else:  # a histogram is reported by its mean
            self.values[name] += (value - self.values[name]) / (count + 1)
        self._counts[name] = count + 1

    def take(self) -> dict[str, float]:
        """The values since the last call."""
        taken, self.values, self._counts = self.values, {}, {}
        return taken


class Channels:
    """The channels of one connection."""

    def __init__(self, statistics: Statistics, time_scale: float):
        self.engine, self.parameters = EngineConfigurationChannel(), EnvironmentParametersChannel()
        self.statistics = statistics
        # as ML-Agents trains: no limit to the frame rate, frames of 1/60 s of game time however long they take
        self.engine.set_configuration_parameters(time_scale=time_scale, target_frame_rate=-1, capture_frame_rate=60)

    def all(self) -> list[SideChannel]:
        return [self.engine, self.parameters, self.statistics]

    def send_parameters(self, parameters: Mapping[str, float]) -> None:
        """Queues environment parameters; they travel with the next reset."""
        for name, value in parameters.items():
            self.parameters.set_float_parameter(name, float(value))
