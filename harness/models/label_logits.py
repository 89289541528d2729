"""Logits at label tokens in chunks, because all at once they are the largest tensor of a pass.

K labels and a vocabulary of V take 4·K·V bytes in float32, and a loss needs two to four such
tensors: 20 GB for 32 sequences of 512 tokens with V = 128,000. The hidden states behind them take a
hundredth of that. So the model runs once, and its output layer once per chunk.

Some models cap or scale their logits (Gemma, Cohere, Granite). To include this for every model,
each further chunk reruns the model's own code with the output of its body replaced by the stored
one. If a test shows that a model's logits differ this way, all are computed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from harness.errors import is_out_of_memory
from harness.models.logits import logits_at
from harness.models.views import as_pretrained, output_layer

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

# Bytes of float32 logits per chunk. A loss needs up to four times that.
CHUNK_BYTES = {"cpu": 2**24, "cuda": 2**27}
TEST_TOKENS = 8  # tokens of the test text

_bodies: WeakKeyDictionary[nn.Module, str | None] = WeakKeyDictionary()


class LabelLogits:
    """Logits of one forward pass at ``n`` positions, all at once or in chunks of rows.

    Gradients are computed chunk by chunk down to the hidden states, and ``backward`` continues them
    through the body:

        labels = LabelLogits(model, n)
        for rows, logits in labels.chunks(run):
            loss(logits, targets[rows]).backward()
        labels.backward()

    The result equals the gradient of the sum of the losses up to rounding. ``autocast`` is entered
    for further chunks. The caller enters it in ``run``, and for the losses if they need it.
    """

    def __init__(
        self,
        model: nn.Module,
        n: int,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        chunk_rows: int | None = None,
    ) -> None:
        """``chunk_rows`` is the number of rows per chunk, by default derived from ``CHUNK_BYTES``."""
        layer = output_layer(model)
        if chunk_rows is None:
            limit = CHUNK_BYTES.get(layer.weight.device.type, CHUNK_BYTES["cuda"])
            chunk_rows = max(1, limit // (4 * layer.weight.shape[0]))
            if n > chunk_rows and body_of(model) is None:
                chunk_rows = n
        self._model, self._n, self._autocast = _inner(model), n, autocast
        size = -(-n // -(-n // chunk_rows)) if n else 0  # chunks of nearly equal size
        self._rows = [slice(start, min(start + size, n)) for start in range(0, n, size or 1)]
        self._ends: tuple[Tensor, Tensor] | None = None  # hidden states, and a detached copy

    def chunks(self, run: Callable[[], Tensor]) -> Iterator[tuple[slice, Tensor]]:
        """Yield (rows, (rows, vocabulary) logits). ``run`` runs the model and returns ``logits_at``."""
        if len(self._rows) < 2:
            yield slice(0, self._n), run()
            return
        body = body_of(self._model)
        assert body is not None
        outputs: list[Any] = []
        with ExitStack() as stack:
            stack.callback(body.register_forward_hook(lambda m, i, o: outputs.append(o)).remove)
            stack.callback(
                output_layer(self._model).register_forward_pre_hook(self._keep_first_chunk).remove
            )
            first = [run()]
        yield self._rows[0], first.pop()  # popped, so that it can be freed
        for rows in self._rows[1:]:
            with _fixed_output(body, outputs[-1]):
                rerun = [self._rerun(rows)]
            yield rows, rerun.pop()

    def backward(self) -> None:
        """Continue the gradients of all chunks through the body of the model."""
        if self._ends is not None:
            hidden, leaf = self._ends
            if leaf.grad is not None:
                torch.autograd.backward(hidden, leaf.grad)

    def _keep_first_chunk(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Store the hidden states and pass on only those of the first chunk."""
        hidden = inputs[0]
        assert len(hidden) == self._n, "run() computes logits at other positions"
        leaf = hidden.detach()
        if torch.is_grad_enabled():
            leaf.requires_grad_(hidden.requires_grad)
        self._ends = hidden, leaf
        return (leaf[self._rows[0]], *inputs[1:])

    def _rerun(self, rows: slice) -> Tensor:
        """Run the part of the model after its body on ``rows`` of the hidden states."""
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


def body_of(model: nn.Module) -> nn.Module | None:
    """Return the module that computes hidden states; None if logits must be computed at once.

    This is the largest module that the model's own code calls. A short text is used once per model
    to check that chunked logits equal those of one pass.
    """
    from torch.distributed.fsdp import FSDPModule

    inner = _inner(model)
    if isinstance(inner, FSDPModule):  # gathers its weights only for a pass through the whole model
        return None
    if inner not in _bodies:
        _bodies[inner] = _find_body(inner)
    name = _bodies[inner]
    return None if name is None else inner.get_submodule(name)


@torch.no_grad()
def _find_body(model: PreTrainedModel) -> str | None:
    """Return the name of the body of ``model``, or None if chunked logits differ."""
    layer, was_training = output_layer(model), model.training
    vocabulary, device = layer.weight.shape[0], layer.weight.device
    ids = torch.arange(TEST_TOKENS, device=device).mul(7919).remainder(vocabulary)[None]
    ones = torch.ones_like(ids)

    def run() -> Tensor:
        return logits_at(model, ids, ones, ones.bool())

    model.eval()
    try:
        with _called(model) as called:
            at_once = run()
        called.pop(next((name for name, module in model.named_modules() if module is layer)), None)
        _bodies[model] = max(called, key=called.__getitem__)
        labels = LabelLogits(model, TEST_TOKENS, chunk_rows=3)
        parts = torch.cat([logits for _, logits in labels.chunks(run)])
    except Exception as error:  # model code may fail in any way without its body
        if is_out_of_memory(error):
            raise
        return None
    finally:
        name = _bodies.pop(model, None)
        model.train(was_training)
    is_16_bit = at_once.dtype in (torch.float16, torch.bfloat16)
    difference = float((parts - at_once).float().abs().max())
    close = difference <= (2e-2 if is_16_bit else 1e-4) * max(
        1.0, float(at_once.float().abs().max())
    )
    return name if close else None


@contextmanager
def _called(model: nn.Module) -> Iterator[dict[str, int]]:
    """Yield name → number of parameters of the modules called directly by ``model``'s own code."""
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
def _fixed_output(body: nn.Module, output: Any) -> Iterator[None]:
    """Context in which ``body`` computes nothing and returns ``output``."""
    original_forward = vars(body).get("forward")  # accelerate sets one
    body.forward = lambda *arguments, **named: output
    try:
        yield
    finally:
        if original_forward is None:
            del body.forward
        else:
            body.forward = original_forward
