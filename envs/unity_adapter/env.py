"""Unity scenes as an environment: ML-Agents builds, the Unity Editor, and the stand-in players in `envs/players`."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from envs.unity_adapter import process, server
from envs.unity_adapter.agents import Agents
from envs.unity_adapter.channels import Channels, Statistics
from envs.unity_adapter.connection import Connection, Launch
from envs.unity_adapter.decode import Decoder
from envs.unity_adapter.server import PlayerGone
from sac.errors import UserError
from sac.types import Action, Ended, Spec, Turn

logger = logging.getLogger(__name__)

SILENT_EXCHANGES = 2000  # exchanges at the start in which no behaviour asks for an action


class RestartBudget:
    """How often a dead player may be replaced: `total` times in a run and once in `seconds`."""

    def __init__(self, total: int = 10, seconds: float = 60.0, clock=time.monotonic):
        self.total, self.seconds, self._clock = total, seconds, clock
        self.used = 0
        self._recent: deque[float] = deque(maxlen=1)

    def refusal(self) -> str | None:
        """Takes one restart from the budget; a text when there is none left."""
        now = self._clock()
        if self.used >= self.total:
            return f"it has been restarted {self.used} times in this run, the most that is tried"
        if self._recent and now - self._recent[-1] < self.seconds:
            return f"it died again {now - self._recent[-1]:.0f} s after a restart, less than {self.seconds:g} s"
        self._recent.append(now)
        self.used += 1
        return None


class UnityEnv:
    """All agents of the first behaviour of a Unity scene; a `sac.types.Env`.

    Args:
      build_path: the executable, or {platform: executable} with sys.platform's names, or `player:NAME` for a stand-in.
      scene: passed to the player as `--scene`, if not empty.
      port: first port to try. The editor always uses 5004.
      n_agents: wanted number of agents, sent as environment parameter `env_copys`; the attribute of this name holds
        what the scene then has.
      editor: attach to a running Unity Editor instead of starting `build_path`.
      reset_parameters: environment parameters sent before every reset.
      timeout: seconds to wait for the player's connection and for each of its answers.
      log_folder: for the players' logs; temporary if None.

    Raises:
      UserError: nothing to start, no port, no connection, no agents, a camera without graphics.
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
        reset_parameters: Mapping[str, float] | None = None,
        time_scale: float = 20.0,
        timeout: float = 60.0,
        extra_args: Sequence[str] = (),
        log_folder: str | Path | None = None,
    ):
        self.n_agents = n_agents
        self.reset_parameters = dict(reset_parameters or {})
        self._wanted_agents, self._port, self._seed = n_agents, port, seed
        self._time_scale, self._timeout = time_scale, timeout
        self._agents, self._statistics, self._restarts = Agents(), Statistics(), RestartBudget()
        self._warned: set[str] = set()
        self._connection: Connection | None = None
        self._folder = process.temporary_folder()
        try:
            arguments = (["--scene", scene] if scene else []) + [str(argument) for argument in extra_args]
            logs = Path(log_folder) if log_folder else Path(self._folder.name)
            executable = None if editor else self._executable(build_path)
            self._launch = Launch(executable, logs.absolute(), arguments, no_graphics and not editor)
            self._connect()
            self.spec: Spec = self._decoder.spec
            self._refuse_blind_cameras()
            self._first: Turn | None = self._turn()
        except BaseException:
            self.close()
            raise
        if self.n_agents != n_agents:
            logger.warning("base.n_agents: %d asked for, the scene has %d", n_agents, self.n_agents)

    def _executable(self, build_path: Mapping[str, str] | str | None) -> Path:
        text = process.platform_path(build_path)
        if text.startswith(process.STAND_IN):
            return process.write_stand_in(text, Path(self._folder.name))
        return process.find_executable(text)

    def reset(self, seed: int | None = None) -> Turn:
        """Starts new episodes. The scene's seed is the constructor's: Unity takes one at the handshake only."""
        if self._first is not None:  # the constructor's own reset
            turn, self._first = self._first, None
            return turn
        self._agents.drop_all()
        try:
            self._send_reset()
        except PlayerGone as cause:
            self._restart(cause)
        return self._turn()

    def step(self, action: Action) -> Turn:
        """Acts for the agents of the last turn; `lost` names agents whose player died."""
        self._first = None
        continuous, discrete = self._zeros
        continuous[self._rows], discrete[self._rows] = action.continuous, action.discrete
        try:
            self._connection.act({self._decoder.name: (continuous, discrete)})
        except PlayerGone as cause:
            lost = self._restart(cause)
            return self._turn(lost)
        return self._turn(self._agents.vanished() if len(action.continuous) else [])

    def render(self) -> None:
        """A player draws its own window."""

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._folder.cleanup()

    @property
    def stats(self) -> dict[str, float]:
        """What the scene reported through its StatsRecorder since `take_stats`."""
        return dict(self._statistics.values)

    def take_stats(self) -> dict[str, float]:
        return self._statistics.take()

    @property
    def faults(self) -> int:
        """Rows refused so far because of NaN, infinity or a broken picture."""
        return self._agents.faults

    @property
    def port(self) -> int:
        """The port really used."""
        return self._connection.server.port

    # connection

    def _connect(self) -> None:
        """Port, player, handshake, first reset, until a behaviour is known. Every failure is a UserError here."""
        if self._launch.executable is None:
            own_server = server.editor_server(self._timeout)
            logger.warning(
                "Waiting %g s for the Unity Editor: press Play now. Port %d is open to the network, without a password",
                self._timeout,
                own_server.port,
            )
        else:
            own_server = server.lease(self._port, self._timeout)
        self._channels = Channels(self._statistics, self._time_scale)
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
            raise UserError(self._connection.diagnosis(cause)) from None

    def _send_reset(self) -> None:
        self._channels.send_parameters({**self.reset_parameters, "env_copys": self._wanted_agents})
        self._connection.reset()

    def _first_behaviour(self) -> Decoder:
        """The behaviour that is trained: the first that Unity names, once it asks for actions."""
        for _ in range(SILENT_EXCHANGES):
            for decoder in self._connection.decoders.values():
                if any(not info.done for info in self._connection.infos.get(decoder.name, ())):
                    return decoder
                break
            self._connection.act({})
        raise UserError(f"Unity: in {SILENT_EXCHANGES} exchanges no agent asked for an action.")

    def _restart(self, cause: PlayerGone) -> list[int]:
        """A new player in place of a dead one; gives the streams that were lost with it."""
        refusal = "the editor cannot be restarted from here"
        if self._launch.executable is not None:
            refusal = self._restarts.refusal()
        text = self._connection.diagnosis(cause)
        self._connection.close(grace=0.0)
        if refusal is not None:
            raise UserError(f"{text}\nNot restarted: {refusal}.")
        logger.warning("Unity: the player %s; restart %d of %d", cause, self._restarts.used, self._restarts.total)
        lost = self._agents.forget()
        self._connect()
        if self._decoder.spec != self.spec:
            raise UserError("Unity: after a restart the player has other sensors or actions than before.")
        return lost

    # turns

    def _turn(self, lost: Sequence[int] = ()) -> Turn:
        """The last exchange as a turn: endings belong to open episodes only, unusable rows end theirs as lost."""
        self._warn_of_other_behaviours()
        infos = self._connection.infos.get(self._decoder.name, ())
        lost = list(lost)
        ended = self._ended([info for info in infos if info.done], lost)
        asking = [info for info in infos if not info.done]
        rows = self._decoder.rows(asking)
        streams, usable = [], []
        for row, info in enumerate(asking):
            if row in rows.faults:
                lost.append(self._agents.fault(info.id, rows.faults[row]))
            else:
                streams.append(self._agents.asks(info.id))
                usable.append(row)
        self.n_agents = max(1, self._agents.count)
        mask = self._decoder.masks(asking)
        spec = self._decoder.spec
        self._zeros = (
            np.zeros((len(asking), spec.continuous), np.float32),
            np.zeros((len(asking), len(spec.branches)), np.int32),
        )
        self._rows = usable
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
            lost=np.array([stream for stream in lost if stream is not None], np.int64),
        )

    def _ended(self, infos: list, lost: list) -> Ended:
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
            mask=np.ones((len(usable), self._decoder.spec.choices), bool),  # Unity sends none with an ending
            reward=rows.reward[usable],
            discount=np.array([float(infos[row].max_step_reached) for row in usable], np.float32),
        )

    def _warn_of_other_behaviours(self) -> None:
        others = [name for name in self._connection.decoders if name != self._decoder.name and name not in self._warned]
        if others:
            self._warned.update(others)
            logger.warning(
                "Unity: only the behaviour %s is trained; %s act with zeros", self._decoder.name, ", ".join(others)
            )

    def _refuse_blind_cameras(self) -> None:
        """Without graphics a camera sees black. A sensor's name is all that tells a camera from a grid."""
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
