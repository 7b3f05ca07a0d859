#!/usr/bin/env bash
# tf2onnx 1.17.0 with tensorflow 2.21.0: tf.random.normal without any seed becomes RandomNormalLike with the attribute
# seed = 0.0. The "random" output of the ONNX file is the same in every process that loads it.
#
# One would expect: numbers that differ from process to process, as those of the TensorFlow function do.
# What happens: in TensorFlow the seed 0 of an operation means "draw anew"; in ONNX a seed that is present fixes the
#   numbers, and 0.0 is one. The conversion copies the 0. A stochastic policy that is exported so draws the same noise
#   after every load, and an engine that seeds at each execution would draw it at every step. Without the attribute
#   onnxruntime draws anew in each process.
#
# Output seen:
#   tensorflow 2.21.0, tf2onnx 1.17.0, onnxruntime 1.32.0
#   attributes of RandomNormalLike: dtype, seed=0.0
#   TensorFlow in two processes:       different
#   the ONNX file in two processes:    the same
#   without the seed in two processes: different
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check tensorflow==2.21.0 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.32.0
cat > "$folder/program.py" <<'PYTHON'
import logging
import sys

import numpy as np
import onnxruntime
import tensorflow as tf
import tf2onnx

logging.getLogger("tf2onnx").setLevel(logging.ERROR)
function = tf.function(lambda x: {"y": x + tf.random.normal(tf.shape(x))})
model, _ = tf2onnx.convert.from_function(function, [tf.TensorSpec((None, 3), tf.float32, "x")], opset=15)
(node,) = (node for node in model.graph.node if node.op_type == "RandomNormalLike")
x = np.zeros((2, 3), np.float32)


def run():
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0].tolist()


if sys.argv[1] == "describe":
    print(f"tensorflow {tf.__version__}, tf2onnx {tf2onnx.__version__}, onnxruntime {onnxruntime.__version__}")
    named = [a.name + (f"={a.f}" if a.name == "seed" else "") for a in node.attribute]
    print("attributes of RandomNormalLike:", ", ".join(named))
elif sys.argv[1] == "tensorflow":
    print(function(tf.constant(x))["y"].numpy().tolist())
elif sys.argv[1] == "onnx":
    print(run())
else:
    kept = [a for a in node.attribute if a.name != "seed"]
    del node.attribute[:]
    node.attribute.extend(kept)
    print(run())
PYTHON
program() { TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" "$folder/program.py" "$1" 2>/dev/null; }
twice() { if [ "$(program "$1")" = "$(program "$1")" ]; then echo "the same"; else echo "different"; fi; }
program describe
tensorflow=$(twice tensorflow) onnx=$(twice onnx) unseeded=$(twice unseeded)
echo "TensorFlow in two processes:       $tensorflow"
echo "the ONNX file in two processes:    $onnx"
echo "without the seed in two processes: $unseeded"
[ "$tensorflow" = "different" ] && [ "$onnx" = "the same" ] && [ "$unseeded" = "different" ]
