"""Every command of docs/unity-model.md runs, in the order of the page, but for the installation and the clicks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from tests.docs.test_documents import ROOT, commands

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_page_leads_from_a_scene_to_a_model(tmp_path):
    ran = []
    for words in commands(ROOT / "docs" / "unity-model.md"):
        if words[0] == "pip":
            continue
        assert words[0] == "python"
        typed = [str(ROOT / "run.py") if word == "run.py" else word for word in words[1:]]
        done = subprocess.run(
            [sys.executable, *typed], cwd=tmp_path, capture_output=True, text=True, timeout=300,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        ran.append(words[1])
    assert len(ran) == 6
    made = tmp_path / "models" / "roller" / "for-unity"
    assert onnx.load(made / "roller.onnx").opset_import[0].version == 15
    assert (made / "roller" / "saved_model.pb").exists() and (made / "roller.npz").exists()
    assert Path(made / "numpy_player.py").read_text().startswith('"""Plays a policy')
