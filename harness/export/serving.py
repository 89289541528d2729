"""Commands that serve an export with other programs, and their limits."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from harness.export.card_facts import CardFacts

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # of vllm serve --max-lora-rank
UNSERVED = ("use_dora", "modules_to_save", "lora_bias", "trainable_token_indices", "rank_pattern")


class Serving(NamedTuple):
    """One way to serve: its program, a note, and commands."""

    title: str
    note: str
    commands: str


def how_to_serve(facts: CardFacts) -> list[Serving]:
    """Return notes on vLLM, PEFT and GGUF. None of the commands was run by this program."""
    if facts.labels:
        note = "The head of the classes is loaded by load.py alone; servers of language models lack it."
        return [Serving("Serving", note, "")]
    return [_vllm(facts), *_peft(facts), _gguf(facts)]


def _model_folder(facts: CardFacts) -> str | None:
    """Return the whole model as seen from the export's folder; None if there is none."""
    if facts.is_whole:
        return "."
    return "./merged" if facts.again is not None else None


def _vllm(facts: CardFacts) -> Serving:
    whole = _model_folder(facts)
    if whole is not None:
        return Serving("vLLM", "In this folder (not tried here):", f"vllm serve {whole}")
    adapter = facts.adapter or {}
    rank = adapter.get("r")
    fits = [n for n in VLLM_RANKS if isinstance(rank, int) and n >= rank]
    if adapter.get("peft_type") != "LORA" or any(adapter.get(k) for k in UNSERVED) or not fits:
        merging = "Export with merged=true and serve the merged model."
        if facts.cannot_merge is not None:
            merging = f"It cannot be merged either: {facts.cannot_merge}. Serve it with PEFT."
        return Serving("vLLM", f"It takes plain LoRA adapters, and this is none. {merging}", "")
    base = facts.base.hub or "BASE_FOLDER"
    command = (
        f"vllm serve {shlex.quote(base)} --enable-lora --max-lora-rank {fits[0]} "
        "--lora-modules tuned=."
    )
    return Serving("vLLM", "In this folder (not tried here):", command)


def _peft(facts: CardFacts) -> list[Serving]:
    if facts.is_whole:
        return []
    note = "load.py is the whole recipe: PeftModel.from_pretrained(base, FOLDER)."
    if "num_virtual_tokens" in (facts.adapter or {}):
        note += (
            " generate() of peft 0.21 loses the virtual tokens with transformers 5.24, without a word; "
            "load.py puts them before the prompt itself."
        )
    return [Serving("PEFT", note, "")]


def _gguf(facts: CardFacts) -> Serving:
    whole = _model_folder(facts)
    if whole is None:
        return Serving(
            "GGUF",
            "llama.cpp converts whole models: export with merged=true first."
            if facts.cannot_merge is None
            else f"llama.cpp converts whole models, and this is none: {facts.cannot_merge}.",
            "",
        )
    note = (
        "llama.cpp's own script reads the safetensors, for the architectures that it knows. Run it "
        "from a checkout of llama.cpp (not tried here):"
    )
    command = f"python convert_hf_to_gguf.py {whole} --outfile model.gguf --outtype q8_0"
    return Serving("GGUF", note, command)
