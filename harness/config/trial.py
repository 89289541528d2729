"""Trial configuration: the settings that can change its result, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.config.data import DataConfig
from harness.config.evaluation import EvaluationConfig
from harness.config.model import ModelConfig
from harness.config.retention import RetentionConfig
from harness.config.strict import require
from harness.config.training import TrainingConfig
from harness.errors import InputError


@dataclass(frozen=True)
class TrialConfig:
    """Everything that can change the result of one trial, and nothing that cannot."""

    model: ModelConfig
    data: DataConfig
    method: Mapping[str, Any]  # 'name' and the fields of that method's class
    training: TrainingConfig
    retention: RetentionConfig
    evaluation: EvaluationConfig
    stage: Literal["search", "confirm"]  # confirm opens the test split and runs the tasks
    seed: int

    def __post_init__(self) -> None:
        after = self.evaluation
        if self.data.is_classification and (
            after.merged or after.interpolation or after.quantization or after.update_analysis
        ):
            raise InputError(
                "evaluation.merged, interpolation, quantization and update_analysis cannot be used "
                "with data.label_column: they are about the language model, without the classes' head."
            )
        require(0 <= self.seed < 2**32, "seed", self.seed, "in [0, 2³²)")
        limit = self.training.select_forgetting_limit
        if limit is not None and not self.data.general:
            raise InputError(
                f"training.select_forgetting_limit={limit:g} needs data.general: without general text "
                "no forgetting is measured."
            )
        self._check_retention()

    def _check_retention(self) -> None:
        retention, training = self.retention, self.training
        needy = retention.looks_back
        if needy is not None and not self.data.replay:
            raise InputError(
                f"{needy} needs data.replay: a file or folder of general text to look back at, such "
                "as the model was pretrained on, and none of the text in data.general; or the same "
                "value as data.general, whose documents are then dealt out."
            )
        share = retention.replay_share
        if share and training.batch_size * training.gradient_accumulation_steps < 2:
            raise InputError(
                f"retention.replay_share={share:g} needs two sequences a step or more: raise "
                "training.batch_size or training.gradient_accumulation_steps."
            )
        if retention.kl_weight and retention.kl_on == "target" and self.data.padding_quantile < 1:
            raise InputError(
                "retention.kl_on='target' cannot be used with data.padding_quantile below 1: the base "
                "is asked once, about whole sequences. Use replay."
            )
        if retention.kl_weight and retention.kl_on == "target" and self.data.is_classification:
            raise InputError(
                "retention.kl_on='target' cannot be used with data.label_column: the base has no "
                "classes to keep to. Use replay."
            )
