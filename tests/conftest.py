"""For all tests."""

import os

import pytest

# A run records itself for Weights & Biases unless told otherwise, which costs it seconds: tests that want it say so.
os.environ["WANDB_MODE"] = "disabled"

TIMED = {"faults", "launchers", "roles", "wire"}  # folders: what their processes do is held to times


def pytest_collection_modifyitems(config, items):
    """With `-n` a file stays whole, and one worker has all that starts cells of processes."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            item.add_marker(pytest.mark.xdist_group("cells" if item.path.parent.name in TIMED else str(item.path)))
