"""Augmentation of training inputs: NEFTune's noise on embeddings, tokens masked at random."""

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
    """Changes the inputs of a step's sequences, never their targets.

    Random numbers of a sequence in a step come from a generator of their own, named by seed, step and
    sequence. A resumed run and one that splits its batches differently draw the same numbers, and no
    other random number (of dropout, for example) is affected.
    """

    def __init__(self, config: TrainingConfig, seed: int, tokenizer: Any) -> None:
        """Raises InputError if tokens are to be masked and the tokenizer has no token for it."""
        self._alpha, self._probability = config.neftune_alpha, config.token_mask_probability
        self._seed = seed
        self._mask_id, self._spared = 0, np.array([], np.int64)
        if self._probability:
            self._mask_id = mask_token(tokenizer)[1]
            self._spared = np.array(sorted(special_ids(tokenizer)), np.int64)

    def masked(self, batch: Batch, indices: Sequence[int], step: int) -> Batch:
        """Return ``batch``, still on the CPU, with input tokens replaced and targets unchanged.

        Each token is replaced with ``token_mask_probability``, except special ones (begin and end of a
        text, padding, roles of a chat). ``indices`` names the sequence of each row.
        """
        if not self._probability:
            return batch
        import torch

        draws = np.ones(batch.input_ids.shape)
        for row, (index, n) in enumerate(zip(indices, _lengths(batch), strict=True)):
            generator = np.random.default_rng(_number("token_mask", self._seed, step, index))
            draws[row, :n] = generator.random(n)
        replaced = (draws < self._probability) & ~np.isin(batch.input_ids.numpy(), self._spared)
        ids = batch.input_ids.masked_fill(torch.from_numpy(replaced), self._mask_id)
        return replace(batch, input_ids=ids)

    @contextmanager
    def noise(
        self, model: nn.Module, batch: Batch, indices: Sequence[int], step: int
    ) -> Iterator[None]:
        """Context in which embeddings of ``batch`` get NEFTune's noise, arXiv:2310.05914, Algorithm 1.

        x + (α/√(L·d))·ε, ε uniform on (−1, 1)^(L×d). L is a sequence's own length without padding, as
        in the paper and the authors' code; transformers' Trainer takes the padded length of the batch
        and so adds less to texts beside a longer one. Virtual tokens get none, as they are no input.
        Embeddings that are tied to the output layer get none there.
        """
        if not self._alpha:
            yield
            return
        lengths, shape = _lengths(batch), tuple(batch.input_ids.shape)

        def add(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            if tuple(output.shape[:2]) != shape:  # virtual tokens, which are embeddings themselves
                return output
            return output + self._noise(output, lengths, indices, step)

        handle = input_embeddings(model).register_forward_hook(add)
        try:
            yield
        finally:
            handle.remove()

    def _noise(self, like: Tensor, lengths: list[int], indices: Sequence[int], step: int) -> Tensor:
        """Return the noise (B, T, d), 0 at padding."""
        import torch

        noise = torch.zeros_like(like)
        for row, (index, n) in enumerate(zip(indices, lengths, strict=True)):
            generator = torch.Generator(like.device)
            generator.manual_seed(_number("neftune", self._seed, step, index))
            drawn = torch.rand(n, like.shape[-1], generator=generator, device=like.device)
            noise[row, :n] = (2 * drawn - 1) * (self._alpha / math.sqrt(n * like.shape[-1]))
        return noise


def mask_token(tokenizer: Any) -> tuple[str, int]:
    """Return the replacement token and its id: the tokenizer's mask, else its unk, else its eos.

    Raises InputError if it has none of them.
    """
    for name in ("mask", "unk", "eos"):
        number = getattr(tokenizer, f"{name}_token_id", None)
        if number is not None:
            return str(getattr(tokenizer, f"{name}_token")), int(number)
    raise InputError(
        "training.token_mask_probability cannot be used with this tokenizer: it has no mask, unk or "
        "eos token to put in place of others. It must be 0."
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


def _number(name: str, *about: int) -> int:
    """Return the seed of the generator of that name, stable and unique."""
    digest = hashlib.sha256(":".join([name, *map(str, about)]).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
