"""NEFTune and token masking: what they do to inputs, and what they leave as it is."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from running import adapted, fit, logits_of, tensors

from harness.data.tokens.batches import collate
from harness.errors import InputError
from harness.training.augmentation import Augmentation, mask_token, special_ids
from harness.training.loop import Interrupted

ROWS = [3, 11, 20]


@pytest.fixture
def augmentation(trial_config, tokenizer_builtin):
    def made(seed=0, **changes):
        training = replace(trial_config("method=full").training, **changes)
        return Augmentation(training, seed, tokenizer_builtin)

    return made


def embedded(model, batch):
    """Return the inputs of the first block."""
    seen = []
    handle = model.get_input_embeddings().register_forward_hook(lambda m, i, o: seen.append(o))
    model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    handle.remove()
    return seen[0].detach()


def test_noise_is_uniform_with_the_papers_variance(lend, encoded, augmentation):
    batch, noisy = collate(encoded, ROWS, pad_id=0), augmentation(neftune_alpha=5.0)
    lengths = batch.attention_mask.sum(1).tolist()
    assert max(lengths) > 1.1 * min(lengths)  # else this would not show which length counts
    with lend() as base:
        plain = embedded(base.model, batch)
        deltas = []
        for step in range(20):
            seen = []
            with noisy.noise(base.model, batch, ROWS, step):  # its hook is there first
                handle = base.model.get_input_embeddings().register_forward_hook(
                    lambda m, i, o, seen=seen: seen.append(o.detach())
                )
                base.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
                handle.remove()
            deltas.append(seen[0] - plain)
        assert not base.model.get_input_embeddings()._forward_hooks
    d = plain.shape[-1]
    for row, n in enumerate(lengths):
        bound = 5.0 / math.sqrt(n * d)
        values = torch.stack([delta[row, :n] for delta in deltas])
        assert float(values.abs().max()) <= bound * (1 + 1e-3)  # x + ε − x is rounded
        assert float(values.var()) == pytest.approx(bound**2 / 3, rel=0.03)
        assert abs(float(values.mean())) < bound / 50
        assert all(not delta[row, n:].any() for delta in deltas)  # padding


def test_noise_is_transformers_own_where_nothing_is_padded(lend, encoded, augmentation):
    """The same distribution as ``neftune_post_forward_hook``: scale, and by a KS test its shape."""
    from scipy.stats import ks_2samp
    from transformers.integrations.neftune import activate_neftune, deactivate_neftune

    batch, row = collate(encoded, [3], pad_id=0), [3]
    with lend() as base:
        model = base.model.train()
        plain = embedded(model, batch)
        ours = augmentation(neftune_alpha=10.0)._noise(plain, [plain.shape[1]], row, 0)
        handle = activate_neftune(model, 10.0)
        torch.manual_seed(0)
        theirs = embedded(model, batch) - plain
        deactivate_neftune(model, handle)
        model.eval()
    assert float(ours.abs().max()) == pytest.approx(float(theirs.abs().max()), rel=0.01)
    assert ks_2samp(ours.flatten().numpy(), theirs.flatten().numpy()).pvalue > 0.01


def test_what_is_drawn_depends_on_seed_step_and_sequence_alone(lend, encoded, augmentation):
    like = torch.zeros(3, 30, 8)
    lengths = [30, 20, 10]
    one = augmentation(neftune_alpha=5.0)._noise(like, lengths, [7, 8, 9], 4)
    torch.manual_seed(99)
    again = augmentation(neftune_alpha=5.0)._noise(like[:1], [20], [8], 4)
    assert torch.equal(one[1, :20], again[0, :20])  # alone in its micro-batch
    row = augmentation(neftune_alpha=5.0)._noise(like.view(1, 90, 8)[:, :60], lengths, [7, 8, 9], 4)
    assert torch.equal(row[0, 30:50], again[0, :20])  # texts end to end
    for seed, step, index in ((1, 4, 8), (0, 5, 8), (0, 4, 7)):
        other = augmentation(seed, neftune_alpha=5.0)._noise(like[:1], [20], [index], step)
        assert not torch.equal(other, again)
    state = torch.get_rng_state()
    augmentation(neftune_alpha=5.0)._noise(like, lengths, [7, 8, 9], 4)
    assert torch.equal(torch.get_rng_state(), state)  # dropout's numbers are not moved


def test_virtual_tokens_get_no_noise(lend, trial_config, encoded, augmentation):
    """A perturbed token shows from its place on; what prompt tuning puts before it does not move."""
    batch = collate(encoded, ROWS, pad_id=0)
    config = trial_config("method=prompt_tuning", "method.num_virtual_tokens=5")
    with lend() as base:
        model, seen = adapted(base, config).model, []
        first = next(m for n, m in model.named_modules() if n.endswith("layers.0"))
        handle = first.register_forward_pre_hook(lambda m, i: seen.append(i[0].detach()))
        about = dict(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
        model(**about)
        with augmentation(neftune_alpha=5.0).noise(model, batch, ROWS, 0):
            model(**about)
        handle.remove()
    delta = seen[1] - seen[0]
    assert delta.shape[1] == batch.input_ids.shape[1] + 5
    assert not delta[:, :5].any()
    assert delta[:, 5:][batch.attention_mask.bool()].all(-1).float().mean() > 0.99


def test_tokens_are_replaced_at_that_rate_and_special_ones_never(
    encoded, augmentation, tokenizer_builtin
):
    masking = augmentation(token_mask_probability=0.3)
    _text, number = mask_token(tokenizer_builtin)
    spared = special_ids(tokenizer_builtin)
    assert {tokenizer_builtin.bos_token_id, tokenizer_builtin.eos_token_id} <= spared
    batch = collate(encoded, ROWS, pad_id=0)
    changed = candidates = 0
    for step in range(200):
        masked = masking.masked(batch, ROWS, step)
        assert torch.equal(masked.targets, batch.targets)
        assert torch.equal(masked.attention_mask, batch.attention_mask)
        different = masked.input_ids != batch.input_ids
        assert (masked.input_ids[different] == number).all()
        special = torch.isin(batch.input_ids, torch.tensor(sorted(spared)))
        real = batch.attention_mask.bool() & ~special & (batch.input_ids != number)
        assert not (different & ~real).any()
        changed, candidates = changed + int(different.sum()), candidates + int(real.sum())
    assert changed / candidates == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / candidates))
    again = augmentation(token_mask_probability=0.3).masked(collate(encoded, [11], 0), [11], 5)
    n = int(encoded.lengths[11])
    assert torch.equal(again.input_ids[0], masking.masked(batch, ROWS, 5).input_ids[1, :n])


def test_the_token_that_replaces_is_mask_else_unk_else_eos():
    def tokenizer(**ids):
        none = dict.fromkeys(("mask_token_id", "unk_token_id", "eos_token_id"))
        names = {name.removesuffix("_id"): f"<{i}>" for name, i in ids.items()}
        return SimpleNamespace(**none | ids, **names)

    assert mask_token(tokenizer(mask_token_id=4, unk_token_id=0, eos_token_id=2)) == ("<4>", 4)
    assert mask_token(tokenizer(unk_token_id=0, eos_token_id=2)) == ("<0>", 0)
    assert mask_token(tokenizer(eos_token_id=2)) == ("<2>", 2)
    with pytest.raises(InputError, match=r"token_mask_probability .* no mask, unk or eos"):
        mask_token(tokenizer())


BOTH = {"neftune_alpha": 10.0, "token_mask_probability": 0.2}


@pytest.mark.parametrize("name", ["full", "lora", "prompt_tuning", "prefix_tuning", "p_tuning"])
def test_however_a_step_is_split_and_activations_are_kept(
    lend, trial_config, encoded, tmp_path, name
):
    """Micro-batches, and recomputing activations, change no loss."""
    config = trial_config(
        f"method={name}", "training.learning_rate=5e-3", "training.warmup_steps=0"
    )
    splits = [(8, 1, False), (2, 4, False)]
    splits += [] if name == "prefix_tuning" else [(8, 1, True)]
    losses = []
    for at, (size, parts, checkpointing) in enumerate(splits):
        how = {"batch_size": size, "gradient_accumulation_steps": parts}
        how["gradient_checkpointing"] = checkpointing
        with lend() as base:
            done = fit(base, config, encoded, tmp_path / str(at), steps=2, **how, **BOTH)
            losses.append(done.losses)
    with lend() as base:
        plain = fit(base, config, encoded, tmp_path / "plain", steps=2)
    for other in losses[1:]:
        assert other == pytest.approx(losses[0], rel=1e-5)
    assert abs(plain.losses[0] - losses[0][0]) > 1e-3  # something was done to the inputs


def test_evaluation_and_what_comes_after_are_untouched(lend, trial_config, encoded, tmp_path):
    config = trial_config("method=lora")
    ids = collate(encoded, [3], pad_id=0).input_ids
    with lend() as base:
        before = logits_of(base.model, ids)
        done = fit(base, config, encoded, tmp_path, steps=2, learning_rate=1e-30, **BOTH)
        assert torch.allclose(logits_of(done.model, ids), before, atol=1e-6)
        assert not done.model.get_input_embeddings()._forward_hooks


def test_resumed_bit_for_bit(lend, trial_config, encoded, tmp_path):
    """With dropout on top, whose generator is another."""
    config = trial_config("method=lora", "method.lora_dropout=0.1", "training.warmup_steps=0")
    with lend() as base:
        whole = fit(base, config, encoded, tmp_path / "whole", steps=5, **BOTH)
        expected = {n: t for n, t in tensors(whole.model).items() if "lora" in n}
    with pytest.raises(Interrupted), lend() as base:
        fit(base, config, encoded, tmp_path / "cut", steps=5, stop_before=3, **BOTH)
    torch.manual_seed(1234)
    with lend() as base:
        done = fit(base, config, encoded, tmp_path / "cut", steps=5, **BOTH)
        found = {n: t for n, t in tensors(done.model).items() if "lora" in n}
    assert done.losses == whole.losses[3:]
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_replay_text_is_read_as_it_is(lend, trial_config, encoded, tmp_path):
    """Its loss in the first step is that without augmentation; the task's is not."""
    config = trial_config("method=full", "retention.replay_share=0.5", "data.replay=builtin")
    rows = []
    for name, how in (("plain", {}), ("both", BOTH)):
        with lend() as base:
            done = fit(base, config, encoded, tmp_path / name, steps=1, replay=encoded, **how)
        rows.append(done.rows[0])
    assert rows[0]["replay_loss"] == rows[1]["replay_loss"]
    assert rows[0]["loss"] != rows[1]["loss"]


def test_off_is_off(encoded, augmentation):
    batch = collate(encoded, ROWS, pad_id=0)
    off = augmentation()
    assert off.masked(batch, ROWS, 0) is batch
    assert np.array_equal(batch.input_ids.numpy(), collate(encoded, ROWS, 0).input_ids.numpy())
