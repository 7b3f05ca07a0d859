"""Small specs, random windows and gradients for the tests of the extras."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from sac.backend import keras, seed_everything, tf
from sac.extras.extra import Window
from sac.nets.contract import Builder, scaled
from sac.types import Sensor, Spec

SENSORS = (Sensor("v", (3,)),)
SPECS = {
    "continuous": Spec(SENSORS, 2, feature=5),
    "discrete": Spec(SENSORS, 0, (4,), feature=5),
    "hybrid": Spec(SENSORS, 2, (3, 2), feature=5),
}
SIGHT = (Sensor("v", (3,)), Sensor("eye", (6, 5, 3), "uint8"), Sensor("grid", (4, 2)), Sensor("hidden", (2, 2)))
SEEING = Spec(SIGHT, 2, (3,), feature=5, extra=("hidden",))
NAMES = "Forward Inverse RND Transition Reward Observation"
SMALL = {f"Model{name}": {"hidden": [12]} for name in NAMES.split()}
B, T = 6, 4


def builder(**classes) -> Builder:
    """Default networks of 12 units, or the user's classes."""
    seed_everything(0)
    module = ModuleType("mine")
    module.__file__ = "/somewhere/nn.py"
    vars(module).update(classes)
    return Builder(module, {name: value for name, value in SMALL.items() if name not in classes})


def layer(call):
    """A user's class with this `call(self, *inputs)` and no weights."""

    def __init__(self, spec):  # noqa: N807
        keras.layers.Layer.__init__(self)
        self.spec = spec

    return type("Mine", (keras.layers.Layer,), {"__init__": __init__, "call": call})


def actions(spec: Spec, rng, *lead) -> np.ndarray:
    parts = [rng.uniform(-1, 1, (*lead, spec.continuous))]
    parts += [np.eye(size)[rng.integers(size, size=lead)] for size in spec.branches]
    return np.concatenate(parts, axis=-1).astype(np.float32)


def window(spec: Spec, seed=0, full=False) -> Window:
    """Random windows; unless `full`, the first has T steps, the second has 1, the others have 1 to T."""
    rng = np.random.default_rng(seed)
    raw = {s.name: rng.normal(size=(B, T + 1, *s.shape)).astype(np.float32) for s in spec.sensors}
    raw |= {s.name: rng.integers(0, 256, raw[s.name].shape, np.uint8) for s in spec.sensors if s.dtype == "uint8"}
    steps = np.array([T, 1, *rng.integers(1, T + 1, B - 2)])
    return Window(
        obs=scaled(raw, spec),
        z=tf.constant(rng.normal(size=(B, T + 1, spec.feature)), tf.float32),
        z_target=tf.constant(rng.normal(size=(B, T + 1, spec.feature)), tf.float32),
        action=tf.constant(actions(spec, rng, B, T)),
        reward=tf.constant(rng.normal(size=(B, T)), tf.float32),
        valid=tf.ones((B, T)) if full else tf.constant(np.arange(T) < steps[:, None], tf.float32),
        seed=tf.constant([0, seed]),
    )


def with_padding(w: Window, value: float) -> Window:
    """The same windows with `value` in all padding."""
    step = w.valid.numpy() > 0
    state = np.pad(step, [[0, 0], [1, 0]]) | np.pad(step, [[0, 0], [0, 1]])

    def fill(x, real):
        x = np.array(x)
        x[~real] = value
        return tf.constant(x)

    return w._replace(
        obs={name: fill(x, state) for name, x in w.obs.items()},
        z=fill(w.z, state), z_target=fill(w.z_target, state), action=fill(w.action, step), reward=fill(w.reward, step),
    )  # fmt: skip


def gradients(extra, name: str, w: Window, *more):
    """Gradients of the loss `name` by every trained weight (None without a path) and by the tensors `more`."""
    weights = [v.value for v in extra.trained]
    with tf.GradientTape() as tape:
        tape.watch(more)
        loss = extra.losses(w)[name]
    found = tape.gradient(loss, [*weights, *more])
    return found[: len(weights)], found[len(weights) :]


def reached(extra, name: str, w: Window) -> set[str]:
    """Names of the layers to which the loss `name` gives a gradient."""
    found, _ = gradients(extra, name, w)
    moving = {id(v) for v, g in zip(extra.trained, found) if g is not None and np.abs(g).max() > 0}
    return {key for key, net in extra.layers().items() if any(id(v) in moving for v in net.trainable_weights)}


def everything(extra, w: Window):
    """Bonus, losses and the gradient of every trained weight, as one flat list."""
    bonus, weights = extra.bonus(w), [v.value for v in extra.trained]
    with tf.GradientTape(persistent=True) as tape:
        losses = extra.losses(w)
    found = [tape.gradient(x, weights, unconnected_gradients="zero") for x in losses.values()]
    return [bonus, *losses.values(), *(g for gradients in found for g in gradients)]


def assert_padding_means_nothing(make, spec: Spec) -> None:
    """Bonus, losses and gradients do not depend on the content of padding, not even on NaN."""
    w = window(spec)
    clean, other, nan = (everything(make(), with_padding(w, x)) for x in (0.0, 1e3, np.nan))
    for a, b, c in zip(clean, other, nan):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    assert not clean[0].numpy()[w.valid == 0].any()


def assert_compiled_equals_eager(make, spec: Spec) -> None:
    """Compiled as the agent does: XLA, no autograph, inside a while loop."""
    w = window(spec)

    def compiled(w):
        start = [tf.zeros_like(x) for x in everything(make_spare, w)]
        return tf.while_loop(lambda k, *_: k < 1, lambda k, *_: [k + 1, *everything(extra, w)], [0, *start])[1:]

    extra, make_spare = make(), make()
    expected = everything(make(), w)
    found = tf.function(compiled, jit_compile=True, autograph=False)(w)
    for a, b in zip(expected, found):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def train(extra, windows, steps: int, learning_rate=0.01) -> list[dict]:
    """Adam on all losses over `windows(step)`; returns the losses of every step."""
    adam = keras.optimizers.Adam(learning_rate)
    adam.build(extra.trained)

    @tf.function(jit_compile=True, autograph=False)
    def step(w):
        with tf.GradientTape() as tape:
            losses = extra.losses(w)
            total = sum(losses.values())
        adam.apply(tape.gradient(total, extra.trained), extra.trained)
        return losses

    return [{name: float(x) for name, x in step(windows(k)).items()} for k in range(steps)]


def numbers(extra) -> dict[str, np.ndarray]:
    """All its variables, as a checkpoint holds them."""
    return {f"{name}/{i}": np.array(v) for name, net in extra.layers().items() for i, v in enumerate(net.variables)}
