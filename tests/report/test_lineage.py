"""The picture of a lineage, whatever has happened in it."""

from __future__ import annotations

import pytest

from sac.report import lineage

HEAD = "generation,learner,assigned,what,parents,mean_return,evaluations,step\n"
ROWS = {
    "nothing": "",
    "a generation": "1,learner-1,0,kept,learner-1,-3.5,2,100\n1,learner-2,1,drawn,learner-1,-9,2,100\n",
    "nobody was evaluated": "0,learner-1,1,fresh,,-inf,0,-1\n",
    "the lines of a parent are lost": "2,learner-2,1,copied,learner-1,-9,2,100\n",
    "a late one": "1,learner-2,0,kept,learner-2,-3.5,2,100\n1,learner-10,1,drawn,,-inf,0,-1\n",
}


@pytest.mark.parametrize("what", ROWS)
def test_every_lineage_can_be_drawn(tmp_path, what):
    (tmp_path / "lineage.csv").write_text(HEAD + ROWS[what])
    lineage.draw(tmp_path / "lineage.csv", tmp_path / "lineage.png")
    assert (tmp_path / "lineage.png").read_bytes().startswith(b"\x89PNG")


def test_moved_hyperparameters_have_a_panel_each(tmp_path):
    rows = "1,learner-1,0,kept,learner-1,-3.5,2,100,sac.gamma=0.9 sac.learning_rate=1e-05\n"
    rows += "1,learner-2,1,copied,learner-1,-9,2,100,sac.gamma=0.99 sac.learning_rate=0.01\n"
    (tmp_path / "with.csv").write_text(HEAD.replace("step\n", "step,numbers\n") + rows)
    (tmp_path / "without.csv").write_text(HEAD + ROWS["a generation"])
    heights = []
    for name in ("with", "without"):
        lineage.draw(tmp_path / f"{name}.csv", tmp_path / f"{name}.png")
        heights.append(int.from_bytes((tmp_path / f"{name}.png").read_bytes()[20:24], "big"))
    assert heights[0] - heights[1] == pytest.approx(2 * 110 * lineage.NUMBERS_INCHES, abs=2)
