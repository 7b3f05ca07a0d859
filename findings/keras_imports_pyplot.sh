#!/usr/bin/env bash
# keras 3.15.1 (tensorflow 2.21.0, matplotlib 3.11.2): `import tensorflow` imports matplotlib.pyplot where it is installed.
#
# One would expect: that a plotting library is loaded by the functions that plot.
# What happens: `import tensorflow` imports Keras, and keras.visualization imports pyplot at its top, so each process that
#   imports TensorFlow pays for matplotlib too (about a second, and tens of MB), though matplotlib is no dependency of either.
#
# Output seen:
#   keras 3.15.1, matplotlib 3.11.2
#   pyplot after `import tensorflow`: loaded
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check tensorflow==2.21.0 keras==3.15.1 matplotlib==3.11.2
TF_CPP_MIN_LOG_LEVEL=2 "$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import sys
from importlib.metadata import version

import tensorflow

loaded = "matplotlib.pyplot" in sys.modules
print(f"keras {version('keras')}, matplotlib {version('matplotlib')}")
print("pyplot after `import tensorflow`:", "loaded" if loaded else "not loaded")
assert loaded
PYTHON
