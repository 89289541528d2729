"""What can be configured, as frozen dataclasses: Hydra's composed tree becomes them once, strictly.

Defaults live in ``conf/`` alone, so every field here is required. Below this package nothing knows
Hydra: code takes these objects, or plain arguments. A method's own fields belong to its class
(``harness/methods``); ``TrialConfig.method`` is the plain mapping that class is built from.
"""

from harness.config.data import DataConfig
from harness.config.evaluation import EvaluationConfig
from harness.config.judge import JudgeConfig
from harness.config.launcher_clusters import RayConfig, SlurmConfig
from harness.config.model import ModelConfig
from harness.config.retention import RetentionConfig
from harness.config.sweep import (
    ConfirmConfig,
    LauncherConfig,
    LimitsConfig,
    SearchConfig,
    SweepConfig,
    TrackingConfig,
)
from harness.config.training import TrainingConfig
from harness.config.trial import TrialConfig

__all__ = [
    "ConfirmConfig",
    "DataConfig",
    "EvaluationConfig",
    "JudgeConfig",
    "LauncherConfig",
    "LimitsConfig",
    "ModelConfig",
    "RayConfig",
    "RetentionConfig",
    "SearchConfig",
    "SlurmConfig",
    "SweepConfig",
    "TrackingConfig",
    "TrainingConfig",
    "TrialConfig",
]
