"""One trial: everything that can change its result, and nothing that cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.config.data import DataConfig
from harness.config.evaluation import EvaluationConfig
from harness.config.model import ModelConfig
from harness.config.training import TrainingConfig
from harness.strict import require


@dataclass(frozen=True)
class TrialConfig:
    """Everything that can change the result of one trial, and nothing that cannot."""

    model: ModelConfig
    data: DataConfig
    method: Mapping[str, Any]  # 'name' and the fields of that method's class
    training: TrainingConfig
    evaluation: EvaluationConfig
    stage: Literal["search", "confirm"]  # confirm opens the test split and runs the tasks
    seed: int

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**32, "seed", self.seed, "in [0, 2³²)")
