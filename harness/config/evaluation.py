"""What is measured, and how."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import unknown
from harness.strict import require

QUANTIZATIONS = ("int8", "int4", "w8a8", "smoothquant", "awq", "nf4")  # after training


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
    merged: bool  # the adapter merged into the base: measured again, and written beside it
    interpolation: list[float]  # shares of the tuned weights between base (0) and tuned model (1)
    quantization: list[str]  # schemes that the merged model is quantized with, each measured again
    update_analysis: bool  # what the update did to each weight: ranks, drift, intruder dimensions

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
        for scheme in self.quantization:
            if scheme not in QUANTIZATIONS:
                raise unknown("scheme in evaluation.quantization", scheme, QUANTIZATIONS)
        for share in self.interpolation:
            require(0 <= share <= 1, "evaluation.interpolation", share, "shares in [0, 1]")
        require(
            self.bootstrap_resamples >= 100,
            "evaluation.bootstrap_resamples",
            self.bootstrap_resamples,
            "at least 100",
        )
