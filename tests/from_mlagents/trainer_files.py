"""Trainer configurations of ML-Agents' example scenes, written from its documented keys."""

from __future__ import annotations

from typing import Any

import yaml

# scene: (hidden units, layers, steps, buffer, learning rate, more network settings, more reward signals)
SCENES: dict[str, tuple[int, int, float, int, dict[str, Any], dict[str, Any]]] = {
    "3DBall": (64, 2, 2e5, 200_000, {"normalize": True}, {}),
    "3DBallHard": (128, 2, 5e5, 500_000, {"normalize": True}, {}),
    "Hallway": (128, 2, 4e6, 50_000, {"memory": {"sequence_length": 64, "memory_size": 128}}, {}),
    "PushBlock": (256, 2, 2e6, 500_000, {}, {}),
    "Pyramids": (256, 2, 1e7, 2_000_000, {"vis_encode_type": "simple"}, {"rnd": {"gamma": 0.99, "strength": 0.01}}),
    "GridWorld": (128, 1, 5e5, 50_000, {"vis_encode_type": "simple"}, {}),
}


def configuration(scene: str, trainer: str) -> dict[str, Any]:
    """The configuration of one scene, as the YAML file is read."""
    units, layers, steps, buffer, network, rewards = SCENES[scene]
    hyper: dict[str, Any] = {"learning_rate": 3e-4, "learning_rate_schedule": "constant", "batch_size": 64}
    if trainer == "sac":
        hyper |= {
            "buffer_size": buffer, "buffer_init_steps": 0, "tau": 0.005, "steps_per_update": 10.0,
            "save_replay_buffer": False, "init_entcoef": 0.5, "reward_signal_steps_per_update": 10.0,
        }  # fmt: skip
    else:
        hyper |= {
            "learning_rate_schedule": "linear", "buffer_size": 12_000, "beta": 0.001, "epsilon": 0.2, "lambd": 0.99,
            "num_epoch": 3,
        }  # fmt: skip
    return {
        "behaviors": {
            scene: {
                "trainer_type": trainer,
                "hyperparameters": hyper,
                "network_settings": {"normalize": False, "hidden_units": units, "num_layers": layers, **network},
                "reward_signals": {"extrinsic": {"gamma": 0.99, "strength": 1.0}, **rewards},
                "keep_checkpoints": 5,
                "max_steps": steps,
                "time_horizon": 1000,
                "summary_freq": 12_000,
            }
        }
    }


RANDOMISED = """
behaviors:
  3DBall: {trainer_type: ppo, max_steps: 5.0e5}
environment_parameters:
  mass:
    sampler_type: uniform
    sampler_parameters: {min_value: 0.5, max_value: 10}
  gravity:
    sampler_type: multirangeuniform
    sampler_parameters: {intervals: [[7, 10], [15, 20]]}
  scale:
    sampler_type: gaussian
    sampler_parameters: {mean: 2, st_dev: .3}
  friction: 0.5
"""

CURRICULUM = """
behaviors:
  BigWallJump: {trainer_type: sac, max_steps: 2.0e7}
  SmallWallJump: {trainer_type: sac, max_steps: 5000000}
environment_parameters:
  big_wall_height:
    curriculum:
      - name: Lesson0 # The '-' is important as this is a list
        completion_criteria:
          measure: progress
          behavior: BigWallJump
          signal_smoothing: true
          min_lesson_length: 100
          threshold: 0.1
        value:
          sampler_type: uniform
          sampler_parameters: {min_value: 0.0, max_value: 4.0}
      - name: Lesson1
        completion_criteria: {measure: reward, behavior: BigWallJump, min_lesson_length: 100, threshold: 0.3,
                              signal_smoothing: false}
        value: 7
      - name: Lesson2
        value: 8.0
"""

OLD = """
default:
  trainer: ppo
  batch_size: 1024
  beta: 5.0e-3
  hidden_units: 128
  max_steps: 5.0e5
  use_recurrent: false
Hallway:
  trainer: sac
  use_recurrent: true
  sequence_length: 64
  memory_size: 256
  init_entcoef: 0.1
  buffer_init_steps: 1000
  batch_size: 128
  max_steps: 5.0e6
  reward_signals: {extrinsic: {strength: 1.0, gamma: 0.99}}
  pretraining: {demo_path: Demos/Hallway.demo, steps: 10000, strength: 0.5}
parameter_randomization:
  resampling-interval: 5000
  mass: {sampler-type: uniform, min_value: 0.5, max_value: 10}
curriculum:
  Hallway:
    measure: progress
    thresholds: [0.1, 0.5]
    min_lesson_length: 100
    parameters: {corridor: [2, 4, 8]}
"""


def loaded(text: str) -> Any:
    return yaml.safe_load(text)
