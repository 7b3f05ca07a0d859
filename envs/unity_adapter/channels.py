"""ML-Agents side channels: engine settings and environment parameters go out, statistics come in."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from envs.unity_adapter.mlagents import (
    EngineConfigurationChannel,
    EnvironmentParametersChannel,
    IncomingMessage,
    SideChannel,
)
from sac.reset_values import Gaussian, Ranges, Uniform, Value

AVERAGE, MOST_RECENT, SUM, HISTOGRAM = range(4)  # how Unity wants values of the same name combined


class SceneStatistics(SideChannel):
    """Numbers that the scene reports by its StatsRecorder, combined by name until `take` is called."""

    def __init__(self) -> None:
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
        """The combined values since the last call."""
        taken, self.values, self._counts = self.values, {}, {}
        return taken


class SideChannels:
    """The side channels of one connection."""

    def __init__(self, statistics: SceneStatistics, time_scale: float) -> None:
        self.engine, self.parameters = EngineConfigurationChannel(), EnvironmentParametersChannel()
        self.statistics = statistics
        # as ML-Agents trains: an unlimited frame rate, where each frame is 1/60 s of game time
        self.engine.set_configuration_parameters(time_scale=time_scale, target_frame_rate=-1, capture_frame_rate=60)

    def all(self) -> list[SideChannel]:
        """Every channel, for mlagents_envs."""
        return [self.engine, self.parameters, self.statistics]

    def send_parameters(self, parameters: Mapping[str, Value], seed: int) -> None:
        """Queues environment parameters, which are sent with the next message; `seed` is that of the distributions."""
        send = self.parameters
        for name, value in parameters.items():
            if isinstance(value, Uniform):
                send.set_uniform_sampler_parameters(name, value.low, value.high, seed)
            elif isinstance(value, Gaussian):
                send.set_gaussian_sampler_parameters(name, value.mean, value.std, seed)
            elif isinstance(value, Ranges):
                pairs = [(part.low, part.high) for part in value.ranges]
                send.set_multirangeuniform_sampler_parameters(name, pairs, seed)
            else:
                send.set_float_parameter(name, float(value))
