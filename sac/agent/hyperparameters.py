"""Numbers of the algorithm."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any

from sac.types import rows_after_burn_in


@dataclass(frozen=True)
class Hyperparameters:
    """Numbers of the algorithm. Each is the config key `sac.<name>`; conf/sac/default.yaml says what it means.

    There are no defaults here: those of the config are the only ones. A number that changes while the agent learns is a
    variable, see sac.agent.live_numbers.
    """

    gamma: float
    n_step: int
    sequence_length: int
    burn_in_step: int
    burn_in_gradient: bool
    v_lambda: float
    v_rho: float
    v_c: float
    use_n_step_is: bool
    trace: str
    ensemble_q_sample: int
    clip_epsilon: float
    clip_epsilon_policy: float
    tau: float
    policy_delay: int
    behavioral_cloning: float
    behavioral_cloning_updates: int | None
    update_target_per_step: int
    init_log_alpha: float
    use_auto_alpha: bool
    target_entropy_ratio: float
    target_entropy_ratio_end: float | None
    target_entropy_ratio_updates: int
    soft_target: bool | None
    learning_rate: float
    learning_rate_schedule: str
    learning_rate_end: float
    learning_rate_updates: int
    grad_clip_norm: float | None
    weight_decay: float
    jit: bool
    present_n_step: Any = None  # a variable with the steps of returns at present, at most n_step; None: n_step

    @classmethod
    def of(cls, section: Any) -> Hyperparameters:
        """The numbers of an object with attributes of these names, such as the section `sac` of a config."""
        return cls(**{field.name: getattr(section, field.name) for field in fields(cls) if field.default is MISSING})

    @property
    def entropy_in_target(self) -> tuple[bool, bool]:
        """Whether the targets of Q contain the entropy of the continuous and of the discrete actions."""
        return (True, False) if self.soft_target is None else (self.soft_target, self.soft_target)

    @property
    def steps(self) -> int:
        """T, the steps of a window counted from its first trained row."""
        return rows_after_burn_in(self.sequence_length, self.n_step)
