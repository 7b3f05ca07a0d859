#!/usr/bin/env bash
# gymnasium 1.4.0 (numpy 2.4.6): a vector environment's `info` has the type of the first sub-environment that reports a key.
#
# One would expect: sub-environment 0 reports {"score": 0} (a Python int) and sub-environment 1 reports {"score": 2.7}; both
#   infos are valid dicts, so infos["score"] of the vector environment holds 0 and 2.7.
# What happens: the array is made as int64 for the 0 and 2.7 is written into it: infos["score"] is [0 2], without a warning.
#   With the two sub-environments in the other order it is [2.7 0.]. Likewise True first makes 2.7 True.
#
# Output seen:
#   gymnasium 1.4.0, numpy 2.4.6
#   reported 0, 2.7      -> [0 2] int64
#   reported 2.7, 0      -> [2.7 0. ] float64
#   reported True, 2.7   -> [ True  True] bool
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check gymnasium==1.4.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import gymnasium as gym
import numpy as np
from gymnasium.vector import SyncVectorEnv


class Scored(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, score):
        self.score = score

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {"score": self.score}


def infos(*scores):
    vector = SyncVectorEnv([lambda score=score: Scored(score) for score in scores])
    found = vector.reset(seed=1)[1]["score"]
    print(f"reported {', '.join(map(str, scores)):<11} -> {found} {found.dtype}")
    return found.tolist()


print(f"gymnasium {gym.__version__}, numpy {np.__version__}")
assert infos(0, 2.7) == [0, 2]
assert infos(2.7, 0) == [2.7, 0.0]
assert infos(True, 2.7) == [True, True]
PYTHON
