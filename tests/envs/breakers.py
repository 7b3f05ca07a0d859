"""Environments that break Gymnasium's contract, each in one way, and some that only stretch it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

BOX, PIXELS = spaces.Box(-1, 1, (2,), np.float32), spaces.Box(0, 255, (3, 4, 1), np.uint8)
PAIR = spaces.Tuple([spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(3)])
NAMED = spaces.Dict({"a": spaces.Box(-1, 1, (2,), np.float32), "b": spaces.Discrete(3)})
DIGITS = spaces.MultiDiscrete([3, 2], start=[1, 0])
BITS = spaces.MultiBinary(3)


class Plain(gymnasium.Env):
    """Zeros; its episodes last five steps."""

    action_space = spaces.Discrete(2)

    def __init__(self, space: spaces.Space = BOX) -> None:
        self.observation_space = space
        self.t = 0

    def first(self) -> Any:
        return zeros(self.observation_space)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.first(), {}

    def step(self, action):
        self.t += 1
        return self.first(), 0.0, self.t >= 5, False, {}


class Endless(Plain):
    """Never ends; a reward of 1 for each step. Makes the file `mark` at its hundredth step."""

    def __init__(self, mark: str | None = None) -> None:
        super().__init__()
        self.mark = mark

    def step(self, action):
        self.t += 1
        if self.t == 100 and self.mark is not None:
            Path(self.mark).touch()
        return self.first(), 1.0, False, False, {}


def zeros(space: spaces.Space) -> Any:
    """The least that lies in a space."""
    if isinstance(space, spaces.Dict):
        return {key: zeros(part) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(zeros(part) for part in space.spaces)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return space.start
    return np.zeros(space.shape, space.dtype)


class Says(Plain):
    """From its second step it returns `changed(result of step)`."""

    def __init__(self, changed: Callable[[tuple], Any], space: spaces.Space = BOX) -> None:
        super().__init__(space)
        self.changed = changed

    def step(self, action):
        result = super().step(action)
        return self.changed(result) if self.t >= 2 else result


class Begins(Plain):
    """`reset` returns `changed(observation, info)`."""

    def __init__(self, changed: Callable[[Any, dict], Any], space: spaces.Space = BOX) -> None:
        super().__init__(space)
        self.changed = changed

    def reset(self, *, seed=None, options=None):
        return self.changed(*super().reset(seed=seed))


def obs(value: Any) -> Callable[[tuple], tuple]:
    return lambda result: (value, *result[1:])


def reward(value: Any) -> Callable[[tuple], tuple]:
    return lambda result: (result[0], value, *result[2:])


def over(terminated: Any, truncated: Any = False) -> Callable[[tuple], tuple]:
    return lambda result: (*result[:2], terminated, truncated, result[4])


# name: (what step returns, observation space, words of the refusal)
REFUSED = {
    "four values": (lambda r: (*r[:3], r[4]), BOX, r"step\(\) returned a tuple of 4.*tuple of five.*gym:<id>"),
    "six values": (lambda r: (*r, 1), BOX, r"step\(\) returned a tuple of 6.*tuple of five"),
    "nothing": (lambda r: None, BOX, r"step\(\) returned None"),
    "reward None": (reward(None), BOX, r"step\(\): reward is None; allowed is one number"),
    "reward text": (reward("1.0"), BOX, r"reward is '1.0'; allowed is one number"),
    "reward complex": (reward(1j), BOX, "reward is 1j"),
    "reward vector": (reward(np.ones(3)), BOX, r"base.reward_weights=\[\]: .* rewards of 3 numbers"),
    "terminated None": (over(None), BOX, "terminated is None; allowed is True or False"),
    "truncated None": (over(False, None), BOX, "truncated is None"),
    "terminated text": (over("False"), BOX, "terminated is 'False'"),
    "terminated 2": (over(2), BOX, r"terminated is 2 \(int\)"),
    "info a list": (lambda r: (*r[:4], [1]), BOX, "info is a list of 1.*allowed is a dict"),
    "obs None": (obs(None), BOX, r"observation is None; allowed is an array \[2\] of float32"),
    "obs text": (obs("x"), BOX, "observation is 'x'"),
    "obs too long": (obs(np.zeros(3, np.float32)), BOX, r"observation is an array \[3\] of float32; allowed .* \[2\]"),
    "obs as a column": (obs(np.zeros((2, 1), np.float32)), BOX, r"observation is an array \[2, 1\]"),
    "obs ragged": (obs([[0.0], [0.0, 1.0]]), BOX, "observation is a list of 2"),
    "obs complex": (obs(np.zeros(2, complex)), BOX, "observation is an array .* of complex128"),
    "floats in pixels": (obs(np.full((3, 4, 1), 0.5)), PIXELS, r"an array \[3, 4, 1\] of float64; allowed .* of uint8"),
    "pixels of 256": (obs(np.full((3, 4, 1), 256)), PIXELS, r"holds 256 to 256; allowed is 0 to 255 \(uint8\)"),
    "pixels of -1": (obs(np.full((3, 4, 1), -1, np.int8)), PIXELS, "holds -1 to -1"),
    "channels elsewhere": (obs(np.zeros((1, 3, 4), np.uint8)), PIXELS, r"\[1, 3, 4\] of uint8; allowed .*\[3, 4, 1\]"),
    "discrete too high": (obs(3), spaces.Discrete(3), r"observation is 3; allowed is 0 to 2 \(Discrete\(3\)\)"),
    "discrete negative": (obs(-1), spaces.Discrete(3), "observation is -1; allowed is 0 to 2"),
    "discrete below its start": (obs(0), spaces.Discrete(3, start=1), "observation is 0; allowed is 1 to 3"),
    "discrete a float": (obs(1.0), spaces.Discrete(3), r"observation is 1.0 \(float\); allowed are whole numbers"),
    "digits too high": (obs([3, 2]), DIGITS, r"observation is \[3, 2\]; allowed is MultiDiscrete"),
    "digits too low": (obs([0, 1]), DIGITS, r"observation is \[0, 1\]; allowed is MultiDiscrete"),
    "bits of 2": (obs(np.array([0, 1, 2])), BITS, r"observation is \[0, 1, 2\]; allowed is MultiBinary"),
    "dict without a key": (obs({"a": np.zeros(2)}), NAMED, "allowed is a dict with the keys a, b"),
    "dict with a wrong part": (obs({"a": np.zeros(3), "b": 1}), NAMED, r"observation 'a' is an array \[3\]"),
    "no dict": (obs(np.zeros(3)), NAMED, "allowed is a dict with the keys a, b"),
    "tuple too short": (obs((np.zeros(2),)), PAIR, "allowed is a tuple of 2"),
    "tuple with a wrong part": (obs((np.zeros(2), 7)), PAIR, r"observation \[1\] is 7; allowed is 0 to 2"),
}  # fmt: skip
# name: (what reset returns, observation space, words of the refusal)
REFUSED_AT_RESET = {
    "no info": (lambda o, _: o, BOX, r"reset\(\) returned an array \[2\] of float32; allowed is a tuple of two"),
    "no info, a dict": (lambda o, _: o, NAMED, r"reset\(\) returned {'a'"),
    "no info, a tuple": (lambda o, _: o, PAIR, r"reset\(\) returned a tuple of 2"),
    "nothing": (lambda o, _: None, BOX, r"reset\(\) returned None"),
    "five values": (lambda o, i: (o, 0.0, False, False, i), BOX, r"reset\(\) returned a tuple of 5"),
    "a wrong shape": (lambda o, i: (np.zeros(3), i), BOX, r"reset\(\): observation is an array \[3\] of float64"),
    "obs None": (lambda o, i: (None, i), BOX, r"reset\(\): observation is None"),
}
ONE = np.float32(1.0)
# name: (what step returns beside a reward of 1, observation space)
TAKEN = {
    "reward in an array": (reward(np.array([1.0])), BOX),
    "reward in a matrix": (reward(np.ones((1, 1), np.int64)), BOX),
    "reward in a list": (reward([1]), BOX),
    "reward of NumPy": (reward(ONE), BOX),
    "reward a whole number": (reward(1), BOX),
    "reward a truth value": (reward(True), BOX),
    "flags of NumPy": (lambda r: over(np.bool_(False), np.array([0]))(reward(1.0)(r)), BOX),
    "flags as numbers": (lambda r: over(0, 0.0)(reward(1.0)(r)), BOX),
    "info None": (lambda r: (*reward(1.0)(r)[:4], None), BOX),
    "obs of float64": (lambda r: (np.zeros(2), 1.0, *r[2:]), BOX),
    "obs a list": (lambda r: ([0, 0], 1.0, *r[2:]), BOX),
    "pixels of int64": (lambda r: (np.zeros((3, 4, 1), np.int64), 1.0, *r[2:]), PIXELS),
    "discrete in an array": (lambda r: (np.array([0], np.int8), 1.0, *r[2:]), spaces.Discrete(3)),
    "dict with more keys": (lambda r: ({**r[0], "c": "x"}, 1.0, *r[2:]), NAMED),
    "tuple as a list": (lambda r: (list(r[0]), 1.0, *r[2:]), PAIR),
}


def says(name: str) -> Says:
    changed, space, *_ = (REFUSED | TAKEN)[name]
    return Says(changed, space)


def begins(name: str) -> Begins:
    changed, space, _ = REFUSED_AT_RESET[name]
    return Begins(changed, space)


class Unsendable(Exception):  # noqa: N818 - what it is
    """Cannot be made from its own arguments, as another process would have to."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")


class Raising(Plain):
    """Raises at its second step: an exception that no pipe takes, or an ordinary one."""

    def __init__(self, sendable: bool = False) -> None:
        super().__init__()
        self.sendable = sendable

    def step(self, action):
        if self.t == 1:
            raise RuntimeError("motor 7") if self.sendable else Unsendable(7, "motor")
        return super().step(action)


class Chatty(Plain):
    """`info` holds a value of another kind in each sub-environment and at each step."""

    KINDS = (None, 3, "x", 1.5, [1, 2], {"a": None}, {"a": 3}, np.zeros(2), np.zeros((3, 1)), object, {1: 2}, True)

    def __init__(self) -> None:
        super().__init__()
        self.kind = 0

    def info(self) -> dict:
        self.kind += int(self.np_random.integers(1, len(self.KINDS)))
        kind = self.KINDS[self.kind % len(self.KINDS)]
        names = ("winner", "final_obs", "final_info", "_winner", "episode", 5)
        return dict.fromkeys(names, kind) | ({"action_mask": np.array([1, 0], np.int8)} if self.kind % 2 else {})

    def reset(self, *, seed=None, options=None):
        obs, _ = super().reset(seed=seed)
        return obs, self.info()

    def step(self, action):
        return *super().step(action)[:4], self.info()


gymnasium.register("Says-v0", says)
gymnasium.register("Begins-v0", begins)
gymnasium.register("Limited-v0", says, max_episode_steps=50)
gymnasium.register("Endless-v0", Endless)
gymnasium.register("Raising-v0", Raising)
gymnasium.register("Chatty-v0", Chatty)
