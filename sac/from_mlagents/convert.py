"""Translates a trainer configuration of ML-Agents (mlagents-learn) into keys of this program.

Sources are the settings of ML-Agents 1.1.0 with their older spellings. Every key is translated, or named in a note that
says what to do; docs/from-mlagents.md has the same mapping as a table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sac.errors import UserError
from sac.from_mlagents.environment import environment_parameters
from sac.from_mlagents.section import Converted, Section
from sac.from_mlagents.spellings import modernised

TRAINERS = "sac", "ppo", "poca"
LOADED_SHARE = 0.25  # of each batch, for demonstrations
LOG_ALPHA_RANGE = -10.0, 2.0
DEFAULT_STEPS_PER_UPDATE = 1.0  # of ML-Agents' SAC
STEPS_PER_UPDATE_OF_OTHERS = 10.0  # for settings of PPO and POCA: as in ML-Agents' own examples for SAC
OF_ON_POLICY_TRAINERS = (
    "beta", "beta_schedule", "epsilon", "epsilon_schedule", "lambd", "num_epoch", "shared_critic",
)  # fmt: skip
OF_SAC = (
    "tau", "steps_per_update", "buffer_init_steps", "save_replay_buffer", "init_entcoef",
    "reward_signal_steps_per_update",
)  # fmt: skip


def convert(found: Any, behavior: str | None) -> Converted:
    """The keys for one behaviour. Raises UserError for a file that is none, and for a behaviour that is not in it."""
    config = modernised(found)
    name, settings = _behavior(config, behavior)
    trainer = str(settings.get("trainer_type") or "ppo").lower()
    if trainer not in TRAINERS:
        raise UserError(f"trainer_type={trainer}: allowed is {' | '.join(TRAINERS)}")
    out = Converted(name, trainer)
    out.set("base.behavior", name, "behaviors: the name in Behavior Parameters")
    _behaviour_section(settings, out)
    environment_parameters(config.get("environment_parameters"), name, out)
    _environment(config, out)
    others = [str(other) for other in config.get("behaviors") or {} if str(other) != name]
    if others:
        out.note(f"behaviors.{', '.join(others)}", "one behaviour is trained at a time; the others act with zeros")
    if out.trainer == "poca":
        out.set("base.group_rewards", "add", "trainer_type=poca: agents of groups are trained independently")
    if out.trainer != "sac":
        out.note(
            f"trainer_type={out.trainer}",
            "this program trains by SAC: the settings of an on-policy trainer (batch_size, buffer_size, beta, epsilon, "
            "lambd, num_epoch) have no meaning for it, and its defaults are used",
        )
    return out


def _behavior(config: Mapping[str, Any], wanted: str | None) -> tuple[str, dict[str, Any]]:
    """The name and the settings of the behaviour, with those of default_settings beneath."""
    there = config.get("behaviors") or {}
    if not isinstance(there, Mapping) or not there:
        raise UserError("this file has no section `behaviors`: is it a trainer configuration of ML-Agents?")
    if wanted is None and len(there) > 1:
        raise UserError(f"this file has several behaviours: choose one by --behavior ({', '.join(map(str, there))})")
    name = str(next(iter(there))) if wanted is None else wanted
    named = {str(key): value for key, value in there.items()}
    if name not in named:
        raise UserError(f"--behavior {name}: this file has {', '.join(named)}")
    parts = {"default_settings": config.get("default_settings") or {}, f"behaviors.{name}": named[name] or {}}
    for where, settings in parts.items():
        if not isinstance(settings, Mapping):
            raise UserError(f"{where}={settings}: a section with keys is expected")
    return name, _merged(*parts.values())


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(old, Mapping)
        merged[key] = _merged(old, value) if both else value  # type: ignore[arg-type]  # both are mappings
    return merged


def _behaviour_section(settings: Mapping[str, Any], out: Converted) -> None:
    section = Section("", settings, out)
    section.take("trainer_type")
    section.move_whole("max_steps", "base.max_step")
    hyper = Section("hyperparameters", section.take("hyperparameters"), out)
    per_update = _hyperparameters(hyper, out, settings)
    for key, ours in (
        ("summary_freq", "sac.write_summary_per_step"),
        ("checkpoint_interval", "sac.save_model_per_step"),
    ):
        steps = section.number(key, above=0)
        if steps is not None:
            updates = max(1, round(steps / per_update))
            out.set(ours, updates, f"{key}={steps:g} steps, at {per_update:g} steps an update")
    section.say("time_horizon", "whole episodes are stored; sac.n_step is the length of a return")
    section.say("keep_checkpoints", "the last 10 checkpoints and the best one are kept", 5)
    section.say("even_checkpoints", "sac.save_model_per_step and sac.save_model_per_minute say when", False)
    section.say("threaded", "updates and steps take turns; roles run them in processes of their own", False)
    section.say("init_path", "a run resumes by ckpt=latest, and does not begin from another run's networks")
    section.say("self_play", "agents do not play against copies of themselves here")
    _network(Section("network_settings", section.take("network_settings"), out), out)
    _rewards(Section("reward_signals", section.take("reward_signals"), out), out)
    _cloning(section.take("behavioral_cloning"), out, per_update)
    section.end()


def _hyperparameters(section: Section, out: Converted, settings: Mapping[str, Any]) -> float:
    """Returns the steps of all agents for each update."""
    section.move("learning_rate", "sac.learning_rate")
    schedule = str(section.take("learning_rate_schedule") or "constant")
    if schedule not in ("constant", "linear"):
        raise UserError(f"{section.where('learning_rate_schedule')}={schedule}: allowed is constant | linear")
    if out.trainer == "sac":
        section.move_whole("batch_size", "replay.batch_size")
        section.move_whole("buffer_size", "replay.capacity")
        section.move_whole("buffer_init_steps", "replay.learning_starts")
        section.move("tau", "sac.tau")
        per_update = section.number("steps_per_update", above=0) or DEFAULT_STEPS_PER_UPDATE
        for key in OF_ON_POLICY_TRAINERS:
            section.take(key)
        out.set("sac.updates_per_step", 1 / per_update, f"hyperparameters.steps_per_update={per_update:g}, its inverse")
        if (saves := section.flag("save_replay_buffer")) is not None:
            out.set("replay.save", saves, "hyperparameters.save_replay_buffer")
        temperature = section.number("init_entcoef", above=0)
        if temperature is not None:
            low, high = LOG_ALPHA_RANGE
            origin = f"hyperparameters.init_entcoef={temperature:g}, its logarithm"
            out.set("sac.init_log_alpha", round(min(high, max(low, math.log(temperature))), 4), origin)
        section.say("reward_signal_steps_per_update", "curiosity and RND learn in every update")
        if schedule == "linear":
            updates = max(1, round(float(settings.get("max_steps") or 500_000) / per_update))
            out.set("sac.learning_rate_schedule", "linear", "hyperparameters.learning_rate_schedule")
            out.set("sac.learning_rate_updates", updates, "max_steps, in updates")
    else:
        per_update = STEPS_PER_UPDATE_OF_OTHERS
        words = "updates for each step, as in ML-Agents' own examples for SAC"
        out.set("sac.updates_per_step", 1 / per_update, words)
        for key in ("batch_size", "buffer_size", *OF_ON_POLICY_TRAINERS, *OF_SAC):
            section.take(key)
        if schedule == "linear":
            section.out.note("hyperparameters.learning_rate_schedule=linear", "SAC's learning rate stays constant")
    section.end()
    return per_update


def _network(section: Section, out: Converted) -> None:
    if (normalize := section.flag("normalize")) is not None:
        out.set("sac.use_normalization", normalize, "network_settings.normalize")
    units, layers = section.whole("hidden_units", 1), section.whole("num_layers", 1)
    if units is not None or layers is not None:
        hidden = [units or 128] * (layers or 2)
        for name in ("ModelPolicy", "ModelQ"):
            out.set(f"base.nn_kwargs.{name}", {"hidden": hidden}, "network_settings.hidden_units, num_layers")
    section.say("vis_encode_type", "the layers follow the picture's size; others are a ModelRep in nn.py", "simple")
    section.say("goal_conditioning_type", "goals are observations like others", "hyper")
    section.say("deterministic", "play and evaluation are deterministic; sac.sample_in_play=true samples", False)
    memory = section.take("memory")  # an empty section means ML-Agents' defaults
    if memory is not None:
        inner = Section("network_settings.memory", memory, out)
        length, size = inner.whole("sequence_length", 1) or 64, inner.whole("memory_size", 2) or 128
        out.set("sac.use_rnn", True, "network_settings.memory")
        out.set("sac.sequence_length", length, "network_settings.memory.sequence_length")
        words = f"network_settings.memory.memory_size={size}, which counts both halves of an LSTM's state"
        out.set("base.nn_kwargs.ModelRep", {"cell": "lstm", "units": size // 2}, words)
        inner.end()
    section.end()


def _rewards(section: Section, out: Converted) -> None:
    names = {"extrinsic": None, "curiosity": ("sac.use_curiosity", "sac.curiosity_strength"),
             "rnd": ("sac.use_rnd", "sac.rnd_bonus")}  # fmt: skip
    for name, keys in names.items():
        found = section.take(name)
        if found is None:
            continue
        inner = Section(f"reward_signals.{name}", found, out)
        gamma, strength = inner.number("gamma"), inner.number("strength")
        if keys is None:
            if gamma is not None:
                out.set("sac.gamma", gamma, "reward_signals.extrinsic.gamma")
            if strength not in (None, 1.0):
                out.note(f"reward_signals.extrinsic.strength={strength:g}", "scale the rewards in the scene instead")
        else:
            out.set(keys[0], True, f"reward_signals.{name}")
            out.set(keys[1], 1.0 if strength is None else strength, f"reward_signals.{name}.strength")
            if gamma is not None:
                out.note(f"reward_signals.{name}.gamma={gamma:g}", "one discount, sac.gamma, holds for all rewards")
        for key in ("encoding_size", "learning_rate", "network_settings"):
            inner.say(key, "the networks of this part are classes of nn.py, with keywords in base.nn_kwargs")
        inner.end()
    section.say("gail", "there is no GAIL here: demonstrations are learnt from by replay.load=demo:<path> and "
                "sac.behavioral_cloning")  # fmt: skip
    section.end()


def _cloning(found: Any, out: Converted, per_update: float) -> None:
    if not found:
        return
    section = Section("behavioral_cloning", found, out)
    path = section.take("demo_path")
    if not path:
        raise UserError("behavioral_cloning has no demo_path, which ML-Agents requires")
    out.set("replay.load", f"demo:{path}", "behavioral_cloning.demo_path")
    out.set("replay.keep_loaded", LOADED_SHARE, "behavioral_cloning: the share of demonstrations in a batch")
    strength = section.number("strength")
    out.set("sac.behavioral_cloning", 1.0 if strength is None else strength, "behavioral_cloning.strength")
    steps = section.number("steps")
    if steps:
        out.set(
            "sac.behavioral_cloning_updates", max(1, round(steps / per_update)), "behavioral_cloning.steps, in updates"
        )
    for key in ("samples_per_update", "num_epoch", "batch_size"):
        section.say(key, "demonstrations are replay.keep_loaded of every batch")
    section.end()


def _environment(config: Mapping[str, Any], out: Converted) -> None:
    """The sections beside the behaviours."""
    section = Section("env_settings", config.get("env_settings"), out)
    if path := section.take("env_path"):
        out.set("base.build_path", str(path), "env_settings.env_path")
    section.say("env_args", "players get --scene <base.scene> and nothing else")
    section.move_whole("base_port", "base.port")
    section.say("num_envs", "give each actor a player of its own: -m hydra/launcher=roles hydra.launcher.actors=N", 1)
    section.move_whole("num_areas", "base.n_agents")
    section.move_whole("timeout_wait", "base.timeout")
    seed = section.number("seed")
    if seed is not None and seed >= 0:
        out.set("seed", int(seed), "env_settings.seed")
    section.say("max_lifetime_restarts", "a player is started again 10 times at most", 10)
    section.say("restarts_rate_limit_n", "a player is started again once in 60 seconds", 1)
    section.say("restarts_rate_limit_period_s", "a player is started again once in 60 seconds", 60)
    section.end()

    section = Section("engine_settings", config.get("engine_settings"), out)
    section.move("time_scale", "base.time_scale")
    if (hidden := section.flag("no_graphics")) is not None:
        out.set("base.no_graphics", hidden, "engine_settings.no_graphics")
    for key in ("width", "height", "quality_level", "no_graphics_monitor"):
        section.say(key, "the window of the player is not set from here")
    section.say("target_frame_rate", "players run as fast as they can", -1)
    section.say("capture_frame_rate", "a frame is 1/60 s of game time", 60)
    section.end()

    section = Section("checkpoint_settings", config.get("checkpoint_settings"), out)
    if run := section.take("run_id"):
        out.set("base.name", str(run), "checkpoint_settings.run_id")
    if results := section.take("results_dir"):
        out.set("base.models", str(results), "checkpoint_settings.results_dir")
    for key in ("initialize_from", "load_model", "resume", "force", "train_model", "inference"):
        section.say(key, "say on the command line: ckpt=latest resumes, role=play plays", False)
    section.end()

    section = Section("", config, out)
    for key in ("behaviors", "default_settings", "environment_parameters", "env_settings", "engine_settings",
                "checkpoint_settings", "framework", "debug"):  # fmt: skip
        section.take(key)
    section.say("torch_settings", "there is no PyTorch here: TensorFlow uses the processor, or the GPU that it finds")
    section.end()
