"""Estimates of the seconds that a trial's evaluations take, from one batch of each kind."""

from __future__ import annotations

import time

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


def scoring_seconds(tuning: Tuning, inputs: Inputs, evaluations: int) -> float:
    """Estimate the seconds of all evaluations of a run from one batch of its longest texts.

    ``evaluations``: their number on the way, beside the one at the end. Log-probabilities under the
    base are held meanwhile, as for KL.
    """
    config, device = tuning.job.config, tuning.bench.device
    evaluation = config.evaluation
    scored = _texts(inputs.final) + evaluations * _texts(inputs.watched)
    longest = next((part for part in reversed(scored) if part.classes is None), None)
    if longest is None:
        return 0.0
    order = np.argsort(-longest.lengths, kind="stable")
    batch = longest.take(order[: evaluation.batch_size].tolist())
    known = base_logprobs(
        tuning.model,
        batch,
        batch_size=evaluation.batch_size,
        device=device,
        top_k=evaluation.top_k_logprobs,
        memory_gb=evaluation.cache_gb,
    )
    began = time.perf_counter()
    sequence_nll(tuning.model, batch, evaluation.batch_size, device, reference=known)
    a_token = (time.perf_counter() - began) / batch.lengths.sum()
    return float(a_token * sum(part.lengths.sum() for part in scored))


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
