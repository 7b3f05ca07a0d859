"""The streams of random numbers: their numbers are fixed, and no two of them draw the same."""

from __future__ import annotations

from sac.agent.rng import STREAMS_PER_SEED, RngStreams, Stream
from sac.backend import keras


def test_no_number_of_a_stream_ever_changes():
    """They are part of the seeds of runs that may be resumed."""
    assert {stream.name: stream.value for stream in Stream} == {
        "TARGET_ACTION": 1, "POLICY_ACTION": 2, "LAYER_NOISE": 3, "EXTRAS": 4, "TARGET_CHOICE": 5,
        "TARGET_SUBSET": 11, "POLICY_SUBSET": 12, "POLICY_CHOICE": 15,
    }  # fmt: skip


def test_neighbouring_seeds_share_no_stream():
    updates = keras.Variable(7, dtype="int32", trainable=False)
    seeds = [
        tuple(RngStreams(seed, updates, 2, 2).seed(stream).numpy().tolist())
        for seed in (0, 1, 2, 2**31 - 1)
        for stream in Stream
    ]
    assert len(set(seeds)) == len(seeds) and all(number == 7 for _, number in seeds)
    assert max(Stream) < STREAMS_PER_SEED
