"""Reading run folders in every state, and bringing several onto one axis."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from sac.errors import UserError
from sac.report.curves import RunCurves, aggregate, draw, find_runs, read_metrics, read_run

METRICS = "env_step,eval/return,critic/loss\n10,1.5\n20,,0.25\n30,2.5,nan\n"


def folder(path, metrics=METRICS, config="base:\n  scene: s\nseed: 3\n"):
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.yaml").write_text(config)
    if metrics is not None:
        (path / "metrics.csv").write_bytes(metrics.encode())
    return path


def curves(**columns) -> RunCurves:
    return RunCurves(None, {}, {k: (np.array(s, float), np.array(v, float)) for k, (s, v) in columns.items()})


def test_a_run_is_read(tmp_path):
    run = read_run(folder(tmp_path / "r"))
    assert run.config == {"base.scene": "s", "seed": 3} and run.name == "r" and run.damaged == 0
    assert [x.tolist() for x in run.series("eval/return")] == [[10, 30], [1.5, 2.5]]
    assert run.last("critic/loss") == 0.25 and run.steps == 30  # NaN is no value ...
    assert np.isnan(run.columns["critic/loss"][1][-1])  # ... and not forgotten
    assert run.last("unknown") is None and run.result == {}


@pytest.mark.parametrize(
    ("metrics", "steps", "damaged"),
    [
        (METRICS + "40,9", [10, 30], 0),  # being written at this moment
        (METRICS + "4x,9\n50,7\n", [10, 30, 50], 1),
        (METRICS + "40,one\n\n\0\0\0\n50,7\n", [10, 30, 50], 3),
        (METRICS + "40,5,6,7\n", [10, 30, 40], 1),
        (METRICS + "5,7\n", [5, 10, 30], 0),
        ("env_step\n", [], 0), ("env_st", [], 0), ("", [], 0), ("something else\n1,2\n", [], 2),
    ],
)  # fmt: skip
def test_half_written_and_damaged_lines_are_left_out(tmp_path, metrics, steps, damaged):
    columns, found = read_metrics(folder(tmp_path, metrics) / "metrics.csv")
    assert columns.get("eval/return", [np.zeros(0)])[0].tolist() == steps and found == damaged


def test_a_run_that_has_just_begun(tmp_path):
    run = read_run(folder(tmp_path / "r", metrics=None))
    assert run.columns == {} and run.steps == 0 and len(aggregate([run], "eval/return").steps) == 0


def test_runs_are_found_below_but_not_inside_each_other(tmp_path):
    a, b = folder(tmp_path / "scene/a"), folder(tmp_path / "scene/b")
    folder(a / "wandb/files")
    assert find_runs([tmp_path, b, tmp_path / "scene"]) == [a, b]


@pytest.mark.parametrize(("name", "words"), [("no", "no such folder"), ("file", "is no folder"), ("e", "holds no run")])
def test_a_path_without_a_run_is_named(tmp_path, name, words):
    (tmp_path / "file").touch()
    (tmp_path / "e").mkdir()
    with pytest.raises(UserError, match=words):
        find_runs([tmp_path / name])


def test_an_unreadable_config_is_named(tmp_path):
    with pytest.raises(UserError, match=r"config\.yaml cannot be read"):
        read_run(folder(tmp_path, config="a: [1\n"))


def test_a_mean_exists_where_all_runs_do():
    short, long = curves(m=([0, 10, 20], [0, 1, 2])), curves(m=([10, 20, 30], [3, 5, 5]))
    curve = aggregate([short, curves(), long], "m")
    assert curve.steps.tolist() == [10, 20]
    assert curve.mean.tolist() == [2, 3.5] and curve.low.tolist() == [1, 2] and curve.high.tolist() == [3, 5]


def test_many_points_become_few_and_the_last_of_equal_steps_counts():
    steps = np.arange(5000)
    curve = aggregate([curves(m=(steps, 2 * steps)), curves(m=(steps, 4 * steps))], "m", points=50)
    assert len(curve.steps) == 50 and curve.mean == pytest.approx(3 * curve.steps)
    assert aggregate([curves(m=([1, 2, 2], [0, 5, 6]))], "m").values[0].tolist() == [0, 6]


def test_a_drawing_has_the_mean_the_band_and_every_run():
    axes = Figure().subplots()
    runs = [curves(m=([0, 10], [0, 2])), curves(m=([0, 10], [4, 6]))]
    assert draw(axes, runs, "m", "both") and not draw(axes, runs, "other", "none")
    mean, *thin = axes.lines
    assert mean.get_ydata().tolist() == [2, 4] and mean.get_label() == "both"
    assert [line.get_ydata().tolist() for line in thin] == [[0, 2], [4, 6]]
    [band] = axes.collections
    assert {tuple(p) for p in band.get_paths()[0].vertices.tolist()} >= {(0, 0), (10, 2), (10, 6), (0, 4)}


def test_runs_with_nothing_in_common_are_drawn_each():
    axes = Figure().subplots()
    draw(axes, [curves(m=([0, 10], [0, 2])), curves(m=([20, 30], [4, 6]))], "m", "both")
    assert len(axes.lines) == 2 and len({line.get_color() for line in axes.lines}) == 1
