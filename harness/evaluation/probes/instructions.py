"""Instruction-following probes: prompts that ask for a form which a program can verify."""

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
    "builtin": RESOURCES / "instructions_builtin.jsonl",  # texts to go on with, for it
}


@dataclass(frozen=True)
class Instructions:
    """Prompts, and the checks (name → value) that the answer to each must pass."""

    name: str  # for signatures: where they are from, and a hash of what they are
    prompts: tuple[str, ...]
    checks: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class InstructionProbe(Probe):
    """Instructions; a program checks the form of each answer."""

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
    def about(self) -> str:
        """The part of signatures that all measurements share."""
        return f"instructions:{self.instructions.name}|form:{self.form}|{self.questions.how}"

    def add_levels(self, measured: MeasurementCollector, answers: Answers, base: Answers) -> None:
        """Add ``instructions.prompts``, the share of prompts of which every check is passed.

        ``instructions.checks`` is the share of checks.
        """
        passed = follows(self.instructions, answers.texts)
        measured.add(
            INSTRUCTIONS_PROMPTS, _strictly(passed), f"{self.about}|all checks of a prompt"
        )
        measured.add(INSTRUCTIONS_CHECKS, passed, f"{self.about}|each check alike")

    def add_changes(self, measured: MeasurementCollector, answers: Answers, base: Answers) -> None:
        """Add ``forgetting.instructions``, the paired change of the share of prompts from the base.

        ``forgetting.instructions.checks`` is that of the share of checks. Below 0: fewer are followed.
        """
        ours = follows(self.instructions, answers.texts)
        before = follows(self.instructions, base.texts)
        about = f"{self.about}|change from base"
        whole = _paired(_strictly(ours), _strictly(before))
        measured.add(FORGETTING_INSTRUCTIONS, whole, f"{about}|all checks of a prompt")
        checks = _paired(ours, before)
        measured.add(FORGETTING_INSTRUCTION_CHECKS, checks, f"{about}|each check alike")


@lru_cache(maxsize=4)
def read_instructions(source: str) -> Instructions:
    """``english``, ``builtin`` or a JSONL file of ``{"prompt": text, "checks": {name: value}}``.

    Raises InputError naming file and line for what cannot be used.
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
        raise InputError(f"{where}: 'checks' must be an object with a check at least.")
    check_form(checks, where)
    return prompt, checks


def asked(
    instructions: Instructions, tokenizer: Any, data: DataConfig | None = None
) -> tuple[list[np.ndarray], str]:
    """Tokens of each prompt, as the chat template has a user say it where there is one.

    Without a template: the prompt as it stands in the file, after what the tokenizer begins texts
    with. The second value says which, for signatures.
    """
    if template_of(tokenizer, data) is None:
        return [beginning(text, tokenizer) for text in instructions.prompts], "plain"
    prompts, own = questions([text.strip() for text in instructions.prompts], tokenizer, data)
    return prompts, f"chat template{own}"


def follows(instructions: Instructions, answers: Sequence[str]) -> np.ndarray:
    """(n, 2) how many checks each answer passes, and how many there are."""
    passed = [kept(text, checks) for text, checks in zip(answers, instructions.checks, strict=True)]
    return np.array([[sum(of), len(of)] for of in passed], dtype=float)


def _paired(ours: np.ndarray, before: np.ndarray) -> np.ndarray:
    """(n, 3) passed by the tuned model, passed by the base, and asked for, from (n, 2) of each."""
    return np.stack([ours[:, 0], before[:, 0], ours[:, 1]], axis=1)


def _strictly(passed: np.ndarray) -> np.ndarray:
    """(n, 2) checks passed and asked for → whether all are, and 1."""
    return np.stack([passed[:, 0] == passed[:, 1], np.ones(len(passed))], axis=1).astype(float)
