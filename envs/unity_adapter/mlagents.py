"""The only module that imports mlagents_envs: installs the shim first and exports what the adapter uses."""

# ruff: noqa: E402, F401

from __future__ import annotations

import logging
import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from envs.unity_adapter import mlagents_shim

mlagents_shim.install()

from mlagents_envs import logging_util
from mlagents_envs.communicator import Communicator
from mlagents_envs.communicator_objects.agent_info_action_pair_pb2 import AgentInfoActionPairProto
from mlagents_envs.communicator_objects.agent_info_pb2 import AgentInfoProto
from mlagents_envs.communicator_objects.brain_parameters_pb2 import BrainParametersProto
from mlagents_envs.communicator_objects.command_pb2 import STEP
from mlagents_envs.communicator_objects.demonstration_meta_pb2 import DemonstrationMetaProto
from mlagents_envs.communicator_objects.unity_message_pb2 import UnityMessageProto
from mlagents_envs.communicator_objects.unity_rl_input_pb2 import UnityRLInputProto
from mlagents_envs.communicator_objects.unity_to_external_pb2_grpc import (
    UnityToExternalProtoServicer,
    add_UnityToExternalProtoServicer_to_server,
)
from mlagents_envs.environment import UnityEnvironment
from mlagents_envs.exception import UnityEnvironmentException
from mlagents_envs.side_channel import IncomingMessage, SideChannel
from mlagents_envs.side_channel.engine_configuration_channel import EngineConfigurationChannel
from mlagents_envs.side_channel.environment_parameters_channel import EnvironmentParametersChannel

logging_util.set_log_level(logging.WARNING)  # its handler writes to standard output
