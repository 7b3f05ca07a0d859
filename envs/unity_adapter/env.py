"""Unity scenes as an environment: ML-Agents builds, the Unity Editor, and the stand-in players in `envs/players`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.unity_adapter import process, server
from envs.unity_adapter.agents import AgentStreams
from envs.unity_adapter.channels import SceneStatistics, SideChannels
from envs.unity_adapter.connection import Connection, PlayerLaunch
from envs.unity_adapter.decode import Decoder
from envs.unity_adapter.restart_budget import RestartBudget
from envs.unity_adapter.server import PlayerGone
from sac.errors import UserError
from sac.reset_values import Value
from sac.types import Action, Ended, Spec, Turn

logger = logging.getLogger(__name__)

MAX_SILENT_EXCHANGES = 2000  # at the start, in which no behaviour asks for an action


class UnityEnv:
    """All agents of one behaviour of a Unity scene, as a `sac.types.Env`.

    Args:
      build_path: the executable, or {platform: executable} with sys.platform's names, or `player:NAME` for a stand-in.
      scene: passed to the player as `--scene`, if not empty.
      port: the first port to try. The editor always uses 5004.
      n_agents: the number of agents to ask for by the environment parameter `env_copys`; the attribute of this name
        is the number that the scene then has.
      editor: attach to a running Unity Editor instead of starting `build_path`.
      reset_parameters: environment parameters sent before every reset; the scene draws from a distribution itself.
      timeout: seconds to wait for the player's connection and for each of its answers.
      log_folder: for the logs of players; a temporary folder if None.
      behavior: the behaviour to train, with or without Unity's `?team=0`; the first one if None.
      adds_group_rewards: an agent of a group gets its group's reward beside its own; otherwise groups are refused.

    Raises:
      UserError: nothing to start, no free port, no connection, no agents, no such behaviour, groups that are refused,
        or a camera without graphics.
    """

    def __init__(
        self,
        build_path: Mapping[str, str] | str | None = None,
        scene: str = "",
        port: int = 5005,
        n_agents: int = 1,
        seed: int = 0,
        no_graphics: bool = True,
        editor: bool = False,
        reset_parameters: Mapping[str, Value] | None = None,
        time_scale: float = 20.0,
        timeout: float = 60.0,
        extra_args: Sequence[str] = (),
        log_folder: str | Path | None = None,
        behavior: str | None = None,
        adds_group_rewards: bool = True,
    ) -> None:
        self.n_agents = n_agents
        self.reset_parameters = dict(reset_parameters or {})
        self._wanted_agents, self._port, self._seed = n_agents, port, seed
        self._time_scale, self._timeout = time_scale, timeout
        self._behavior, self._adds_group_rewards = behavior, adds_group_rewards
        self._agents, self._statistics, self._restarts = AgentStreams(), SceneStatistics(), RestartBudget()
        self._warned: set[str] = set()
        self._sent = 0  # how often parameters were sent
        self._connection: Connection | None = None
        self._folder = process.temporary_folder()
        try:
            arguments = (["--scene", scene] if scene else []) + [str(argument) for argument in extra_args]
            logs = Path(log_folder) if log_folder else Path(self._folder.name)
            executable = None if editor else self._executable(build_path)
            self._launch = PlayerLaunch(executable, logs.absolute(), arguments, no_graphics and not editor)
            self._connect()
            self.spec: Spec = self._decoder.spec
            self._refuse_blind_cameras()
            self._first_turn: Turn | None = self._turn()
        except BaseException:
            self.close()
            raise
        if self.n_agents != n_agents:
            logger.warning("base.n_agents: %d asked for, the scene has %d", n_agents, self.n_agents)

    def _executable(self, build_path: Mapping[str, str] | str | None) -> Path:
        """The program to start: a build, or a launcher of a stand-in player."""
        text = process.platform_path(build_path)
        if text.startswith(process.STAND_IN_PREFIX):
            return process.write_stand_in(text, Path(self._folder.name))
        return process.find_executable(text)

    def reset(self, seed: int | None = None) -> Turn:
        """Starts new episodes. `seed` has no effect: Unity takes the constructor's, at the handshake only."""
        if self._first_turn is not None:  # the constructor has reset the scene
            turn, self._first_turn = self._first_turn, None
            return turn
        self._agents.drop_all()
        try:
            self._send_reset()
        except PlayerGone as cause:
            self._restart(cause)
        return self._turn()

    def step(self, action: Action) -> Turn:
        """Acts for the agents of the last turn. Where the player dies, the turn names its agents as lost."""
        self._first_turn = None
        continuous, discrete = self._no_action
        continuous[self._usable_rows], discrete[self._usable_rows] = action.continuous, action.discrete
        try:
            self._player.act({self._decoder.name: (continuous, discrete)})
        except PlayerGone as cause:
            lost = self._restart(cause)
            return self._turn(lost)
        return self._turn(self._agents.vanished() if len(action.continuous) else [])

    def render(self) -> None:
        """None: a player draws its own window."""

    def close(self) -> None:
        """Ends the player and frees the port; may be called twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._folder.cleanup()

    def set_reset(self, parameters: Mapping[str, Value]) -> None:
        """Sends other environment parameters; agents read them when they begin an episode."""
        self.reset_parameters = dict(parameters)
        self._send_parameters()

    @property
    def stats(self) -> dict[str, float]:
        """What the scene has reported by its StatsRecorder since the last `take_stats`."""
        return dict(self._statistics.values)

    def take_stats(self) -> dict[str, float]:
        """Returns `stats` and begins to collect anew."""
        return self._statistics.take()

    @property
    def faults(self) -> int:
        """The number of rows refused so far because of NaN, infinity or a broken picture."""
        return self._agents.faults

    @property
    def decoder(self) -> Decoder:
        """What decodes the behaviour's messages: it knows its name and the layout of its sensors."""
        return self._decoder

    @property
    def sensor_shapes(self) -> list[tuple[int, ...]]:
        """The shape of each sensor as the scene sends it."""
        return [column.wire_shape for column in self._decoder.columns]

    @property
    def port(self) -> int:
        """The port in use."""
        return self._player.server.port

    @property
    def _player(self) -> Connection:
        """The connection, which is there until `close`."""
        assert self._connection is not None, "the environment is closed"
        return self._connection

    def _connect(self) -> None:
        """Opens a port, starts a player and resets it, until a behaviour is known. Every failure is a UserError."""
        if self._launch.executable is None:
            own_server = server.editor_server(self._timeout)
            logger.warning(
                "Waiting %g s for the Unity Editor: press Play now. Port %d is open to the network, without a password",
                self._timeout,
                own_server.port,
            )
        else:
            own_server = server.lease_server(self._port, self._timeout)
        self._channels = SideChannels(self._statistics, self._time_scale)
        restart = f"-restart{self._restarts.used}" if self._restarts.used else ""
        self._connection = Connection(
            own_server,
            self._launch,
            self._channels,
            self._seed + self._restarts.used,
            f"player-{own_server.port}{restart}",
        )
        try:
            self._send_reset()
            self._decoder = self._first_behaviour()
        except PlayerGone as cause:
            raise UserError(self._player.diagnosis(cause)) from None

    def _send_reset(self) -> None:
        self._send_parameters()
        self._player.reset()

    def _send_parameters(self) -> None:
        self._sent += 1
        seed = self._seed + self._sent  # else a sampler would begin with the same numbers after every reset
        self._channels.send_parameters({**self.reset_parameters, "env_copys": self._wanted_agents}, seed)

    def _first_behaviour(self) -> Decoder:
        """The behaviour to train, as soon as it asks for actions: the wanted one, or the first that Unity names."""
        for _ in range(MAX_SILENT_EXCHANGES):
            there = [d for d in self._player.decoders.values() if self._wants(d.name)]
            for decoder in there[:1]:
                infos = self._player.infos.get(decoder.name, ())
                self._check_groups(infos)
                if any(not info.done for info in infos):
                    return decoder
            self._player.act({})
        names = ", ".join(map(_without_team, self._player.decoders)) or "none"
        if self._behavior is not None:
            raise UserError(f"base.behavior={self._behavior}: the scene has the behaviours {names}")
        raise UserError(f"Unity: in {MAX_SILENT_EXCHANGES} exchanges no agent asked for an action.")

    def _wants(self, name: str) -> bool:
        """Whether a behaviour is the wanted one, with or without its team."""
        wanted = self._behavior
        return wanted in (None, name, _without_team(name)) or _without_team(wanted or "") == name

    def _check_groups(self, infos: Sequence[Any]) -> None:
        """Raises UserError for agents of groups, unless their groups' rewards are added to their own."""
        if not self._adds_group_rewards and any(info.group_id for info in infos):
            raise UserError(
                "the agents of this scene belong to groups (SimpleMultiAgentGroup), which are paid together. Learning "
                "how much each agent has contributed (MA-POCA) is not built here: base.group_rewards=add gives every "
                "agent its group's reward beside its own, and trains them independently"
            )

    def _restart(self, cause: PlayerGone) -> list[int]:
        """Replaces a dead player. Returns the streams whose episodes are lost. Raises UserError where it may not."""
        refusal: str | None = "the editor cannot be restarted from here"
        if self._launch.executable is not None:
            refusal = self._restarts.refusal()
        text = self._player.diagnosis(cause)
        self._player.close(grace=0.0)
        if refusal is not None:
            raise UserError(f"{text}\nNot restarted: {refusal}.")
        logger.warning("Unity: the player %s; restart %d of %d", cause, self._restarts.used, self._restarts.total)
        lost = self._agents.forget()
        self._connect()
        if self._decoder.spec != self.spec:
            raise UserError("Unity: after a restart the player has other sensors or actions than before.")
        return lost

    def _turn(self, lost: Sequence[int] = ()) -> Turn:
        """The last exchange as a turn. An ending counts for an open episode only; an unusable row loses its episode."""
        self._warn_of_other_behaviours()
        infos = self._player.infos.get(self._decoder.name, ())
        self._check_groups(infos)
        lost_streams: list[int | None] = list(lost)
        ended = self._ended([info for info in infos if info.done], lost_streams)
        asking = [info for info in infos if not info.done]
        rows = self._decoder.rows(asking)
        streams, usable = [], []
        for row, info in enumerate(asking):
            if row in rows.faults:
                lost_streams.append(self._agents.fault(info.id, rows.faults[row]))
            else:
                streams.append(self._agents.asks(info.id))
                usable.append(row)
        self.n_agents = max(1, self._agents.count)
        mask = self._decoder.masks(asking)
        spec = self._decoder.spec
        self._no_action = (
            np.zeros((len(asking), spec.continuous), np.float32),
            np.zeros((len(asking), len(spec.branches)), np.int32),
        )
        self._usable_rows = usable
        if len(usable) == len(asking):
            obs, reward = rows.obs, rows.reward
        else:
            obs, reward, mask = (
                {name: data[usable] for name, data in rows.obs.items()},
                rows.reward[usable],
                mask[usable],
            )
        return Turn(
            agents=np.array(streams, np.int64),
            obs=obs,
            mask=mask,
            reward=reward,
            ended=ended,
            lost=np.array([stream for stream in lost_streams if stream is not None], np.int64),
        )

    def _ended(self, infos: list, lost: list[int | None]) -> Ended:
        """The endings of open episodes among `infos`; streams of unusable rows are appended to `lost`."""
        rows = self._decoder.rows(infos)
        streams, usable = [], []
        for row, info in enumerate(infos):
            if row in rows.faults:
                lost.append(self._agents.fault(info.id, rows.faults[row]))
                continue
            stream = self._agents.ends(info.id)
            if stream is not None:
                streams.append(stream)
                usable.append(row)
        return Ended(
            agents=np.array(streams, np.int64),
            obs={name: data[usable] for name, data in rows.obs.items()},
            mask=np.ones((len(usable), self._decoder.spec.choices), bool),  # Unity sends no mask with an ending
            reward=rows.reward[usable],
            discount=np.array([float(infos[row].max_step_reached) for row in usable], np.float32),
        )

    def _warn_of_other_behaviours(self) -> None:
        """Warns once of each behaviour that is not trained."""
        others = [name for name in self._player.decoders if name != self._decoder.name and name not in self._warned]
        if others:
            self._warned.update(others)
            logger.warning(
                "Unity: only the behaviour %s is trained; %s act with zeros", self._decoder.name, ", ".join(others)
            )

    def _refuse_blind_cameras(self) -> None:
        """Raises UserError for a camera without graphics, which sees black. Only names tell cameras from grids."""
        if not self._launch.no_graphics:
            return
        for sensor in self.spec.sensors:
            name = sensor.name.lower()
            if not sensor.is_image or "grid" in name:
                continue
            if "camera" in name or "rendertexture" in name:
                raise UserError(
                    f"base.no_graphics=true, but the sensor {sensor.name} {sensor.shape} is a camera and would see "
                    "nothing but black. Set base.no_graphics=false."
                )
            logger.warning("base.no_graphics=true: if the sensor %s is a camera, it sees only black", sensor.name)


def _without_team(name: str) -> str:
    """A behaviour's name as it stands in Unity's editor: `Striker` for `Striker?team=0`."""
    return name.split("?")[0]
