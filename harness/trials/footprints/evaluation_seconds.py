"""Estimates of what a trial's evaluations take, from one batch of each kind."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from harness.data.tokens.encode import Encoded
from harness.evaluation.decoding import Decoding
from harness.evaluation.generation import generate
from harness.evaluation.likelihood import sequence_nll
from harness.evaluation.texts import Texts
from harness.models.logprobs import base_logprobs
from harness.trials.tuning import Tuning
from harness.trials.workbench import Inputs

NEW_TOKENS = 8  # tokens of answers, to measure their speed


@dataclass(frozen=True)
class Scoring:
    """Estimated cost of scoring: seconds of a run, and bytes of the base's log-probabilities."""

    seconds: float = 0.0
    reference_bytes: int = 0  # held by the process during the whole trial


def scoring(tuning: Tuning, inputs: Inputs, evaluations: int) -> Scoring:
    """Estimate the scoring of a run from one batch of its longest texts.

    ``evaluations``: their number on the way, beside the one at the end. Log-probabilities under the
    base are held meanwhile, as for KL.
    """
    config, device = tuning.job.config, tuning.bench.device
    evaluation = config.evaluation
    scored = _texts(inputs.final) + evaluations * _texts(inputs.watched)
    longest = next((part for part in reversed(scored) if part.classes is None), None)
    if longest is None:
        return Scoring()
    compared = [
        part
        for texts in (inputs.final, inputs.watched)
        for part in (texts.drift, texts.general)
        if part is not None
    ]
    order = np.argsort(-longest.lengths, kind="stable")
    batch = longest.take(order[: evaluation.batch_size].tolist())
    known = base_logprobs(
        tuning.model,
        batch,
        batch_size=evaluation.batch_size,
        device=device,
        top_k=evaluation.top_k_logprobs,
        memory_gb=evaluation.cache_gb,
        beside=max(compared, key=lambda part: part.n_labels.sum(), default=None),
    )
    began = time.perf_counter()
    sequence_nll(tuning.model, batch, evaluation.batch_size, device, reference=known)
    a_token = (time.perf_counter() - began) / batch.lengths.sum()
    labels = sum(part.n_labels.sum() for part in compared)
    return Scoring(
        seconds=float(a_token * sum(part.lengths.sum() for part in scored)),
        reference_bytes=int(known.nbytes * labels / batch.n_labels.sum()),
    )


def _texts(texts: Texts) -> list[Encoded]:
    return [part for part in (texts.sequences, texts.drift, texts.general) if part is not None]


def answering_seconds(tuning: Tuning, inputs: Inputs) -> float:
    """Estimate the seconds of all answers at the end of a run, each at the maximum length."""
    evaluation, texts = tuning.job.config.evaluation, inputs.final
    if not texts.prompts:
        return 0.0
    n = min(NEW_TOKENS, texts.answers.tokens)
    prompts = sorted(texts.prompts, key=len, reverse=True)[: evaluation.batch_size]
    began = time.perf_counter()
    generate(
        tuning.model,
        inputs.tokenizer,
        prompts,
        max_new_tokens=n,
        num_beams=evaluation.num_beams,
        batch_size=evaluation.batch_size,
        device=tuning.bench.device,
        decoding=Decoding(min_new_tokens=n),
        look=False,
    )
    a_token = (time.perf_counter() - began) / n  # of every answer of a batch
    batches = -(-len(texts.prompts) // evaluation.batch_size)
    return a_token * batches * texts.answers.tokens
