"""One connection to one player: mlagents_envs' UnityEnvironment with our own transport, launcher and decoding."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from envs.unity_adapter.channels import Channels
from envs.unity_adapter.decode import Decoder
from envs.unity_adapter.mlagents import STEP, UnityEnvironment, UnityEnvironmentException, UnityRLInputProto
from envs.unity_adapter.process import Player
from envs.unity_adapter.server import PlayerGone, UnityServer
from sac.errors import UserError

CAUSES = """Usual causes:
  - Behavior Parameters > Behavior Type is not Default (a model runs in the player, or Heuristic)
  - the agent has no Decision Requester and never calls RequestDecision
  - the player looks at another port: it must take --mlagents-port (a build needs ML-Agents' Academy in its scene)
  - the package com.unity.ml-agents is older than 1.0 (this side speaks communication version {version})
  - the executable cannot run here (x bit, missing libraries, no display: try base.no_graphics=true)
  - in the editor: Play has not been pressed"""


@dataclass
class Launch:
    """How to start a player. `executable` None = the Unity Editor, which the user starts."""

    executable: Path | None
    log_folder: Path
    arguments: list[str] = field(default_factory=list)
    no_graphics: bool = False


class Connection(UnityEnvironment):
    """Starts a player, shakes hands, exchanges messages; after `reset` and `step`, `infos` holds what was said.

    Raises:
      UserError: (constructor) no player, no connection, another protocol.
      PlayerGone: (reset, act) the player died, left, or did not answer in time.
    """

    def __init__(self, server: UnityServer, launch: Launch, channels: Channels, seed: int, name: str):
        self.server, self.launch, self.player = server, launch, None
        self._player_name = name
        self.decoders: dict[str, Decoder] = {}  # in the order in which Unity named the behaviours
        self.infos: dict[str, list] = {}  # behaviour -> AgentInfoProto of the last exchange
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
            atexit.unregister(self._close)  # it would wait long; `_close_open` does this
        _open.add(self)

    def _get_communicator(self, worker_id, base_port, timeout_wait):
        return self.server

    def _send_academy_parameters(self, init_parameters):
        """The server listens: now is the time to launch."""
        if self.launch.executable is not None:
            command = [str(self.launch.executable), *self._executable_args()]
            self.player = Player(command, self.launch.log_folder, self._player_name)
        output = super()._send_academy_parameters(init_parameters)
        self.package_version = output.rl_initialization_output.package_version
        return output

    def _poll_process(self) -> None:
        if self.player is not None and self.player.exit_code is not None:
            raise PlayerGone(self.player.exit_text())

    def _update_behavior_specs(self, output) -> None:
        for brain in output.rl_initialization_output.brain_parameters:
            infos = output.rl_output.agentInfos[brain.brain_name].value
            if brain.brain_name not in self.decoders and infos:
                self.decoders[brain.brain_name] = Decoder(brain, infos[0], self.package_version)

    def _update_state(self, output) -> None:
        self.infos = {name: output.agentInfos[name].value for name in self.decoders if name in output.agentInfos}
        self._waiting = {name: sum(not info.done for info in infos) for name, infos in self.infos.items()}
        self._side_channel_manager.process_side_channel_message(output.side_channel)

    def act(self, actions: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
        """Answers everybody who waits: `actions` by behaviour ([k, A], [k, branches]), zeros for the others."""
        self._env_actions = dict(actions)
        self.step()

    def _generate_step_input(self, vector_action):
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
                # the deprecated field is what packages before communication 1.3 read
                values.add(
                    vector_actions_deprecated=numbers + choices, continuous_actions=numbers, discrete_actions=choices
                )
        message.side_channel = bytes(self._side_channel_manager.generate_side_channel_messages())
        return self._wrap_unity_input(message)

    def diagnosis(self, cause: PlayerGone) -> str:
        """What happened, the usual causes, and the end of the player's log."""
        who = "the Unity Editor" if self.player is None else f"the player {self.launch.executable}"
        causes = CAUSES.format(version=self.API_VERSION)
        tail = "" if self.player is None else f"\n{self.player.log_tail()}"
        return f"Unity: {who} {cause} (port {self.server.port}).\n{causes}{tail}"

    def close(self, grace: float = 5.0) -> None:
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
        connection.close(grace=1.0)
