#!/usr/bin/env bash
# tensorflow 2.21.0 (CPU): an entry of the persistent XLA cache that was cut short (a power cut, a full disk) is not
# compiled anew: the call of the function raises an error, and raises it again after the entry is gone.
#
# One would expect: a cache that cannot be read is a miss.
# What happens: the first call raises OutOfRangeError. The error belongs to the function from then on: with the entry
#   removed, a second call of the same function raises it again; only tracing the function anew compiles it.
#
# Output seen:
#   tensorflow 2.21.0
#   whole entry:              0.0
#   entry cut to its half:    OutOfRangeError
#   same call, entry removed: OutOfRangeError
#   traced anew:              0.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check tensorflow==2.21.0
cat > "$folder/program.py" <<'PYTHON'
import sys
from pathlib import Path

import tensorflow as tf


def body(x):
    return tf.reduce_sum(tf.tanh(x @ x))


def call(function):
    try:
        return str(function(tf.zeros((16, 16))).numpy())
    except tf.errors.OpError as error:
        return type(error).__name__


step = tf.function(body, jit_compile=True)
if sys.argv[1] == "whole":
    print("tensorflow", tf.__version__)
    print("whole entry:             ", call(step))
else:
    found = [call(step)]
    for entry in Path(sys.argv[2]).iterdir():
        entry.unlink()
    found += [call(step), call(tf.function(body, jit_compile=True))]
    print("entry cut to its half:   ", found[0])
    print("same call, entry removed:", found[1])
    print("traced anew:             ", found[2])
    assert found == ["OutOfRangeError", "OutOfRangeError", "0.0"], found
PYTHON
export TF_CPP_MIN_LOG_LEVEL=2
export TF_XLA_FLAGS="--tf_xla_persistent_cache_directory=$folder/cache --tf_xla_persistent_cache_device_types=CPU"
"$folder/venv/bin/python" "$folder/program.py" whole 2>/dev/null
for entry in "$folder"/cache/*; do
  truncate -s "$(($(stat -c %s "$entry") / 2))" "$entry"
done
"$folder/venv/bin/python" "$folder/program.py" cut "$folder/cache" 2>/dev/null
