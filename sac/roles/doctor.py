"""The role `doctor`: looks at everything between a person and a training run, and says what is wrong and what to do."""

from __future__ import annotations

import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sac import assemble
from sac.collect.restarting_env import described
from sac.config.schema import Config
from sac.doctor import audit, machine
from sac.doctor.finding import Finding, any_stops, note, stops, warning
from sac.doctor.rehearsal import RandomActions, Rehearsal, at_both_ends, in_words, observed, seconds_of_update
from sac.doctor.report import Report
from sac.errors import UserError
from sac.replay.capacity_check import machine_memory
from sac.runs.networks_file import find_networks
from sac.track.observer import Observer
from sac.types import Env

AUDITED_STEPS, ACTED_STEPS, COMPARED_TURNS = 3_000, 500, 30


def doctor(
    config: Config, make_env: Callable[..., Env] = assemble.make_env, observer: Observer | None = None
) -> float | None:
    """Prints its findings, as a table or as JSON; exits with 1 when something will stop training."""
    examination = Examination(config, make_env)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sac-doctor-")))
        examination.run(folder, stack)
    found = Report(examination.specs, examination.rates, examination.findings)
    print(found.json() if config.json else found.text(), flush=True)
    if found.stopped:
        sys.exit(1)
    return None


class Examination:
    """The checks, in an order in which each may use what the ones before have started."""

    def __init__(self, config: Config, make_env: Callable[..., Env]):
        self.config, self._make_env = config, make_env
        self.seed = assemble.run_seed(config)
        config.seed = config.sac.seed = self.seed
        self.findings: list[Finding] = []
        self.specs: list[Sequence[str]] = []
        self.rates: dict[str, float] = {}

    def run(self, folder: Path, stack: ExitStack) -> None:
        self._add(machine.packages())
        self._add(self._player())
        env = None if any_stops(self.findings) else self._started(folder, stack)
        if env is None:
            return
        own = {name: getattr(env, name, None) for name in ("action_bounds", "scene_branches")}
        self.specs = list(in_words(env.spec, own))
        self._add(self._agents(env))
        self._add(self._space(env))
        if self._watched(env):
            self._add(self._ends(env))
            self._add(self._speed(env))
            if not self.config.base.editor:
                self._add(self._same_seed(folder))

    def _add(self, found: Iterable[Finding]) -> None:
        self.findings += found

    # --- the checks

    def _player(self) -> Iterator[Finding]:
        """The program that a Unity scene starts, its port and its screen."""
        base = self.config.base
        if base.env_type != "UNITY":
            return
        from envs.unity_adapter import process

        yield from machine.time_scale(base.time_scale)
        if base.editor:
            yield note("player", "base.editor=true: the Unity editor is waited for on port 5004")
            return
        try:
            text = process.platform_path(base.build_path)
            if text.startswith(process.STAND_IN_PREFIX):
                yield note("player", f"{text} is a stand-in for a Unity build")
            else:
                executable = process.find_executable(text)
                yield note("player", f"{executable} exists and can be executed")
                yield from machine.architecture(executable)
                yield from machine.display(base.no_graphics)
        except UserError as error:
            yield stops("player", str(error), "set base.build_path to the executable of the build")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", base.port)) == 0:
                yield note("port", f"port {base.port} is taken: the next free one is used")

    def _started(self, folder: Path, stack: ExitStack) -> Env | None:
        """The environment, or a finding that says why it does not start."""
        try:
            env = self._make_env(self.config, seed=self.seed, log_folder=folder)
        except UserError as error:
            self._add([stops("start", str(error), "follow the message: nothing else can be looked at before")])
            return None
        except (Exception, SystemExit) as error:
            self._add([stops("start", f"the environment raised {described(error)}", "mend its constructor")])
            return None
        stack.callback(env.close)
        return env

    def _agents(self, env: Env) -> Iterator[Finding]:
        wanted = self.config.base.n_agents
        if env.n_agents != wanted:
            yield warning(
                "agents", f"base.n_agents={wanted} were asked for, and the scene has {env.n_agents}",
                f"set base.n_agents={env.n_agents}, or let the scene read the environment parameter env_copys",
            )  # fmt: skip

    def _space(self, env: Env) -> Iterator[Finding]:
        """Memory and disk for the replay."""
        from sac.replay import Replay

        replay = self.config.replay
        try:
            sampler = assemble.make_sampler(self.config, env.n_agents)
        except UserError as error:
            yield stops("memory", str(error), "set a larger replay.capacity")
            return
        needed = Replay.bytes(env.spec, 0, sampler)
        yield from machine.memory(needed, replay.capacity, machine_memory())
        yield from machine.folders(Path(self.config.base.models), 2 * needed if replay.save else 0)

    def _watched(self, env: Env) -> bool:
        """Audits random steps; returns whether the environment got through them."""
        try:
            seen = Rehearsal(env, RandomActions(env.spec, self.seed), AUDITED_STEPS, self.seed)
            recording = seen.recording(self.config.sac.use_normalization)
        except (Exception, SystemExit) as error:
            self._add([stops("steps", f"with random actions it raised {described(error)}", "mend reset() and step()")])
            return False
        self.rates["environment alone, steps/s"] = seen.rate
        self._add(audit.audit(recording))
        return True

    def _ends(self, env: Env) -> Iterator[Finding]:
        if not env.spec.continuous:
            return
        try:
            at_both_ends(env)
        except (Exception, SystemExit) as error:
            yield stops(
                "actions", f"with the largest and smallest actions it raised {described(error)}",
                "every action of its space must be possible",
            )  # fmt: skip

    def _speed(self, env: Env) -> Iterator[Finding]:
        """Steps a second with the agent, and what updates cost."""
        base, s = self.config.base, self.config.sac
        try:
            assemble.start_tensorflow(base.threads)
            agent = assemble.make_agent(self.config, env.spec, find_networks(base.nn, base.env), self.seed)
        except UserError as error:
            yield stops("networks", str(error), "see docs/networks.md")
            return
        try:
            replay = assemble.make_replay(self.config, env.spec, agent.state_size, env.n_agents, self.seed)
        except UserError:  # the check of the memory has said so
            return
        behaviour = assemble.make_exploring(self.config, agent, self.seed)
        try:
            acted = Rehearsal(env, behaviour, max(ACTED_STEPS, 2 * self.config.replay.batch_size))
        except (Exception, SystemExit) as error:
            yield stops("steps", f"with the agent's actions it raised {described(error)}", "mend step()")
            return
        for chunk in acted.chunks:
            replay.add(chunk)
        self.rates["with acting, steps/s"] = acted.rate
        if not replay.ready:
            return
        update = seconds_of_update(agent, replay, self.config.replay.batch_size, s.updates_per_call)
        per_step = 1 / env.n_agents if s.updates_per_step is None else s.updates_per_step
        whole = 1 / (1 / acted.rate + per_step * update)
        self.rates["one update, ms"] = 1e3 * update
        self.rates["whole run, steps/s"] = whole
        share = per_step * update * whole
        words = f"{per_step:.3g} updates a step take {share:.0%} of the time"
        if base.max_step > 0:
            words += f"; base.max_step={base.max_step:,} would take about {base.max_step / whole / 60:.0f} minutes"
        cure = "fewer sac.updates_per_step are faster; a larger sac.updates_per_call makes each update cheaper"
        yield note("speed", words, cure if share > 0.5 else "")

    def _same_seed(self, folder: Path) -> Iterator[Finding]:
        """Whether two environments with one seed show the same."""
        seen: list[Any] = []
        for _ in range(2):
            try:
                env = self._make_env(self.config, seed=self.seed, log_folder=folder)
            except (Exception, SystemExit) as error:
                yield warning(
                    "seed", f"a second environment cannot be made: {described(error)}",
                    "evaluation needs one of its own: train with eval.per_step=-1, and evaluate by role=play",
                )  # fmt: skip
                return
            try:
                seen.append(observed(env, self.seed, COMPARED_TURNS))
            except (Exception, SystemExit) as error:
                yield stops("steps", f"a second environment raised {described(error)}", "mend reset() and step()")
                return
            finally:
                env.close()
        yield from audit.same_seed(*seen)
