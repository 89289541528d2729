"""Check by forward passes that a model is causal: no token's logits depend on later tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.errors import InputError
from harness.models.views import input_embeddings

if TYPE_CHECKING:
    from torch import Tensor, nn

LENGTH = 12  # tokens of the test text
SEEN = 6  # the logits of the first 6 tokens must not depend on the rest
# Relative to the largest gradient at earlier tokens. Measured: exactly 0 in 70 causal architectures,
# at least 0.02 in encoders.
TOLERANCE = 1e-6


def check_causal(model: nn.Module, name: str) -> None:
    """Raise InputError if the logits of ``model`` depend on later tokens.

    The gradient of the first logits with respect to embeddings of the last tokens is exactly 0 in a
    causal model, at any precision, because masked values are multiplied by 0. Comparing logits is a
    weaker test: rounding changes them if rows share a kernel, a scale (LLM.int8()) or an expert. It
    is used only if a layer has no backward pass.
    """
    was_training = model.training
    model.eval()
    try:
        later = _gradient_share(model)
    except (RuntimeError, NotImplementedError) as error:
        if not any(word in str(error) for word in ("backward", "grad", "differentiable")):
            raise
        later = _change_share(model)
    finally:
        model.train(was_training)
    if later > TOLERANCE:
        raise InputError(
            f"model.name={name!r} cannot be used: {type(model).__name__} is not a causal language "
            "model. Its logits at a token depend on the tokens after it, as in an encoder such as "
            "BERT, so it sees the tokens that it should predict. Use a model that generates text "
            "from "
            "left to right."
        )


def refuse_encoder_decoder(config: Any, name: str) -> None:
    """Raise InputError for an encoder-decoder, of which only the decoder would be loaded."""
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(
            f"model.name={name!r} cannot be used: {config.model_type} is an encoder-decoder. Its "
            "decoder is not a language model without the encoder that it was trained with. Use a "
            "causal model, which has only a decoder."
        )


def _test_ids(model: nn.Module) -> Tensor:
    """Return (1, LENGTH) token ids of the test text."""
    embeddings = input_embeddings(model)
    n = embeddings.weight.shape[0]
    ids = torch.arange(LENGTH, device=embeddings.weight.device)
    return ids.mul(7919).add(5).remainder(n)[None]


def _gradient_share(model: nn.Module) -> float:
    """Return the largest gradient at a later token, divided by the largest at an earlier one."""
    embedded: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_(True))
        return embedded[-1]

    handle = input_embeddings(model).register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logits = model(input_ids=_test_ids(model), use_cache=False).logits
            # In a random direction, because the sum of normalized logits has no gradient.
            n = logits.shape[-1]
            weights = torch.randn(n, generator=torch.Generator().manual_seed(0)).to(logits.device)
            seen = (logits[0, :SEEN].float() @ weights).sum()
            (gradient,) = torch.autograd.grad(seen, embedded[0])
    finally:
        handle.remove()
    by_token = gradient[0].float().abs().amax(dim=-1)
    return _share(float(by_token[SEEN:].max()), float(by_token[:SEEN].max()))


@torch.no_grad()
def _change_share(model: nn.Module) -> float:
    """Return the largest change of earlier logits when later tokens change, relative to later logits.

    0 if the change is within rounding.
    """
    ids = _test_ids(model)
    other = ids.clone()
    other[:, SEEN:] = other[:, SEEN:].flip(1)
    original, changed = (
        model(input_ids=i, use_cache=False).logits[0].float() for i in (ids, other)
    )
    change = (original - changed).abs()
    before, after = float(change[:SEEN].max()), float(change[SEEN:].max())
    return 0.0 if before <= 2e-2 * float(original.abs().max()) else _share(before, after)


def _share(later: float, earlier: float) -> float:
    """Return ``later / earlier``, or 0 if ``earlier`` is 0."""
    return later / earlier if earlier > 0 else 0.0
