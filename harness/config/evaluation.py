"""Evaluation settings: measurements and their parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.config.judge import JudgeConfig
from harness.config.metrics import JUDGE, TOKENIZERS, check_metrics
from harness.config.strict import require
from harness.config.tasks import check_task_settings
from harness.errors import InputError, unknown

QUANTIZATIONS = ("int8", "int4", "w8a8", "smoothquant", "awq", "nf4")  # after training
QUANTIZATIONS += ("inc_rtn", "inc_gptq")  # by Intel Neural Compressor
# Known names that cannot run here, with the reason.
NOT_RUN = {
    "inc_smoothquant": (
        "Intel Neural Compressor's SmoothQuant needs intel_extension_for_pytorch, which has no release "
        "for the versions of torch that this project needs. smoothquant is the same scheme by torchao"
    ),
    "inc_awq": (
        "Intel Neural Compressor's AWQ traces the model to find where scales can be merged, and cannot "
        "trace those of today's transformers. Without that it was not reliably better than "
        "rounding. awq is the same scheme by torchao"
    ),
}


@dataclass(frozen=True)
class EvaluationConfig:
    """Measurements and their parameters. ``tasks`` and ``task_folder`` apply to finalists."""

    metrics: list[str]  # of generated answers; perplexity is always measured
    tokenize: str  # sacrebleu's tokenizer for BLEU
    judge: JudgeConfig  # for the metric 'judge'
    max_new_tokens: int | None  # of an answer; null: 25 % more than the longest reference
    min_new_tokens: int
    num_beams: int
    do_sample: bool  # false: the most likely token, or beam search
    temperature: float  # this and the next two: of sampling
    top_p: float  # the most likely tokens that have this share of the probability together
    top_k: int  # the most likely tokens; 0: all
    repetition_penalty: float
    stop: list[str]  # an answer ends before the first of these texts
    batch_size: int
    watched_examples: int  # validation examples, and general documents, measured during training
    bootstrap_resamples: int
    tasks: list[str]  # lm-eval task names
    task_folder: str | None  # folder of lm-eval task YAMLs; 'builtin' for the built-in cloze set
    task_limit: int | None
    num_fewshot: int | None  # null: the setting of each task
    per_task: Mapping[str, Mapping[str, Any]]  # task → num_fewshot, limit, cluster
    task_batch_size: int | Literal["auto"] | None  # null: batch_size
    multiple_choice: list[str]  # likelihood, generation: how such tasks are scored
    apply_chat_template: bool | str  # True: tasks are user messages; or the name of a template
    fewshot_as_multiturn: bool  # few-shot examples as turns of the conversation
    system_instruction: str | None  # text before the tasks' own descriptions
    unsafe_tasks: bool  # whether lm-eval may run tasks that execute what the model writes
    # prompts with forms that a program verifies: english, builtin or a JSONL
    instructions: str | None
    instruction_tokens: int  # generated for each of them
    # general documents whose beginnings the tuned model and the base continue
    agreement_prompts: int
    probes: str | None  # questions about facts, for finalists: builtin or a JSONL
    probe_tokens: int  # generated for each of them
    probe_temperature: float  # 0: the most likely token
    probe_top_p: float
    top_k_logprobs: int  # base log-probabilities kept where the full vocabulary does not fit
    cache_gb: float  # memory for the log-probabilities of the base
    merged: bool  # the adapter merged into the base: measured again, and written beside it
    interpolation: list[float]  # shares of the tuned weights between base (0) and tuned model (1)
    quantization: list[str]  # schemes that the merged model is quantized with, each measured again
    update_analysis: (
        bool  # analysis of the update of each weight: ranks, drift, intruder dimensions
    )

    def __post_init__(self) -> None:
        check_task_settings(self)
        check_metrics(self.metrics)
        if self.tokenize not in TOKENIZERS:
            raise unknown("tokenizer in evaluation.tokenize", self.tokenize, TOKENIZERS)
        if JUDGE in self.metrics and (self.judge.endpoint is None or self.judge.model is None):
            raise InputError(
                "evaluation.metrics has judge: set evaluation.judge.endpoint and "
                "evaluation.judge.model."
            )
        self._check_generation()
        for name in (
            "num_beams",
            "batch_size",
            "watched_examples",
            "top_k_logprobs",
            "instruction_tokens",
            "probe_tokens",
        ):
            value = getattr(self, name)
            require(value >= 1, f"evaluation.{name}", value, "at least 1")
        heat, share = self.probe_temperature, self.probe_top_p
        require(heat >= 0, "evaluation.probe_temperature", heat, "0 (the likeliest token) or above")
        require(0 < share <= 1, "evaluation.probe_top_p", share, "a share in (0, 1]")
        require(self.cache_gb >= 0, "evaluation.cache_gb", self.cache_gb, "0 or more")
        n = self.agreement_prompts
        require(n >= 0, "evaluation.agreement_prompts", n, "0 or more")
        for scheme in self.quantization:
            if scheme in NOT_RUN:
                at = f"evaluation.quantization={scheme}"
                raise InputError(f"{at} cannot be used: {NOT_RUN[scheme]}.")
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

    def _check_generation(self) -> None:
        at = "evaluation."
        least = self.min_new_tokens
        most = self.max_new_tokens
        wanted = "at least 1, or null (as long as references are)"
        require(most is None or most >= 1, at + "max_new_tokens", most, wanted)
        accepted = "at least 0 and at most evaluation.max_new_tokens"
        require(0 <= least <= (most or least), at + "min_new_tokens", least, accepted)
        require(self.temperature > 0, at + "temperature", self.temperature, "above 0")
        require(0 < self.top_p <= 1, at + "top_p", self.top_p, "a share in (0, 1]")
        require(self.top_k >= 0, at + "top_k", self.top_k, "0 (all tokens) or more")
        penalty = self.repetition_penalty
        require(penalty > 0, at + "repetition_penalty", penalty, "above 0 (1: none)")
        for text in self.stop:
            require(text != "", at + "stop", text, "texts that are not empty")
        for name, idle in (("temperature", 1.0), ("top_p", 1.0), ("top_k", 0)):
            value = getattr(self, name)
            if not self.do_sample and value != idle:
                raise InputError(
                    f"evaluation.{name}={value:g} does nothing without evaluation.do_sample=true: "
                    "set that too, or leave it out."
                )
