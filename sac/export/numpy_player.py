"""Plays a policy that `python -m sac.export RUN --format numpy` wrote. Needs this file, its .npz and NumPy.

policy = Policy("policy.npz")
action, choices = policy([obs_0, obs_1], mask)      # arrays [k, ...] for k robots; mask [k, choices], 1 = allowed
"""

import numpy as np


class Policy:
    """The deterministic policy: continuous actions in the environment's units, and one choice for each branch."""

    def __init__(self, path):
        self.p = dict(np.load(path))

    def __call__(self, observations, mask=None):
        p = self.p
        x = np.concatenate([np.reshape(o, (len(o), -1)) for o in observations], axis=1)[:, p["columns"]]
        x = np.clip((x - p["offset"]) * p["factor"], -p["limit"], p["limit"]).astype(np.float32)
        for i in range(int(p["layers"])):
            x = (np.maximum(x, 0) if i else x) @ p[f"kernel_{i}"] + p[f"bias_{i}"]
        n = int(p["continuous"])
        action = p["low"] + (np.tanh(x[:, :n]) + 1) / 2 * (p["high"] - p["low"])
        scores, legal = x[:, 2 * n :], np.ones((len(x), 0), bool) if mask is None else np.asarray(mask) > 0.5
        if mask is not None and len(p["parts"]):
            combined = np.stack([legal[:, columns].all(axis=1) for columns in p["parts_columns"]], axis=1)
            scores = np.where(combined, scores, -np.inf)
        elif mask is not None:
            scores = np.where(legal, scores, -np.inf)
        choices = [part.argmax(axis=1) for part in np.split(scores, np.cumsum(p["branches"])[:-1], axis=1) if part.size]
        chosen = np.stack(choices, axis=1) if choices else np.zeros((len(x), 0), int)
        return action, p["parts"][chosen[:, 0]] if len(p["parts"]) else chosen
