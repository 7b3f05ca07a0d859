"""The connection to one player: UnityEnvironment of mlagents_envs with another transport, launcher and decoder."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from envs.unity_adapter.channels import SideChannels
from envs.unity_adapter.decode import Decoder
from envs.unity_adapter.mlagents import STEP, UnityEnvironment, UnityEnvironmentException, UnityRLInputProto
from envs.unity_adapter.process import EXIT_SECONDS, PlayerProcess
from envs.unity_adapter.server import PlayerGone, UnityServer
from sac.errors import UserError

EXIT_SECONDS_AT_SHUTDOWN = 1.0  # how long a player may take to leave when this program exits without `close`
USUAL_CAUSES = """Usual causes:
  - Behavior Parameters > Behavior Type is not Default (a model runs in the player, or Heuristic)
  - the agent has no Decision Requester and never calls RequestDecision
  - the player looks at another port: it must take --mlagents-port (a build needs ML-Agents' Academy in its scene)
  - the package com.unity.ml-agents is older than 1.0 (this side speaks communication version {version})
  - the executable cannot run here (x bit, missing libraries, no display: try base.no_graphics=true)
  - in the editor: Play has not been pressed"""


@dataclass
class PlayerLaunch:
    """How to start a player; without an `executable` the user starts it in the Unity Editor."""

    executable: Path | None
    log_folder: Path
    arguments: list[str] = field(default_factory=list)
    no_graphics: bool = False


class Connection(UnityEnvironment):
    """Starts a player and exchanges messages with it; `infos` holds what it sent at the last `reset` or `act`.

    Raises:
      UserError: by the constructor: no player, no connection, or another version of the protocol.
      PlayerGone: by `reset` and `act`: the player died, left, or did not answer in time.
    """

    def __init__(self, server: UnityServer, launch: PlayerLaunch, channels: SideChannels, seed: int, name: str) -> None:
        self.server, self.launch = server, launch
        self.player: PlayerProcess | None = None
        self._player_name = name
        self.decoders: dict[str, Decoder] = {}  # by behaviour, in the order in which Unity named them
        self.infos: dict[str, list] = {}  # behaviour -> AgentInfoProtos of the last exchange
        self.package_version = ""
        try:
            super().__init__(
                file_name=None,  # this class launches the player itself
                base_port=server.port,
                seed=seed,
                no_graphics=launch.no_graphics,
                timeout_wait=server.timeout,
                additional_args=launch.arguments,
                side_channels=channels.all(),
            )
        except PlayerGone as cause:
            text = self.diagnosis(cause)
            self.close(grace=0.0)
            raise UserError(text) from None
        except UnityEnvironmentException as error:  # another major version of the protocol
            self.close(grace=0.0)
            raise UserError(f"Unity: {error}") from None
        except BaseException:
            self.close(grace=0.0)
            raise
        finally:
            atexit.unregister(self._close)  # `_close_open` does this at exit, with a shorter wait
        _open.add(self)

    def _get_communicator(self, worker_id: int, base_port: int, timeout_wait: float) -> UnityServer:
        return self.server

    def _send_academy_parameters(self, init_parameters: Any) -> Any:
        """Launches the player, since the server listens by now, and does the handshake."""
        if self.launch.executable is not None:
            command = [str(self.launch.executable), *self._executable_args()]
            self.player = PlayerProcess(command, self.launch.log_folder, self._player_name)
        output = super()._send_academy_parameters(init_parameters)
        self.package_version = output.rl_initialization_output.package_version
        return output

    def _poll_process(self) -> None:
        """Raises PlayerGone where the process of the player has ended."""
        if self.player is not None and self.player.exit_code is not None:
            raise PlayerGone(self.player.exit_text())

    def _update_behavior_specs(self, output: Any) -> None:
        for brain in output.rl_initialization_output.brain_parameters:
            infos = output.rl_output.agentInfos[brain.brain_name].value
            if brain.brain_name not in self.decoders and infos:
                self.decoders[brain.brain_name] = Decoder(brain, infos[0], self.package_version)

    def _update_state(self, output: Any) -> None:
        self.infos = {name: output.agentInfos[name].value for name in self.decoders if name in output.agentInfos}
        self._waiting = {name: sum(not info.done for info in infos) for name, infos in self.infos.items()}
        self._side_channel_manager.process_side_channel_message(output.side_channel)

    def act(self, actions: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
        """Sends the actions of waiting agents {behaviour: ([k, A], [k, branches])}, and zeros for other behaviours."""
        self._env_actions = dict(actions)
        self.step()

    def _generate_step_input(self, vector_action: Any) -> Any:
        message = UnityRLInputProto(command=STEP)
        for name, waiting in self._waiting.items():
            if not waiting:
                continue
            spec = self.decoders[name].spec
            continuous, discrete = vector_action.get(
                name, (np.zeros((waiting, spec.continuous)), np.zeros((waiting, len(spec.branches)), np.int64))
            )
            values = message.agent_actions[name].value
            for numbers, choices in zip(continuous.tolist(), discrete.tolist()):
                # packages before communication version 1.3 read the deprecated field
                values.add(
                    vector_actions_deprecated=numbers + choices, continuous_actions=numbers, discrete_actions=choices
                )
        message.side_channel = bytes(self._side_channel_manager.generate_side_channel_messages())
        return self._wrap_unity_input(message)

    def diagnosis(self, cause: PlayerGone) -> str:
        """The text of an error: what happened, the usual causes, and the end of the player's log."""
        who = "the Unity Editor" if self.player is None else f"the player {self.launch.executable}"
        causes = USUAL_CAUSES.format(version=self.API_VERSION)
        tail = "" if self.player is None else f"\n{self.player.log_tail()}"
        return f"Unity: {who} {cause} (port {self.server.port}).\n{causes}{tail}"

    def close(self, grace: float = EXIT_SECONDS) -> None:
        """Asks the player to quit, waits `grace` seconds, ends its process group. May be called twice."""
        self._loaded = False
        self.server.close()
        if self.player is not None:
            self.player.end(grace)
        _open.discard(self)


_open: weakref.WeakSet[Connection] = weakref.WeakSet()


@atexit.register
def _close_open() -> None:
    for connection in list(_open):
        connection.close(grace=EXIT_SECONDS_AT_SHUTDOWN)
