#!/usr/bin/env bash
# tensorflow 2.21.0: a persistent GradientTape builds the gradient of each tf.while_loop three times, asked for or not.
#
# One would expect: that tape.gradient builds the gradient of a loop once, and that nothing is built when nobody asks.
# What happens: while a persistent tape records in a tf.function, a loop's gradient is built at once, again and again until
#   its outputs no longer change: three times in the smallest case. Tracing a recurrent network in a persistent tape takes
#   two to three times as long for that. A tape that is not persistent builds it once and only when asked, and so does
#   tf.gradients, which can be asked several times as well.
#
# Output seen:
#   tensorflow 2.21.0
#   persistent tape: gradient asked for 3, not asked for 3
#   ordinary tape: gradient asked for 1, not asked for 0
#   tf.gradients: 1
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check tensorflow==2.21.0
TF_CPP_MIN_LOG_LEVEL=2 "$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
from importlib.metadata import version

import tensorflow as tf

built = 0


@tf.custom_gradient
def squashed(x):
    def gradient(upstream):
        global built
        built += 1
        return upstream * (1 - tf.tanh(x) ** 2)

    return tf.tanh(x), gradient


def looped(x):
    return tf.while_loop(lambda k, _: k < 3, lambda k, y: (k + 1, squashed(y)), (0, x), maximum_iterations=3)[1]


def taped(persistent, asked):
    def function(x):
        with tf.GradientTape(persistent=persistent) as tape:
            tape.watch(x)
            y = looped(x)
        return tape.gradient(y, x) if asked else y

    return function


def builds(function):
    """How often the gradient inside the loop is built while the function is traced."""
    global built
    built = 0
    tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec([], tf.float32))
    return built


persistent, ordinary = ([builds(taped(kind, asked)) for asked in (True, False)] for kind in (True, False))
graph = builds(lambda x: tf.gradients(looped(x), x)[0])
print("tensorflow", version("tensorflow"))
print(f"persistent tape: gradient asked for {persistent[0]}, not asked for {persistent[1]}")
print(f"ordinary tape: gradient asked for {ordinary[0]}, not asked for {ordinary[1]}")
print(f"tf.gradients: {graph}")
assert (persistent, ordinary, graph) == ([3, 3], [1, 0], 1)
PYTHON
