"""What the config says of a population: when and how it evolves, and how a learner takes part in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from sac.config.distributions import keyed
from sac.config.live_keys import is_allowed, live_distributions
from sac.config.schema import Config
from sac.evaluation.evaluator import Evaluator
from sac.population.cem import Cem, CemRules, NearCem
from sac.population.client import EvolverClient
from sac.population.evolution import Rules
from sac.population.evolving_source import EvaluationReturns, Fitness, TrainingReturns
from sac.population.heritage import Everything, EvolvedNetworks
from sac.population.pbt import Pbt
from sac.population.perturbation import Perturbation
from sac.population.proposals import Proposals
from sac.population.shared_rows import SharedRows, row_columns
from sac.population.strategy import OnlyCompare, Strategy
from sac.replay import Replay
from sac.replay.running_stats import RunningStats
from sac.roles.cell_config import describe, evolver_directory, make_keys
from sac.runs.folder import RunFolder
from sac.seeds import seed_of
from sac.training.progress import Progress
from sac.training.source import LocalSource
from sac.types import Spec
from sac.wire.client import Client
from sac.wire.codec import Columns
from sac.wire.handshake import Description
from sac.wire.messages import evolver_codec
from sac.wire.peer import ClientId


def rules_of(config: Config) -> Rules:
    """When the population makes generations."""
    b = config.base
    first = int(b.evolver_pbt_start * max(b.max_step, 0)) if b.evolver_strategy == "pbt" else 0
    return Rules(b.evolver_cem_length, b.evolver_cem_min_length, 60 * b.evolver_cem_time, first)


def strategy_of(config: Config) -> Strategy:
    """How the population makes generations. Raises UserError as `live_distributions`."""
    b = config.base
    if b.evolver_strategy == "pbt":
        space = live_distributions(config)
        explore = (
            Perturbation(space, is_allowed) if b.evolver_explore == "perturb" else Proposals(space, b.evolver_explore)
        )
        return Pbt(b.evolver_pbt_share, explore)
    if b.evolver_strategy == "cem":
        rules = CemRules(b.evolver_cem_best, b.evolver_remove_worst, b.evolver_keep_elites, b.evolver_min_std)
        return NearCem(rules, b.evolver_max_std) if b.evolver_shared_start else Cem(rules)
    return OnlyCompare()


def inherits_everything(config: Config) -> bool:
    """Whether learners give and take all that they are, and not their networks alone."""
    return config.base.evolver_strategy == "pbt" or config.base.evolver_shared_start


def heritage_of(
    config: Config, agent: Any, make_agent: Callable[[int], Any], stats: RunningStats
) -> EvolvedNetworks | Everything:
    """What the learner gives to others and takes from them; `make_agent(seed)` makes an agent as `agent` was made."""
    seed = config.sac.seed
    assert seed is not None

    def begin(number: int) -> Any:
        return make_agent(seed_of(seed, number))

    if not inherits_everything(config):
        return EvolvedNetworks(agent, begin)
    numbers = {name: getattr(config.sac, name.removeprefix("sac.")) for name in live_distributions(config)}
    return Everything(agent, begin, stats, numbers)


def fitness_of(config: Config, evaluator: Evaluator, progress: Progress, agents: Callable[[], int]) -> Fitness:
    """By what learners are compared; so many `agents()` collect transitions now."""
    by_training = config.base.evolver_fitness == "training"
    return TrainingReturns(evaluator, progress, agents) if by_training else EvaluationReturns(evaluator)


def evolver_client(
    config: Config, folder: RunFolder, spec: Spec, heritage: EvolvedNetworks | Everything, stack: ExitStack,
    state_size: int,
) -> EvolverClient:  # fmt: skip
    """The connection to the evolver, closed with the stack. Learners may differ in keys that are drawn at random."""
    drawn = keyed(config.random_params)
    columns = heritage.schema if config.base.evolver_strategy != "none" else {}  # with it nobody gives networks
    rows = row_columns(spec, state_size) if config.base.evolver_share_replay else {}
    shared: Mapping[str, Any] = {
        name: value for name, value in describe(config, spec).shared.items() if name not in drawn
    }
    shared = {**shared, "networks": _described(columns), **({"rows": _described(rows)} if rows else {})}
    client = Client(
        "evolver", evolver_codec(columns, rows), Description(shared, {}), ClientId("learner", config.net.number),
        evolver_directory(config, folder), make_keys(config),
    )  # fmt: skip
    stack.callback(client.close)
    return EvolverClient(client, heritage)


def share_rows(line: EvolverClient, source: LocalSource, others: Replay) -> None:
    """Lets the learner share the rows of its source, and learn from those of others."""
    shared = SharedRows(line.client, others)
    source.on_rows, line.on_rows, source.on_resumed = shared.offer, shared.take, shared.resumed


def _described(columns: Columns) -> dict[str, Any]:
    return {name: [list(shape), dtype] for name, (shape, dtype) in columns.items()}
