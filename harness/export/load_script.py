"""load.py of an export: the few lines that load the model and answer as the trial was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.config import TrialConfig
from harness.data.rows.chat_template import FIXED_ARGUMENTS
from harness.data.rows.columns import template_columns, template_parts
from harness.data.tokens.chat import ends_of_answers
from harness.export.base_model import BaseModel
from harness.models.cached.virtual_prefix import KEYS_AND_VALUES
from harness.models.quantization import CLASS_HEAD
from harness.records import Record, read_json

SHOW = "print(tokenizer.decode(answer, skip_special_tokens=True).strip())"


def load_script(
    folder: Path, config: TrialConfig, record: Record, base: BaseModel | None, tokenizer: Any
) -> str:
    """Return the script for the model in ``folder``; ``base`` is None where it is whole.

    ``tokenizer`` is the exported one.
    """
    labelled = (folder / f"{CLASS_HEAD}.safetensors").is_file()
    prompt = _prompt(config, record, tokenizer)
    at = 2 if _wants_folder(base) else 1
    lines = [
        f"# {'Classify a text' if labelled else 'Answer'}: python load.py {typed_after(config, base)}"
    ]
    adapter = read_json(folder / "adapter_config.json")
    virtual = adapter is not None and "num_virtual_tokens" in adapter
    lines += ["import inspect"] * (virtual and adapter.get("peft_type") in KEYS_AND_VALUES)
    lines += ["import sys", "from pathlib import Path", ""]
    lines += ["import torch"] * (labelled or virtual)
    lines += ["from peft import PeftModel"] * (base is not None)
    quantized = base is not None and base.storage != "none"
    classes = "AutoModelForCausalLM, AutoTokenizer" + ", BitsAndBytesConfig" * quantized
    lines += [f"from transformers import {classes}", ""]
    if base is not None and base.builtin:
        lines += ["from harness import builtin"]
    if labelled:
        lines += ["from harness.models.classifier import class_logits, load_class_head"]
    if lines[-1]:
        lines.append("")
    lines.append("HERE = Path(__file__).parent")
    lines += _model(base)
    lines += ["tokenizer = AutoTokenizer.from_pretrained(HERE)"]
    lines += [line.replace("ARGUMENTS", f"sys.argv[{at}:]") for line in prompt]
    lines += _classified() if labelled else _answered(config, record, adapter, tokenizer)
    return "\n".join(lines) + "\n"


def _plain(name: str) -> str:
    """Return the name of a column as one word: it may hold anything, also the end of a line."""
    return re.sub(r"\W+", "_", name)


def _model(base: BaseModel | None) -> list[str]:
    if base is None:
        return ["model = AutoModelForCausalLM.from_pretrained(HERE).eval()"]
    where = repr(base.hub) if base.hub else "sys.argv[1]"
    options = [f"dtype={base.dtype!r}"]
    if base.builtin:
        where = f"builtin.{base.builtin}"
    elif base.hub and base.revision:
        options.append(f"revision={base.revision!r}")
    lines = []
    if base.storage == "int8":
        lines = ["stored = BitsAndBytesConfig(load_in_8bit=True)"]
    elif base.storage != "none":
        kind = f"load_in_4bit=True, bnb_4bit_quant_type={base.storage!r}"
        double = f"bnb_4bit_use_double_quant={base.double_quantization}"
        compute = f"bnb_4bit_compute_dtype={base.compute_dtype!r}"
        lines = ["stored = BitsAndBytesConfig(", f"    {kind},", f"    {double}, {compute}", ")"]
    if lines:
        options += ["quantization_config=stored", 'device_map="auto"']
    lines += [
        f"base = AutoModelForCausalLM.from_pretrained({', '.join([where, *options])})",
        "model = PeftModel.from_pretrained(base, HERE).eval()",
    ]
    return lines


def typed_after(config: TrialConfig, base: BaseModel | None) -> str:
    """Return the words that stand for the arguments of load.py: QUESTION, or BASE_FOLDER QUESTION."""
    data = config.data
    names = ["message"] if data.is_chat else [name for _, name in _parts(config) if name]
    before = ["BASE_FOLDER"] if _wants_folder(base) else []
    return " ".join([*before, *(_plain(name).upper() for name in names)])


def _wants_folder(base: BaseModel | None) -> bool:
    return base is not None and base.hub is None and base.builtin is None


def _parts(config: TrialConfig) -> list[tuple[str, str | None]]:
    """Return the words of a prompt, and the name of what is filled in after each."""
    data = config.data
    if data.text_column is not None:
        return [("", data.text_column), ("", None)]
    parts = template_parts(data.prompt_template)
    if data.system_column is not None and data.system_column not in template_columns(data):
        (first, name), *rest = parts
        parts = [("", data.system_column), (f"\n{first}", name), *rest]
    return parts


def _prompt(config: TrialConfig, record: Record, tokenizer: Any) -> list[str]:
    """Return the lines that make tokens of what is typed, as in training."""
    data = config.data
    if data.is_chat:
        written = record.provenance.get("written") or {}
        template = str(written.get("chat_template", ""))
        fixed = {name: value for name, value in FIXED_ARGUMENTS.items() if name in template}
        options = fixed | dict(data.template_arguments or {})
        more = f", **{options!r}" if options else ""
        before = written.get("before_an_answer") or ""
        lines = [
            'turns = [{"role": "user", "content": " ".join(ARGUMENTS)}]',
            "prompt = tokenizer.apply_chat_template(",
            f"    turns, tokenize=False, add_generation_prompt=True{more}",
            ")",
            f"prompt += {before!r}" if before else "",
            'inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")',
            "inputs = inputs.to(model.device)",
        ]
        return [line for line in lines if line]
    words = [text for text, _ in _parts(config)]
    lines = [
        f"words = {words!r}  # around what is typed",
        'given = [*ARGUMENTS, ""]',
        'prompt = "".join(a + b for a, b in zip(words, given, strict=True))',
    ]
    if words == ["", ""]:
        lines = ['prompt = " ".join(ARGUMENTS)']
    lines.append('inputs = tokenizer(prompt, return_tensors="pt").to(model.device)')
    end = _written_behind(tokenizer)
    if end:
        lines.append(f"inputs = {{name: ids[:, :-{end}] for name, ids in inputs.items()}}")
    return lines


def _written_behind(tokenizer: Any) -> int:
    """Return how many special tokens the tokenizer writes after a text; a prompt has none."""
    plain = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    whole = list(tokenizer("a")["input_ids"])
    at = next((i for i in range(len(whole)) if whole[i : i + len(plain)] == plain), len(whole))
    return max(0, len(whole) - at - len(plain))


def _answered(
    config: TrialConfig, record: Record, adapter: Mapping[str, Any] | None, tokenizer: Any
) -> list[str]:
    evaluation = config.evaluation
    # The exported tokenizer has the template of training, wherever its file was.
    ends, stops = ends_of_answers(tokenizer, replace(config.data, chat_template=None))
    tokens = (record.provenance.get("answers") or {}).get("tokens") or evaluation.max_new_tokens
    options: dict[str, Any] = {"max_new_tokens": tokens or 64, "do_sample": False}
    options |= {"eos_token_id": list(ends)} if ends else {}
    if evaluation.num_beams > 1:
        options["num_beams"] = evaluation.num_beams
    if evaluation.repetition_penalty != 1:
        options["repetition_penalty"] = evaluation.repetition_penalty
    written = ", ".join(f"{name}={value!r}" for name, value in options.items())
    stop = [*evaluation.stop, *stops]
    if stop:
        written += f", stop_strings={stop!r}, tokenizer=tokenizer"
    if adapter is None or "num_virtual_tokens" not in adapter:
        return [
            f"answer = model.generate(**inputs, {written})",
            'answer = answer[0, inputs["input_ids"].shape[1] :]',
            SHOW,
        ]
    # peft's own generate loses the virtual tokens with some versions of transformers: 0.21 with 5.24.
    if adapter.get("peft_type") in KEYS_AND_VALUES:
        return [
            "# Virtual tokens as keys and values before the prompt: generate() of peft may lose them.",
            'ids = inputs["input_ids"]',
            f"length = {int(adapter['num_virtual_tokens'])} + ids.shape[1]",
            "mask = torch.ones(1, length, dtype=torch.long)",
            "known = inspect.signature(base.prepare_inputs_for_generation).parameters",
            'name = "cache" if "cache" in known else "past_key_values"',
            'before = {"attention_mask": mask.to(base.device), name: model.get_prompt(1)}',
            f"answer = base.generate(ids, **before, {written})[0, ids.shape[1] :]",
            SHOW,
        ]
    return [
        "# Virtual tokens right before those of the prompt: generate() of peft may lose them.",
        'words = base.get_input_embeddings()(inputs["input_ids"])',
        "both = torch.cat([model.get_prompt(1).to(words.dtype), words], dim=1)",
        "mask = torch.ones(both.shape[:2], dtype=torch.long, device=base.device)",
        f"answer = base.generate(inputs_embeds=both, attention_mask=mask, {written})[0]",
        SHOW,
    ]


def _classified() -> list[str]:
    return [
        "labels = load_class_head(model, HERE)",
        "with torch.no_grad():",
        '    logits = class_logits(model, inputs["input_ids"], inputs["attention_mask"])',
        "print(labels[int(logits.argmax())])",
    ]
