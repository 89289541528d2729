"""Logits in chunks are the same logits, losses and gradients, and never whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from running import adapted, fit
from torch import nn

from harness.data.tokens.batches import collate
from harness.data.tokens.encode import Encoded
from harness.evaluation.likelihood import sequence_nll
from harness.models import label_logits
from harness.models.label_logits import LabelLogits, body_of
from harness.models.logits import logits_at
from harness.models.logprobs import base_logprobs
from harness.models.scoring import planned_batches
from harness.training.allocation import AllocationMeter

SMALL = {
    "num_hidden_layers": 1,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "vocab_size": 50,
    "pad_token_id": 0,
}
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
KINDS = {
    "gpt2": {},
    "gpt_neox": {},
    "opt": {"word_embed_proj_dim": 16, "ffn_dim": 16},
    "bloom": {},
    "mamba": {"state_size": 4},
    "qwen2": GROUPED,
    "gemma2": GROUPED | {"final_logit_softcapping": 0.5},
    "cohere": GROUPED | {"logit_scale": 0.1},
    "granite": GROUPED | {"logits_scaling": 7.0},
}


def made(kind: str) -> nn.Module:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **SMALL | KINDS[kind])
    return AutoModelForCausalLM.from_config(config).eval()


def chunked(monkeypatch, rows: int) -> None:
    """Let chunks be of so many rows of the built-in model's vocabulary."""
    monkeypatch.setitem(label_logits.CHUNK_BYTES, "cpu", rows * 4 * 1024)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_of_every_kind_of_output(kind):
    """Tied or not, capped, scaled or divided: what a model does to its logits is its own code."""
    model = made(kind)
    body = body_of(model)
    assert body is not None
    ids = torch.randint(1, 50, (2, 9))
    where = torch.rand(2, 9) < 0.6
    n = int(where.sum())
    factors = torch.randn(n, 50)

    def run() -> torch.Tensor:
        return logits_at(model, ids, torch.ones_like(ids), where)

    (run() * factors).square().sum().backward()
    whole = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    labels, parts = LabelLogits(model, n, chunk_rows=4), []
    for rows, logits in labels.chunks(run):
        assert len(logits) <= 4
        parts.append(logits.detach())
        (logits * factors[rows]).square().sum().backward()
    labels.backward()
    assert float((torch.cat(parts) - run().detach()).abs().max()) < 1e-5
    for name, parameter in model.named_parameters():
        if whole[name] is None:
            assert parameter.grad is None, name
            continue
        scale = float(whole[name].abs().max())
        assert float((parameter.grad - whole[name]).abs().max()) <= 1e-4 * scale + 1e-7, name
    assert "forward" not in vars(body), "it computes again"
    assert not model.get_output_embeddings()._forward_pre_hooks


def test_a_model_that_does_something_else_is_read_whole():
    class Mixing(nn.Linear):
        """Looks at all rows together, as no output layer does."""

        def forward(self, input):
            return super().forward(input) + input.mean()

    model = made("qwen2")
    model.lm_head = Mixing(16, 50, bias=False)
    assert body_of(model) is None
    ids = torch.randint(1, 50, (1, 9))
    labels = LabelLogits(model, 9)
    seen = [
        (rows, len(logits))
        for rows, logits in labels.chunks(
            lambda: logits_at(model, ids, torch.ones_like(ids), torch.ones_like(ids).bool())
        )
    ]
    assert seen == [(slice(0, 9), 9)]


OVERRIDES = {
    "full": ["method=full"],
    "by sequence, smoothed": [
        "method=full",
        "training.loss_average=sequence",
        "training.label_smoothing=0.1",
    ],
    "held by KL": ["method=lora", "retention.kl_weight=0.5", "retention.kl_on=target"],
    "adalora's penalty": ["method=adalora"],
    "virtual tokens": ["method=prompt_tuning"],
    "masks": ["method=random_mask"],
    "accumulation in bf16": ["method=lora", "training.precision=bf16", "training.batch_size=4"],
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_training_is_the_same(lend_small, small_trial, encoded, tmp_path, monkeypatch, name):
    config = small_trial(*OVERRIDES[name], "training.warmup_steps=0")
    real, sizes = label_logits.LabelLogits.__init__, []

    def counting(self, *about, **named):
        real(self, *about, **named)
        sizes.append(len(self._rows))

    monkeypatch.setattr(label_logits.LabelLogits, "__init__", counting)
    losses = []
    for rows in (10**6, 13):
        chunked(monkeypatch, rows)
        sizes.clear()
        with lend_small() as base:
            done = fit(base, config, encoded, tmp_path / str(rows), 3)
        losses.append(done.losses)
        assert (max(sizes) > 2) == (rows == 13)
    half = config.training.precision == "bf16"
    assert losses[1] == pytest.approx(losses[0], rel=5e-3 if half else 2e-5)


@pytest.mark.parametrize("memory_gb", [1.0, 1e-9])
def test_scores_are_the_same(lend, trial_config, encoded, monkeypatch, memory_gb):
    found = []
    with lend() as base:
        for rows in (10**6, 7):
            chunked(monkeypatch, rows)
            known = base_logprobs(base.model, encoded, 16, "cpu", 8, memory_gb)
            nats = known.values if known.exact is None else known.exact[0]
            found.append([nats.numpy(), known.values.float().numpy()])
        tuned = adapted(base, trial_config("method=lora"), encoded).model
        with torch.no_grad():
            for name, parameter in tuned.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.05)
        for rows, values in zip((10**6, 7), found, strict=True):
            chunked(monkeypatch, rows)
            values += sequence_nll(tuned, encoded, 16, "cpu", known)
    steps = [values.pop(1) for values in found]
    assert np.abs(steps[0] - steps[1]).max() <= 1, "what is kept, rounded up or down"
    assert found[0][2].max() > 0.1
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)


def test_scoring_goes_on_in_halves_where_memory_runs_out(lend, encoded):
    with lend() as base:
        planned = len(planned_batches(base.model, encoded, 16)[0])
        fits = planned // 2 // 2
        known = base_logprobs(base.model, encoded, fits, "cpu", 8, 1.0)
        expected = sequence_nll(base.model, encoded, fits, "cpu", known)
        seen, room = [], fits * encoded.lengths.max()  # padded tokens

        def scarce(module, inputs, output):
            seen.append(inputs[0].shape[0])
            if inputs[0].numel() > room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

        handle = base.model.get_input_embeddings().register_forward_hook(scarce)
        try:
            again = base_logprobs(base.model, encoded, 16, "cpu", 8, 1.0)
            found = sequence_nll(base.model, encoded, 16, "cpu", known)
            assert seen[:3] == [planned, planned // 2, fits] and seen.count(planned) == 2
            with pytest.raises(torch.OutOfMemoryError):
                sequence_nll(base.model, encoded, 16, "cpu", torch_fails_at_all())
        finally:
            handle.remove()
    assert seen[-1] == 1, "one sequence does not fit: the error stays one"
    assert torch.equal(again.values, known.values)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def torch_fails_at_all():
    """A reference for which there is never memory."""

    class Scarce:
        def divergence_of(self, log_probs, start):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    return Scarce()


def test_scoring_and_training_stay_below_the_whole(monkeypatch):
    """Peak of tensors beyond the model, in units of all logits at once in float32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    vocabulary, n, length = 40_000, 2, 65
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    tokens = np.random.default_rng(0).integers(0, vocabulary, n * length).astype(np.int32)
    text = Encoded(
        tokens=tokens,
        offsets=np.arange(0, n * length + 1, length),
        first_label=np.ones(n, np.int32),
        example=np.arange(n, dtype=np.int32),
        label_bytes=np.full(n, length),
        counts={},
    )
    monkeypatch.setitem(label_logits.CHUNK_BYTES, "cpu", 2**21)
    known = base_logprobs(model, text, 2, "cpu", 256, 1e-4)
    unit = int(text.n_labels.sum()) * vocabulary * 4
    meter = AllocationMeter("cpu")
    sequence_nll(model, text, 2, "cpu", known)
    _, scoring = meter.lap()
    batch = collate(text, [0, 1], 0)
    model.model.requires_grad_(True)
    meter.lap()
    labels = LabelLogits(model, len(batch.targets))
    run = lambda: logits_at(model, batch.input_ids, batch.attention_mask, batch.predict)  # noqa: E731
    for rows, logits in labels.chunks(run):
        torch.nn.functional.cross_entropy(logits, batch.targets[rows]).backward()
    labels.backward()
    _, training = meter.lap()
    meter.close()
    assert scoring < 0.6 * unit and training < 0.6 * unit
