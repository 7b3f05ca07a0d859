"""The networks that README and docs/ show are accepted as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sac.nets.contract import Builder, build_networks
from sac.runs.networks_file import load_networks
from sac.types import Sensor, Spec

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
EXAMPLES = [example for page in PAGES for example in re.findall(r"```python\n(.*?)```", page.read_text(), re.S)]


@pytest.mark.parametrize(("example", "state_size", "feature"), zip(EXAMPLES, (0, 64), (32, 32), strict=True))
def test_an_example_builds(tmp_path, example, state_size, feature):
    path = tmp_path / "nn.py"
    path.write_text(example)
    build = Builder(load_networks(path), {})
    nets = build_networks(Spec((Sensor("v", (4,)),), 1, (3,)), build, 2, recurrent=state_size > 0)
    assert nets.state_size == state_size and nets.spec.feature == feature
