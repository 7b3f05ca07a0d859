"""Our Adam takes the steps of Keras's."""

from __future__ import annotations

import numpy as np
import pytest

from sac.agent.optimizers import adam
from sac.backend import keras, tf
from tests.agent.agent_kit import hyperparameters


def compiled(optimizer, weights, jit):
    return tf.function(lambda *grads: optimizer.apply(grads, weights), jit_compile=jit, autograph=False)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "grad_clip_norm": 0.5}])
@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_it_moves_weights_and_moments_as_keras_does(jit, options, schedule):
    hyper = hyperparameters(
        learning_rate=0.01, learning_rate_schedule=schedule, learning_rate_end=0.001, learning_rate_updates=4, **options
    )
    ours = adam(hyper)
    theirs = keras.optimizers.Adam(
        keras.optimizers.schedules.PolynomialDecay(0.01, 4, 0.001) if schedule == "linear" else 0.01,
        weight_decay=options.get("weight_decay"),
        global_clipnorm=options.get("grad_clip_norm"),
    )
    rng = np.random.default_rng(0)
    shapes = (3, 4), (4,), ()
    start = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    found = []
    for optimizer in (ours, theirs):
        weights = [keras.Variable(x, name=f"w{i}") for i, x in enumerate(start)]
        optimizer.build(weights)
        step = compiled(optimizer, weights, jit)
        rng = np.random.default_rng(1)
        for _ in range(6):
            step(*(tf.constant(rng.normal(size=shape).astype(np.float32)) for shape in shapes))
        found.append({x.path.split("/")[-1]: x.numpy() for x in [*optimizer.variables, *weights]})
    assert found[0].keys() == found[1].keys() and len(found[0]) >= 10
    for name, value in found[0].items():
        np.testing.assert_allclose(value, found[1][name], rtol=2e-6, atol=1e-8, err_msg=name)
    assert all(np.abs(found[0][f"w{i}"] - x).max() > 0.02 for i, x in enumerate(start))
