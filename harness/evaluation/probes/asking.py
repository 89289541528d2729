"""All probes, asked of the base model and of tuned models in the same way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.config import DataConfig, EvaluationConfig
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.own_words import NotTheModels
from harness.evaluation.probes.agreement import AgreementProbe
from harness.evaluation.probes.instructions import InstructionProbe
from harness.evaluation.probes.knowledge import KnowledgeProbe
from harness.evaluation.probes.probe import Answers, Probe, Questions
from harness.evaluation.texts import Texts
from harness.language import recorded
from harness.models.load import Base
from harness.records import Measurement, read_json, write_json

if TYPE_CHECKING:
    from torch import nn

PROBES: tuple[type[Probe], ...] = (InstructionProbe, AgreementProbe, KnowledgeProbe)
FORMAT = 5  # of a base's answers on disk


def probes(
    texts: Texts, tokenizer: Any, config: EvaluationConfig, data: DataConfig | None = None
) -> list[Probe]:
    """Return the probes that ``config`` selects. Raises InputError for unusable questions."""
    found = (kind.configured(texts, tokenizer, config, data) for kind in PROBES)
    return [probe for probe in found if probe is not None]


@dataclass(frozen=True)
class BaseAnswers:
    """Probes with the untouched base's answers, and the scores of these answers."""

    answered: tuple[tuple[Probe, Answers], ...] = ()
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)  # probes without answers of the base


class AnswerStore:
    """Answers of untouched bases on disk: one file for each base and set of questions."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find_all(self, fingerprint: str, probes: Sequence[Probe]) -> dict[str, Answers] | None:
        """Return the kept answers of the base with that fingerprint, by the probes' names.

        None if an answer is missing: the base must be asked.
        """
        found = {probe.name: self._find(fingerprint, probe.questions) for probe in probes}
        known = {name: answers for name, answers in found.items() if answers is not None}
        return known if len(known) == len(found) else None

    def get(self, base: Base, probe: Probe, device: str) -> Answers:
        """Return the answers of ``base``, generated now unless kept. Raises NotTheModels."""
        answers = self._find(base.fingerprint, probe.questions)
        if answers is None:
            answers = probe.questions.ask(base.model, base.tokenizer, device)
            write_json(self._file(base.fingerprint, probe.questions), asdict(answers))
        return answers

    def _find(self, fingerprint: str, questions: Questions) -> Answers | None:
        known = read_json(self._file(fingerprint, questions))
        return None if known is None else Answers(**known)

    def _file(self, fingerprint: str, questions: Questions) -> Path:
        how = (questions.max_new_tokens, questions.batch_size, questions.ends, questions.decoding)
        key = hashlib.sha256(f"{FORMAT} {fingerprint} {how}".encode())
        for prompt in questions.prompts:
            key.update(len(prompt).to_bytes(4, "little") + prompt.astype(np.int32).tobytes())
        return self._folder / f"{key.hexdigest()[:16]}.json"


def ask_base(
    probes: Sequence[Probe], answers_to: Callable[[Probe], Answers], config: EvaluationConfig
) -> BaseAnswers:
    """Return the base's answers to ``probes``, as ``answers_to`` finds or generates them."""
    measured = MeasurementCollector(config.bootstrap_resamples)
    answered = []
    for probe in probes:
        try:
            answers = answers_to(probe)
        except NotTheModels as error:
            measured.miss(probe.name, recorded("of the untouched base {error}", error=error))
            continue
        answered.append((probe, answers))
        probe.add_levels(measured, answers, answers)
    return BaseAnswers(tuple(answered), measured.measurements, measured.missing)


def ask_tuned(
    measured: MeasurementCollector, model: nn.Module, tokenizer: Any, base: BaseAnswers, device: str
) -> None:
    """Add to ``measured`` the measurements and files of every probe that the base has answered."""
    for probe, before in base.answered:
        try:
            answers = probe.questions.ask(model, tokenizer, device)
        except NotTheModels as error:
            measured.miss(probe.name, str(error))
            continue
        probe.add_levels(measured, answers, before)
        probe.add_changes(measured, answers, before)
        measured.files |= probe.files(answers, before)
