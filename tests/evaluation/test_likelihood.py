"""Likelihood and distance against transformers' own loss and values by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from running import adapted, fit, take

from harness.evaluation.likelihood import by_example, sequence_nll
from harness.models.logprobs import LogProbs, base_logprobs
from harness.statistics.scores import aggregate


def test_nll_is_transformers_own(lend, encoded):
    with lend() as base:
        nll, kl = sequence_nll(base.model, encoded, 8, "cpu")
        assert kl is None
        for i in (0, 11, len(encoded) - 1):
            ids = torch.from_numpy(encoded.sequence(i).astype(np.int64))[None]
            labels = ids.clone()
            labels[:, : encoded.first_label[i]] = -100
            with torch.no_grad():
                loss = base.model(input_ids=ids, labels=labels).loss
            assert nll[i] == pytest.approx(float(loss) * int((labels != -100).sum()), rel=1e-5)


@pytest.mark.parametrize("method", ["full", "prompt_tuning"])
def test_batch_size_and_padding_do_not_matter(lend, trial_config, encoded, method):
    with lend() as base:
        model = adapted(base, trial_config(f"method={method}")).model
        one, _ = sequence_nll(model, encoded, 1, "cpu")
        many, _ = sequence_nll(model, encoded, 32, "cpu")
    assert one == pytest.approx(many, rel=1e-5)
    counts = (encoded.lengths - encoded.first_label)[:, None]
    perplexities = [
        float(aggregate("validation.perplexity", np.hstack([nll[:, None], counts])))
        for nll in (one, many)
    ]
    assert perplexities[0] == pytest.approx(perplexities[1], abs=1e-4)


def test_prompt_tunings_nll_by_hand(lend, trial_config, encoded):
    """Virtual embeddings put before the input by hand; the last T logits are scored."""
    config = trial_config("method=prompt_tuning", "method.num_virtual_tokens=9")
    with lend() as base, torch.no_grad():
        model = adapted(base, config).model
        nll, _ = sequence_nll(model, take(encoded, [4]), 8, "cpu")
        ids = torch.from_numpy(encoded.sequence(4).astype(np.int64))[None]
        words = base.model.get_input_embeddings()(ids)
        prompt = model.prompt_encoder["default"].embedding.weight[None]
        embeds = torch.cat([prompt, words], dim=1)
        log_probs = base.model(inputs_embeds=embeds).logits[:, -ids.shape[1] :].log_softmax(-1)
        first = int(encoded.first_label[4])
        picked = log_probs[0, first - 1 : -1].gather(1, ids[0, first:, None])
    assert nll[0] == pytest.approx(-float(picked.sum()), rel=1e-5)


def test_perplexity_weighs_tokens():
    """Perplexity of 10 tokens at 1 nat and 90 at 3, by hand: weighted by tokens."""
    statistics = np.array([[10.0, 10.0], [270.0, 90.0]])
    assert float(aggregate("test.perplexity", statistics)) == pytest.approx(16.444647, rel=1e-7)
    n = 50257
    uniform = np.array([[7 * math.log(n), 7.0], [2 * math.log(n), 2.0]])
    assert float(aggregate("test.perplexity", uniform)) == pytest.approx(n, rel=1e-9)


P, Q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.3, 0.2])


def test_divergence_by_hand():
    """KL of (.7, .2, .1) and (.5, .3, .2), both ways round."""
    forward = LogProbs(P.log()[None], None).divergence(Q.log()[None], 0)
    backward = LogProbs(Q.log()[None], None).divergence(P.log()[None] + 5.0, 0)  # logits: any shift
    assert float(forward) == pytest.approx(0.085122826, rel=1e-5)
    assert float(backward) == pytest.approx(0.092032850, rel=1e-5)


def top(log_probs, k):
    found = log_probs.topk(k, dim=-1)
    return LogProbs(found.values, found.indices.int())


def test_top_k_and_tail_is_a_lower_bound_and_exact_at_the_end():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(50, 40, generator=generator)
    base = logits.log_softmax(-1)
    other = (3 * torch.randn(50, 40, generator=generator)).log_softmax(-1)
    full = LogProbs(base, None).divergence(other, 0)
    reference = torch.nn.functional.kl_div(other, base, log_target=True, reduction="none").sum(-1)
    assert full.tolist() == pytest.approx(reference.tolist(), rel=1e-4, abs=1e-6)
    previous = torch.zeros(50)
    for k in (1, 2, 5, 10, 20, 39):
        bound = top(base, k).divergence(other, 0)
        assert bool((bound <= full + 1e-4).all()), k
        assert bool((bound >= previous - 1e-4).all()), k  # more detail never says less
        previous = bound
    assert previous.tolist() == pytest.approx(full.tolist(), rel=1e-3, abs=1e-4)
    for k in (1, 5, 39):
        assert float(top(base, k).divergence(logits, 0).abs().max()) == 0.0


def test_top_two_by_hand():
    """The third outcome is the tail: the bound is the whole."""
    bound = top(P.log()[None], 2).divergence(Q.log()[None], 0)
    assert float(bound) == pytest.approx(0.085122826, rel=1e-5)
    head = 0.7 * math.log(0.7 / 0.5) + 0.3 * math.log(0.3 / 0.5)
    assert float(top(P.log()[None], 1).divergence(Q.log()[None], 0)) == pytest.approx(
        head, rel=1e-5
    )


@pytest.mark.parametrize("batch_size", [1, 7, 32])
def test_kl_of_each_sequence_is_its_own(lend, trial_config, encoded, tmp_path, batch_size):
    """The order of batches is sorted by length: rows must find their sequence again."""
    data = take(encoded, [3, 1, 14, 15, 40, 41, 8])
    config = trial_config("method=lora", "training.learning_rate=1e-2")
    with lend() as base:
        kept = base_logprobs(base.model, data, batch_size, "cpu", 8, 1.0)
        cut = base_logprobs(base.model, data, batch_size, "cpu", 8, 1e-9)
        assert kept.ids is None
        assert tuple(cut.values.shape) == (int((data.lengths - data.first_label).sum()), 8)
        alone = []
        plain = []
        for i in range(len(data)):
            ids = torch.from_numpy(data.sequence(i).astype(np.int64))[None]
            with torch.no_grad():
                plain.append(base.model(input_ids=ids).logits[0].log_softmax(-1))
        tuned = fit(base, config, encoded, tmp_path, steps=3).model
        _, kl = sequence_nll(tuned, data, batch_size, "cpu", kept)
        _, bound = sequence_nll(tuned, data, batch_size, "cpu", cut)
        for i in range(len(data)):
            ids = torch.from_numpy(data.sequence(i).astype(np.int64))[None]
            with torch.no_grad():
                log_probs = tuned(input_ids=ids).logits[0].log_softmax(-1)
            rows = slice(int(data.first_label[i]) - 1, len(data.sequence(i)) - 1)
            terms = plain[i][rows].exp() * (plain[i][rows] - log_probs[rows])
            alone.append(float(terms.sum()))
    assert min(alone) > 0.001
    assert kl == pytest.approx(alone, rel=1e-3)
    assert (bound <= kl * (1 + 1e-4)).all()
    assert (bound > 0).all()


def test_sums_by_example(encoded):
    """Several sequences of one example become one row."""
    ones = np.ones(len(encoded))
    sums = by_example(encoded, ones, encoded.lengths)
    assert sums[:, 0].sum() == len(encoded)
    assert sums[:, 1].sum() == encoded.lengths.sum()
    assert len(sums) == len(set(encoded.example.tolist())) == 12
