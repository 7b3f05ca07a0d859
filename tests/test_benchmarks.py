"""Tables of learning: what is told of environments that were not run again is what was told before; what has ended."""

from __future__ import annotations

import csv
import json

import numpy as np

from benchmarks import discrete, learning
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


def finished(folder, scene: str, seed: int, returns: list[float], reason: str = "max_step") -> None:
    """A run's folder with as much in it as the table reads."""
    path = folder / scene / f"gym-frozen_lake-seed{seed}"
    path.mkdir(parents=True)
    lines = [f"{1000 * (i + 1)},{value}" for i, value in enumerate(returns)]
    (path / "metrics.csv").write_text("\n".join(["env_step,eval/return", *lines]) + "\n")
    (path / "result.json").write_text(json.dumps({"seconds": 60.0, "reason": reason}))
    (path / "commit.txt").write_text("abc1234")


def test_the_table_of_discrete_scenes_tells_what_has_ended_and_nothing_else(tmp_path):
    task, (shipped, before) = "FrozenLake 4x4", discrete.VARIANTS
    for seed, returns in ((1, [0.0, 1.0]), (2, [1.0, 0.0])):
        finished(discrete.folder(tmp_path / "runs", shipped, task), "frozen_lake", seed, returns)
    finished(discrete.folder(tmp_path / "runs", shipped, task), "frozen_lake", 3, [1.0], "stopped")  # goes on later
    finished(discrete.folder(tmp_path / "runs", before, "CartPole"), "cart_pole", 1, [500.0])  # of another env
    discrete.write(tmp_path / "runs", tmp_path)
    with (tmp_path / "discrete.csv").open() as file:
        [row] = csv.DictReader(file)
    assert (row["task"], row["targets"], row["solved"], row["seeds"]) == (task, shipped, "1 of 2", "1 2")
    assert (row["at the end"], row["spread"], row["each seed"]) == ("0.5", "0.5", "1 0")
    assert (row["first at the goal"], row["minutes"]) == ("2,000 1,000", "1")
    assert "abc1234" in (tmp_path / "discrete.md").read_text()
