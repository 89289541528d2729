"""The written form of prompts and answers, for the record, the plan and users of the model."""

from __future__ import annotations

from typing import Any

from harness.config import DataConfig
from harness.data.rows.chat_template import Template, template_of
from harness.data.rows.conversations import Turn
from harness.data.tokens.special_tokens import SpecialTokens
from harness.language import recorded


def how_written(tokenizer: Any, data: DataConfig) -> dict[str, Any]:
    """Return the text around prompts and answers, as JSON, with a ``hint`` where caution is needed.

    A tuned model must be prompted as it was trained. Other forms, such as one with a second bos
    token, cost quality.
    """
    specials = SpecialTokens(tokenizer)
    found: dict[str, Any] = {
        "texts_begin_with": "".join(tokenizer.convert_ids_to_tokens(specials.begin)),
        "texts_end_with": tokenizer.eos_token or "",
    }
    if data.is_chat:
        template = Template(tokenizer, data)
        return {
            "prompts": "chat template",
            "chat_template": template.text,
            "template_arguments": dict(data.template_arguments or {}),
            "before_an_answer": template.around([Turn("user", "a")])[0],
        }
    if not data.is_plain_text and not data.is_classification:
        found |= {"prompts": "prompt template", "prompt_template": data.prompt_template}
        if template_of(tokenizer, data) is not None:
            found["hint"] = recorded(
                "The model has a chat template, but data.chat is false: prompts differ from those "
                "that it was tuned on. data.chat=true writes prompts with the template."
            )
    return found
