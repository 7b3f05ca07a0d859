"""`python -m sac.export models/<scene>/<name>` writes the trained policy of a run for Unity, TensorFlow or NumPy."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from sac import assemble
from sac.config.schema import Config
from sac.config.validation import validated
from sac.errors import UserError
from sac.runs.checkpoint import Checkpoints
from sac.runs.commit import commit
from sac.runs.folder import RunFolder
from sac.runs.resume import config_of_run
from sac.runs.scene_file import SceneLayout
from sac.screen import unbreakable_screen

if TYPE_CHECKING:
    from sac.agent import Agent

ENDINGS = {"onnx": ".onnx", "savedmodel": "", "numpy": ".npz"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exports or checks. Returns the exit code, 1 after a UserError, whose text is printed, or a failed check."""
    typed = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        return _run(typed)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sac.export", description="Writes the trained policy of a run as a file that others can play."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run, models/<scene>/<name>")
    parser.add_argument("--checkpoint", default="best", help="best (default), latest, or a step")
    parser.add_argument("--out", type=Path, help="the file to write (default: <scene>.onnx in the run folder)")
    parser.add_argument("--format", choices=list(ENDINGS), default="onnx", help="onnx (default) is what Unity loads")
    parser.add_argument("--check", type=Path, metavar="FILE", help="only check this ONNX file against the run")
    parser.add_argument("--trust", action="store_true", help="run the code that this run folder brings")
    return parser


def _run(typed: argparse.Namespace) -> int:
    folder = RunFolder(typed.run)
    config = validated(config_of_run(folder))
    folder.check_code(typed.trust, f"python -m sac.export {shlex.quote(str(typed.run))} --trust")
    checkpoints, which = Checkpoints(folder.checkpoints), _checkpoint(typed.checkpoint)
    checkpoints.select(which)  # refuses a run without checkpoints before anything is started
    assemble.start_tensorflow(config.base.threads)
    scene = _scene(config, folder)
    agent = assemble.make_agent(config, scene.spec, folder.own_networks(), assemble.seed_of_run(config))
    step = checkpoints.load({"agent": agent}, which).step
    print(f"{folder.path}, checkpoint of step {step:,}", flush=True)
    if typed.check is not None:
        return _check(typed.check, agent, scene, checkpoints)
    out = typed.out or folder.path / f"{Path(config.base.scene).name}{ENDINGS[typed.format]}"
    return _write(typed.format, out, agent, scene, checkpoints, {
        "run": str(folder.path), "scene": config.base.scene, "step": str(step), "commit": str(commit()),
        "sac-runner": version("sac-runner"),
    })  # fmt: skip


def _checkpoint(text: str) -> str | int:
    """Raises UserError for a text that names no checkpoint."""
    if text in ("best", "latest"):
        return text
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"--checkpoint {text}: allowed is best, latest or a step")
    return int(text)


def _scene(config: Config, folder: RunFolder) -> SceneLayout:
    """What the run's scene observes and does, from scene.json; an older run's environment is started to ask it."""
    if folder.scene.exists():
        return SceneLayout.read(folder.scene)
    print("this run has no scene.json: its environment is started once to read the sensors and actions", flush=True)
    with ExitStack() as stack:
        env = assemble.make_env(config, seed=assemble.evaluation_seed(config), n_agents=1, log_folder=folder.path)
        stack.callback(env.close)
        return folder.write_scene(env)


def _write(
    kind: str, out: Path, agent: Agent, scene: SceneLayout, checkpoints: Checkpoints, metadata: dict[str, str]
) -> int:
    from sac.export.other_formats import write_numpy, write_saved_model
    from sac.export.policy_module import PolicyModule

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from error
    if kind == "numpy":
        player = write_numpy(agent, scene, out)
        print(f"wrote {out} and {player}, which plays it")
        return 0
    module = PolicyModule(agent, scene)
    if kind == "savedmodel":
        write_saved_model(module, out)
        print(f"wrote {out}: its signature takes {', '.join(map(str, module.contract.inputs))}")
        return 0
    from sac.export.onnx_file import write_onnx

    write_onnx(module, out, metadata)
    print(f"wrote {out} ({out.stat().st_size / 1000:.0f} kB)")
    return _check(out, agent, scene, checkpoints)


def _check(path: Path, agent: Agent, scene: SceneLayout, checkpoints: Checkpoints) -> int:
    """Prints what the file offers and what is wrong with it."""
    from sac.export.checker import check
    from sac.export.examples import examples_of
    from sac.export.policy_module import PolicyModule

    contract = PolicyModule(agent, scene).contract
    examples = examples_of(agent, scene, checkpoints)
    found = check(path, contract, examples)
    if found.breaches:
        for breach in found.breaches:
            print(f"wrong: {breach}")
        print(f"{path} does not keep ML-Agents' contract: Unity would refuse it or act otherwise")
        return 1
    print(f"inputs:  {', '.join(map(str, contract.inputs))}")
    print(f"outputs: {', '.join(contract.output_names)}")
    print(f"compared on {examples.source}: actions differ by at most {found.largest_error:.1g}, "
          f"{found.different_choices:.1%} of choices")  # fmt: skip
    print("it keeps ML-Agents' contract; the first action of each pair is sampled, the deterministic_ one is the mode")
    return 0


if __name__ == "__main__":
    with unbreakable_screen():
        code = main()
    sys.exit(code)
