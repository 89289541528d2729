"""Memory and time of scoring and of training steps with logits in chunks and whole.

    python -m bench.label_logits [--layers 30] [--batch 8] [--length 256] [--device cpu]

A Llama of SmolLM2-135M's shape with random weights and its vocabulary of 49,152.
Prints, for each kind of work, the peak of tensors beyond the model in units of the whole logits tensor
(labels × vocabulary × 4 bytes), and seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from harness.data.tokens.batches import collate
from harness.data.tokens.encode import Encoded
from harness.evaluation.likelihood import sequence_nll
from harness.models import label_logits
from harness.models.label_logits import LabelLogits
from harness.models.logits import logits_at
from harness.models.logprobs import base_logprobs
from harness.training.allocation import AllocationMeter

SHAPE = {
    "vocab_size": 49_152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("layers", 30), ("batch", 8), ("length", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    model = made(arguments.layers, arguments.dtype).to(arguments.device)
    text = random_text(arguments.batch, arguments.length, model.config.vocab_size)
    known = base_logprobs(model, text, arguments.batch, arguments.device, 256, 1e-4)
    unit = int(text.n_labels.sum()) * model.config.vocab_size * 4

    def scoring() -> None:
        sequence_nll(model, text, arguments.batch, arguments.device, known)

    def step() -> None:
        batch = collate(text, range(arguments.batch), 0).to(arguments.device)
        labels = LabelLogits(model, len(batch.targets))
        for rows, logits in labels.chunks(
            lambda: logits_at(model, batch.input_ids, batch.attention_mask, batch.predict)
        ):
            nll = torch.nn.functional.cross_entropy(logits.float(), batch.targets[rows])
            nll.backward()
        labels.backward()
        model.zero_grad(set_to_none=True)

    print(f"{unit / 1e9:.2f} GB of whole logits")
    print("| work | logits | peak beyond the model / whole logits | seconds |\n|---|---|---|---|")
    kept = dict(label_logits.CHUNK_BYTES)
    for work, run, trained in (
        ("scoring with KL", scoring, False),
        ("a step, output layer frozen", step, "frozen"),
        ("a step, all trained", step, True),
    ):
        train(model, trained)
        for how in ("whole", "in chunks"):
            label_logits.CHUNK_BYTES.update(
                kept if how == "in chunks" else dict.fromkeys(kept, 2**62)
            )
            peak, seconds = measured(run, arguments.device)
            print(f"| {work} | {how} | {peak / unit:.2f} | {seconds:.2f} |", flush=True)


def measured(run: Callable[[], None], device: str) -> tuple[int, float]:
    """Return the peak of allocated bytes, and the seconds of the better of two further runs."""
    run()
    meter = AllocationMeter(device)
    run()
    _, peak = meter.lap()
    meter.close()
    times = []
    for _ in range(2):
        began = time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return peak, min(times)


def made(layers: int, dtype: str) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    config = LlamaConfig(num_hidden_layers=layers, **SHAPE)
    return AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).eval()


def train(model: torch.nn.Module, what: bool | str) -> None:
    """Let all, nothing, or the last layer alone be trained."""
    model.requires_grad_(what is True)
    if what == "frozen":
        model.get_submodule("model.layers")[-1].requires_grad_(True)


def random_text(n: int, length: int, vocabulary: int) -> Encoded:
    """Return ``n`` sequences of random tokens; all tokens but the first are labels."""
    tokens = np.random.default_rng(0).integers(0, vocabulary, n * length).astype(np.int32)
    return Encoded(
        tokens=tokens,
        offsets=np.arange(0, n * length + 1, length),
        first_label=np.ones(n, np.int32),
        example=np.arange(n, dtype=np.int32),
        label_bytes=np.full(n, length),
        counts={},
    )


if __name__ == "__main__":
    main()
