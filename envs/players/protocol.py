"""The player's side of the ML-Agents protocol (API 1.5.0): messages, side channels and the exchange of both.

A stand-in player is a program like a Unity build: it is started with `--mlagents-port N`, connects to the trainer and
sends what its scene reports. It does not use mlagents_envs.
"""

from __future__ import annotations

import argparse
import struct
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
import numpy as np

from envs.players.messages import UnityMessageProto

API_VERSION = "1.5.0"
GRPC_METHOD = "/communicator_objects.UnityToExternalProto/Exchange"
CONNECT_SECONDS = 60  # how long a player waits for the trainer
STATUS_OK = 200  # of a message; any other one ends the player
RESET_COMMAND, QUIT_COMMAND = 1, 2  # 0 is STEP
ENGINE_CHANNEL = uuid.UUID("e951342c-4f7e-11ea-b238-784f4387d1f7").bytes_le
PARAMETERS_CHANNEL = uuid.UUID("534c891e-810f-11ea-a9d0-822485860400").bytes_le
STATS_CHANNEL = uuid.UUID("a1d8f7b7-cec8-50f9-b78b-d3e165a78520").bytes_le
TIME_SCALE_SETTING = 2  # a kind of engine message
SAMPLER = 1  # a kind of environment parameter; a number is 0
UNIFORM, _, MULTI_RANGE = range(3)  # kinds of sampler; the other one is Gaussian


@dataclass(frozen=True)
class PlayerSensor:
    """A sensor of vectors (rank 1) or pictures (rank 3, in the layout that is sent)."""

    name: str
    shape: tuple[int, ...]
    png: bool = False
    mapping: tuple[int, ...] = ()
    properties: tuple[int, ...] = ()  # 1 = none, 2 = translational equivariance


@dataclass(frozen=True)
class PlayerBehaviour:
    """A kind of agent: what it observes and how it acts."""

    name: str
    sensors: tuple[PlayerSensor, ...]
    continuous: int = 0
    branches: tuple[int, ...] = ()


@dataclass
class AgentReport:
    """What k agents of one behaviour send in one exchange."""

    behaviour: PlayerBehaviour
    ids: np.ndarray  # [k]
    obs: list  # for each sensor a float array [k, ...] or k PNG byte strings
    reward: np.ndarray  # [k]
    done: np.ndarray  # [k] bool
    interrupted: np.ndarray  # [k] bool, the episode ended by a time limit
    mask: np.ndarray | None = None  # [k, choices] bool, true = forbidden
    group_id: np.ndarray | None = None
    group_reward: np.ndarray | None = None


def join_reports(first: AgentReport, second: AgentReport) -> AgentReport:
    """The rows of two reports of one behaviour; both have masks and groups, or neither has."""
    return AgentReport(
        first.behaviour,
        np.concatenate([first.ids, second.ids]),
        [a + b if isinstance(a, list) else np.concatenate([a, b]) for a, b in zip(first.obs, second.obs)],
        np.concatenate([first.reward, second.reward]),
        np.concatenate([first.done, second.done]),
        np.concatenate([first.interrupted, second.interrupted]),
        *(
            None if one is None else np.concatenate([one, other])
            for one, other in (
                (first.mask, second.mask),
                (first.group_id, second.group_id),
                (first.group_reward, second.group_reward),
            )
        ),
    )


@dataclass
class BehaviourActions:
    """The actions of those k agents of a behaviour that were not done in the last report."""

    continuous: np.ndarray  # [k, A]
    discrete: np.ndarray  # [k, branches]


@dataclass
class SceneContext:
    """What the trainer has sent (seed, parameters, engine settings), a generator, and statistics to send back."""

    seed: int = 0
    parameters: dict[str, float | Callable[[], float]] = field(default_factory=dict)
    engine: dict[int, float] = field(default_factory=dict)
    stats: list[tuple[str, float, int]] = field(default_factory=list)
    random: np.random.Generator = field(init=False)  # of the scene; a RESET does not start it anew

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def value(self, name: str, default: float) -> float:
        """An environment parameter, or `default` where the trainer has sent none; a sampler draws at every call."""
        found = self.parameters.get(name, default)
        return found() if callable(found) else found


SceneGenerator = Generator[list[AgentReport], dict[str, BehaviourActions], None]


class Scene(Protocol):
    """A Unity scene. `play` is called at every RESET; its generator yields reports and receives actions."""

    name: str

    def play(self, world: SceneContext) -> SceneGenerator: ...


def main(scene: Scene) -> None:
    """The program of a player: plays the scene until the trainer ends the connection."""
    arguments = argparse.ArgumentParser(allow_abbrev=False)
    arguments.add_argument("--mlagents-port", type=int, required=True)
    known, _ = arguments.parse_known_args()  # flags of Unity (-batchmode, -logFile ...) have no effect
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"localhost:{known.mlagents_port}", options) as channel:
        call = channel.unary_unary(
            GRPC_METHOD,
            request_serializer=UnityMessageProto.SerializeToString,
            response_deserializer=UnityMessageProto.FromString,
        )
        try:
            converse(scene, call)
        except grpc.RpcError as error:  # UNAVAILABLE or CANCELLED: the trainer has ended
            print(f"connection ended: {error.code()}", flush=True)


def converse(scene: Scene, send: grpc.UnaryUnaryMultiCallable) -> None:
    """Does the handshake, then exchanges messages. Raises grpc.RpcError when the trainer ends."""
    first = _message()
    start = first.unity_output.rl_initialization_output
    start.name, start.communication_version, start.package_version = scene.name, API_VERSION, "stand-in"
    for capability in start.capabilities.DESCRIPTOR.fields:
        setattr(start.capabilities, capability.name, True)
    reply = send(first, wait_for_ready=True, timeout=CONNECT_SECONDS)  # later calls do not wait
    if reply.header.status != STATUS_OK:
        return
    world = SceneContext(seed=reply.unity_input.rl_initialization_input.seed)
    known: set[str] = set()
    play: SceneGenerator | None = None
    reports: list[AgentReport] = []
    message = _message()
    while True:
        reply = send(message)
        if reply.header.status != STATUS_OK:
            return
        order = reply.unity_input.rl_input
        read_side_channels(order.side_channel, world)
        if order.command == QUIT_COMMAND:
            return
        if order.command == RESET_COMMAND or play is None:
            play = scene.play(world)
            reports = next(play)
        else:
            reports = play.send(dict(_actions(reports, order.agent_actions)))
        message = _output(reports, known, world)


def _message() -> Any:
    message = UnityMessageProto()
    message.header.status = STATUS_OK
    return message


def _output(reports: list[AgentReport], known: set[str], world: SceneContext) -> Any:
    """The message with all reports and statistics; a behaviour is described when its first agents appear."""
    message = _message()
    output = message.unity_output.rl_output
    for report in reports:
        infos = output.agentInfos[report.behaviour.name].value
        _write_infos(report, infos)
        if report.behaviour.name not in known and len(report.ids):
            known.add(report.behaviour.name)
            _write_brain(report.behaviour, message.unity_output.rl_initialization_output.brain_parameters.add())
    if world.stats:
        output.side_channel = b"".join(_stat(*stat) for stat in world.stats)
        world.stats.clear()
    return message


def _write_brain(behaviour: PlayerBehaviour, brain: Any) -> None:
    brain.brain_name, brain.is_training = behaviour.name, True
    brain.action_spec.num_continuous_actions = behaviour.continuous
    brain.action_spec.num_discrete_actions = len(behaviour.branches)
    brain.action_spec.discrete_branch_sizes.extend(behaviour.branches)


def _write_infos(report: AgentReport, infos: Any) -> None:
    rewards, dones, late = report.reward.tolist(), report.done.tolist(), report.interrupted.tolist()
    columns = [data if sensor.png else data.reshape(len(data), -1).tolist() for sensor, data in _pairs(report)]
    for row, agent in enumerate(report.ids.tolist()):
        info = infos.add(id=agent, reward=rewards[row], done=dones[row], max_step_reached=late[row])
        if report.mask is not None and not dones[row]:
            info.action_mask.extend(report.mask[row].tolist())
        if report.group_id is not None and report.group_reward is not None:
            info.group_id = int(report.group_id[row])
            info.group_reward = float(report.group_reward[row])
        for (sensor, _), column in zip(_pairs(report), columns):
            observation = info.observations.add(
                shape=sensor.shape, name=sensor.name, dimension_properties=sensor.properties or (1,)
            )
            if sensor.png:
                observation.compression_type = 1
                observation.compressed_data = column[row]
                observation.compressed_channel_mapping.extend(sensor.mapping)
            else:
                observation.float_data.data.extend(column[row])


def _pairs(report: AgentReport) -> Iterator[tuple[PlayerSensor, Any]]:
    """Each sensor with its observations."""
    return zip(report.behaviour.sensors, report.obs)


def _actions(reports: list[AgentReport], received: Mapping) -> Iterator[tuple[str, BehaviourActions]]:
    """The actions for each report: the k-th belongs to its k-th agent that was not done; zeros where none came."""
    for report in reports:
        behaviour, waiting = report.behaviour, int((~report.done).sum())
        continuous = np.zeros((waiting, behaviour.continuous), np.float64)
        discrete = np.zeros((waiting, len(behaviour.branches)), np.int64)
        if waiting and behaviour.name in received:
            values = received[behaviour.name].value
            if behaviour.continuous:
                continuous[:] = [value.continuous_actions for value in values]
            if behaviour.branches:
                discrete[:] = [value.discrete_actions for value in values]
        yield behaviour.name, BehaviourActions(continuous, discrete)


def read_side_channels(data: bytes, world: SceneContext) -> None:
    """Reads messages `16 bytes id | int32 length | payload` into the world; unknown channels are skipped."""
    position = 0
    while position < len(data):
        channel = data[position : position + 16]
        (length,) = struct.unpack_from("<i", data, position + 16)
        payload = data[position + 20 : position + 20 + length]
        position += 20 + length
        if channel == PARAMETERS_CHANNEL:
            (size,) = struct.unpack_from("<i", payload)
            name, (kind,) = payload[4 : 4 + size].decode("ascii"), struct.unpack_from("<i", payload, 4 + size)
            world.parameters[name] = (
                _sampler(payload[8 + size :]) if kind == SAMPLER else struct.unpack_from("<f", payload, 8 + size)[0]
            )
        elif channel == ENGINE_CHANNEL:
            (kind,) = struct.unpack_from("<i", payload)
            world.engine[kind] = struct.unpack_from("<f" if kind == TIME_SCALE_SETTING else "<i", payload, 4)[0]


def _sampler(data: bytes) -> Callable[[], float]:
    """A function that draws a number, as Unity makes one of the payload: seed, kind, numbers."""
    seed, kind = struct.unpack_from("<ii", data)
    random = np.random.default_rng(seed % 2**32)
    if kind != MULTI_RANGE:
        first, second = struct.unpack_from("<ff", data, 8)
        return lambda: float(random.uniform(first, second) if kind == UNIFORM else random.normal(first, second))
    (count,) = struct.unpack_from("<i", data, 8)
    ranges = np.array(struct.unpack_from(f"<{count}f", data, 12)).reshape(-1, 2)
    widths = np.diff(ranges, axis=1)[:, 0]

    def draw() -> float:
        low, high = ranges[random.choice(len(ranges), p=widths / widths.sum())]
        return float(random.uniform(low, high))

    return draw


def _stat(name: str, value: float, aggregation: int) -> bytes:
    """A message of the statistics channel."""
    key = name.encode("ascii")
    payload = struct.pack("<i", len(key)) + key + struct.pack("<fi", value, aggregation)
    return STATS_CHANNEL + struct.pack("<i", len(payload)) + payload
