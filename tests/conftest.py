"""For all tests."""

import os
import random
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest

# A run records itself for Weights & Biases unless told otherwise, which costs it seconds: tests that want it say so.
os.environ["WANDB_MODE"] = "disabled"
# Runs in processes of their own share what they compile, also with later calls of pytest.
os.environ.setdefault("SAC_CACHE", str(Path(__file__).parents[1] / ".pytest_cache" / "compile_cache"))
os.environ["SAC_STATE"] = tempfile.mkdtemp(prefix="sac-state-")  # what is trusted in tests is trusted nowhere else

TIMED = {"faults", "launchers", "roles", "wire"}  # folders: what their processes do is held to times


def pytest_collection_modifyitems(config, items):
    """Marks what wants the machine for itself, and leaves it out where several workers share that (`-n`)."""
    alone = [item for item in items if item.path.parent.name in TIMED and not _marked(item, "learning", "nightly")]
    for item in alone:
        item.add_marker(pytest.mark.cells)
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))  # a file stays whole
        if hasattr(config, "workerinput"):
            left_out = {id(item) for item in alone}
            items[:] = [item for item in items if id(item) not in left_out]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Seeds the global generators from the test's name, so that a test meets the same weights in every run."""
    seed = zlib.crc32(item.nodeid.encode())
    random.seed(seed)
    np.random.seed(seed)
    if "sac.backend" in sys.modules:  # light tests do without TensorFlow
        sys.modules["sac.backend"].seed_everything(seed)


def _marked(item, *names: str) -> bool:
    return any(item.get_closest_marker(name) for name in names)
