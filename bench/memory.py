"""Memory of training by method: peak, optimizer state and trained parameters.

    python -m bench.memory [--model DIR] [--methods full lora qlora importance_mask random_mask]
                           [--steps 5] [--batch 4] [--length 128] [--device cpu]

Without --model: a Llama with random weights, made in a temporary folder (--hidden, --layers; 80 million
parameters). One fresh process a method: load the base, adapt it, then steps of AdamW on random tokens
in the real loop. Prints a Markdown table. Nothing is estimated: peaks are what the kernel (on a GPU
torch) counts, above what lay there before the base was loaded; the optimizer's bytes are those of its
tensors.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness import builtin, methods
from harness.compose.command_line import compose_trial
from harness.data.tokens.encode import Encoded
from harness.methods import AdaptContext
from harness.models.load import load_base
from harness.models.weights.stored_bytes import stored_bytes
from harness.training.checkpoint import CheckpointFolder
from harness.training.device_memory import peak_gb, reset_peak
from harness.training.loop import Hooks, Interrupted, train
from harness.trials.cost import sizes
from harness.trials.tuning import accelerator_for

COLUMNS = {
    "method": "method",
    "trained": "trained parameters",
    "state": "optimizer state, MB",
    "base": "base as stored, MB",
    "adapting": "peak while adapting, MB",
    "training": "peak while training, MB",
    "per_parameter": "training peak, bytes a parameter of the base",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=None)
    names = ["full", "lora", "qlora", "importance_mask", "random_mask"]
    parser.add_argument("--methods", nargs="+", default=names)
    parser.add_argument("--override", nargs="*", default=[], help="for every method, key=value")
    for name, default in (("steps", 5), ("batch", 4), ("length", 128)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--measure", default=None, help=argparse.SUPPRESS)  # in the fresh process
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments, "builtin")  # whatever is imported and allocated once
        print(json.dumps(measure(arguments, arguments.model)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if arguments.model is None:
            make_llama(Path(folder), arguments.hidden, arguments.layers)
            arguments.model = folder
        print("| " + " | ".join(COLUMNS.values()) + " |")
        print("|---|" + "--:|" * (len(COLUMNS) - 1))
        for method in arguments.methods:
            row = in_fresh_process(method, arguments)
            print("| " + " | ".join(shown(row[name]) for name in COLUMNS) + " |", flush=True)


def shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else value


def in_fresh_process(method: str, arguments: argparse.Namespace) -> dict[str, Any]:
    given = [f"--{name}={getattr(arguments, name)}" for name in ("model", "steps", "batch")]
    given += [f"--{name}={getattr(arguments, name)}" for name in ("length", "device")]
    given += ["--measure", method, "--override", *arguments.override]
    command = [sys.executable, "-m", "bench.memory", *given]
    # What is freed goes back to the kernel, which otherwise would count it on.
    environment = os.environ | {
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
    }
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def make_llama(folder: Path, hidden: int, layers: int) -> None:
    """Random weights: what they are changes no number of bytes. The tokenizer is the built-in one."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = AutoConfig.for_model(
        "llama",
        hidden_size=hidden,
        intermediate_size=4 * hidden // 64 * 64,
        num_attention_heads=hidden // 64,
        num_hidden_layers=layers,
        vocab_size=8192,
        tie_word_embeddings=True,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(builtin.MODEL).save_pretrained(folder)


def measure(arguments: argparse.Namespace, model: str) -> dict[str, Any]:
    device, name = arguments.device, arguments.measure
    where = ["model=builtin"] if model == "builtin" else ["model=hub", f"model.name={model}"]
    own = ["model.dtype=float32", "training.precision=no", f"training.batch_size={arguments.batch}"]
    overrides = [f"method={name}", *where, *own, "tracking=none", *arguments.override]
    config = compose_trial(overrides)[0].trial({})
    method = methods.build(config.method)
    if hasattr(method, "samples"):
        method = replace(method, samples=4)  # the peak is the same with more
    before = resident(device)
    base = load_base(config.model, method.base_quantization, device)
    stored = stored_bytes(base.model)  # resident it is when used: its files are mapped
    n_base = sizes(base.model)["total_parameters"]
    plan = AdaptContext(arguments.steps + 1, 1, base.tokenizer, texts(arguments), 0, device)

    reset_peak(device)
    adapted = method.adapt(base.model, plan)
    adapting = peak_gb(device) * 1e9 - before
    reset_peak(device)
    peaks: list[float] = []
    hooks = Hooks(
        on_begin=lambda step: None,
        on_step=lambda row: peaks.append(peak_gb(device) * 1e9 - before),
        on_evaluation=lambda step: True,
        on_checkpoint=lambda: None,
        stopping=lambda: (
            len(peaks) == arguments.steps
        ),  # the checkpoint has the optimizer's tensors
    )
    accelerator = accelerator_for("no", device)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = CheckpointFolder(Path(folder))
        settings = (config.training, config.seed, accelerator, checkpoints, hooks)
        try:
            train(adapted, method, plan, plan.train, *settings)
        except Interrupted:
            checkpoint = checkpoints.load()
    assert checkpoint is not None
    moments = checkpoint.state["optimizer"]["state"].values()
    state = [t for of_one in moments for t in of_one.values() if isinstance(t, torch.Tensor)]
    return {
        "method": name,
        "trained": sizes(adapted)["trainable_parameters"],
        "state": sum(t.numel() * t.element_size() for t in state) / 1e6,
        "base": stored / 1e6,
        "adapting": adapting / 1e6,
        "training": peaks[-1] / 1e6,
        "per_parameter": peaks[-1] / n_base,
    }


def texts(arguments: argparse.Namespace) -> Encoded:
    """64 sequences of random tokens."""
    n, length = 64, arguments.length
    tokens = np.random.default_rng(0).integers(3, 1000, n * length).astype(np.int32)
    first, offsets = np.ones(n, np.int32), np.arange(n + 1) * length
    return Encoded(tokens, offsets, first, np.arange(n, dtype=np.int32), first * length, {})


def resident(device: str) -> int:
    """Bytes now."""
    if device.startswith("cuda"):
        return torch.cuda.memory_allocated(device)
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    main()
