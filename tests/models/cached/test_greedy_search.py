"""Answers whose rows leave the batch are those of transformers' own greedy search, row by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from running import adapted
from tiny import built

from harness.evaluation.decoding import RepetitionPenalty
from harness.models.cached.continuing import continued, without_wrapper
from harness.models.cached.greedy_search import can_remove_rows, greedy_search

NEW = 12


def prompts():
    """(6, 8) tokens and their mask: rows of 3 to 8 tokens, padded on the left."""
    ids = torch.from_numpy(np.random.default_rng(1).integers(3, 60, (6, 8)))
    mask = (torch.arange(8) >= torch.tensor([[0], [5], [2], [1], [4], [3]])).long()
    return ids * mask, mask


def asked(model, ids, mask, ends, **more):
    from transformers import GenerationConfig, LogitsProcessorList

    penalty = LogitsProcessorList([RepetitionPenalty(ids, mask, 1.3)])
    config = GenerationConfig(
        max_new_tokens=NEW, do_sample=False, eos_token_id=ends, pad_token_id=0
    )
    made = continued(model, ids, mask, generation_config=config, logits_processor=penalty, **more)
    return made[:, ids.shape[1] :]


def until_end(row, ends):
    place = next((n for n, token in enumerate(row) if token in ends), len(row) - 1)
    return row[: place + 1]


def compare(model):
    """The answers of each row alone by transformers, and how many rows each pass of ours had."""
    ids, mask = prompts()
    ends = sorted(set(asked(model, ids, mask, [1])[:3, 2:6].flatten().tolist()) - {0})
    sizes = []
    base = without_wrapper(model)
    handle = base.get_output_embeddings().register_forward_hook(
        lambda module, inputs, output: sizes.append(len(output))
    )
    ours = asked(model, ids, mask, ends, custom_generate=greedy_search).tolist()
    handle.remove()
    for row in range(len(ids)):
        real = mask[row].bool()
        alone = asked(model, ids[row : row + 1, real], mask[row : row + 1, real], ends)
        assert until_end(ours[row], ends) == until_end(alone[0].tolist(), ends)
        assert not any(ours[row][len(until_end(ours[row], ends)) :]), "padding behind the end"
    return sizes


@pytest.mark.parametrize("architecture", ["Llama", "OPT", "GPT-2", "DeepSeek-V2", "Qwen3-MoE"])
def test_answers_are_transformers_own_and_ended_rows_are_not_computed(architecture):
    model = built(architecture)
    assert can_remove_rows(model)
    sizes = compare(model)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 6 > sizes[-1]


@pytest.mark.parametrize("name", ["lora", "prompt_tuning", "p_tuning_v2"])
def test_adapted_models(lend, trial_config, name):
    with lend() as base:
        compare(adapted(base, trial_config(f"method={name}")).model.eval())


@pytest.mark.parametrize("architecture", ["Gemma 2", "Mamba", "BLOOM"])
def test_other_caches_are_left_to_transformers(architecture):
    assert not can_remove_rows(built(architecture))
