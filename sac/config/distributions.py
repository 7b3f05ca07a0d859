"""The grammar of `random_params`: what a key's value may be drawn from.

    random_params:
      sac.n_step:        {in: [1, 3, 5]}                    one of these
      sac.gamma:         {truncated: [0.9, 0.999]}          uniform between the two
      sac.learning_rate: {truncated: [1e-4, 1e-2], log: true}   ... of its logarithm
      sac.tau:           {std: 0.002}                       normal about the configured value
      replay.alpha:      {std: 0.2, truncated: [0, 1]}      ... within bounds: a truncated normal

Every distribution maps a quantile in (0, 1) to a value, which is all that a search or a population needs to draw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from sac.errors import UserError

FORM_KEYS = {"in", "truncated", "std", "log"}
# Quantiles below this probability, and above 1 minus it, are never drawn: samplers favour the ends of a range, and the
# ends of a normal distribution lie far from its mean.
TAIL_PROBABILITY = 0.001
QUANTILE_MARGIN = 1e-12  # keeps a quantile inside (0, 1), where the inverse of the normal distribution is finite
FORMS = "{in: [values]}, {truncated: [low, high]} (log: true for its logarithm), {std: number}, or std with truncated"


@dataclass(frozen=True)
class OneOf:
    """All values are equally likely."""

    values: tuple[Any, ...]

    def __repr__(self) -> str:
        """Studies store this text and compare it; in studies that began earlier this class is called Choice."""
        return f"Choice(values={self.values!r})"

    def at(self, quantile: float) -> Any:
        return self.values[min(int(quantile * len(self.values)), len(self.values) - 1)]


@dataclass(frozen=True)
class UniformRange:
    """Uniform in [low, high]; with `log` uniform in the logarithm, with `whole` over the whole numbers."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __repr__(self) -> str:
        """Studies store this text and compare it; in studies that began earlier this class is called Uniform."""
        return f"Uniform(low={self.low!r}, high={self.high!r}, log={self.log!r}, whole={self.whole!r})"

    def at(self, quantile: float) -> float | int:
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        if self.log:
            value = math.exp(math.log(low) + quantile * (math.log(high) - math.log(low)))
        else:
            value = low + quantile * (high - low)
        return int(min(max(round(value), self.low), self.high)) if self.whole else min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Normal:
    """Normal with this mean and standard deviation, truncated to [low, high]; with `whole` rounded."""

    mean: float
    std: float
    low: float = -math.inf
    high: float = math.inf
    whole: bool = False

    def at(self, quantile: float) -> float | int:
        normal = NormalDist(self.mean, self.std)
        below, above = normal.cdf(self.low), normal.cdf(self.high)
        inner = below + quantile * (above - below)
        value = normal.inv_cdf(min(max(inner, QUANTILE_MARGIN), 1 - QUANTILE_MARGIN))
        value = min(max(value, self.low), self.high)
        return round(value) if self.whole else value


Distribution = OneOf | UniformRange | Normal


def ends(distribution: Distribution) -> tuple[Any, ...]:
    """All choices, or the least and the greatest value that is drawn."""
    match distribution:
        case OneOf(values):
            return values
        case UniformRange(low, high):
            return low, high
        case _:
            return distribution.at(TAIL_PROBABILITY), distribution.at(1 - TAIL_PROBABILITY)


def keyed(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Key with dots -> form, from forms in nested sections: {sac: {tau: form}} -> {sac.tau: form}."""
    found: dict[str, Any] = {}
    for name, form in params.items():
        is_section = isinstance(form, Mapping) and form and all(isinstance(inner, Mapping) for inner in form.values())
        found |= keyed(form, f"{prefix}{name}.") if is_section else {f"{prefix}{name}": form}
    return found


def parse(name: str, form: Any, configured: Any, whole: bool = False) -> Distribution:
    """The distribution that `form` describes, for a key with the configured value `configured`; `whole` for an int key.

    Raises UserError for a form that is not in the grammar.
    """
    if not isinstance(form, Mapping) or not form or set(form) - FORM_KEYS:
        raise UserError(f"random_params.{name}={form}: allowed is {FORMS}")
    if "in" in form:
        return _choice(name, form)
    log = form.get("log", False)
    if not isinstance(log, bool) or (log and "std" in form):
        raise UserError(f"random_params.{name}={dict(form)}: log is true or false, and goes with truncated alone")
    low, high = _bounds(name, form, log)
    if "std" not in form:
        if whole and any(bound != int(bound) for bound in (low, high)):
            raise UserError(f"random_params.{name}={dict(form)}: {name} is a whole number, and so are its bounds")
        return UniformRange(low, high, log, whole)
    std = form["std"]
    if not _is_number(std) or not 0 < std < math.inf:
        raise UserError(f"random_params.{name}={dict(form)}: std is a number above 0")
    if not _is_number(configured):
        raise UserError(
            f"random_params.{name}={dict(form)}: std varies the configured value, but {name}={configured} is no number"
        )
    return Normal(float(configured), float(std), low, high, whole)


def _choice(name: str, form: Mapping[str, Any]) -> OneOf:
    values = form["in"]
    if not isinstance(values, Sequence) or isinstance(values, str) or not len(values) or len(form) > 1:
        raise UserError(f"random_params.{name}={dict(form)}: in is a list of values, and stands alone")
    return OneOf(tuple(values))


def _bounds(name: str, form: Mapping[str, Any], log: bool) -> tuple[float, float]:
    if "truncated" not in form:
        if "std" not in form:
            raise UserError(f"random_params.{name}={dict(form)}: allowed is {FORMS}")
        return -math.inf, math.inf
    bounds = form["truncated"]
    good = isinstance(bounds, Sequence) and len(bounds) == 2 and all(_is_number(b) and math.isfinite(b) for b in bounds)
    if not good or not bounds[0] < bounds[1] or (log and bounds[0] <= 0):
        above = " above 0" if log else ""
        raise UserError(f"random_params.{name}={dict(form)}: truncated is [low, high], two numbers{above}, low < high")
    return bounds[0], bounds[1]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
