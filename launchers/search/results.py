"""The results of a search: a table, pictures, and the best trials as env files."""

from __future__ import annotations

import csv
import logging
import shlex
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial, TrialState

from launchers.jobs.compose import Composition
from launchers.search import importances
from launchers.search.reporter import ERROR
from launchers.search.search import OVERRIDES, RUNS, Search, rounded
from launchers.search.study import StudySpec
from sac.config.overrides import is_shipped, override, program, word
from sac.files import write_atomically
from sac.track.wandb_run import sync_command, unsynced

log = logging.getLogger(__name__)
KEYS_OF_A_RUN = {  # keys that belong to one run and not to the result of a search
    "seed", "sac.seed", "repeat", "ckpt", "render", "random_params", "base.name", "base.models", "base.threads",
    "base.port", "base.trust", "track.wandb_group",
}  # fmt: skip
MAX_PARETO_FILES = 8  # env files for at most so many trials of a Pareto front
MIN_TRIALS_FOR_PICTURES = 2


def write(search: Search) -> str:
    """Writes a table, pictures and env files of the best trials into the search's folder; returns text to print."""
    study, folder = search.study, search.folder
    trials = study.get_trials(deepcopy=False)
    count = {state: sum(trial.state == state for trial in trials) for state in TrialState}
    words = ", ".join(f"{n} {state.name.lower()}" for state, n in count.items() if n)
    _table(trials, list(search.options.goals), folder / "trials.csv")
    lines = [f"study {study.study_name}: {len(trials)} trials ({words})"]
    lines += [f"  trial {t.number} failed: {t.user_attrs.get(ERROR, '')}" for t in trials if t.state == TrialState.FAIL]
    if count[TrialState.COMPLETE]:
        lines += _best(search)
    lines += [f"table:    {folder / 'trials.csv'}", *(f"picture:  {path}" for path in _pictures(study, search, folder))]
    lines += [f"note:     {words}" for words in [importances.caveat(study)] if words]
    records = [record for t in trials for run in t.user_attrs.get(RUNS, []) for record in unsynced(run)]
    if records:
        lines.append(f"upload:   {sync_command(records)}")
    lines += [f"database: {search.spec.shown}", *_dashboard(search.spec)]
    return "\n".join(lines)


def _dashboard(spec: StudySpec) -> list[str]:
    """The command that shows the study; nothing where it would contain a password."""
    address = spec.address
    return [f"show it:  optuna-dashboard {shlex.quote(address)}"] if address is not None else []


def _table(trials: Sequence[FrozenTrial], objectives: list[str], path: Path) -> None:
    with path.open("w", newline="", encoding="utf8") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "state", *objectives, "seconds", "overrides"])
        for trial in trials:
            values = trial.values or [""] * len(objectives)
            seconds = f"{trial.duration.total_seconds():.1f}" if trial.duration else ""
            overrides = " ".join(trial.user_attrs.get(OVERRIDES, []))
            writer.writerow([trial.number, trial.state.name.lower(), *values, seconds, overrides])


def _best(search: Search) -> list[str]:
    """Writes env files of the best trial, or of the Pareto front; returns lines with the commands that run them."""
    study, goals = search.study, search.options.goals
    best = [study.best_trial] if len(goals) == 1 else study.best_trials
    lines = [f"(of {len(best)} trials of the Pareto front, the first {MAX_PARETO_FILES})"] * (
        len(best) > MAX_PARETO_FILES
    )
    for trial in best[:MAX_PARETO_FILES]:
        name = f"best-{study.study_name}" + (f"-{trial.number:04}" if len(goals) > 1 else "")
        values = ", ".join(f"{goal} {value:.6g}" for goal, value in zip(goals, trial.values))
        path = search.folder / "conf" / "env" / f"{name}.yaml"
        write_env(search, trial, path, f"# Trial {trial.number} of the study {study.study_name}: {values}.")
        lines.append(f"best:     trial {trial.number}, {values}: {' '.join(map(rounded, trial.user_attrs[OVERRIDES]))}")
        lines.append(f"run it:   {_command(search, name)}")
    return lines


def _command(search: Search, env: str) -> str:
    """The command that trains the trial's config again, in a new run."""
    models = search.composition.config.base.models
    more = [override("base.models", models)] if models != "models" else []
    return " ".join([program(), "--config-dir", word(search.folder / "conf"), override("env", env), *more])


def write_env(search: Search, trial: FrozenTrial, path: Path, comment: str) -> None:
    """Writes an env file with the trial's config: the shipped file of its scene, and what differs from that."""
    used = search.job(trial.number, trial.user_attrs[OVERRIDES]).config
    env = used.base.env
    shipped = env if env and is_shipped(env) else None  # the user may move or delete a file of their own
    different = difference(scene(search.composition, shipped), used)
    different.setdefault("base", {})["env"] = env  # nn.py is looked for under this name
    head = f"# @package _global_\n{comment}\n"
    defaults = f"defaults:\n  - /env/{env}\n  - _self_\n" if shipped else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, head + defaults + OmegaConf.to_yaml(OmegaConf.create(different)))


def scene(composition: Composition, env: str | None) -> DictConfig:
    """The config of `env=<env>` alone."""
    from hydra.types import RunMode

    loader = composition.context.config_loader
    loaded = loader.load_configuration("config", [f"env={env}"] if env else [], RunMode.RUN)
    config = OmegaConf.create({key: value for key, value in loaded.items_ex(resolve=False) if key != "hydra"})
    assert isinstance(config, DictConfig)
    return config


def difference(plain: DictConfig, used: DictConfig, prefix: str = "") -> dict[str, Any]:
    """The keys and values of `used` that are not in `plain`, without those of one run; sections stay nested."""
    found: dict[str, Any] = {}
    for each, value in used.items_ex(resolve=False):
        key = str(each)
        name = f"{prefix}{key}"
        if name in KEYS_OF_A_RUN:
            continue
        before = _value(plain, key)
        if isinstance(value, DictConfig) and isinstance(before, DictConfig) and prefix == "" and key != "reset":
            inner = difference(before, value, f"{name}.")
            if inner:
                found[key] = inner
        elif before != value:
            found[key] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return found


def _value(config: DictConfig, key: str) -> Any:
    """A value of the config; None for an interpolation that cannot be resolved, e.g. into Hydra's own section."""
    try:
        return config.get(key)
    except Exception:
        return None


def _pictures(study: optuna.Study, search: Search, folder: Path) -> list[Path]:
    """Draws history, importances and parallel coordinates of the first objective, and a Pareto front of several."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as draw

    goals = list(search.options.goals)
    one: dict[str, Any] = {"target_name": goals[0]} | (
        {} if len(goals) == 1 else {"target": lambda trial: trial.values[0]}
    )
    plots: dict[str, Callable[[], Any]] = {
        "history": lambda: draw.plot_optimization_history(study, **one),
        "parallel": lambda: draw.plot_parallel_coordinate(study, **one),
    }
    if importances.tell_something(study):
        plots["importances"] = lambda: importances.draw(study, goals[0])
    else:
        (folder / "importances.png").unlink(missing_ok=True)  # the picture of an earlier call
    if len(goals) in (2, 3):
        plots["pareto"] = lambda: draw.plot_pareto_front(study, target_names=goals)
    elif search.spec.pruner != "none":
        plots["intermediate"] = lambda: draw.plot_intermediate_values(study)
    complete = sum(trial.state == TrialState.COMPLETE for trial in study.get_trials(deepcopy=False))
    if complete < MIN_TRIALS_FOR_PICTURES:
        return []
    made = []
    for name, plot in plots.items():
        try:
            with warnings.catch_warnings():  # Optuna warns of a parameter with a single value
                warnings.simplefilter("ignore")
                axes = plot()
            figure: Any = (axes.flat[0] if hasattr(axes, "flat") else axes).figure
            figure.set_size_inches(max(8, 1.5 * len(search.space.distributions)), 5)
            if name == "parallel":
                _make_legible(figure)
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=120, bbox_inches="tight")
            made.append(path)
        except Exception as error:  # e.g. importances where a parameter has a single value
            log.warning("no picture of %s: %s", name, error)
        pyplot.close("all")
    return made


def _make_legible(figure: Any) -> None:
    """Removes the grid of each axis, and colours the worst trials, which Optuna draws in white."""
    for axes in figure.axes:
        axes.grid(False)
        for lines in axes.collections:
            lines.set_cmap("viridis")
