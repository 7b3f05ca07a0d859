#!/usr/bin/env bash
# gymnasium 1.4.0, numpy 2.4.6.
# Expected: two spaces that compare equal are bounded alike and draw samples of the same kind.
# Found: Box(-inf, inf, int64) stores the dtype's ends as low and high, so it equals Box(min, max, int64); but is_bounded()
# is False for one and True for the other, and sample() draws small normal numbers from one and wide uniform ones from the
# other. Whoever looks at low and high alone takes "no bounds" for bounds of 2^63; only bounded_below/above tell.
# Output seen:
#   gymnasium 1.4.0
#   equal: True, bounded: False and True, largest |sample|: below 1e6 and above 1e15
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q gymnasium==1.4.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import gymnasium
import numpy as np
from gymnasium.spaces import Box

ends = np.iinfo(np.int64)
without = Box(-np.inf, np.inf, (1000,), np.int64, seed=1)
within = Box(ends.min, ends.max, (1000,), np.int64, seed=1)
largest = [float(np.abs(space.sample().astype(float)).max()) for space in (without, within)]
print("gymnasium", gymnasium.__version__)
print(f"equal: {without == within}, bounded: {without.is_bounded()} and {within.is_bounded()}, largest |sample|: "
      f"{'below' if largest[0] < 1e6 else 'not below'} 1e6 and {'above' if largest[1] > 1e15 else 'not above'} 1e15")
same = without == within and not without.is_bounded() and within.is_bounded() and largest[0] < 1e6 and largest[1] > 1e15
raise SystemExit(0 if same else 1)
PYTHON
