"""Numbers of the algorithm."""

from __future__ import annotations

from dataclasses import dataclass

from sac.types import rows_after_burn_in


@dataclass(frozen=True)
class Hyperparameters:
    """Numbers of the algorithm; their meaning is that of the config keys of the same name."""

    gamma: float = 0.99
    n_step: int = 1
    sequence_length: int = 1
    burn_in_step: int = 0
    burn_in_gradient: bool = True
    v_lambda: float = 1.0
    v_rho: float = 1.0
    v_c: float = 1.0
    use_n_step_is: bool = True
    trace: str = "vtrace"
    ensemble_q_sample: int = 2
    clip_epsilon: float = -1.0
    clip_epsilon_policy: float = -1.0
    tau: float = 0.005
    update_target_per_step: int = 1
    init_log_alpha: float = -2.3
    use_auto_alpha: bool = True
    target_entropy_ratio: float = 0.5
    target_entropy_ratio_end: float | None = None
    target_entropy_ratio_updates: int = 1_000_000
    soft_target: bool | None = None
    learning_rate: float = 3e-4
    learning_rate_schedule: str = "constant"
    learning_rate_end: float = 0.0
    learning_rate_updates: int = 1_000_000
    grad_clip_norm: float | None = None
    weight_decay: float = 0.0
    jit: bool = True

    @property
    def entropy_in_target(self) -> tuple[bool, bool]:
        """Whether the targets of Q pay for the entropy of the continuous and of the discrete actions."""
        return (True, False) if self.soft_target is None else (self.soft_target, self.soft_target)

    @property
    def steps(self) -> int:
        """T, the steps of a window counted from its first trained row."""
        return rows_after_burn_in(self.sequence_length, self.n_step)
