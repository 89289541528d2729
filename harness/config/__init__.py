"""Configuration as frozen dataclasses, built and checked once from Hydra's composed tree.

Defaults live only in ``conf/``, so every field here is required. No code below this package knows
Hydra: it takes these objects or plain arguments. A method's own fields belong to its class
(``harness/methods``), which is built from the plain mapping ``TrialConfig.method``.
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
    ReportConfig,
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
    "ReportConfig",
    "RetentionConfig",
    "SearchConfig",
    "SlurmConfig",
    "SweepConfig",
    "TrackingConfig",
    "TrainingConfig",
    "TrialConfig",
]
