#!/usr/bin/env bash
# tensorflow 2.21.0 (CPU, Linux, an Intel processor with AVX-512): reading back an entry of the persistent XLA cache on
# the very machine that wrote it logs errors about the processor: "Target machine feature +prefer-no-gather is not
# supported on the host machine ... could lead to execution errors such as SIGILL".
#
# One would expect: nothing, since the same machine compiled the code a second before.
# What happens: +prefer-no-gather and +prefer-no-scatter are no abilities of a processor but wishes of the compiler about
#   which instructions to avoid. XLA stores them with the code, and then looks for them in the list of the host's
#   abilities, where they never are. The result is right all the same.
#
# Output seen (Intel Xeon with AMX):
#   tensorflow 2.21.0 0.0: first process: 0 lines about features, 0 of them about +prefer-...
#   tensorflow 2.21.0 0.0: second process: 2 lines about features, 2 of them about +prefer-...
# On a processor without such wishes (AMD) it says so and ends with 0.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check tensorflow==2.21.0
cat > "$folder/program.py" <<'PYTHON'
import tensorflow as tf

print(tf.__version__, tf.function(lambda x: tf.reduce_sum(tf.tanh(x @ x)), jit_compile=True)(tf.zeros((16, 16))).numpy())
PYTHON
export TF_CPP_MIN_LOG_LEVEL=2
export TF_XLA_FLAGS="--tf_xla_persistent_cache_directory=$folder/cache --tf_xla_persistent_cache_device_types=CPU"
for process in first second; do
  found=$("$folder/venv/bin/python" "$folder/program.py" 2>"$folder/$process.err")
  lines=$(grep -c "Target machine feature" "$folder/$process.err" || true)
  wishes=$(grep -c "Target machine feature +prefer-" "$folder/$process.err" || true)
  echo "tensorflow $found: $process process: $lines lines about features, $wishes of them about +prefer-..."
done
if ! grep -q "prefer-no-" "$folder"/cache/*.pb; then
  echo "the compiler has no such wishes on this processor: nothing to see here"
  exit 0
fi
grep -q "Target machine feature" "$folder/first.err" && exit 1
[ "$lines" -gt 0 ] && [ "$lines" -eq "$wishes" ]
