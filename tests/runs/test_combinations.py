"""Any combination of parts runs, saves and resumes: a covering array of strength 2 over twelve switches."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import scripted_runs
from short_runs import TINY, Runner

SWITCHES = {  # name: what the command line says when it is on
    "rnn": ("sac.use_rnn=true", "sac.burn_in_step=2", "sac.sequence_length=2", "+base.nn_kwargs.ModelRep={units: 4}"),
    "prediction": ("sac.use_prediction=true",),
    "curiosity": ("sac.use_curiosity=true",),
    "rnd": ("sac.use_rnd=true", "sac.rnd_bonus=0.1"),
    "normalization": ("sac.use_normalization=true",),
    "dqn_like": ("sac.discrete_dqn_like=true",),
    "images": ("base.env_kwargs.image=true",),
    "hybrid": ("base.env_kwargs.continuous=2",),
    "ensemble": ("sac.ensemble_q_num=5", "sac.ensemble_q_sample=2"),
    "clip": ("sac.clip_epsilon=0.5", "sac.clip_epsilon_policy=0.2"),
    "n_step": ("sac.n_step=3",),
    "uniform": ("sac.use_priority=false",),
}
# Every pair of switches occurs in all four states; found by a greedy search. All on and all off came for free.
ROWS = (
    "010110110111", "100001000001", "111010101010", "011111011001", "001100001100", "100101111110", "001010000110",
    "011001111100", "111111111111", "000000000000",
)  # fmt: skip


def test_every_pair_of_switches_meets_in_all_four_states():
    assert all(len(row) == len(SWITCHES) for row in ROWS)
    for i, j in combinations(range(len(SWITCHES)), 2):
        assert len({(row[i], row[j]) for row in ROWS}) == 4, (i, j)


@pytest.fixture
def go(monkeypatch, capfd, tmp_path):
    monkeypatch.setattr("sac.roles.run", scripted_runs.role)
    return Runner(monkeypatch, capfd, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_it_runs_saves_and_resumes(go, row):
    typed = [
        "env=gym/cart_pole", *TINY, "base.n_agents=2",
        "base.env_kwargs={continuous: 0, branches: [3, 2], masked: true}",
        "sac.updates_per_step=1", "sac.updates_per_call=2", "sac.write_summary_per_step=50", "track.csv=true",
        "eval.stop_return=null",
    ]  # fmt: skip
    for on, words in zip(row, SWITCHES.values()):
        typed += words if on == "1" else ()
    go.ok(*typed, "base.max_step=220")
    run = go.run("cart_pole/a")
    first = run.arrays()
    assert run.result["updates"] >= 200
    go.ok("env=gym/cart_pole", "base.models=m", "base.name=a", "ckpt=latest", "base.max_step=240")
    second = run.arrays()
    assert run.result["updates"] >= 220 and set(first) == set(second)
    for name, array in second.items():
        assert array.dtype.kind != "f" or np.isfinite(array).all(), name
    moved = [n for n in first if n.startswith("agent/") and not np.array_equal(first[n], second[n])]
    assert any(n.startswith("agent/critic_0/") for n in moved)
    losses = [(k, float(v)) for r in run.rows for k, v in r.items() if v and "loss" in k]
    assert losses and all(np.isfinite(v) for _, v in losses), losses
