"""Logits only where they are needed are the same logits."""

from __future__ import annotations

import pytest
import torch
from running import adapted
from torch.utils._python_dispatch import TorchDispatchMode

from harness.data.tokens.batches import collate
from harness.models.logits import logits_at


class Blocking(TorchDispatchMode):
    """Names the operations that wait for a device: they read a number, or how many entries are true."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        name = function._schema.name
        indices = arguments[1] if name == "aten::index" else ()
        by_truth = any(each is not None and each.dtype == torch.bool for each in indices)
        if by_truth or name in ("aten::_local_scalar_dense", "aten::nonzero"):
            self.calls.append(name)
        return function(*arguments, **(named or {}))


def test_rows_are_those_of_the_whole_and_the_output_layer_saw_no_others(lend, encoded):
    batch = collate(encoded, [0, 5, 9], pad_id=0)
    with lend() as base:
        whole = base.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        seen = []
        head = base.model.get_output_embeddings()
        handle = head.register_forward_hook(lambda m, i, o: seen.append((i[0].shape, o.shape)))
        with Blocking() as blocking:
            some = logits_at(base.model, batch.input_ids, batch.attention_mask, batch.predict)
        handle.remove()
        assert not head._forward_pre_hooks  # taken out again
    n = int(batch.predict.sum())
    assert n == len(batch.targets) < batch.predict.numel()
    assert len(blocking.calls) <= 1  # transformers' search for packed texts
    assert [(tuple(i), tuple(o)) for i, o in seen] == [((n, 128), (n, 1024))]
    assert float((some - whole[batch.predict]).abs().max()) < 1e-5


def test_virtual_tokens_do_not_shift_the_places(lend, trial_config, encoded):
    """peft's logits are longer than the input: the last T are the input's."""
    config = trial_config("method=prompt_tuning", "method.num_virtual_tokens=7")
    batch = collate(encoded, [1, 2, 30], pad_id=0)
    with lend() as base, torch.no_grad():
        model = adapted(base, config).model.eval()
        whole = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        length = batch.input_ids.shape[1]
        assert whole.shape[1] == length + 7
        some = logits_at(model, batch.input_ids, batch.attention_mask, batch.predict)
    assert float((some - whole[:, -length:][batch.predict]).abs().max()) < 1e-5
    assert float((some - whole[:, :length][batch.predict]).abs().max()) > 0.1


def test_a_failure_inside_leaves_no_hook(lend, encoded):
    batch = collate(encoded, [0], pad_id=0)
    with lend() as base:
        with pytest.raises(IndexError):
            logits_at(base.model, batch.input_ids + 9999, batch.attention_mask, batch.predict)
        assert not base.model.get_output_embeddings()._forward_pre_hooks


@pytest.mark.parametrize("kind", ["gpt2", "gemma2", "gpt_neox", "qwen2"])
def test_other_architectures(kind):
    """Gemma 2 caps logits after the output layer, GPT-2 ties it, GPT-NeoX renames it."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    small = {
        "num_hidden_layers": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "vocab_size": 50,
        "pad_token_id": 0,
    }
    if kind in ("gemma2", "qwen2"):
        small |= {"num_key_value_heads": 2, "head_dim": 8}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **small)).eval()
    ids = torch.randint(1, 50, (2, 9))
    mask = torch.ones_like(ids)
    where = torch.rand(2, 9) < 0.5
    with torch.no_grad():
        whole = model(input_ids=ids, attention_mask=mask).logits
        some = logits_at(model, ids, mask, where)
    assert float((some - whole[where]).abs().max()) < 1e-5
