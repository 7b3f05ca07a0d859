"""ML-Agents' trainer configurations become env files that compose and train."""

from __future__ import annotations

import math

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sac.config.command_line import CONF
from sac.config.validation import validated
from sac.from_mlagents.__main__ import main
from sac.from_mlagents.convert import convert
from tests.from_mlagents.trainer_files import CURRICULUM, OLD, RANDOMISED, SCENES, configuration, loaded
from tests.runs.short_runs import TINY, Runner


def composed(folder, name: str):
    """The config that env=<name> gives, with the file in `folder`/env."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [f"env={name}", f"hydra.searchpath=[file://{folder}]"])
    OmegaConf.set_struct(config, False)
    config.base.env = name
    return validated(config)


def written(tmp_path, content, *arguments):
    source = tmp_path / "trainer.yaml"
    source.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    out = tmp_path / "conf" / "env" / "made.yaml"
    assert main([str(source), "--out", str(out), *arguments]) == 0
    return out


@pytest.mark.parametrize("trainer", ["sac", "ppo"])
@pytest.mark.parametrize("scene", SCENES)
def test_the_example_scenes_become_env_files_that_compose(tmp_path, capsys, scene, trainer):
    written(tmp_path, configuration(scene, trainer))
    config = composed(tmp_path / "conf", "made")
    units, layers, steps, buffer, network, rewards = SCENES[scene]
    assert config.base.env_type == "UNITY" and config.base.max_step == steps and config.sac.gamma == 0.99
    assert config.base.nn_kwargs["ModelPolicy"] == {"hidden": [units] * layers}
    assert config.sac.use_normalization is network.get("normalize", False)
    assert config.sac.use_rnn is ("memory" in network) and config.sac.use_rnd is ("rnd" in rewards)
    if trainer == "sac":
        assert (config.replay.capacity, config.replay.batch_size, config.replay.save) == (buffer, 64, False)
        assert config.sac.updates_per_step == pytest.approx(0.1)
        assert config.sac.init_log_alpha == pytest.approx(math.log(0.5), abs=1e-3)
        assert config.sac.write_summary_per_step == 1200
    else:
        assert config.replay.batch_size == 256 and "on-policy trainer" in capsys.readouterr().out


def test_every_value_says_where_it_comes_from(tmp_path):
    text = written(tmp_path, configuration("3DBall", "sac")).read_text()
    assert "# @package _global_" in text and "The behaviour 3DBall of trainer.yaml" in text
    assert "# hyperparameters.init_entcoef=0.5, its logarithm" in text


def test_samplers_become_distributions():
    keys = convert(loaded(RANDOMISED), None).keys
    assert keys["reset.mass"] == {"uniform": [0.5, 10]} and keys["reset.friction"] == 0.5
    assert keys["reset.gravity"] == {"ranges": [[7, 10], [15, 20]]} and keys["reset.scale"] == {"gaussian": [2, 0.3]}


def test_a_curriculum_becomes_lessons(tmp_path):
    made = convert(loaded(CURRICULUM), "BigWallJump")
    first, second, last = made.keys["reset.big_wall_height"]["lessons"]
    assert first == {
        "value": {"uniform": [0.0, 4.0]}, "name": "Lesson0",
        "until": {"measure": "progress", "threshold": 0.1, "min_episodes": 100},
    }  # fmt: skip
    assert second["until"]["smoothing"] is False and last == {"value": 8.0, "name": "Lesson2"}
    assert any("one behaviour is trained at a time" in note for note in made.notes)
    written(tmp_path, CURRICULUM, "--behavior", "BigWallJump")
    assert composed(tmp_path / "conf", "made").reset["big_wall_height"]["lessons"][2]["value"] == 8.0


def test_older_spellings_are_understood(tmp_path):
    made = convert(loaded(OLD), "Hallway")
    keys = made.keys
    assert made.trainer == "sac" and keys["base.max_step"] == 5_000_000 and keys["replay.learning_starts"] == 1000
    assert keys["sac.use_rnn"] is True and keys["base.nn_kwargs.ModelRep"] == {"cell": "lstm", "units": 128}
    assert keys["sac.sequence_length"] == 64 and keys["base.nn_kwargs.ModelQ"] == {"hidden": [128, 128]}
    assert keys["replay.load"] == "demo:Demos/Hallway.demo" and keys["sac.behavioral_cloning"] == 0.5
    assert keys["sac.behavioral_cloning_updates"] == 10_000
    assert keys["reset.mass"] == {"uniform": [0.5, 10]}
    assert [lesson["value"] for lesson in keys["reset.corridor"]["lessons"]] == [2, 4, 8]


FULL = {
    "default_settings": {"trainer_type": "sac", "threaded": True},
    "behaviors": {
        "A": {
            "self_play": {"window": 10}, "init_path": "old", "even_checkpoints": True, "keep_checkpoints": 9,
            "hyperparameters": {"learning_rate": 1e-3, "learning_rate_schedule": "linear", "steps_per_update": 2},
            "max_steps": 1000, "checkpoint_interval": 500,
            "reward_signals": {
                "extrinsic": {"strength": 2.0}, "gail": {"demo_path": "x"},
                "curiosity": {"strength": 0.02, "gamma": 0.9, "encoding_size": 64},
            },
            "network_settings": {"vis_encode_type": "resnet", "deterministic": True, "goal_conditioning_type": "none"},
            "hyperparameter": {},
        }
    },
    "env_settings": {"env_path": "B.x86_64", "base_port": 6000, "num_envs": 4, "num_areas": 3, "timeout_wait": 90,
                     "seed": 5, "env_args": ["--x"]},
    "engine_settings": {"time_scale": 10, "no_graphics": True, "width": 84, "target_frame_rate": 60},
    "checkpoint_settings": {"run_id": "mine", "results_dir": "out", "resume": True},
    "torch_settings": {"device": "cuda"},
}  # fmt: skip


def test_what_has_no_counterpart_is_said_with_what_to_do():
    made = convert(FULL, None)
    expected = {
        "base.build_path": "B.x86_64", "base.port": 6000, "base.n_agents": 3, "base.timeout": 90, "seed": 5,
        "base.time_scale": 10, "base.no_graphics": True, "base.name": "mine", "base.models": "out",
        "sac.use_curiosity": True, "sac.curiosity_strength": 0.02, "sac.learning_rate_schedule": "linear",
        "sac.learning_rate_updates": 500, "sac.save_model_per_step": 250, "sac.updates_per_step": 0.5,
    }  # fmt: skip
    assert {key: made.keys.get(key) for key in expected} == expected
    notes = "\n".join(made.notes)
    for words in (
        "self_play={'window': 10}: agents do not play against copies", "gail", "curiosity.gamma=0.9: one discount",
        "extrinsic.strength=2: scale the rewards", "vis_encode_type=resnet", "threaded=True", "init_path=old",
        "num_envs=4: give each actor a player", "env_args", "width=84", "target_frame_rate=60", "resume=True",
        "torch_settings", "hyperparameter: ML-Agents knows no such key", "left out: did you mean hyperparameters?",
        "keep_checkpoints=9", "encoding_size=64", "goal_conditioning_type=none", "deterministic=True",
    ):  # fmt: skip
        assert words in notes, words


def test_defaults_of_mlagents_are_not_worth_a_note():
    settings = {"keep_checkpoints": 5, "threaded": False, "network_settings": {"vis_encode_type": "simple"}}
    assert convert({"behaviors": {"A": {"trainer_type": "sac", **settings}}}, None).notes == []


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("behaviors: {A: {}, B: {}}", [], "several behaviours: choose one by --behavior (A, B)"),
        ("behaviors: {A: {}}", ["--behavior", "C"], "--behavior C: this file has A"),
        ("- a list", [], "it holds no keys"),
        ("a: 1", [], "no section `behaviors`"),
        ("behaviors: {A: {trainer_type: dqn}}", [], "trainer_type=dqn: allowed is sac | ppo | poca"),
        ("behaviors: {A: {max_steps: many}}", [], "max_steps=many: allowed is a number"),
        ("behaviors: {A: {trainer_type: sac, hyperparameters: {batch_size: 0}}}", [], "replay.batch_size=0: allowed"),
        ("behaviors: {A: {hyperparameters: [1]}}", [], "hyperparameters=[1]: a section with keys is expected"),
        ("behaviors: {A: {}}\nenvironment_parameters: {x: {sampler_type: beta}}", [], "x.sampler_type=beta: allowed"),
        ("behaviors: {A: {}}\nenvironment_parameters: {x: {curriculum: [{value: 1}, {value: 2}]}}", [],
         "x.curriculum[1] has no completion_criteria"),
        ("behaviors: {A: {behavioral_cloning: {strength: 1}}}", [], "behavioral_cloning has no demo_path"),
        ("a: [", [], "is no YAML file"),
        ("behaviors: {B: 5}", [], "behaviors.B=5: a section with keys is expected"),
        ("behaviors: {B: {}}\ndefault_settings: 5", [], "default_settings=5: a section with keys is expected"),
        ("behaviors: {球: {}}", [], "name the scene by --scene"),
        ("behaviors: {A: {}}\nenvironment_parameters: {x: {sampler_type: uniform, sampler_parameters: [1, 2]}}", [],
         "sampler_parameters=[1, 2]: a section"),
        ("behaviors: {A: {}}\nenvironment_parameters: {x: {sampler_type: uniform, sampler_parameters: {min: 3}}}", [],
         "x.sampler_parameters.min: ML-Agents knows no such key"),
        ("behaviors: {A: {}}\nenvironment_parameters: {x: {sampler_type: multirangeuniform, intervals: 5}}", [],
         "intervals=5: allowed is a list of pairs"),
        ("behaviors: {A: {}}\ncheckpoint_settings: {run_id: 'a${c}'}", [], "an interpolation"),
        ("behaviors: {A: {trainer_type: sac, hyperparameters: {init_entcoef: 0}}}", [], "allowed is a number above 0"),
        ("behaviors: {A: {trainer_type: sac, hyperparameters: {batch_size: 64.7}}}", [], "allowed is a whole number"),
        ("behaviors: {A: {hyperparameters: {learning_rate_schedule: cubic}}}", [], "allowed is constant | linear"),
        ("behaviors: {A: {network_settings: {hidden_units: -3}}}", [], "allowed is a number from 1 on"),
        ("behaviors: {A: {network_settings: {normalize: maybe}}}", [], "allowed is true or false"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_in_words(tmp_path, capsys, text, arguments, words):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    assert main([str(path), "--out", str(tmp_path / "y.yaml"), *arguments]) == 1
    told = capsys.readouterr().err
    assert words in told and "Traceback" not in told
    assert not (tmp_path / "y.yaml").exists()


def test_an_env_file_is_not_overwritten_by_accident(tmp_path, capsys):
    out = written(tmp_path, RANDOMISED)
    before = out.read_text()
    assert main([str(tmp_path / "trainer.yaml"), "--out", str(out)]) == 1
    assert "exists: choose another --scene or --out, or replace it by --force" in capsys.readouterr().err
    assert main([str(tmp_path / "trainer.yaml"), "--out", str(out), "--force", "--scene", "other"]) == 0
    assert out.read_text() == before.replace("scene: 3dball", "scene: other")
    assert main([str(tmp_path / "nothing.yaml")]) == 1


@pytest.mark.slow
def test_a_converted_file_trains_a_stand_in(monkeypatch, capfd, tmp_path):
    go = Runner(monkeypatch, capfd, tmp_path)
    converted = configuration("3DBall", "sac") | {"env_settings": {"env_path": "player:ball3d", "num_areas": 12}}
    converted |= {"environment_parameters": loaded(RANDOMISED)["environment_parameters"]}
    written(tmp_path, converted)
    go.ok("--config-dir", str(tmp_path / "conf"), "env=made", *TINY, "base.max_step=200", "replay.learning_starts=0")
    assert go.run("3dball/a").result["updates"] > 0


def test_the_chosen_behaviour_is_the_one_that_trains(tmp_path):
    written(tmp_path, "behaviors: {Gripper: {trainer_type: sac}, Sorter: {trainer_type: sac}}", "--behavior", "Sorter")
    assert composed(tmp_path / "conf", "made").base.behavior == "Sorter"


def test_a_flat_sampler_and_an_older_name_are_understood():
    text = "behaviors: {1: {}}\nenvironment_parameters: {g: {sampler_type: uniform, min_value: 3, max_value: 4}}\n"
    text += "parameter_randomization: {h: {sampler-type: multirange_uniform, intervals: [[1, 2], [3, 4]]}}"
    made = convert(loaded(text), None)
    assert made.keys["reset.g"] == {"uniform": [3, 4]} and made.keys["reset.h"] == {"ranges": [[1, 2], [3, 4]]}
    assert made.behavior == "1"


def test_an_elo_curriculum_ends_its_lessons_evenly():
    lesson = "{value: 1, completion_criteria: {measure: Elo, threshold: 1200}}"
    text = f"behaviors: {{A: {{}}}}\nenvironment_parameters: {{g: {{curriculum: [{lesson}, {lesson}, {{value: 3}}]}}}}"
    made = convert(loaded(text), None)
    assert [x["until"]["threshold"] for x in made.keys["reset.g"]["lessons"][:2]] == [0.3333, 0.6667]
    assert any("the lesson ends after 0.33 of base.max_step" in note for note in made.notes)


def test_settings_of_an_on_policy_trainer_say_how_many_updates_they_mean():
    made = convert(
        {"behaviors": {"A": {"trainer_type": "ppo", "summary_freq": 400, "network_settings": {"memory": {}}}}}, None
    )
    assert made.keys["sac.updates_per_step"] == 0.1 and made.keys["sac.write_summary_per_step"] == 40
    assert made.keys["base.nn_kwargs.ModelRep"] == {"cell": "lstm", "units": 64}


def test_updates_after_an_interval_become_steps_for_each_update():
    old = {"trainer": "sac", "train_interval": 2, "num_update": 4}
    assert convert({"A": old}, None).keys["sac.updates_per_step"] == 2
