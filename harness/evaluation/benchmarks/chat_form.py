"""Chat form of tasks: questions in the model's chat template, as lm-eval applies it."""

from __future__ import annotations

from typing import Any

from harness.config import EvaluationConfig
from harness.errors import InputError, unknown
from harness.records.fingerprint import digest


def check_chat_template(tokenizer: Any, config: EvaluationConfig) -> None:
    """Raise InputError if ``evaluation.apply_chat_template`` asks for a missing template."""
    if config.apply_chat_template is not False:
        template(tokenizer, config)


def template(tokenizer: Any, config: EvaluationConfig) -> str:
    """Return the text of the requested template. Raises InputError if there is none."""
    asked, own = config.apply_chat_template, getattr(tokenizer, "chat_template", None)
    if not own:
        raise InputError(
            f"evaluation.apply_chat_template={asked!r} cannot be used: the tokenizer has no chat "
            "template. It must be false."
        )
    several = own if isinstance(own, dict) else {"default": own}
    name = "default" if asked is True else str(asked)
    if name not in several:
        raise unknown("template in evaluation.apply_chat_template", name, several)
    return several[name]


def how(tokenizer: Any, config: EvaluationConfig) -> list[str]:
    """Return the parts of a signature for template, few-shot form and system message."""
    parts = []
    if config.apply_chat_template is not False:
        turns = "turns" if config.fewshot_as_multiturn else "one turn"
        parts.append(f"chat template:{digest(template(tokenizer, config), 8)}, examples as {turns}")
    if config.system_instruction is not None:
        parts.append(f"system:{digest(config.system_instruction, 8)}")
    return parts
