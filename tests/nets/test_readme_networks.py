"""The networks that README shows are accepted unchanged."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sac.nets.contract import Builder, build_networks
from sac.runs.networks_file import load_networks
from sac.types import Sensor, Spec

README = Path(__file__).parents[2] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)


@pytest.mark.parametrize(("example", "state_size", "feature"), zip(EXAMPLES, (0, 64), (32, 32), strict=True))
def test_an_example_builds(tmp_path, example, state_size, feature):
    path = tmp_path / "nn.py"
    path.write_text(example)
    build = Builder(load_networks(path), {})
    nets = build_networks(Spec((Sensor("v", (4,)),), 1, (3,)), build, 2, recurrent=state_size > 0)
    assert nets.state_size == state_size and nets.spec.feature == feature
