"""Updates per second: observation 17, action 6, 2x256 ReLU, two critics, batch 256, float32; against SB3 and SBX.

    python benchmarks/updates.py [--peer-python PATH] [--vs PATH] [--repeats 5] [--seconds 8]

An update is one step of both critics, the policy, the temperature and the targets. K = 1 and K = 16 updates a call
(SBX: `gradient_steps`, fused as ours are; SB3 knows no fusing). Two things are measured:

* train: sampling from a filled replay of 100,000 rows, the updates, and what is read back. The peers sample uniformly,
  so the like of theirs is our uniform sampler; "prioritized" is what we ship (sum tree, weights, priorities back).
* update: only the compiled call, on batches drawn before (SB3: its replay hands out one batch for ever).

Each measurement is a process of its own, all in turn; medians. The peers (stable-baselines3 and sbx-rl) live in another
virtual environment, whose Python is `--peer-python`; `before` is another checkout of ours, `--vs`. CPU-ms are those of
all threads, for one update. GFLOP/s are updates/s times the arithmetic that an update needs (benchmarks/flops.py);
`share` compares them with the rate of NumPy's 256x256x256 product, measured in the same rounds. Writes updates.csv and
updates.md into docs/results.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import flops
from benchmarks.paired import BEFORE, NOTE, Case, add_options, contestants, measured, rounds, table
from benchmarks.quiet import Others
from benchmarks.report import RESULTS, show, stamp, versions, write_csv, write_markdown

OBS, ACT, BATCH, ROWS, HIDDEN = 17, 6, 256, 100_000, (256, 256)
WHY = """What limits ours, by `perf record`, with one thread and K = 16: 53 % of the time is the kernel of XLA's matrix
products, 29 % its compiled loops (Adam, activations, losses) and the products that it leaves to oneDNN, 9 % packing,
transposing and copying, the rest its scheduler. With K = 1 the same program takes another 4 to 6 CPU-ms: about 1 each
in Python, in TensorFlow's handling of variables, and in the heap, and 2 because kernels and data have left the caches
between two calls. Tried in one process against each other, and no difference beyond the noise of this machine: stacked
twin critics, one product for the policy at s and s', flat Adam moments, huge pages and a kept heap (GLIBC_TUNABLES)."""
CASES = [
    Case(who, f"{what}{f', {sampler}' if sampler else ''}, K = {k}", {
        "what": what, "sampler": sampler, "k": k, "against": f"{what} {k}",
    })
    for what in ("train", "update")
    for k in (1, 16)
    for who, sampler in (
        ("ours", "uniform"), (BEFORE, "uniform"), ("sbx", ""), ("sb3", ""),
        ("ours", "prioritized"), (BEFORE, "prioritized"),
    )
    if not (what == "update" and sampler == "prioritized")
]  # fmt: skip
PRODUCT = Case("numpy", "product 256x256x256", {"what": "product", "against": "product"})
FLOP = flops.update_flop(OBS, ACT, HIDDEN, BATCH)


def ours(
    what: str, sampler: str, k: int, *, hidden: Sequence[int] = HIDDEN, ensemble: int = 2, rows: int = ROWS,
    batch: int = BATCH, side: int = 0,
) -> Callable[[], None]:  # fmt: skip
    """One call of our agent, K updates; with `side` it also sees pictures of side x side x 3 bytes."""
    from omegaconf import OmegaConf

    from sac import backend
    from sac.agent import Agent, Hyperparameters
    from sac.nets.contract import Builder, build_networks
    from sac.replay import Prioritized, RateLimiter, Replay, Uniform
    from sac.timers import Clock
    from sac.training.learner import Learner
    from sac.types import Sensor, Spec

    backend.start(None)
    backend.seed_everything(0)
    pictures = (Sensor("picture", (side, side, 3), "uint8"),) if side else ()
    spec = Spec(sensors=(Sensor("vector", (OBS,)), *pictures), continuous=ACT)
    sizes = {name: {"hidden": tuple(hidden)} for name in ("ModelPolicy", "ModelQ")}
    nets = build_networks(spec, Builder(None, sizes), ensemble)
    defaults = OmegaConf.load(Path(__file__).resolve().parents[1] / "conf/sac/default.yaml")
    agent = Agent(nets, Hyperparameters.of(defaults), 0)
    priority = {
        "alpha": 0.9, "beta": 0.4, "beta_increment_per_sampling": 1e-3, "td_error_min": 0.01, "td_error_max": 1.0
    }  # fmt: skip
    drawn = Prioritized(rows, **priority) if sampler == "prioritized" else Uniform(rows)
    replay = Replay(spec, 0, drawn, steps=1, seed=0)
    fill(replay, spec, rows)
    if what == "update":
        batches = replay.sample(batch, k)
        return lambda: agent.update(batches)
    learner = Learner(agent, replay, RateLimiter(1, 0, k), batch, Clock())

    def call() -> None:
        learner.limiter.add_steps(k, True)
        learner.work()

    call.bytes_per_row = replay.nbytes / rows
    return call


def fill(replay, spec, rows: int) -> None:
    """Random rows of one agent, in episodes of 1,000 steps."""
    from sac.types import Step

    rng, k, f32 = np.random.default_rng(0), 1000, np.float32
    for _ in range(-(-rows // k)):
        last = np.arange(k) == k - 1
        obs = {
            s.name: rng.integers(0, 256, (k, *s.shape), np.uint8) if s.dtype == "uint8"
            else rng.standard_normal((k, *s.shape), f32)
            for s in spec.sensors
        }  # fmt: skip
        replay.add(Step(
            np.zeros(k, np.int64), obs, np.ones((k, 0), bool),
            rng.standard_normal((k, ACT), f32), np.zeros((k, 0), np.int32), np.full((k, 2), -1, f32),
            np.zeros((k, 0), f32), np.zeros((k, 0), f32), rng.standard_normal(k, f32), np.ones(k, f32), last,
        ))  # fmt: skip


def peer(who: str, what: str, k: int) -> Callable[[], None]:
    """One call of SBX's or SB3's SAC on a filled buffer."""
    import gymnasium

    class Random(gymnasium.Env):
        """Only lends its spaces."""

        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBS,), np.float32)
        action_space = gymnasium.spaces.Box(-1, 1, (ACT,), np.float32)

        def reset(self, *, seed=None, options=None):
            return np.zeros(OBS, np.float32), {}

        def step(self, action):
            return np.zeros(OBS, np.float32), 0.0, False, False, {}

    if who == "sbx":
        from sbx import SAC
    else:
        from stable_baselines3 import SAC

    model = SAC(
        "MlpPolicy", Random(), buffer_size=ROWS, batch_size=BATCH, train_freq=k, gradient_steps=k, learning_starts=0,
        learning_rate=3e-4, policy_kwargs={"net_arch": list(HIDDEN)}, seed=0,
    )  # fmt: skip
    model.learn(1)  # sets the logger up
    rng, buffer = np.random.default_rng(0), model.replay_buffer
    for name in ("observations", "next_observations", "rewards"):
        column = getattr(buffer, name)
        column[:] = rng.standard_normal(column.shape)
    buffer.actions[:] = rng.uniform(-1, 1, buffer.actions.shape)
    buffer.full = True
    if what == "train":
        return lambda: model.train(k, BATCH)
    if who == "sb3":
        kept = buffer.sample(BATCH)
        buffer.sample = lambda *_, **__: kept
        return lambda: model.train(k, BATCH)
    return compiled_sbx(model, k)


def compiled_sbx(model, k: int) -> Callable[[], None]:
    """SBX's compiled function with what `train` hands it, and a loss read back as `train` does."""
    from sbx.common.type_aliases import ReplayBufferSamplesNp

    d = model.replay_buffer.sample(BATCH * k)
    flat = [x.numpy() for x in (d.observations, d.actions, d.next_observations)]
    flat += [x.numpy().flatten() for x in (d.dones, d.rewards)]
    data = ReplayBufferSamplesNp(*flat, np.full(BATCH * k, model.gamma, np.float32))
    policy = model.policy

    def call() -> None:
        policy.qf_state, policy.actor_state, model.ent_coef_state, model.key, losses = model._train(
            model.tau, model.target_entropy, k, data, 1, 0, policy.qf_state, policy.actor_state, model.ent_coef_state,
            model.key,
        )  # fmt: skip
        losses[0].item()

    return call


def timed(call: Callable[[], None], k: int, seconds: float) -> dict[str, float]:
    """Updates per second and CPU-ms of an update, after one call that compiles and a quarter of the time to warm up."""
    call()
    for share in (0.25, 1.0):
        calls, others, wall, cpu = 0, Others(), time.perf_counter(), time.process_time()
        while (passed := time.perf_counter() - wall) < share * seconds:
            call()
            calls += 1
    spent = (time.process_time() - cpu) * 1e3 / (calls * k)
    return {"updates/s": calls * k / passed, "CPU-ms": spent, "others": others.cores()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of one measurement")
    parser.add_argument("--only", default="", help="only rows that begin so, e.g. 'train'")
    parser.add_argument("--samplers", nargs="*", default=["uniform", "prioritized"], help="of ours")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.child:
        job = json.loads(options.child)
        if job["who"] == "numpy":
            others = Others()
            rate = flops.product_rate(job["seconds"])
            measured({"GFLOP/s": rate, "others": others.cores(), "versions": versions("numpy")})
            return
        what, k = job["what"], job["k"]
        call = ours(what, job["sampler"], k) if job["who"] == "ours" else peer(job["who"], what, k)
        measured(timed(call, k, job["seconds"]) | {"versions": versions(
            "tensorflow", "keras", "jax", "sbx-rl", "torch", "stable-baselines3", "numpy",
        )})  # fmt: skip
        return
    cases = [
        Case(c.who, c.row, {**c.options, "seconds": options.seconds})
        for c in (PRODUCT, *CASES)
        if c is PRODUCT or (c.row.startswith(options.only) and c.options["sampler"] in ("", *options.samplers))
    ]
    found = rounds(cases, contestants(__file__, options), options.repeats, options.patience)
    product = found.pop(cases[0])
    peak = median(run["GFLOP/s"] for run in product)
    for runs in found.values():
        for run in runs:
            run["GFLOP/s"] = run["updates/s"] * FLOP / 1e9
            run["share"] = run["GFLOP/s"] / peak
    rows = table(found, "updates/s", "CPU-ms", "GFLOP/s", "share")
    show(rows)
    each = " ".join(f"{run['GFLOP/s']:.0f}" for run in product)
    rate = f"An update needs {FLOP / 1e6:.0f} MFLOP. NumPy's 256x256x256 product: {peak:.0f} GFLOP/s (runs: {each})."
    print(rate)
    write_csv(options.out / "updates.csv", rows)
    known = {k: v for runs in found.values() for k, v in runs[0]["versions"].items()}
    write_markdown(
        options.out / "updates.md",
        "Updates per second",
        [__doc__.split("\n\n", 2)[2], rows, rate, NOTE, WHY, stamp(known)],
    )


if __name__ == "__main__":
    main()
