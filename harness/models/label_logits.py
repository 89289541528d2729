"""The logits at label tokens, a chunk at a time: whole they are the largest tensor of a pass.

K labels and a vocabulary of V take 4·K·V bytes in float32, and a loss takes them two to four times:
20 GB for 32 sequences of 512 tokens and 128,000 words. The hidden states that they are made of take a
hundredth of it. The model therefore runs once, and its output layer once for each chunk.

Some models cap or scale their logits (Gemma, Cohere, Granite). No list of them is kept: for each
further chunk the model's own code runs again from where its body ended, with the body's output as it
was. A model in which that gives other logits, tried once, is read whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch

from harness.data.tokens.batches import Batch, collate
from harness.errors import is_out_of_memory
from harness.models.logits import logits_at
from harness.models.views import as_pretrained, output_layer

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from harness.data.tokens.encode import Encoded

CHUNK_BYTES = {"cpu": 2**24, "cuda": 2**27}  # of float32 logits; a loss holds up to four of them
TRIED = 8  # tokens of the text on which a model is tried

_bodies: WeakKeyDictionary[nn.Module, str | None] = WeakKeyDictionary()
Found = TypeVar("Found")


class LabelLogits:
    """The logits of one forward pass at ``n`` places, whole or in chunks of rows.

    Gradients are taken chunk by chunk. They end at the hidden states; ``backward`` takes them on
    through the body:

        labels = LabelLogits(model, n)
        for rows, logits in labels.chunks(run):
            loss(logits, targets[rows]).backward()
        labels.backward()

    That is the gradient of the sum of the losses, to rounding. ``autocast`` is entered for each
    chunk: the caller enters it for ``run``, and for the losses if they need it.
    """

    def __init__(
        self,
        model: nn.Module,
        n: int,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        at_once: int | None = None,
    ) -> None:
        """``at_once``: rows of a chunk, where they are not derived from ``CHUNK_BYTES``."""
        layer = output_layer(model)
        if at_once is None:
            most = CHUNK_BYTES.get(layer.weight.device.type, CHUNK_BYTES["cuda"])
            at_once = max(1, most // (4 * layer.weight.shape[0]))
            if n > at_once and body_of(model) is None:
                at_once = n
        self._model, self._n, self._autocast = _inner(model), n, autocast
        size = -(-n // -(-n // at_once)) if n else 0  # as equal as can be
        self._rows = [slice(at, min(at + size, n)) for at in range(0, n, size or 1)]
        self._ends: tuple[Tensor, Tensor] | None = None  # hidden states, the same without a graph

    def chunks(self, run: Callable[[], Tensor]) -> Iterator[tuple[slice, Tensor]]:
        """Yield (rows, (rows, vocabulary) logits). ``run`` makes the pass and returns ``logits_at``."""
        if len(self._rows) < 2:
            yield slice(0, self._n), run()
            return
        body = body_of(self._model)
        assert body is not None
        kept: list[Any] = []
        with ExitStack() as stack:
            stack.callback(body.register_forward_hook(lambda m, i, o: kept.append(o)).remove)
            stack.callback(output_layer(self._model).register_forward_pre_hook(self._cut).remove)
            first = [run()]
        yield self._rows[0], first.pop()  # nothing here holds on to it
        for rows in self._rows[1:]:
            with _standing_still(body, kept[-1]):
                again = [self._again(rows)]
            yield rows, again.pop()

    def backward(self) -> None:
        """Take the gradients of all chunks through the body of the model."""
        if self._ends is not None:
            hidden, leaf = self._ends
            if leaf.grad is not None:
                torch.autograd.backward(hidden, leaf.grad)

    def _cut(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = inputs[0]
        assert len(hidden) == self._n, "run() reads logits at other places"
        leaf = hidden.detach()
        if torch.is_grad_enabled():
            leaf.requires_grad_(hidden.requires_grad)
        self._ends = hidden, leaf
        return (leaf[self._rows[0]], *inputs[1:])

    def _again(self, rows: slice) -> Tensor:
        """Run what the model does after its body, with ``rows`` of the hidden states."""
        assert self._ends is not None
        part = self._ends[1][rows]
        layer = output_layer(self._model)
        handle = layer.register_forward_pre_hook(lambda m, inputs: (part, *inputs[1:]))
        no_text = torch.zeros(1, 1, dtype=torch.int64, device=part.device)
        try:
            with self._autocast():
                return self._model(input_ids=no_text, use_cache=False).logits
        finally:
            handle.remove()


def scored(
    model: nn.Module,
    encoded: Encoded,
    batch_size: int,
    device: str,
    read: Callable[[Batch, Iterator[tuple[slice, Tensor]]], Found],
) -> Iterator[tuple[list[int], Found]]:
    """Yield (indices, what ``read`` makes of that batch and the chunks of its logits), longest first.

    The order of sequences is that of ``evaluation_batches`` whatever the size of a batch, which is
    halved where memory runs out. ``read`` must leave no trace before it returns: it may run again.
    Raises the error of the allocator if one sequence does not fit.
    """
    order = np.argsort(-encoded.lengths, kind="stable")
    at, size = 0, batch_size
    while at < len(order):
        indices = order[at : at + size].tolist()
        found: list[Found] = []
        try:
            found.append(_read(model, collate(encoded, indices, 0).to(device), read))
        except (RuntimeError, MemoryError) as error:
            if len(indices) == 1 or not is_out_of_memory(error):
                raise
        if not found:  # outside of the handler, which holds on to what was allocated
            torch.cuda.empty_cache()
            size = len(indices) // 2
            continue
        yield indices, found[0]
        at += len(indices)


def _read(
    model: nn.Module, batch: Batch, read: Callable[[Batch, Iterator[tuple[slice, Tensor]]], Found]
) -> Found:
    labels = LabelLogits(model, len(batch.targets))

    def run() -> Tensor:
        return logits_at(model, batch.input_ids, batch.attention_mask, batch.predict)

    return read(batch, labels.chunks(run))


def body_of(model: nn.Module) -> nn.Module | None:
    """Return what ``model`` computes hidden states with; None where its logits are read whole.

    That is the largest part that its own code calls. Whether logits in chunks then equal those of
    one pass is tried on a short text, once a model.
    """
    from torch.distributed.fsdp import FSDPModule

    inner = _inner(model)
    if isinstance(inner, FSDPModule):  # its weights are gathered for a pass that begins at the top
        return None
    if inner not in _bodies:
        _bodies[inner] = _tried(inner)
    name = _bodies[inner]
    return None if name is None else inner.get_submodule(name)


@torch.no_grad()
def _tried(model: PreTrainedModel) -> str | None:
    """Return the name of the body of ``model`` if its logits can be read in chunks."""
    layer, was_training = output_layer(model), model.training
    vocabulary, device = layer.weight.shape[0], layer.weight.device
    ids = torch.arange(TRIED, device=device).mul(7919).remainder(vocabulary)[None]
    ones = torch.ones_like(ids)

    def run() -> Tensor:
        return logits_at(model, ids, ones, ones.bool())

    model.eval()
    try:
        with _called(model) as called:
            whole = run()
        called.pop(next((name for name, module in model.named_modules() if module is layer)), None)
        _bodies[model] = max(called, key=called.__getitem__)
        labels = LabelLogits(model, TRIED, at_once=3)
        parts = torch.cat([logits for _, logits in labels.chunks(run)])
    except Exception as error:  # what a model's code does without its body is not known
        if is_out_of_memory(error):
            raise
        return None
    finally:
        name = _bodies.pop(model, None)
        model.train(was_training)
    half = whole.dtype in (torch.float16, torch.bfloat16)
    off = float((parts - whole).float().abs().max())
    close = off <= (2e-2 if half else 1e-4) * max(1.0, float(whole.float().abs().max()))
    return name if close else None


@contextmanager
def _called(model: nn.Module) -> Iterator[dict[str, int]]:
    """Name → number of parameters, of the modules that the code of ``model`` itself calls."""
    sizes: dict[str, int] = {}
    depth = [0]

    def enter(module: nn.Module, inputs: Any, name: str) -> None:
        if depth[0] == 0:
            sizes[name] = sum(parameter.numel() for parameter in module.parameters())
        depth[0] += 1

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        depth[0] -= 1

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if name:
                hooks = module.register_forward_pre_hook(partial(enter, name=name))
                stack.callback(hooks.remove)
                stack.callback(module.register_forward_hook(leave).remove)
        yield sizes


def _inner(model: nn.Module) -> PreTrainedModel:
    """Return the transformers model in a PEFT wrapper, or ``model`` itself."""
    unwrap = getattr(model, "get_base_model", None)
    return as_pretrained(model if unwrap is None else unwrap())


@contextmanager
def _standing_still(body: nn.Module, output: Any) -> Iterator[None]:
    """Context in which ``body`` computes nothing and returns ``output``."""
    own = vars(body).get("forward")  # accelerate puts one there
    body.forward = lambda *arguments, **named: output
    try:
        yield
    finally:
        if own is None:
            del body.forward
        else:
            body.forward = own
