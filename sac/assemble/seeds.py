"""The seeds of a run and of its evaluation."""

from __future__ import annotations

from sac.config.schema import Config
from sac.seeds import seed_of_repetition

SECOND_SEED_OFFSET = 2_000_003  # so that a second replay draws by other random numbers than the run's own
EVALUATION_SEED_OFFSET = 1_000_003  # so that evaluation plays other episodes than training


def run_seed(config: Config) -> int:
    """The seed of this repetition; the system draws one when the config has none."""
    return seed_of_repetition(config.sac.seed, config.repeat)


def seed_of_run(config: Config) -> int:
    """The seed of a run that has begun: its beginning has replaced a missing one by `run_seed`."""
    assert config.sac.seed is not None
    return config.sac.seed


def evaluation_seed(config: Config) -> int:
    """The seed of the episodes that evaluation and play use."""
    return seed_of_run(config) + EVALUATION_SEED_OFFSET
