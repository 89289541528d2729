"""Batched generation of answers, with a measurement of its speed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.config import EvaluationConfig
from harness.data.tokens.batches import left_padded
from harness.data.tokens.encode import pad_id
from harness.data.tokens.special_tokens import ends_of
from harness.evaluation.answers.length import AnswerLength
from harness.evaluation.decoding import GREEDY, Decoding, RepetitionPenalty
from harness.evaluation.own_words import check_own_words, chosen_prompts
from harness.models.cached.continuing import continued, counts_padding, without_wrapper
from harness.models.cached.greedy_search import can_remove_rows, greedy_search

if TYPE_CHECKING:
    from torch import nn

LOOKED_AT = 16  # tokens of greedy answers that are generated only for the check


@dataclass(frozen=True)
class Generated:
    """Generated texts, one per prompt, in the order of the prompts."""

    texts: list[str]
    tokens_per_second: float
    tokens: list[list[int]] = field(default_factory=list)  # with the token that ended an answer
    unfinished: list[bool] = field(default_factory=list)  # True: cut at the largest length


def how_generated(split: str, length: AnswerLength, config: EvaluationConfig) -> str:
    """Return the part of a signature that describes generation; defaults are omitted.

    The batching is part of it. Drawn tokens depend on the batch, and below fp32 so does the choice
    between two nearly equally likely tokens.
    """
    signature = f"|split:{split}|beams:{config.num_beams}|max_new_tokens:{length}"
    decoding = Decoding.of(config)
    for one in fields(decoding):
        value = getattr(decoding, one.name)
        if value != one.default:
            signature += f"|{one.name}:{json.dumps(value) if one.name == 'stop' else value}"
    return signature + batches_of(config.batch_size)


def batches_of(batch_size: int) -> str:
    """Describe for signatures which prompts are answered together."""
    return f"|batches:{batch_size} by length"


def generate(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[np.ndarray],
    *,
    max_new_tokens: int,
    num_beams: int,
    batch_size: int,
    device: str,
    decoding: Decoding = GREEDY,
    ends: Sequence[int] = (),
    look: bool = True,
) -> Generated:
    """Generate answers up to an end token, the start of a new document, one of ``ends`` or a stop text.

    Sampled tokens come from a generator seeded by the prompts of each batch. The same prompts,
    batch size and model give the same answers, and no other random state changes.

    With ``look``, a few greedy answers are compared with a forward pass of the whole text. For
    sampling and beam search, beginnings of greedy answers to the same prompts are compared instead.
    This verifies the model's inputs, but not the sampling or the search itself. Raises
    NotTheModels.
    """
    how = _Answering(model, tokenizer, max_new_tokens, num_beams, device, decoding, tuple(ends))
    began = time.perf_counter()
    tokens = how.in_batches(prompts, batch_size)
    seconds = max(time.perf_counter() - began, 1e-9)
    if look:
        looked_at = chosen_prompts(prompts)
        asked, greedy = [prompts[i] for i in looked_at], [tokens[i] for i in looked_at]
        if decoding.do_sample or num_beams > 1:
            greedy = how.greedy(min(LOOKED_AT, max_new_tokens)).in_batches(asked, batch_size)
        check_own_words(model, asked, greedy, decoding, how.ended_by, device)
    texts, unfinished = [], []
    for row in tokens:
        ended = row[-1:] and row[-1] in how.ended_by
        text = tokenizer.decode(row[:-1] if ended else row, skip_special_tokens=True)
        answer = _before(text, decoding.stop)
        texts.append(answer.strip())
        unfinished.append(not ended and answer == text and len(row) == max_new_tokens)
    return Generated(texts, sum(map(len, tokens)) / seconds, tokens, unfinished)


@dataclass(frozen=True)
class _Answering:
    """Settings with which a batch of prompts is answered."""

    model: nn.Module
    tokenizer: Any
    max_new_tokens: int
    num_beams: int
    device: str
    decoding: Decoding
    ends: tuple[int, ...]

    @cached_property
    def ended_by(self) -> list[int]:
        """Return the tokens that end an answer."""
        return sorted({*ends_of(self.tokenizer), *self.ends})

    @torch.no_grad()
    def answers(self, prompts: Sequence[np.ndarray]) -> list[list[int]]:
        """Return the tokens of each answer up to its end. ``prompts`` are one batch."""
        from transformers import GenerationConfig, LogitsProcessorList

        self.model.eval()
        decoding, padding = self.decoding, pad_id(self.tokenizer)
        drawing = {}
        if decoding.do_sample:
            drawing = {name: getattr(decoding, name) for name in ("temperature", "top_p", "top_k")}
        config = GenerationConfig(
            max_new_tokens=self.max_new_tokens,
            min_new_tokens=decoding.min_new_tokens or None,
            num_beams=self.num_beams,
            do_sample=decoding.do_sample,
            **drawing,
            stop_strings=list(decoding.stop) or None,
            eos_token_id=self.ended_by or None,
            pad_token_id=padding,
        )
        ids, mask = (part.to(self.device) for part in left_padded(prompts, padding))
        more = {"tokenizer": self.tokenizer} if decoding.stop else {}
        if decoding.repetition_penalty != 1:
            penalty = RepetitionPenalty(ids, mask, decoding.repetition_penalty)
            more["logits_processor"] = LogitsProcessorList([penalty])
        # Stop texts need a tokenizer, which transformers does not pass to a custom search.
        greedy = not (decoding.do_sample or decoding.stop) and self.num_beams == 1
        if greedy and can_remove_rows(without_wrapper(self.model)):
            more["custom_generate"] = greedy_search
        with _drawing(ids, self.device) if decoding.do_sample else nullcontext():
            output = continued(self.model, ids, mask, generation_config=config, **more)
        found = []
        for row in output[:, ids.shape[1] :].tolist():
            ended = next((n for n, token in enumerate(row) if token in self.ended_by), None)
            row = row if ended is None else row[: ended + 1]
            while ended is None and decoding.stop and row[-1:] == [padding]:
                row = row[:-1]  # padding after an answer that a stop text ended
            found.append(row)
        return found

    def greedy(self, max_new_tokens: int) -> _Answering:
        """Return greedy answers, limited to fewer tokens."""
        least = min(self.decoding.min_new_tokens, max_new_tokens)
        decoding = replace(self.decoding.without_chance, min_new_tokens=least)
        return replace(self, max_new_tokens=max_new_tokens, num_beams=1, decoding=decoding)

    def in_batches(self, prompts: Sequence[np.ndarray], batch_size: int) -> list[list[int]]:
        """Return the answers in the order of ``prompts``; prompts of similar length share a batch."""
        one_length = counts_padding(
            self.model, max(map(len, prompts), default=0) + self.max_new_tokens
        )
        tokens: list[list[int]] = [[] for _ in prompts]
        for chosen in _batches(prompts, batch_size, one_length):
            for i, row in zip(chosen, self.answers([prompts[i] for i in chosen]), strict=True):
                tokens[i] = row
        return tokens


def _before(text: str, stops: Sequence[str]) -> str:
    """Return ``text`` up to the first of ``stops``."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places, default=len(text))]


@contextmanager
def _drawing(ids: torch.Tensor, device: str) -> Iterator[None]:
    """Seed the random state from the prompts ``ids``, and restore it afterwards."""
    seed = int.from_bytes(hashlib.sha256(ids.cpu().numpy().tobytes()).digest()[:7], "big")
    cuda = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield


def _batches(
    prompts: Sequence[np.ndarray], batch_size: int, one_length: bool
) -> Iterator[list[int]]:
    """Yield batches of prompt indices, the longest first.

    ``one_length`` groups equal lengths, so nothing is padded.
    """
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    runs = groupby(order, key=lambda i: len(prompts[i]) if one_length else 0)
    for _, run in runs:
        alike = list(run)
        for start in range(0, len(alike), batch_size):
            yield alike[start : start + batch_size]
