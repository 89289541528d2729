"""Augmentation of training inputs: NEFTune noise on embeddings, and random masking of tokens."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.config import TrainingConfig
from harness.data.tokens.batches import Batch
from harness.errors import InputError
from harness.models.views import input_embeddings

if TYPE_CHECKING:
    from torch import Tensor, nn


class Augmentation:
    """Change the inputs of training sequences, never their targets.

    Each sequence of each step has its own random generator, seeded by run seed, step and sequence
    index. Draws are therefore the same after a resume and with any split into micro-batches. Other
    random numbers, such as those of dropout, are not affected.
    """

    def __init__(self, config: TrainingConfig, seed: int, tokenizer: Any) -> None:
        """Raise InputError if masking is configured and the tokenizer has no token for it."""
        self._alpha, self._probability = config.neftune_alpha, config.token_mask_probability
        self._seed = seed
        self._mask_id, self._kept_ids = 0, np.array([], np.int64)
        if self._probability:
            self._mask_id = mask_token(tokenizer)[1]
            self._kept_ids = np.array(sorted(special_ids(tokenizer)), np.int64)

    def masked(self, batch: Batch, indices: Sequence[int], step: int) -> Batch:
        """Return ``batch`` (on the CPU) with input tokens replaced and targets unchanged.

        Each token is replaced with probability ``token_mask_probability``. Special tokens are kept.
        ``indices`` are the sequence indices of the rows.
        """
        if not self._probability:
            return batch
        import torch

        draws = np.ones(batch.input_ids.shape)
        for row, (index, n) in enumerate(zip(indices, _lengths(batch), strict=True)):
            generator = np.random.default_rng(
                _generator_seed("token_mask", self._seed, step, index)
            )
            draws[row, :n] = generator.random(n)
        replaced = (draws < self._probability) & ~np.isin(batch.input_ids.numpy(), self._kept_ids)
        ids = batch.input_ids.masked_fill(torch.from_numpy(replaced), self._mask_id)
        return replace(batch, input_ids=ids)

    @contextmanager
    def noise(
        self, model: nn.Module, batch: Batch, indices: Sequence[int], step: int
    ) -> Iterator[None]:
        """Context in which embeddings of ``batch`` get NEFTune noise, arXiv:2310.05914, Algorithm 1.

        Adds (α/√(L·d))·ε, with ε uniform on (−1, 1)^(L×d). L is the length of the sequence without
        padding, as in the paper. (transformers' Trainer uses the padded length, which reduces the
        noise of short texts.) Virtual tokens and a tied output layer get no noise.
        """
        if not self._alpha:
            yield
            return
        lengths, shape = _lengths(batch), tuple(batch.input_ids.shape)

        def add(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            if tuple(output.shape[:2]) not in (shape, (1, sum(lengths))):
                return output  # embeddings of virtual tokens
            return output + self._noise(output, lengths, indices, step)

        handle = input_embeddings(model).register_forward_hook(add)
        try:
            yield
        finally:
            handle.remove()

    def _noise(self, like: Tensor, lengths: list[int], indices: Sequence[int], step: int) -> Tensor:
        """Return noise (B, T, d), 0 at padding, or (1, N, d) for N tokens of texts end to end.

        ``like`` has this shape, dtype and device.
        """
        import torch

        noise = torch.zeros_like(like)
        padded = len(like) == len(lengths)
        rows = [row[:n] for row, n in zip(noise, lengths, strict=True)] if padded else []
        for row, index in zip(rows or noise[0].split(lengths), indices, strict=True):
            generator = torch.Generator(like.device)
            generator.manual_seed(_generator_seed("neftune", self._seed, step, index))
            drawn = torch.rand(row.shape, generator=generator, device=like.device)
            row.copy_((2 * drawn - 1) * (self._alpha / math.sqrt(row.numel())))
        return noise


def mask_token(tokenizer: Any) -> tuple[str, int]:
    """Return the replacement token and its id: the tokenizer's mask, else unk, else eos token.

    Raises InputError if it has none of them.
    """
    for name in ("mask", "unk", "eos"):
        number = getattr(tokenizer, f"{name}_token_id", None)
        if number is not None:
            return str(getattr(tokenizer, f"{name}_token")), int(number)
    raise InputError(
        "training.token_mask_probability cannot be used with this tokenizer: it has no mask, unk "
        "or "
        "eos token to replace others with. It must be 0."
    )


def special_ids(tokenizer: Any) -> set[int]:
    """Return the ids of tokens that represent no text."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return set(tokenizer.all_special_ids) | {i for i, token in added.items() if token.special}


def described(config: TrainingConfig, tokenizer: Any) -> dict[str, Any]:
    """Return the replacement token for the record. Raises InputError if there is none."""
    if not config.token_mask_probability:
        return {}
    text, number = mask_token(tokenizer)
    return {"token_mask": {"token": text, "id": number}}


def _lengths(batch: Batch) -> list[int]:
    """Return the number of tokens of each row without padding."""
    return (batch.attention_mask != 0).sum(1).tolist()


def _generator_seed(name: str, *numbers: int) -> int:
    """Return the 63-bit generator seed for a name and numbers, by SHA-256."""
    digest = hashlib.sha256(":".join([name, *map(str, numbers)]).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
