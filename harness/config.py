"""What can be configured, as frozen dataclasses: Hydra's composed tree becomes them once, strictly.

Defaults live in ``conf/`` alone, so every field here is required. Below this module nothing knows
Hydra: code takes these objects, or plain arguments. A method's own fields belong to its class
(``harness/methods``); here ``TrialConfig.method`` is the plain mapping that class is built from.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from harness.errors import InputError, unknown
from harness.strict import require

Quantized = Literal["none", "nf4", "fp4", "int8"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Optimizer = Literal[
    "adamw",
    "adam",
    "sgd",
    "rmsprop",
    "adadelta",
    "adafactor",
    "adamw_8bit",
    "paged_adamw",
    "paged_adamw_8bit",
]
Schedule = Literal["constant", "linear", "cosine", "stlr"]
Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class ModelConfig:
    """Which base, at which precision. ``name``: 'builtin', a hub name or a local directory."""

    name: str
    revision: str | None
    dtype: Dtype
    quantization: Quantized
    double_quantization: bool
    attention: Literal["sdpa", "eager", "flash_attention_2"]


@dataclass(frozen=True)
class DataConfig:
    """Where examples come from and how a row becomes prompt and answers.

    ``train`` and its siblings are a file, a list of files, or for ``hub`` a split name.
    ``general`` maps a domain's name to text that is not trained on: forgetting is measured there.
    """

    source: Literal["builtin", "jsonl", "json", "csv", "parquet", "text", "hub"]
    name: str | None  # hub: data set name or local directory
    subset: str | None  # hub: configuration name
    train: str | list[str] | None
    validation: str | list[str] | None
    test: str | list[str] | None
    general: Mapping[str, str] | list[str] | str | None
    general_test: Mapping[str, str] | list[str] | str | None
    prompt_column: str | None
    answer_column: str | None
    text_column: str | None  # instead of prompt and answer: plain language modelling
    prompt_template: str  # '{column}' is replaced by the row's value
    loss_on: Literal["answer", "all"]
    max_length: int  # tokens, prompt and answer and end together
    too_long: Literal["truncate", "drop", "error"]
    validation_fraction: float  # drawn from train where no validation split is given
    test_fraction: float
    split_seed: int
    train_limit: int | None
    validation_limit: int | None
    test_limit: int | None
    general_limit: int | None  # documents a domain

    def __post_init__(self) -> None:
        require(self.max_length >= 8, "data.max_length", self.max_length, "at least 8 tokens")
        for name in ("validation_fraction", "test_fraction"):
            value = getattr(self, name)
            require(0 <= value < 1, f"data.{name}", value, "a share in [0, 1)")
        for name in ("train_limit", "validation_limit", "test_limit", "general_limit"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"data.{name}", value, "null or at least 1")
        if self.text_column is None and (self.prompt_column is None or self.answer_column is None):
            raise InputError(
                "data.prompt_column and data.answer_column must both name a column, "
                "or data.text_column one for plain language modelling."
            )


@dataclass(frozen=True)
class TrainingConfig:
    """The loop: how long, how fast, with what."""

    learning_rate: float
    batch_size: int  # examples an optimizer step sees on one device, before accumulation
    gradient_accumulation_steps: int
    max_steps: int | None  # optimizer steps; null: epochs decide
    epochs: float | None
    optimizer: Optimizer
    schedule: Schedule
    warmup_steps: int
    cut_fraction: float  # stlr: share of the steps in which the rate rises
    ratio: float  # stlr: how much smaller the lowest rate is than the highest
    weight_decay: float
    adam_beta1: float
    adam_beta2: float
    max_grad_norm: float | None
    precision: Literal["no", "bf16", "fp16"]
    gradient_checkpointing: bool
    label_smoothing: float
    eval_every: int | None  # optimizer steps; null: four times a run
    checkpoint_every: int | None  # optimizer steps; null: at evaluations, once a minute at most

    def __post_init__(self) -> None:
        at = "training."
        require(
            math.isfinite(self.learning_rate) and self.learning_rate > 0,
            at + "learning_rate",
            self.learning_rate,
            "a finite number above 0",
        )
        for name in ("batch_size", "gradient_accumulation_steps"):
            require(getattr(self, name) >= 1, at + name, getattr(self, name), "at least 1")
        for name in ("max_steps", "eval_every", "checkpoint_every"):
            value = getattr(self, name)
            require(value is None or value >= 1, at + name, value, "null or at least 1")
        if self.max_steps is None and self.epochs is None:
            raise InputError("One of training.max_steps and training.epochs must be set.")
        require(
            self.epochs is None or self.epochs > 0, at + "epochs", self.epochs, "null or above 0"
        )
        require(self.warmup_steps >= 0, at + "warmup_steps", self.warmup_steps, "0 or more")
        require(
            0 < self.cut_fraction < 1, at + "cut_fraction", self.cut_fraction, "a share in (0, 1)"
        )
        require(self.ratio >= 1, at + "ratio", self.ratio, "at least 1")
        require(self.weight_decay >= 0, at + "weight_decay", self.weight_decay, "0 or more")
        for name in ("adam_beta1", "adam_beta2"):
            require(0 <= getattr(self, name) < 1, at + name, getattr(self, name), "in [0, 1)")
        require(
            self.max_grad_norm is None or self.max_grad_norm > 0,
            at + "max_grad_norm",
            self.max_grad_norm,
            "null or above 0",
        )
        require(
            0 <= self.label_smoothing < 1,
            at + "label_smoothing",
            self.label_smoothing,
            "a share in [0, 1)",
        )


@dataclass(frozen=True)
class EvaluationConfig:
    """What is measured and how. ``tasks`` and ``task_folder`` are for finalists."""

    metrics: list[str]  # bleu, chrf: generated answers; perplexity is always measured
    tokenize: str  # sacrebleu's tokenizer for BLEU
    max_new_tokens: int
    num_beams: int
    batch_size: int
    watched_examples: int  # validation examples, and general documents, measured during training
    bootstrap_resamples: int
    tasks: list[str]  # lm-eval task names
    task_folder: str | None  # folder of lm-eval task YAMLs; 'builtin' for the built-in cloze set
    task_limit: int | None
    num_fewshot: int
    top_k_logprobs: int  # base log-probabilities kept where the full vocabulary does not fit
    cache_gb: float  # how much memory the base's log-probabilities may take

    def __post_init__(self) -> None:
        known = ("bleu", "chrf")
        for metric in self.metrics:
            if metric not in known:
                raise unknown("metric in evaluation.metrics", metric, known)
        for name in (
            "max_new_tokens",
            "num_beams",
            "batch_size",
            "watched_examples",
            "top_k_logprobs",
        ):
            value = getattr(self, name)
            require(value >= 1, f"evaluation.{name}", value, "at least 1")
        require(
            self.bootstrap_resamples >= 100,
            "evaluation.bootstrap_resamples",
            self.bootstrap_resamples,
            "at least 100",
        )


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


@dataclass(frozen=True)
class SearchConfig:
    """The first stage: how configurations are proposed. The budget is per method."""

    trials: int
    sampler: Literal["tpe", "random"]
    pruner: Literal["none", "asha"]
    reduction_factor: int  # asha: one in this many goes on at each rung
    grace_evaluations: int  # asha: no trial is stopped before this many evaluations
    storage: str | None  # an Optuna URL; null: one SQLite file in the sweep's folder

    def __post_init__(self) -> None:
        require(self.trials >= 1, "search.trials", self.trials, "at least 1")
        require(self.reduction_factor >= 2, "search.reduction_factor", self.reduction_factor, "≥ 2")
        require(
            self.grace_evaluations >= 1, "search.grace_evaluations", self.grace_evaluations, "≥ 1"
        )
        if self.storage is not None and re.search(r"://[^/@]*:[^/]*@", self.storage):
            raise InputError(
                "search.storage: a password must not enter the configuration, which is recorded. "
                "PostgreSQL takes it from PGPASSWORD or ~/.pgpass."
            )


@dataclass(frozen=True)
class ConfirmConfig:
    """The second stage: how many configurations a method are run again, with how many seeds."""

    finalists: int
    seeds: int

    def __post_init__(self) -> None:
        require(self.finalists >= 0, "confirm.finalists", self.finalists, "0 (no stage) or more")
        require(self.seeds >= 1, "confirm.seeds", self.seeds, "at least 1")


@dataclass(frozen=True)
class LimitsConfig:
    """What a configuration may cost at most; null: no limit."""

    peak_memory_gb: float | None
    forgetting: float | None  # of the objective that names forgetting, in its unit
    minutes: float | None  # of training
    trainable_parameters: int | None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            require(value is None or value > 0, f"limits.{field.name}", value, "null or above 0")


@dataclass(frozen=True)
class TrackingConfig:
    """Where records are mirrored to."""

    name: Literal["none", "wandb"]
    mode: Literal["offline", "online"]
    project: str
    entity: str | None


@dataclass(frozen=True)
class LauncherConfig:
    """Where jobs run; nothing here changes a result."""

    name: Literal["local"]
    workers: int | None  # null: one a device, one on a CPU
    devices: list[int] | None  # GPU indices; null: all visible ones
    threads: int | None  # CPU threads a worker; null: cores / workers
    isolate: bool  # a fresh process for every trial
    retries: int  # attempts that a trial is given after its worker died

    def __post_init__(self) -> None:
        for name in ("workers", "threads"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"launcher.{name}", value, "null or at least 1")
        require(self.retries >= 0, "launcher.retries", self.retries, "0 or more")


@dataclass(frozen=True)
class SweepConfig:
    """One sweep: the same base, data, evaluation and budget for each of several methods."""

    name: str
    seed: int
    plan: bool
    runs_dir: str
    reports_dir: str
    objectives: Mapping[str, Direction]  # measurement → direction; the first is 'quality'
    search: SearchConfig
    confirm: ConfirmConfig
    limits: LimitsConfig
    tracking: TrackingConfig
    launcher: LauncherConfig

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**31, "seed", self.seed, "in [0, 2³¹)")  # confirm adds to it
