"""Makes what loads recorded episodes into the replay, and what records played ones."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sac.config.schema import Config
from sac.errors import UserError
from sac.replay import Replay
from sac.replay.running_stats import RunningStats
from sac.replay.two_replays import TwoReplays, WithLoaded
from sac.runs.folder import RunFolder
from sac.runs.scene_file import SceneLayout
from sac.training.prefill import DEMO, MINARI, Episodes, fill
from sac.types import Env

if TYPE_CHECKING:
    from envs.gymnasium_adapter.minari_recorder import MinariRecorder
    from envs.unity_adapter.demo_recorder import DemoRecorder


def fill_replay(config: Config, env: Env, replay: Replay | TwoReplays, state_size: int, stats: RunningStats) -> None:
    """Fills the replay of a new run from replay.load. Raises UserError when that does not fit."""
    if config.replay.load is not None:
        filled = replay if isinstance(replay, Replay) else replay.loaded_into
        fill(filled, config.replay.load, env.spec, state_size, stats, partial(open_dataset, env))
        check_log_prob(config, replay)


def load_again(config: Config, env: Env, replay: Replay | TwoReplays, state_size: int) -> None:
    """Loads the rows that stay in a resumed run whose checkpoint holds none. Raises UserError when they do not fit."""
    if isinstance(replay, WithLoaded) and not replay.second.ready:
        fill_replay(config, env, replay, state_size, RunningStats())  # the run's statistics contain them already


def open_dataset(env: Env, source: str) -> Episodes:
    """The episodes of minari:<dataset-id> or demo:<path>, read as `env` reads its own.

    Raises UserError when they do not fit it.
    """
    if source.startswith(DEMO):
        from envs.unity_adapter.demo_dataset import DemoEpisodes

        return DemoEpisodes(source.removeprefix(DEMO), env.spec)
    from envs.gymnasium_adapter.minari_dataset import MinariEpisodes

    bounds, reading = (getattr(env, name, None) for name in ("action_bounds", "reading"))
    return MinariEpisodes(source.removeprefix(MINARI), env.spec, bounds, reading)


def make_recorder(config: Config, env: Env, folder: RunFolder) -> DemoRecorder | MinariRecorder | None:
    """What writes the episodes that `env` plays, as the key `record` asks. Raises UserError where it cannot."""
    layout = SceneLayout.of(env)
    if config.record == "minari":
        from envs.gymnasium_adapter.minari_recorder import MinariRecorder

        words = f"Episodes of the policy of {folder.path} in {config.base.scene}."
        dataset = f"{config.base.scene}/{config.base.name}-v0"
        return MinariRecorder(dataset, env.spec, layout.branches, layout.action_bounds, words)
    if config.record == "demo":
        from envs.unity_adapter.demo_recorder import DemoRecorder

        if config.base.env_type != "UNITY":
            raise UserError("record=demo writes what Unity's recorder writes, for Unity scenes: use record=minari")
        decoder = env.decoder  # type: ignore[attr-defined]  # of UnityEnv
        try:
            return DemoRecorder(folder.new_demonstration(), decoder.name, decoder.columns, env.spec, layout.branches)
        except OSError as error:
            raise UserError(f"cannot write into {folder.demonstrations}: {error.strerror or error}") from error
    return None


def check_log_prob(config: Config, replay: Replay | TwoReplays) -> None:
    """Raises UserError when returns are to be corrected by probabilities that some rows lack."""
    s = config.sac
    if s.n_step > 1 and s.use_n_step_is and not replay.log_prob_known:
        raise UserError(
            f"sac.n_step={s.n_step}: rows of this memory come from a dataset that does not say how probable its "
            "actions were, so returns cannot be corrected for them: set sac.n_step=1, or sac.use_n_step_is=false"
        )
