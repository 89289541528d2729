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
from harness.data.tokens.encode import pad_id
from harness.export.base_model import BaseModel
from harness.models.cached.virtual_prefix import KEYS_AND_VALUES
from harness.models.quantization import CLASS_HEAD
from harness.records import Record, read_json

CLASSIFIED = [
    "labels = load_class_head(model, HERE)",
    "with torch.no_grad():",
    '    logits = class_logits(model, inputs["input_ids"], inputs["attention_mask"])',
    "print(labels[int(logits.argmax())])",
]


def load_script(
    folder: Path, config: TrialConfig, record: Record, base: BaseModel | None, tokenizer: Any
) -> str:
    """Return the script for the model in ``folder``; ``base`` is None where it is whole.

    ``tokenizer`` is the exported one.
    """
    adapter = read_json(folder / "adapter_config.json") or {}
    labelled = (folder / f"{CLASS_HEAD}.safetensors").is_file()
    virtual = "num_virtual_tokens" in adapter
    arguments = "sys.argv[2:]" if base is not None and base.is_unnamed else "sys.argv[1:]"
    lines = [f"# {'Classify a text' if labelled else 'Answer'}: {usage(config, base)}"]
    lines += ["import inspect"] * (adapter.get("peft_type") in KEYS_AND_VALUES)
    lines += ["import sys", "from pathlib import Path", ""]
    lines += ["import torch"] * (labelled or virtual)
    lines += ["from peft import PeftModel"] * (base is not None)
    classes = ["AutoModelForCausalLM", "AutoTokenizer"]
    classes += ["BitsAndBytesConfig"] * (base is not None and base.storage != "none")
    classes += ["GenerationConfig"] * (not labelled)
    lines += [f"from transformers import {', '.join(classes)}", ""]
    ours = []
    if base is not None and base.builtin:
        ours.append("from harness import builtin")
    if labelled:
        ours.append("from harness.models.classifier import class_logits, load_class_head")
    lines += [*ours, ""] if ours else []
    lines.append("HERE = Path(__file__).parent")
    lines += _model(base, answers=not labelled)
    lines += ["tokenizer = AutoTokenizer.from_pretrained(HERE)"]
    lines += _prompt(config, record, tokenizer, arguments)
    if labelled:
        lines += CLASSIFIED
    else:
        lines += _answered(config, record, adapter, tokenizer)
    return "\n".join(lines) + "\n"


def usage(config: TrialConfig, base: BaseModel | None) -> str:
    """Return the command: 'python load.py QUESTION', or with BASE_FOLDER before it."""
    data = config.data
    names = ["message"] if data.is_chat else [name for _, name in _parts(config) if name]
    before = ["BASE_FOLDER"] if base is not None and base.is_unnamed else []
    return " ".join(["python load.py", *before, *(_plain(name).upper() for name in names)])


def _plain(name: str) -> str:
    """Return the name of a column as one word: it may hold anything, also the end of a line."""
    return re.sub(r"\W+", "_", name)


def _model(base: BaseModel | None, *, answers: bool) -> list[str]:
    """Return the lines that load the model.

    Answers are measured without a model's own generation settings, such as a repetition penalty.
    """
    own = "generation_config = GenerationConfig()  # nothing but what is said below"
    if base is None:
        lines = ["model = AutoModelForCausalLM.from_pretrained(HERE).eval()"]
        return lines + [f"model.{own}"] * answers
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
    lines.append(f"base = AutoModelForCausalLM.from_pretrained({', '.join([where, *options])})")
    lines += [f"base.{own}"] * answers
    return [*lines, "model = PeftModel.from_pretrained(base, HERE).eval()"]


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


def _prompt(config: TrialConfig, record: Record, tokenizer: Any, arguments: str) -> list[str]:
    """Return the lines that make tokens of ``arguments``, what is typed, as in training."""
    data = config.data
    if data.is_chat:
        written = record.provenance.get("written") or {}
        template = str(written.get("chat_template", ""))
        fixed = {name: value for name, value in FIXED_ARGUMENTS.items() if name in template}
        options = fixed | dict(data.template_arguments or {})
        more = f", **{options!r}" if options else ""
        before = written.get("before_an_answer") or ""
        lines = [
            f'turns = [{{"role": "user", "content": " ".join({arguments})}}]',
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
        f'given = [*{arguments}, ""]',
        'prompt = "".join(a + b for a, b in zip(words, given, strict=True))',
    ]
    if words == ["", ""]:
        lines = [f'prompt = " ".join({arguments})']
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
    config: TrialConfig, record: Record, adapter: Mapping[str, Any], tokenizer: Any
) -> list[str]:
    """Return the lines that answer the prompt as the trial's answers were generated, but greedily."""
    evaluation = config.evaluation
    # The exported tokenizer has the template of training, wherever its file was.
    ends, stops = ends_of_answers(tokenizer, replace(config.data, chat_template=None))
    tokens = (record.provenance.get("answers") or {}).get("tokens") or evaluation.max_new_tokens
    options: dict[str, Any] = {"max_new_tokens": tokens or 64, "do_sample": False}
    options |= {"eos_token_id": list(ends)} if ends else {}
    options["pad_token_id"] = pad_id(tokenizer)
    if evaluation.num_beams > 1:
        options["num_beams"] = evaluation.num_beams
    if evaluation.repetition_penalty != 1:
        options["repetition_penalty"] = evaluation.repetition_penalty
    stop = [*evaluation.stop, *stops]
    options |= {"stop_strings": stop} if stop else {}
    written = ", ".join(f"{name}={value!r}" for name, value in options.items())
    written += ", tokenizer=tokenizer" * bool(stop)
    lines = [
        *_generated(adapter, written),
        "answer = tokenizer.decode(answer, skip_special_tokens=True)",
    ]
    if stop:
        lines += [f"for stop in {stop!r}:", "    answer = answer.partition(stop)[0]"]
    return [*lines, "print(answer.strip())"]


def _generated(adapter: Mapping[str, Any], options: str) -> list[str]:
    """Return the lines that make tokens of the answer.

    Virtual tokens are put before the prompt here: with transformers 5.24, peft 0.21 loses them.
    """
    if "num_virtual_tokens" not in adapter:
        return [
            f"answer = model.generate(**inputs, {options})",
            'answer = answer[0, inputs["input_ids"].shape[1] :]',
        ]
    if adapter.get("peft_type") in KEYS_AND_VALUES:
        return [
            "# Virtual tokens as keys and values before the prompt: peft's generate may lose them.",
            'ids = inputs["input_ids"]',
            f"length = {int(adapter['num_virtual_tokens'])} + ids.shape[1]",
            "mask = torch.ones(1, length, dtype=torch.long, device=base.device)",
            "known = inspect.signature(base.prepare_inputs_for_generation).parameters",
            'name = "cache" if "cache" in known else "past_key_values"',
            'before = {"attention_mask": mask, name: model.get_prompt(1)}',
            f"answer = base.generate(ids, **before, {options})",
            "answer = answer[0, ids.shape[1] :]",
        ]
    return [
        "# Virtual tokens right before those of the prompt: peft's generate may lose them.",
        'words = base.get_input_embeddings()(inputs["input_ids"])',
        "both = torch.cat([model.get_prompt(1).to(words.dtype), words], dim=1)",
        "mask = torch.ones(both.shape[:2], dtype=torch.long, device=base.device)",
        f"answer = base.generate(inputs_embeds=both, attention_mask=mask, {options})[0]",
    ]
