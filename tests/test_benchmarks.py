"""Tables of learning: what is told of environments that were not run again is what was told before."""

from __future__ import annotations

import csv

import numpy as np

from benchmarks import learning
from benchmarks.learning import Run, earlier, outcomes, summary, write


def runs(*returns: float) -> list[Run]:
    curve = [np.array([[25_000, 40.0], [50_000, value]]) for value in returns]
    return [Run(seed, c, 1 / 3, "max_step", "abc1234") for seed, c in enumerate(curve, 1)]


def test_a_table_of_another_environment_keeps_the_rows_to_the_last_digit(tmp_path):
    just_short = {"gym/cart_pole": runs(499.97, 500.0, 500.0)}
    write(just_short, tmp_path, ["base.max_step=50000"], "table")
    before = outcomes(just_short, ["base.max_step=50000"])
    assert summary(before)[1][5] == "no"
    assert earlier(tmp_path / "table.csv", {"gym/pendulum"}) == before

    write({"gym/pendulum": runs(-150.0)}, tmp_path, [], "table")
    assert earlier(tmp_path / "table.csv", {"gym/pendulum"}) == before
    text = (tmp_path / "table.md").read_text()
    assert "| no | 1 2 3 |" in text and "base.max_step=50000" in text
    assert text.count(".png") == 2


def test_what_is_run_again_is_told_anew(tmp_path):
    write({"gym/cart_pole": runs(100.0, 200.0)}, tmp_path, [], "table")
    write({"gym/cart_pole": runs(500.0)}, tmp_path, [], "table")
    with (tmp_path / "table.csv").open() as file:
        assert [row["eval_return"] for row in csv.DictReader(file)] == ["500.0"]


def test_a_table_from_before_overrides_were_told_can_be_read(tmp_path):
    columns = [name for name in learning.Outcome.__dataclass_fields__ if name != "overrides"]
    row = ["mujoco/hopper", "900", "100000", "1", "100000", "710.7", "", "23.9", "max_step", "511ed32"]
    (tmp_path / "old.csv").write_text(f"{','.join(columns)}\n{','.join(row)}\n")
    [told] = earlier(tmp_path / "old.csv", {})
    assert (told.eval_return, told.first_met_at, told.overrides) == (710.7, None, "")
