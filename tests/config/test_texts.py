"""Keys that take text keep what was typed, also where it looks like a number, a truth value or nothing at all."""

from __future__ import annotations

import pytest
from program import Program, program  # noqa: F401

from sac.config.command_line import as_texts
from sac.config.keys import is_folder_name
from sac.config.typed_texts import quoted

BASIC = "hydra/launcher=basic"  # jobs one after the other in this process
PENDULUM = "env=gym/pendulum"


@pytest.mark.parametrize(
    ("key", "typed"),
    [
        ("base.name", "2026_11_29"), ("base.name", "1"), ("base.name", "true"), ("base.name", "1e3"),
        ("base.name", "nan"), ("base.scene", "7"), ("base.models", "3"), ("base.nn", "1_0"), ("replay.load", "007"),
        ("track.wandb_project", "12"), ("track.wandb_group", "False"), ("net.keys", "0x1F"), ("net.bind", "-1.50"),
    ],
)  # fmt: skip
def test_a_text_is_what_was_typed(program, key, typed):  # noqa: F811
    section, leaf = key.split(".")
    for plus in ("", "++"):
        config = program.config(PENDULUM, f"{plus}{key}={typed}")
        assert getattr(getattr(config, section), leaf) == typed


@pytest.mark.slow
def test_lists_sweeps_and_mappings_of_texts(program):  # noqa: F811
    assert program.config(PENDULUM, "track.wandb_tags=[1_0,null,true,a]").track.wandb_tags == [
        "1_0",
        "null",
        "true",
        "a",
    ]
    swept = program("-m", BASIC, PENDULUM, "base.name=1_0,true", "base.scene=7").configs
    assert [(c.base.name, c.base.scene) for c in swept] == [("1_0-0", "7"), ("true-1", "7")]
    assert [c.base.name for c in program("-m", BASIC, PENDULUM, "base.name=range(2)").configs] == ["0-0", "1-1"]
    config = program.config("env=roller", "base.build_path={linux: 7, win32: a, darwin: b}")
    assert config.base.build_path == {"linux": "7", "win32": "a", "darwin": "b"}
    assert program.config(PENDULUM, "track.wandb_group=null").track.wandb_group is None


def test_texts_in_an_env_file_and_a_file_with_a_number_for_a_name(program, tmp_path):  # noqa: F811
    (tmp_path / "mine" / "env").mkdir(parents=True)
    text = "# @package _global_\ndefaults: [/env/gym/pendulum, _self_]\nbase: {name: 5, scene: true, models: 3.5}\n"
    (tmp_path / "mine" / "env" / "2026_11_29.yaml").write_text(text)
    for flags in ([], ["-m", BASIC]):
        (config,) = program("--config-dir", "mine", *flags, "env=2026_11_29").configs
        assert (config.base.name, config.base.scene, config.base.models) == ("5-0" if flags else "5", "true", "3.5")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("base.name=null", "base.name=null: allowed is a folder name"),
        ("base.scene=null", "base.scene=null: allowed is a folder name"),
        ("base.models=null", "base.models=null: allowed is a folder"),
        ("base.models=", "base.models=: allowed is a folder"),
        ('base.models="~/runs"', "base.models=~/runs: allowed is a folder"),
        (f"base.models={'x' * 256}/y", "allowed is a folder"),
        (f"base.name={'a' * 300}", "allowed is a folder name of at most 255 bytes"),
        (f'base.name="{"ü" * 128}"', "allowed is a folder name of at most 255 bytes"),
        (f'base.name="{"a" * 240}{{time}}"', "allowed is a folder name of at most 255 bytes"),
        (f"base.scene={'a' * 256}", "base.scene="),
        ('base.name="a\x1b"', "allowed is a folder name"),
        ("base.name=\\${x}", "base.name: Interpolation key 'x' not found"),
        ("base.name=[a]", "base.name=['a']: allowed is a folder name"),
        ("base.scene={a: 1}", "base.scene={'a': "),
        ("base.models=[a]", "base.models=['a']: allowed is a folder"),
        ("base.nn=", "base.nn=: allowed is the name of a module"),
        ("sac.trace=1", "sac.trace=1: allowed is vtrace | retrace"),
    ],
)
@pytest.mark.parametrize("flags", [(), ("-m", "sac.n_step=1,3")])
def test_what_can_be_no_name_is_refused_in_one_line(program, typed, words, flags):  # noqa: F811
    outcome = program(*flags[:1], PENDULUM, typed, *flags[1:], *([BASIC] if flags else []))
    assert outcome.code == 1 and words in outcome.err and "Traceback" not in outcome.err and not outcome.configs


def test_a_path_that_is_too_long_as_a_whole(program):  # noqa: F811
    words = program.error(PENDULUM, f"base.models={'abc/' * 2000}y")
    assert words.startswith("base.models, base.scene and base.name make abc/") and "too long" in words


def test_the_number_of_a_job_counts_as_part_of_its_name(program):  # noqa: F811
    outcome = program("-m", BASIC, PENDULUM, f"base.name={'a' * 254}")
    assert outcome.code == 1 and "at most 255 bytes" in outcome.err


@pytest.mark.parametrize(
    ("name", "windows", "elsewhere"),
    [("run", True, True), ("con", False, True), ("Aux.b", False, True), ("a.", False, True), ("a ", False, True),
     ("a?", False, True), ("a\0", False, False), ("-x", True, True), ("~", True, True), ("a\udcff", False, False),
     ("..", False, False), ("{time}", True, True), ("com10", True, True)],
)  # fmt: skip
def test_names_that_windows_has_for_itself(name, windows, elsewhere):
    assert (is_folder_name(name, windows=True), is_folder_name(name, windows=False)) == (windows, elsewhere)


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("a=1_0", 'a="1_0"'), ("a=b,1 ,true", 'a=b,"1" ,"true"'), ("a=null", "a=null"),
        ("a=[null,1]", 'a=["null","1"]'),
        ("a=choice(1,b)", 'a=choice("1",b)'), ("a=range(3)", "a=range(3)"), ("a='1'", "a='1'"), ("a=", "a="),
        ("a=x1", "a=x1"), ("a={b: 1}", 'a={b: "1"}'), ("~a", "~a"),
    ],
)  # fmt: skip
def test_only_what_looks_like_a_number_gets_quotes(typed, read):
    assert quoted(typed) == read


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("track.wandb_tags=[a,'']", "track.wandb_tags="),
        (f"track.wandb_tags=[{'a' * 65}]", "1 to 64 letters"),
        ("track.wandb_project=lab/run", "track.wandb_project=lab/run: Weights & Biases takes 1 to 128 letters"),
        ("track.wandb_project='50%'", "track.wandb_project=50%"),
        ("track.wandb_project=''", "track.wandb_project="),
        (f"track.wandb_project={'p' * 129}", "1 to 128 letters"),
        (f"track.wandb_group={'g' * 129}", "track.wandb_group"),
        ("track.wandb_group=''", "track.wandb_group="),
        ("track.wandb_entity=a/b", "track.wandb_entity=a/b"),
    ],
)  # fmt: skip
def test_what_wandb_refuses_is_refused_before_the_run_begins(program, monkeypatch, typed, words):  # noqa: F811
    assert words in program.error(PENDULUM, typed, "track.wandb=offline")
    assert program.config(PENDULUM, typed, "track.wandb=disabled").track.wandb == "disabled"
    assert program.config(PENDULUM, typed)  # WANDB_MODE says disabled
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert words in program.error(PENDULUM, typed)
    assert words in program.error(PENDULUM, typed, "role=learner", "base.name=a")


def test_the_longest_that_wandb_takes(program):  # noqa: F811
    typed = (
        f'track.wandb_tags=[{"a" * 64},"ä"]',
        f"track.wandb_group='{'g' * 127}/'",
        f"track.wandb_project={'p' * 128}",
    )
    assert program.config(PENDULUM, *typed, "track.wandb=offline").track.wandb_tags[1] == "ä"


def test_numbers_of_a_section_given_as_a_mapping_stay_numbers():
    for typed in ("reset={gravity: 9.8}", "+reset={steps: 5}", "sac={gamma: 0.9}"):
        assert as_texts([typed], ("reset", "sac", "env")) == {typed: typed}
    assert as_texts(["env=2026_11_29"], ("env",)) == {"env=2026_11_29": 'env="2026_11_29"'}
