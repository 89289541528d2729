"""Probes that finalists answer beyond their task. The untouched base answers the same questions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.config import DataConfig, EvaluationConfig
from harness.data.tokens.questions import turn_ends
from harness.evaluation.answers.length import WITHOUT_REFERENCES
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.generation import batches_of, generate
from harness.evaluation.probes.agreement import add_agreement, beginnings
from harness.evaluation.probes.instructions import add_changes, add_levels, asked, read_instructions
from harness.evaluation.texts import Texts
from harness.models.load import Base
from harness.records import read_json, write_json

if TYPE_CHECKING:
    from torch import nn

FORMAT = 3  # of what is kept of the base's answers


@dataclass(frozen=True)
class Probe:
    """Prompts that a model answers by itself, and what is made of its answers and the base's."""

    name: str  # what is missing where answers cannot be used
    prompts: list[np.ndarray]
    max_new_tokens: int
    score: Callable[
        [MeasurementCollector, Sequence[str], Sequence[str]], None
    ]  # answers, the base's answers
    level: (
        Callable[[MeasurementCollector, Sequence[str]], None] | None
    )  # what answers are worth by themselves
    ends: tuple[int, ...] = ()  # tokens that end an answer beside the end of a text

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt with its answer."""
        return max(map(len, self.prompts)) + self.max_new_tokens


def wanted(config: EvaluationConfig) -> bool:
    return config.instructions is not None or config.agreement_prompts > 0


def probes(
    texts: Texts, tokenizer: Any, config: EvaluationConfig, data: DataConfig | None = None
) -> list[Probe]:
    """Return the probes that ``config`` selects. Raises InputError for unusable instructions."""
    found = []
    if config.instructions is not None:
        instructions = read_instructions(config.instructions)
        prompts, form = asked(instructions, tokenizer, data)
        length = config.instruction_tokens
        about = f"instructions:{instructions.name}|form:{form}|{_how(length, config.batch_size)}"

        def level(measured: MeasurementCollector, answers: Sequence[str]) -> None:
            add_levels(measured, instructions, answers, about)

        def change(
            measured: MeasurementCollector, answers: Sequence[str], base: Sequence[str]
        ) -> None:
            level(measured, answers)
            add_changes(measured, instructions, answers, base, about)

        ends = () if form == "plain" else turn_ends(tokenizer, data)
        found.append(Probe("instructions", prompts, length, change, level, ends))
    if config.agreement_prompts and texts.general is not None:
        chosen = beginnings(texts, config.agreement_prompts)
        length = config.max_new_tokens or WITHOUT_REFERENCES
        how = _how(length, config.batch_size)

        def agree(
            measured: MeasurementCollector, answers: Sequence[str], base: Sequence[str]
        ) -> None:
            add_agreement(measured, answers, base, texts, how)

        found.append(Probe("agreement", chosen, length, agree, None))
    return found


def _how(max_new_tokens: int, batch_size: int) -> str:
    return f"greedy|max_new_tokens:{max_new_tokens}{batches_of(batch_size)}"


def answers(
    probe: Probe, model: nn.Module, tokenizer: Any, config: EvaluationConfig, device: str
) -> list[str]:
    """Return the answers of ``model`` to each prompt.

    Decoding is always greedy, whatever the task itself uses. Raises NotTheModels.
    """
    made = generate(
        model,
        tokenizer,
        probe.prompts,
        max_new_tokens=probe.max_new_tokens,
        num_beams=1,
        batch_size=config.batch_size,
        device=device,
        ends=probe.ends,
    )
    return made.texts


def base_answers(
    folder: Path, base: Base, probe: Probe, config: EvaluationConfig, device: str
) -> list[str]:
    """The base's, generated once and kept under ``folder``. Raises NotTheModels."""
    how = f"{FORMAT} {base.fingerprint} {_how(probe.max_new_tokens, config.batch_size)}"
    key = hashlib.sha256(how.encode())
    for prompt in probe.prompts:
        key.update(len(prompt).to_bytes(4, "little") + prompt.astype(np.int32).tobytes())
    path = folder / f"{key.hexdigest()[:16]}.json"
    known = read_json(path)
    if known is None:
        known = {"answers": answers(probe, base.model, base.tokenizer, config, device)}
        write_json(path, known)
    return known["answers"]
