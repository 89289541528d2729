"""Knowledge probes of one trial: answers of the untouched base and of the tuned model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.own_words import NotTheModels
from harness.evaluation.probes import knowledge
from harness.models.load import base_fingerprint
from harness.records import Measurement, write_text
from harness.records.store import to_jsonl
from harness.trials.job import Job
from harness.trials.workbench import Workbench, quantization_of

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class BaseProbeAnswers:
    """The base's answers and their scores."""

    answers: list[knowledge.Answer]
    measurements: dict[str, Measurement]
    missing: str | None = None  # why there are none


def ask_base(job: Job, bench: Workbench) -> BaseProbeAnswers | None:
    """Ask the base, for finalists and trials by hand with ``evaluation.probes``; answers are cached.

    Raises InputError for probes that cannot be read.
    """
    config, evaluation, data = job.config.model, job.config.evaluation, job.config.data
    finalist = job.config.stage == "confirm" or job.keep_adapter
    if not (finalist and knowledge.wanted(evaluation)):
        return None
    folder, own = bench.cache / "probes", quantization_of(config)
    answers = knowledge.kept_answers(folder, base_fingerprint(config, own), evaluation, data)
    if answers is None:
        try:
            with bench.pool.lend(config, own) as base:
                answers = knowledge.base_answers(folder, base, evaluation, bench.device, data)
        except NotTheModels as error:
            return BaseProbeAnswers([], {}, f"of the untouched base {error}")
    measured = MeasurementCollector(evaluation.bootstrap_resamples)
    knowledge.add_knowledge(measured, answers, answers, evaluation)
    return BaseProbeAnswers(answers, measured.measurements)


def ask_tuned(
    job: Job,
    model: nn.Module,
    tokenizer: Any,
    told: BaseProbeAnswers,
    measured: MeasurementCollector,
    device: str,
) -> None:
    """Add ``probes.*`` to ``measured``, and write ``probes.jsonl`` with both models' answers."""
    evaluation = job.config.evaluation
    try:
        if told.missing is not None:
            raise NotTheModels(told.missing)
        answers = knowledge.ask(model, tokenizer, evaluation, device, job.config.data)
    except NotTheModels as error:
        measured.miss("probes", str(error))
        return
    knowledge.add_knowledge(measured, answers, told.answers, evaluation)
    text = to_jsonl(knowledge.rows(answers, told.answers, evaluation))
    write_text(job.path / "probes.jsonl", text)
