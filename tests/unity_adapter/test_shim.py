"""The import shim: mlagents-envs 0.28 beside today's protobuf, Python and NumPy."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from envs.unity_adapter import mlagents_shim
from envs.unity_adapter.mlagents import AgentInfoProto, UnityMessageProto

ROOT = Path(__file__).parents[2]


def test_messages_survive_the_wire_and_pickling():
    message = UnityMessageProto()
    message.unity_output.rl_output.agentInfos["Roller"].value.add(id=3, reward=0.5).action_mask.extend([True, False])
    again = pickle.loads(pickle.dumps(UnityMessageProto.FromString(message.SerializeToString())))
    assert again == message
    assert type(again) is UnityMessageProto


def test_message_classes_live_under_their_module_names():
    assert AgentInfoProto.__module__ == "mlagents_envs.communicator_objects.agent_info_pb2"


def test_installing_twice_adds_one_finder():
    before = list(sys.meta_path)
    mlagents_shim.install()
    assert sys.meta_path == before


def test_other_imports_are_left_alone():
    finder = mlagents_shim._ProtoFinder()
    assert finder.find_spec("google.protobuf.any_pb2") is None
    assert finder.find_spec("mlagents_envs.environment") is None
    assert finder.find_spec(f"{mlagents_shim.PACKAGE}.missing_pb2", []) is None


@pytest.mark.parametrize("text, version", [("1.5.0", (1, 5, 0)), ("0.14", (0, 14, 0))])
def test_strict_version(text, version):
    assert mlagents_shim.StrictVersion(text).version == version


@pytest.mark.parametrize("literal", ["_b('ab\\000')", "b'ab\\000'"])
def test_the_descriptor_is_found_in_both_styles_of_generated_code(literal):
    assert mlagents_shim.serialized_descriptor(f"D = F(name='x', serialized_pb={literal})") == b"ab\0"


def test_another_release_is_named():
    with pytest.raises(ImportError, match=r"0\.28\.0"):
        mlagents_shim.serialized_descriptor("x = 1")


def test_the_adapter_does_not_import_tensorflow():
    code = "import sys, envs.unity_adapter.env; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0


def test_players_import_neither_tensorflow_nor_mlagents():
    names = "{'tensorflow', 'mlagents_envs', 'gymnasium'}"
    code = f"import sys, envs.players.zoo, envs.players.roller; sys.exit(bool({names} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0


@pytest.mark.slow
def test_a_player_runs_beside_tensorflow_in_one_process():
    code = """
import tensorflow as tf
from envs.unity_adapter.env import UnityEnv
env = UnityEnv("player:roller", port=23900)
assert float(tf.reduce_sum(env.reset().obs["VectorSensor_size8"][:, 1])) == 0.5
env.close()
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120, check=False).returncode == 0
