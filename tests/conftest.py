"""For all tests."""

import os

# A run records itself for Weights & Biases unless told otherwise, which costs it seconds: tests that want it say so.
os.environ["WANDB_MODE"] = "disabled"
