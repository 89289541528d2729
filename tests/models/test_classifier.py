"""A class head over a base, against the same thing computed by hand, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch
from running import adapted

from harness.data.rows.splits import read_splits
from harness.data.tokens.batches import Batch, collate
from harness.data.tokens.encode import encode
from harness.errors import InputError
from harness.models.classifier import (
    FrozenOutput,
    add_class_head,
    has_class_head,
    load_class_head,
    save_class_head,
    without_class_head,
)
from harness.models.logits import logits_at


@pytest.fixture(scope="module")
def topics(trial_config, tokenizer_builtin):
    data = trial_config("method=full", "data=builtin_topics").data
    return encode(read_splits(data).train, tokenizer_builtin, data, all_references=True)


@pytest.fixture
def batch(topics) -> Batch:
    return collate(topics, [0, 1, 2, 3, 4], pad_id=0)


def of(model, batch):
    return logits_at(model, batch.input_ids, batch.attention_mask, batch.predict)


@torch.no_grad()
def test_logits_are_those_of_the_formula(lend, batch):
    """[h_T, max H, mean H] → LayerNorm → linear → ReLU → LayerNorm → linear (§3.3)."""
    with lend() as base:
        torch.manual_seed(3)
        add_class_head(base.model, 8)
        head = base.model.class_head
        for p in head.parameters():
            p.normal_()
        found = of(base.model.eval(), batch)
        assert not base.model.get_output_embeddings()._forward_pre_hooks
        expected = []
        for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True):
            ids = ids[: int(mask.sum())][None]  # no padding: one text alone
            hidden = base.model.model(input_ids=ids, use_cache=False).last_hidden_state[0]
            pooled = torch.cat([hidden[-1], hidden.max(dim=0).values, hidden.mean(dim=0)])
            pooled = (pooled - pooled.mean()) / (pooled.var(unbiased=False) + 1e-5).sqrt()
            pooled = pooled * head.pooled_norm.weight + head.pooled_norm.bias
            inner = (head.hidden.weight @ pooled + head.hidden.bias).clamp(min=0)
            inner = (inner - inner.mean()) / (inner.var(unbiased=False) + 1e-5).sqrt()
            inner = inner * head.hidden_norm.weight + head.hidden_norm.bias
            expected.append(head.output.weight @ inner + head.output.bias)
        del base.model.class_head
    assert head.hidden.out_features == 50
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-3)


def test_how_a_batch_is_split_does_not_show(lend, topics):
    """Why the head has no batch normalization."""
    with lend() as base:
        add_class_head(base.model, 8)
        base.model.train()
        base.model.class_head.eval()  # dropout is drawn a batch
        whole = of(base.model, collate(topics, [0, 1, 2, 3], pad_id=0))
        parts = [of(base.model, collate(topics, [index], pad_id=0)) for index in range(4)]
        del base.model.class_head
    torch.testing.assert_close(whole, torch.cat(parts), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["lora", "prompt_tuning"])
def test_over_an_adapter_all_of_it_learns(lend, trial_config, batch, method):
    config = trial_config(f"method={method}")
    with lend() as base:
        done = adapted(base, config)
        before = {name for name, p in done.model.named_parameters() if p.requires_grad}
        add_class_head(done.model, 8)
        torch.nn.functional.cross_entropy(of(done.model, batch), batch.targets).backward()
        moved = {name for name, p in done.model.named_parameters() if p.grad is not None}
    assert moved - before == {name for name in moved if name.startswith("class_head.")}
    assert len(moved - before) == 8 and before <= moved


def test_it_goes_on_being_the_same_language_model(lend, encoded, batch):
    text = collate(encoded, [0, 5], pad_id=0)
    with lend() as base:
        before = of(base.model, text)
        base.model.set_output_embeddings(FrozenOutput(base.model))
        add_class_head(base.model, 8)
        assert torch.equal(of(base.model, text), before)
        # Tied embeddings are trained as input alone: the output layer stays what it was.
        base.model.requires_grad_(True)
        of(base.model, batch).sum().backward()
        with torch.no_grad():
            base.model.get_input_embeddings().weight.add_(1.0)
        hidden = base.model.model(input_ids=text.input_ids, attention_mask=text.attention_mask)
        own = base.model.get_output_embeddings().weight
        expected = hidden.last_hidden_state[text.predict] @ own.T
        assert not any("lm_head" in name for name, _ in base.model.named_parameters())
        torch.testing.assert_close(of(base.model, text), expected)
    with lend() as base:  # nothing of it is left
        assert not has_class_head(base.model)
        assert torch.equal(of(base.model, text), before)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_saved_and_loaded_again(lend, trial_config, batch, tmp_path, method):
    names = [f"class {i}" for i in range(8)]
    config = trial_config(f"method={method}")
    with lend() as base:
        if method == "full":
            base.model.set_output_embeddings(FrozenOutput(base.model))
        done = adapted(base, config)
        add_class_head(done.model, 8)
        with torch.no_grad():
            for parameter in done.model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.01 * torch.randn_like(parameter))
        expected = of(done.model.eval(), batch).detach()
        with without_class_head(done.model):
            done.method.save(done.model, tmp_path)
        save_class_head(done.model, tmp_path, names)
    with lend() as base:
        model = done.method.load(base.model, tmp_path)
        assert load_class_head(model, tmp_path) == names
        torch.testing.assert_close(of(model.eval(), batch), expected, rtol=1e-4, atol=1e-5)


def test_before_there_is_a_head_it_says_so(lend, batch):
    with lend() as base, pytest.raises(InputError, match=r"data\.label_column"):
        of(base.model, batch)
