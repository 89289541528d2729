"""Our KL, in float32 and from what was kept of the base, against numpy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from running import fit

from harness.evaluation.likelihood import sequence_nll
from harness.evaluation.texts import prepare
from harness.models.logprobs import LogProbs, base_logprobs

K = 16


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def rows(model, encoded, i):
    """(T − 1, vocabulary) float64 log-probabilities of every token after the first."""
    ids = torch.from_numpy(encoded.sequence(i).astype(np.int64))[None]
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, :-1]
    return log_softmax(logits.double().numpy())


def kl(p, q):
    return float((np.exp(p) * (p - q)).sum())


def kl_of_top(p, q, k):
    """KL of the k + 1 outcomes: the base's k likeliest tokens, and any other."""
    top = np.argsort(-p, axis=-1)[:, :k]
    p, q = np.take_along_axis(p, top, -1), np.take_along_axis(q, top, -1)
    rest = [np.log1p(-np.exp(x).sum(axis=-1, keepdims=True)) for x in (p, q)]
    return kl(np.concatenate([p, rest[0]], -1), np.concatenate([q, rest[1]], -1))


@pytest.mark.parametrize("rate", ["1e-4", "1e-2"])  # hardly moved, and far away
def test_kl_is_that_of_float64(lend, trial_config, splits, encoded, tmp_path, rate):
    config = trial_config("method=lora", f"training.learning_rate={rate}", "training.batch_size=8")
    with lend() as base:
        about = (base.tokenizer, config.data, config.evaluation, "validation")
        general = prepare(splits, *about).general
        before = [rows(base.model, general, i) for i in range(len(general))]
        keep = {"top_k": K, "batch_size": 16, "device": "cpu"}
        whole = base_logprobs(base.model, general, memory_gb=1.0, **keep)
        cut = base_logprobs(base.model, general, memory_gb=1e-9, **keep)
        tuned = fit(base, config, encoded, tmp_path, steps=3).model
        ours = sequence_nll(tuned, general, 16, "cpu", whole)[1]
        bound = sequence_nll(tuned, general, 16, "cpu", cut)[1]
        after = [rows(tuned, general, i) for i in range(len(general))]
    exact = np.array([kl(p, q) for p, q in zip(before, after, strict=True)])
    exact_bound = np.array([kl_of_top(p, q, K) for p, q in zip(before, after, strict=True)])
    tokens = sum(map(len, before))
    assert exact.sum() / tokens > 1e-6
    assert ours.sum() == pytest.approx(exact.sum(), rel=1e-4)
    assert ours == pytest.approx(exact, rel=1e-3, abs=1e-4)
    assert bound == pytest.approx(exact_bound, rel=1e-3, abs=1e-4)
    assert (exact_bound <= exact).all() and exact_bound.sum() > 0


@pytest.mark.parametrize("sharpness", [3.0, 15.0, 40.0])
def test_a_model_does_not_differ_from_itself(sharpness):
    """At any sharpness: at 40 most of the probabilities are below those that are kept."""
    logits = sharpness * torch.randn(16, 3000, generator=torch.Generator().manual_seed(1))
    known = LogProbs.of(torch.log_softmax(logits, dim=-1))
    assert known.divergence(logits, 0).abs().max() == 0
