"""Answers, generated in batches; how fast is measured on the way."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.data.batches import left_padded
from harness.data.encode import pad_id

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Generated:
    """One text a prompt, in the order of the prompts."""

    texts: list[str]
    tokens_per_second: float


@torch.no_grad()
def generate(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[np.ndarray],
    *,
    max_new_tokens: int,
    num_beams: int,
    batch_size: int,
    device: str,
) -> Generated:
    """Greedy or beam search; ends at the tokenizer's end, or where a new document would begin."""
    from transformers import GenerationConfig

    model.eval()
    ends = {tokenizer.eos_token_id, tokenizer.bos_token_id} - {None}
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        num_beams=num_beams,
        do_sample=False,
        eos_token_id=sorted(ends) or None,
        pad_token_id=pad_id(tokenizer),
        use_cache=True,
    )
    texts = [""] * len(prompts)
    n_tokens, began = 0, time.perf_counter()
    for chosen in _batches(prompts, batch_size, one_length=_has_virtual_tokens(model)):
        ids, mask = left_padded([prompts[i] for i in chosen], pad_id(tokenizer))
        output = model.generate(
            input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=config
        )
        for i, row in zip(chosen, output[:, ids.shape[1] :].tolist(), strict=True):
            kept = next((n for n, token in enumerate(row) if token in ends), len(row))
            n_tokens += min(len(row), kept + 1)
            texts[i] = tokenizer.decode(row[:kept], skip_special_tokens=True).strip()
    return Generated(texts, n_tokens / max(time.perf_counter() - began, 1e-9))


def _has_virtual_tokens(model: nn.Module) -> bool:
    """peft then puts them before the padding and drops position ids: padded prompts would stand
    further from them, and be answered otherwise, than the same prompts alone."""
    config = getattr(model, "active_peft_config", None)
    return config is not None and config.is_prompt_learning


def _batches(
    prompts: Sequence[np.ndarray], batch_size: int, one_length: bool
) -> Iterator[list[int]]:
    """Which prompts are answered together, the longest first; ``one_length``: without padding."""
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    runs = groupby(order, key=lambda i: len(prompts[i]) if one_length else 0)
    for _, run in runs:
        alike = list(run)
        for start in range(0, len(alike), batch_size):
            yield alike[start : start + batch_size]
