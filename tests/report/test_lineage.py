"""The picture of a lineage, whatever has happened in it."""

from __future__ import annotations

import pytest

from sac.report import lineage

HEAD = "generation,learner,assigned,what,parents,mean_return,evaluations,step\n"
ROWS = {
    "nothing": "",
    "a generation": "1,learner-1,0,kept,learner-1,-3.5,2,100\n1,learner-2,1,drawn,learner-1,-9,2,100\n",
    "nobody was evaluated": "0,learner-1,1,fresh,,-inf,0,-1\n",
    "a late one": "1,learner-2,0,kept,learner-2,-3.5,2,100\n1,learner-10,1,drawn,,-inf,0,-1\n",
}


@pytest.mark.parametrize("what", ROWS)
def test_every_lineage_can_be_drawn(tmp_path, what):
    (tmp_path / "lineage.csv").write_text(HEAD + ROWS[what])
    lineage.draw(tmp_path / "lineage.csv", tmp_path / "lineage.png")
    assert (tmp_path / "lineage.png").read_bytes().startswith(b"\x89PNG")
