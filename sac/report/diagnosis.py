"""Finds what looks wrong in a run: what was seen and since when, what it usually means, which key to try."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from sac.report.curves import RunCurves

# A condition counts when it holds in so many records in a row, and in this share of all records.
MIN_RECORDS_IN_A_ROW, MIN_SHARE_OF_RECORDS = 3, 0.1
SMOOTHED_RECORDS = 5  # shares are averaged over so many records, since each record is that of a single batch
# Temperatures are clipped to [e^-10, e^2]; beyond these limits they are at an end, where they no longer adapt.
MIN_ALPHA, MAX_ALPHA = 1e-4, 7.0
MAX_SATURATED_SHARE = 0.9  # of actions of the exploring policy beyond +-0.99; working bang-bang control stays below
MAX_Q_EXCESS_SHARE = 0.5  # Q of first steps exceeds what followed by this share of the latest returns,
MAX_Q_EXCESS_SHARE_OF_LARGEST = 0.1  # by this share of the largest return, since every Q exceeds one near zero,
MAX_Q_EXCESS_TD_ERRORS = 3.0  # and by so many TD errors
MAX_RATIO_DEVIATION = 0.1  # relative, of updates per step from the target
MAX_WAITING_SHARE = 0.5  # of a learner's time
MIN_JUDGED_CALLS = 20  # fused calls before updates per step are judged
MAX_CLIPPED_SHARE = 1e-3  # of a normalised number at +-10 deviations; a normal distribution has none there
DIVERGENCE_MESSAGES = ("training has diverged", "NaN or infinity")  # in the last error of a run that has diverged


@dataclass(frozen=True)
class WarningKind:
    """A kind of warning: its title, what it usually means, and what to attempt."""

    title: str
    means: str
    attempt: str


@dataclass(frozen=True)
class Finding:
    """One warning about one run."""

    kind: WarningKind
    seen: str  # what was seen and when, with numbers
    since: int  # environment step


ALPHA_COLLAPSED = WarningKind(
    "Alpha has collapsed",
    "The entropy bonus is worth nothing any more: the policy does not explore, and whatever it does now it keeps "
    "doing. It happens where rewards are tiny beside the bonus, or where a temperature that began too low stays fixed.",
    "sac.use_auto_alpha=true with the default sac.init_log_alpha; larger rewards if they are far below 1; for discrete "
    "actions a larger sac.target_entropy_ratio.",
)
ALPHA_RAN_AWAY = WarningKind(
    "Alpha is at its upper end",
    "The entropy stays below its target whatever is paid for it, so the bonus drowns the reward: a target that no "
    "policy reaches, or a policy that is held near a slow copy.",
    "a lower sac.target_entropy_ratio (discrete actions), a lower sac.init_log_alpha, and for rewards in the thousands "
    "smaller ones.",
)
ACTIONS_SATURATED = WarningKind(
    "Actions are saturated",
    "The policy pushes nearly every action to its bound, where the squash has no gradient: it hardly learns from "
    "there. Usual causes: observations or rewards of a huge scale, a collapsed alpha, too large a learning rate.",
    "sac.use_normalization=true, a lower sac.learning_rate, sac.grad_clip_norm=1, sac.use_auto_alpha=true.",
)
Q_FAR_ABOVE = WarningKind(
    "Q is far above the returns",
    "The critics expect far more at the start of evaluation episodes than comes (entropy bonuses and intrinsic "
    "rewards, which the returns lack, are taken off): they over-estimate, and the policy follows their errors.",
    "a lower sac.gamma or sac.learning_rate, a lower sac.tau, more critics (sac.ensemble_q_num=10 with "
    "sac.ensemble_q_sample=2), fewer sac.updates_per_step, sac.grad_clip_norm=1.",
)
ENTROPY_OUTWEIGHS = WarningKind(
    "Entropy outweighs the rewards",
    "More of Q is made of entropy bonuses than of rewards, so the policy is paid for living on rather than for what it "
    "achieves: it learns to stay away from a goal that ends the episode. It happens where rewards are rare or small.",
    "sac.soft_target=false (entropy pays in the policy's loss only), a lower sac.init_log_alpha, a lower sac.gamma, "
    "larger rewards.",
)
UPDATES_OFF_TARGET = WarningKind(
    "Updates per step are off target",
    "The run has not learnt as often as it was told to: resumed with another sac.updates_per_step, or a memory that "
    "was lost and had to fill again. Runs of different ratios are not comparable.",
    "sac.updates_per_step as it was from the start, or a fresh run; replay.save=true for runs that are resumed.",
)
LEARNER_BEHIND = WarningKind(
    "The learner is slower than its actors",
    "Actors have collected more than the learner could follow with the updates that were asked for; what was owed "
    "beyond replay.max_lead is forgotten. That is meant where steps are cheap, and wasteful where they are dear.",
    "replay.limiter=ratio (actors wait then), fewer actors, a lower sac.updates_per_step, a larger "
    "sac.updates_per_call.",
)
LEARNER_WAITS = WarningKind(
    "The learner waits for its actors",
    "It has learnt what the steps have earned and has nothing to do: the actors are the bottleneck.",
    "more actors (hydra.launcher.actors), a larger sac.updates_per_step.",
)
CLIPPING = WarningKind(
    "The normaliser clips",
    "Some observations lie more than 10 standard deviations from their mean and are cut there: the networks cannot "
    "tell them apart. Usual causes: rare huge values, a sensor that sleeps for long, a quantity with heavy tails.",
    "look at that sensor's values; squash or clip them in the environment, or split rare flags from measurements.",
)
LOST = WarningKind(
    "Episodes were lost",
    "Their last step was refused (NaN or infinity in an observation or reward) or their player died; what came before "
    "is learnt from as a truncation. Once in a while it costs nothing.",
    "log.log names the agent and the sensor of each; look into the environment.",
)
NOT_A_NUMBER = WarningKind(
    "Numbers are not finite",
    "Training has diverged or is about to, or the environment gives nothing else any more.",
    "a look at rewards and observations first; then a lower sac.learning_rate, "
    "sac.grad_clip_norm=1, sac.gamma below 1, smaller rewards (sac.value_rescale=true).",
)


def diagnose(run: RunCurves) -> list[Finding]:
    """All warnings of a run; a run without metrics has none."""
    return [finding for check in CHECKS for finding in check(run)]


def _alphas(run: RunCurves) -> Iterator[Finding]:
    for kind in ("continuous", "discrete"):
        name = f"alpha/{kind}"
        for what, holds, words in (
            (ALPHA_COLLAPSED, lambda x: x <= MIN_ALPHA, "at or below"),
            (ALPHA_RAN_AWAY, lambda x: x >= MAX_ALPHA, "at or above"),
        ):
            limit = MIN_ALPHA if what is ALPHA_COLLAPSED else MAX_ALPHA
            yield from _where(run, name, holds, what, f"{name} {words} {limit:g}")


def _saturation(run: RunCurves) -> Iterator[Finding]:
    words = f"more than {MAX_SATURATED_SHARE:.0%} of the actions beyond 0.99 of their bounds"
    yield from _where(run, "policy/saturated", lambda x: smoothed(x) > MAX_SATURATED_SHARE, ACTIONS_SATURATED, words)


def _clipping(run: RunCurves) -> Iterator[Finding]:
    words = f"more than {MAX_CLIPPED_SHARE:.1%} of the values of one number are cut"
    yield from _where(run, "normalizer/clipped", lambda x: smoothed(x) > MAX_CLIPPED_SHARE, CLIPPING, words)


def _where(
    run: RunCurves, name: str, holds: Callable[[np.ndarray], np.ndarray], kind: WarningKind, words: str
) -> Iterator[Finding]:
    """A warning where the condition `holds` is true of the values of a metric for long enough."""
    steps, values = run.series(name)
    stretch = last_stretch(holds(values))
    if stretch:
        begin, end = stretch
        last = len(values) - 1
        until = "" if end == last else f" until step {steps[end]:,.0f}"
        mean = f"; {name} was {values[begin : end + 1].mean():.3g} on average"
        yield Finding(kind, f"{words} since step {steps[begin]:,.0f}{until}{mean}", int(steps[begin]))


def smoothed(values: np.ndarray) -> np.ndarray:
    """The mean of each value [n] and of those before it, over SMOOTHED_RECORDS in all."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(0, ends - SMOOTHED_RECORDS)
    return (sums[ends] - sums[begins]) / (ends - begins)


def last_stretch(holds: np.ndarray) -> tuple[int, int] | None:
    """First and last index of the last stretch of true values in `holds` [n] that is long enough to count, or None."""
    least = max(MIN_RECORDS_IN_A_ROW, int(np.ceil(MIN_SHARE_OF_RECORDS * len(holds))))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], holds.astype(int), [0]])))
    for begin, end in reversed([*zip(edges[::2], edges[1::2])]):
        if end - begin >= least:
            return int(begin), int(end) - 1
    return None


def _q_above_returns(run: RunCurves) -> Iterator[Finding]:
    """Warns only where the condition still holds at the end."""
    steps, q = run.series("eval/q_start")
    if len(steps) < MIN_RECORDS_IN_A_ROW:
        return
    returned, rest = (_at(run, f"eval/{name}", steps) for name in ("discounted_return", "q_rest"))
    earned = returned - rest  # without the bootstrapped rest
    size = np.abs(earned)
    large = np.maximum(MAX_Q_EXCESS_SHARE * smoothed(size), MAX_Q_EXCESS_SHARE_OF_LARGEST * np.maximum.accumulate(size))
    bonuses = _ahead(run, steps, _entropy_bonus(run, steps) + _intrinsic_rewards(run, steps))
    above = q - returned - bonuses - _still_to_learn(run, steps) * np.maximum(0, -earned)
    holds = above > np.maximum(large, MAX_Q_EXCESS_TD_ERRORS * _at(run, "critic/td_error", steps))
    begin = _since(holds)
    if begin is None:
        return
    words = f"Q of the first steps above the discounted return since step {steps[begin]:,.0f}"
    yield Finding(
        Q_FAR_ABOVE, f"{words}; at step {steps[-1]:,.0f} Q was {q[-1]:.4g}, the return {returned[-1]:.4g}",
        int(steps[begin]),
    )  # fmt: skip


def _entropy_outweighs(run: RunCurves) -> Iterator[Finding]:
    """Warns only where the condition still holds at the end."""
    steps, returned = run.series("eval/discounted_return")
    if len(steps) < MIN_RECORDS_IN_A_ROW:
        return
    size = np.abs(returned - _at(run, "eval/q_rest", steps))
    rewards = np.maximum(smoothed(size), MAX_Q_EXCESS_SHARE_OF_LARGEST * np.maximum.accumulate(size))
    entropy = _ahead(run, steps, _entropy_bonus(run, steps))
    begin = _since(entropy > np.maximum(rewards, MAX_Q_EXCESS_TD_ERRORS * _at(run, "critic/td_error", steps)))
    if begin is not None:
        words = f"the entropy of an evaluation episode is worth more than its rewards since step {steps[begin]:,.0f}"
        seen = f"{words}; at step {steps[-1]:,.0f} it was {entropy[-1]:.3g}, the rewards {size[-1]:.3g}"
        yield Finding(ENTROPY_OUTWEIGHS, seen, int(steps[begin]))


def _since(holds: np.ndarray) -> int | None:
    """The index in `holds` [n] from which on all are true; None unless the last few are."""
    if not holds[-MIN_RECORDS_IN_A_ROW:].all():
        return None
    return len(holds) - int(np.argmin(holds[::-1])) if not holds.all() else 0


def _entropy_bonus(run: RunCurves, steps: np.ndarray) -> np.ndarray:
    """What the entropy of one step adds to Q [n], for the kinds of actions that `sac.soft_target` names."""
    soft = run.config.get("sac.soft_target", True)  # older runs, without the key, added both
    kinds = {None: ("continuous",), True: ("continuous", "discrete"), False: ()}[soft]
    each = np.zeros(len(steps))
    for kind in kinds:
        each += np.maximum(0, _at(run, f"alpha/{kind}", steps) * _at(run, f"policy/entropy_{kind}", steps))
    return each


def _intrinsic_rewards(run: RunCurves, steps: np.ndarray) -> np.ndarray:
    """What the extras add to the reward of one step [n]."""
    each = np.zeros(len(steps))
    for name in run.columns:
        if name.endswith("/bonus"):
            each += np.maximum(0, _at(run, name, steps))
    return each


def _ahead(run: RunCurves, steps: np.ndarray, each: np.ndarray) -> np.ndarray:
    """The discounted sum [n] over an evaluation episode of something that each step pays."""
    gamma, length = _number(run, "sac.gamma", 0.99), _at(run, "eval/length", steps)
    horizon = length if gamma >= 1 else (1 - gamma**length) / (1 - gamma)
    return each * horizon


def _still_to_learn(run: RunCurves, steps: np.ndarray) -> np.ndarray:
    """The share of a return [n] that critics which began at zero cannot have learnt yet.

    Until they have, they lie above every negative return. Q follows targets that follow Q at the rate tau:
    dQ/dn = tau (r - (1 - gamma) Q) for n updates.
    """
    updates = _at(run, "replay/updates_per_step", steps) * np.maximum(0, steps - _starts(run))
    tau = _number(run, "sac.tau", 0.005) / _number(run, "sac.update_target_per_step", 1)
    forgets = np.maximum(1 - _number(run, "sac.gamma", 0.99), 1 / np.maximum(1, _at(run, "eval/length", steps)))
    return np.exp(-updates * tau * forgets)


def _starts(run: RunCurves) -> float:
    """The step at which learning starts."""
    return _number(run, "replay.learning_starts", _number(run, "replay.batch_size", 0))


def _updates_off_target(run: RunCurves) -> Iterator[Finding]:
    steps, ratio = run.series("replay/updates_per_step")
    target = _at(run, "replay/updates_per_step_target", steps)
    calls = target * (steps - _starts(run)) / _number(run, "sac.updates_per_call", 1)
    off = (np.abs(ratio - target) > MAX_RATIO_DEVIATION * target) & (target > 0) & (calls >= MIN_JUDGED_CALLS)
    begin = _since(off) if len(off) >= MIN_RECORDS_IN_A_ROW else None
    if begin is not None:
        words = f"{ratio[-1]:.3g} updates for each step where {target[-1]:.3g} were asked for"
        cell = len(run.series("actors/present")[0]) > 0
        if cell and run.config.get("replay.limiter") == "free":
            return
        kind = LEARNER_BEHIND if cell and ratio[-1] < target[-1] else UPDATES_OFF_TARGET
        yield Finding(kind, f"{words}, since step {steps[begin]:,.0f}", int(steps[begin]))


def _learner_waits(run: RunCurves) -> Iterator[Finding]:
    """Compares the seconds that the learner has waited with the seconds between two summaries."""
    steps, waited = run.series("learner/waited")
    updates = np.maximum(_at(run, "rate/updates", steps), 1e-9)
    share = np.diff(waited) / (_number(run, "sac.write_summary_per_step", 1000) / updates[1:])
    late = share[-max(MIN_RECORDS_IN_A_ROW, len(share) // 2) :]
    if len(late) >= MIN_RECORDS_IN_A_ROW and np.median(late) > MAX_WAITING_SHARE:
        words = f"it waits {100 * min(1.0, float(np.median(late))):.0f} % of the time"
        yield Finding(LEARNER_WAITS, words, int(steps[-len(late)]))


def _lost_episodes(run: RunCurves) -> Iterator[Finding]:
    steps, lost = run.series("episode/lost")
    if len(lost) and lost[-1] > 0:
        first = int(steps[np.argmax(lost > 0)])
        episodes = "1 episode was" if lost[-1] == 1 else f"{lost[-1]:,.0f} episodes were"
        yield Finding(LOST, f"{episodes} lost, the first before step {first:,}", first)


def _not_finite(run: RunCurves) -> Iterator[Finding]:
    broken = [(int(steps[bad[0]]), name) for name, (steps, x) in run.columns.items() if len(bad := _bad(x))]
    if broken:
        since = min(step for step, _ in broken)
        names = ", ".join(name for step, name in broken if step == since)
        yield Finding(NOT_A_NUMBER, f"NaN or infinity in {names} since step {since:,}", since)
    elif any(words in run.failure for words in DIVERGENCE_MESSAGES):
        yield Finding(NOT_A_NUMBER, f"the run ended with: {run.failure}", run.steps)


def _bad(values: np.ndarray) -> np.ndarray:
    """The indices of values that are not finite."""
    return np.flatnonzero(~np.isfinite(values))


def _at(run: RunCurves, name: str, steps: np.ndarray) -> np.ndarray:
    """A metric at these steps, linearly interpolated between its records; zero where it was not recorded."""
    own, values = run.series(name)
    return np.interp(steps, own, values) if len(own) else np.zeros(len(steps))


def _number(run: RunCurves, key: str, otherwise: float) -> float:
    """A number of the config, or `otherwise` where the key is absent or no number."""
    value = run.config.get(key)
    return float(value) if isinstance(value, int | float) else otherwise


CHECKS = (
    _alphas,
    _saturation,
    _q_above_returns,
    _entropy_outweighs,
    _updates_off_target,
    _learner_waits,
    _clipping,
    _lost_episodes,
    _not_finite,
)
