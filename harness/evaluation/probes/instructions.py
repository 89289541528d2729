"""Instruction probe: prompts that ask for a form of answer which a program can verify."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.config import DataConfig, EvaluationConfig
from harness.data.rows.chat_template import template_of
from harness.data.tokens.questions import beginning, questions, turn_ends
from harness.errors import InputError
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.probes.format_checks import check_form, kept
from harness.evaluation.probes.probe import Answers, Probe, Questions
from harness.evaluation.texts import Texts
from harness.paths import user_path
from harness.statistics.measurements.names import (
    FORGETTING_INSTRUCTION_CHECKS,
    FORGETTING_INSTRUCTIONS,
    INSTRUCTIONS_CHECKS,
    INSTRUCTIONS_PROMPTS,
)

RESOURCES = Path(__file__).parents[1] / "resources"
SHIPPED = {
    "english": RESOURCES / "instructions_english.jsonl",  # for models that follow instructions
    "builtin": RESOURCES
    / "instructions_builtin.jsonl",  # texts to continue, for the built-in model
}


@dataclass(frozen=True)
class Instructions:
    """Prompts, and the checks (name → value) that the answer to each must pass."""

    name: str  # for signatures: file stem and hash of the content
    prompts: tuple[str, ...]
    checks: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class InstructionProbe(Probe):
    """Probe that asks for answers of a certain form, and checks the form by program."""

    questions: Questions
    instructions: Instructions
    form: str  # for signatures: chat template or plain
    name: ClassVar[str] = "instructions"

    @classmethod
    def configured(
        cls, texts: Texts, tokenizer: Any, config: EvaluationConfig, data: DataConfig | None
    ) -> InstructionProbe | None:
        """Return the probe of ``evaluation.instructions``, if given. Raises InputError."""
        if config.instructions is None:
            return None
        instructions = read_instructions(config.instructions)
        prompts, form = asked(instructions, tokenizer, data)
        ends = () if form == "plain" else turn_ends(tokenizer, data)
        length = config.instruction_tokens
        return cls(Questions(prompts, length, config.batch_size, ends), instructions, form)

    @property
    def signature(self) -> str:
        """Return the part of the signature that all measurements of this probe share."""
        return f"instructions:{self.instructions.name}|form:{self.form}|{self.questions.how}"

    def add_levels(self, measured: MeasurementCollector, answers: Answers, base: Answers) -> None:
        """Add the shares of prompts and of checks that are passed.

        ``instructions.prompts`` counts a prompt only if its answer passes all of its checks.
        ``instructions.checks`` counts each check separately.
        """
        passed = follows(self.instructions, answers.texts)
        measured.add(
            INSTRUCTIONS_PROMPTS, _strictly(passed), f"{self.signature}|all checks of a prompt"
        )
        measured.add(INSTRUCTIONS_CHECKS, passed, f"{self.signature}|each check alike")

    def add_changes(self, measured: MeasurementCollector, answers: Answers, base: Answers) -> None:
        """Add the changes of both shares from the base, paired by prompt.

        ``forgetting.instructions`` is the change for prompts, ``forgetting.instructions.checks`` for
        checks. A value below 0 means that fewer are followed than by the base.
        """
        ours = follows(self.instructions, answers.texts)
        before = follows(self.instructions, base.texts)
        signature = f"{self.signature}|change from base"
        whole = _paired(_strictly(ours), _strictly(before))
        measured.add(FORGETTING_INSTRUCTIONS, whole, f"{signature}|all checks of a prompt")
        checks = _paired(ours, before)
        measured.add(FORGETTING_INSTRUCTION_CHECKS, checks, f"{signature}|each check alike")


@lru_cache(maxsize=4)
def read_instructions(source: str) -> Instructions:
    """Read ``english``, ``builtin`` or a JSONL file of ``{"prompt": text, "checks": {name: value}}``.

    Raises InputError with file and line for an unusable row.
    """
    path = SHIPPED.get(source) or user_path(source)
    where = f"evaluation.instructions={source!r}"
    try:
        content = path.read_bytes()
        lines = content.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{where} cannot be read ({error}): give null, {' or '.join(SHIPPED)}, or a JSONL file."
        ) from error
    rows = [(n, line) for n, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise InputError(f"{where} holds no rows.")
    found = [_row(line, f"{path}:{n}") for n, line in rows]
    prompts, checks = zip(*found, strict=True)
    name = f"{path.stem}@{hashlib.sha256(content).hexdigest()[:8]}"
    return Instructions(name, prompts, checks)


def _row(line: str, where: str) -> tuple[str, Mapping[str, Any]]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error}).") from error
    if not isinstance(row, dict) or not {"prompt", "checks"} <= set(row):
        raise InputError(f"{where}: a row is an object with 'prompt' and 'checks'.")
    prompt, checks = row["prompt"], row["checks"]
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError(f"{where}: 'prompt' must be some text.")
    if not isinstance(checks, dict) or not checks:
        raise InputError(f"{where}: 'checks' must be an object with at least one check.")
    check_form(checks, where)
    return prompt, checks


def asked(
    instructions: Instructions, tokenizer: Any, data: DataConfig | None = None
) -> tuple[list[np.ndarray], str]:
    """Return the tokens of each prompt, and a description of their form for signatures.

    With a chat template each prompt is a user message. Without one it is the unchanged text, after
    the tokens with which the tokenizer begins a text.
    """
    if template_of(tokenizer, data) is None:
        return [beginning(text, tokenizer) for text in instructions.prompts], "plain"
    prompts, own = questions([text.strip() for text in instructions.prompts], tokenizer, data)
    return prompts, f"chat template{own}"


def follows(instructions: Instructions, answers: Sequence[str]) -> np.ndarray:
    """Return (n, 2) numbers of checks: passed by each answer, and requested."""
    passed = [kept(text, checks) for text, checks in zip(answers, instructions.checks, strict=True)]
    return np.array([[sum(of), len(of)] for of in passed], dtype=float)


def _paired(ours: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Join two (n, 2) arrays to (n, 3): passed by the tuned model, by the base, and requested."""
    return np.stack([ours[:, 0], before[:, 0], ours[:, 1]], axis=1)


def _strictly(passed: np.ndarray) -> np.ndarray:
    """Convert (n, 2) checks passed and requested to (n, 2): 1 if all are passed (else 0), and 1."""
    return np.stack([passed[:, 0] == passed[:, 1], np.ones(len(passed))], axis=1).astype(float)
