"""Which nn.py is found, and the errors when there is none or it cannot be imported."""

from __future__ import annotations

import sys

import pytest

from sac.errors import UserError
from sac.runs import networks_file
from sac.runs.networks_file import find_networks, load_networks


@pytest.fixture
def envs(tmp_path, monkeypatch):
    folder = tmp_path / "envs"
    for name in ("roller/nn.py", "roller/nn_deep.py", "roller/hard/nn.py", "gym/pendulum/nn.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    monkeypatch.setattr(networks_file, "ENVS", folder)
    return folder


@pytest.mark.parametrize(
    ("nn", "env", "expected"),
    [
        ("nn", "roller", "roller/nn.py"),
        ("nn", "roller/hard", "roller/hard/nn.py"),
        ("nn", "roller/easy", "roller/nn.py"),
        ("nn_deep", "roller/hard", "roller/nn_deep.py"),
        ("nn", "gym/pendulum", "gym/pendulum/nn.py"),
        ("nn", "gym/cart_pole", None),
        ("nn", None, None),
    ],
)
def test_scene_files_are_found_from_the_variant_outwards(envs, nn, env, expected):
    assert find_networks(nn, env) == (expected and envs / expected)


def test_paths_and_dotted_modules_are_found(envs, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("")
    assert find_networks(str(path), "roller") == path.resolve()
    assert find_networks("sac.nets.defaults", None).name == "defaults.py"


@pytest.mark.parametrize(
    ("nn", "places"),
    [
        ("nn_other", ["envs/roller/hard/nn_other.py", "envs/roller/nn_other.py"]),
        ("missing.py", ["missing.py"]),
        ("sac.nets.missing", ["sac.nets.missing"]),
        ("no_such_package.nets", ["no_such_package.nets"]),
    ],
)
def test_what_is_not_found_names_the_places(envs, nn, places):
    with pytest.raises(UserError) as error:
        find_networks(nn, "roller/hard")
    for place in [f"base.nn={nn}", *places]:
        assert place in str(error.value).replace("\\", "/")


def test_a_file_is_loaded_by_path(tmp_path):
    path = tmp_path / "nn.py"
    path.write_text("WIDTH = 3\n")
    assert load_networks(path).WIDTH == 3
    assert load_networks(None) is None


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("x = 1\nimport no_such_module\n", 2, "ModuleNotFoundError"),
        ("x = 1\n\nclass A(:\n", 3, "SyntaxError"),
        ("import json\nx = json.loads('{')\n", 2, "JSONDecodeError"),
        ("def f():\n    return 1 / 0\n\nf()\n", 2, "ZeroDivisionError"),
    ],
)
def test_a_file_that_does_not_import_is_named_with_its_own_line(tmp_path, text, line, what):
    path = tmp_path / "nn.py"
    path.write_text(text)
    before = set(sys.modules)
    with pytest.raises(UserError) as error:
        load_networks(path)
    assert f"{path}, line {line}, " in str(error.value)
    assert what in str(error.value)
    assert not [name for name in set(sys.modules) - before if name.startswith("networks_")]
