"""Answers, generated in batches; how fast is measured on the way."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.config import EvaluationConfig
from harness.data.batches import left_padded
from harness.data.encode import pad_id
from harness.data.specials import ends_of
from harness.models.continuing import continued, counts_padding

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Generated:
    """One text a prompt, in the order of the prompts."""

    texts: list[str]
    tokens_per_second: float
    tokens: list[list[int]] = field(default_factory=list)  # the one that ends an answer with them


@dataclass(frozen=True)
class Decoding:
    """How the next token is chosen from the model's distribution, and where an answer ends."""

    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: all tokens
    repetition_penalty: float = 1.0
    min_new_tokens: int = 0
    stop: tuple[str, ...] = ()  # an answer ends before the first of these

    @classmethod
    def of(cls, config: EvaluationConfig) -> Decoding:
        values = {one.name: getattr(config, one.name) for one in fields(cls)}
        return cls(**{**values, "stop": tuple(config.stop)})


def how_generated(split: str, config: EvaluationConfig) -> str:
    """The part of a signature that says where answers come from; defaults go without saying.

    Which tokens are drawn depends on the prompts that are answered together, so on the batch size.
    """
    about = f"|split:{split}|beams:{config.num_beams}|max_new_tokens:{config.max_new_tokens}"
    decoding = Decoding.of(config)
    for one in fields(decoding):
        value = getattr(decoding, one.name)
        if value != one.default:
            about += f"|{one.name}:{json.dumps(value) if one.name == 'stop' else value}"
    return about + (f"|batch:{config.batch_size}" if decoding.do_sample else "")


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
    decoding: Decoding = Decoding(),
    ends: Sequence[int] = (),
) -> Generated:
    """Answers end at the tokenizer's end, where a new document would begin, at one of ``ends``, or
    at a stop text.

    Sampled tokens are drawn from a generator that is seeded by the prompts of each batch: the same
    prompts, batch size and model give the same answers, and nothing else's random state is touched.
    """
    from transformers import GenerationConfig

    model.eval()
    last = {*ends_of(tokenizer), *ends}
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        min_new_tokens=decoding.min_new_tokens or None,
        num_beams=num_beams,
        # All of these are said: what is left out would come from the model's own generation_config.
        do_sample=decoding.do_sample,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        top_k=decoding.top_k if decoding.do_sample else 50,  # the library's own: nothing is drawn
        repetition_penalty=decoding.repetition_penalty,
        no_repeat_ngram_size=0,
        length_penalty=1.0,
        stop_strings=list(decoding.stop) or None,
        eos_token_id=sorted(last) or None,
        pad_token_id=pad_id(tokenizer),
        use_cache=True,
    )
    texts, tokens = [""] * len(prompts), [list[int]()] * len(prompts)
    n_tokens, began = 0, time.perf_counter()
    more = {"tokenizer": tokenizer} if decoding.stop else {}
    longest = max(map(len, prompts), default=0) + max_new_tokens
    for chosen in _batches(prompts, batch_size, one_length=counts_padding(model, longest)):
        ids, mask = left_padded([prompts[i] for i in chosen], pad_id(tokenizer))
        ids, mask = ids.to(device), mask.to(device)
        with _drawing(ids, device) if decoding.do_sample else nullcontext():
            output = continued(model, ids, mask, generation_config=config, **more)
        for i, row in zip(chosen, output[:, ids.shape[1] :].tolist(), strict=True):
            kept = next((n for n, token in enumerate(row) if token in last), len(row))
            n_tokens += min(len(row), kept + 1)
            tokens[i] = row[: kept + 1]
            texts[i] = _before(
                tokenizer.decode(row[:kept], skip_special_tokens=True), decoding.stop
            )
    return Generated(texts, n_tokens / max(time.perf_counter() - began, 1e-9), tokens)


def _before(text: str, stops: Sequence[str]) -> str:
    """``text`` up to the first of ``stops``, without white space around it."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places, default=len(text))].strip()


@contextmanager
def _drawing(ids: torch.Tensor, device: str) -> Iterator[None]:
    """Random numbers that follow from the prompts ``ids``; afterwards the state is as it was."""
    seed = int.from_bytes(hashlib.sha256(ids.cpu().numpy().tobytes()).digest()[:7], "big")
    cuda = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield


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
