#!/usr/bin/env bash
# tensorflow 2.21.0 (CPU): the persistent XLA cache knows a function by a counter of the process, so an unrelated function
# that was made before it turns every later hit into a miss.
#
# One would expect: a second process that compiles the same function finds the entry that a first process has written, as
#   the entry is keyed by a fingerprint of the program.
# What happens: the name of a traced function ends in a number that counts everything TensorFlow has named in the process
#   so far. The name is part of the program and of the key. A process that traces one small function more at its start
#   writes a second entry for the same function, and its cache grows with each such difference.
#
# Output seen:
#   tensorflow 2.21.0
#   nothing before it:      1 entry
#   the same again:         1 entry
#   another function first: 2 entries
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check tensorflow==2.21.0
cat > "$folder/program.py" <<'PYTHON'
import sys

import tensorflow as tf

if sys.argv[1] == "another":
    tf.function(lambda x: x * 2)(tf.ones(3))


@tf.function(jit_compile=True)
def step(x):
    return tf.reduce_sum(tf.tanh(x @ x))


step(tf.ones((16, 16)))
PYTHON
export TF_CPP_MIN_LOG_LEVEL=2
export TF_XLA_FLAGS="--tf_xla_persistent_cache_directory=$folder/cache --tf_xla_persistent_cache_device_types=CPU"
entries() {
  "$folder/venv/bin/python" "$folder/program.py" "$1" 2>/dev/null
  ls "$folder/cache" | wc -l
}
"$folder/venv/bin/python" -c 'import tensorflow as tf; print("tensorflow", tf.__version__)' 2>/dev/null
first=$(entries nothing) again=$(entries nothing) shifted=$(entries another)
echo "nothing before it:      $first entry"
echo "the same again:         $again entry"
echo "another function first: $shifted entries"
[ "$first" -eq 1 ] && [ "$again" -eq 1 ] && [ "$shifted" -eq 2 ]
