"""State shared by all trials of a process: base models, their measurements, tokenized data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import DataConfig, EvaluationConfig, ModelConfig, TrialConfig
from harness.data.rows.example import Example
from harness.data.rows.overlap_report import overlap
from harness.data.rows.splits import Splits, read_splits
from harness.data.tokens.encode import Encoded, encode
from harness.data.tokens.token_cache import cached_encode
from harness.errors import refused_by_library
from harness.evaluation import benchmarks
from harness.evaluation.base_reference import Reference, ReferenceStore
from harness.evaluation.probes.asking import AnswerStore, BaseAnswers, ask_base, probes
from harness.evaluation.texts import Texts, prepare, watch
from harness.models.loading.base_fingerprint import base_fingerprint
from harness.models.pool import ModelPool
from harness.models.quantization import Quantization
from harness.models.weights.weight_normality import base_weights
from harness.records import Measurement, read_json, write_json
from harness.records.fingerprint import digest
from harness.terminal.phases import phase
from harness.training.device_memory import available_gb
from harness.training.distributed.team import ALONE, Team
from harness.training.first_pass import check_generation
from harness.trials.shared_work import shared_work

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from harness.models.load import Base

WORTH_KEEPING = 50_000  # rows that take ten seconds to tokenize
OVERLAP_FORMAT = 1  # increase this when `overlap` changes


@dataclass(frozen=True)
class Inputs:
    """The tokenized texts of one trial."""

    splits: Splits
    tokenizer: PreTrainedTokenizerBase
    train: Encoded
    watched: Texts  # sample for evaluations during training
    final: Texts  # for the final evaluation: validation in a search, test for finalists
    replay: Encoded | None  # general text, if an option of ``retention`` uses it


@dataclass(frozen=True)
class BaseResults:
    """Results of the untouched base on the same texts and tasks."""

    watched: Reference
    final: Reference
    tasks: benchmarks.Results | None = None  # only for finalists and trials by hand
    probes: BaseAnswers = field(default_factory=BaseAnswers)  # finalists and trials by hand

    @property
    def missing(self) -> dict[str, str]:
        """Return name → reason for values that could not be measured or compared on the base."""
        of_base = {f"base {name}": why for name, why in self.final.missing.items()}
        return of_base | dict(self.probes.missing)

    def measurements(self, evaluation: EvaluationConfig) -> dict[str, Measurement]:
        """Return the base's values under the names used for the tuned model."""
        tasks = benchmarks.scores_of(self.tasks, evaluation.bootstrap_resamples)
        return self.final.measurements | tasks | dict(self.probes.measurements)


class Workbench:
    """Shared state, one per process. All processes and sweeps of a runs_dir share its ``cache``."""

    def __init__(self, device: str, cache: Path, team: Team = ALONE) -> None:
        self.device = device
        self.cache = cache
        self.team = team  # the processes that train together
        on_gpu = device.startswith("cuda")
        self.pool = ModelPool(device, partial(available_gb, "cpu") if on_gpu else None)
        self.references = ReferenceStore(cache / "base")
        self.answers = AnswerStore(cache / "answers")
        self._overlaps: dict[str, dict[str, Any]] = {}
        self._splits: tuple[str, Splits] | None = None
        self._inputs: tuple[Any, Inputs] | None = None

    def splits(self, config: DataConfig) -> Splits:
        key = json.dumps(asdict(config), sort_keys=True, default=str)
        if self._splits is None or self._splits[0] != key:
            self._splits = (key, read_splits(config))
        return self._splits[1]

    def overlap(self, config: DataConfig, keep: bool = True) -> dict[str, Any]:
        """Count the evaluation items that are also trained on, see ``data.overlap``; cached.

        Without ``keep`` nothing is written, so that a rejected sweep leaves no files.
        """
        splits = self.splits(config)
        ngram, similarity = config.overlap_ngram, config.overlap_similarity
        key = digest([OVERLAP_FORMAT, splits.fingerprint, ngram, similarity], 16)
        file = self.cache / "overlap" / f"{key}.json"
        if key not in self._overlaps:
            self._overlaps[key] = read_json(file) or overlap(splits, ngram, similarity)
        if keep and not file.exists():
            write_json(file, self._overlaps[key])
        return self._overlaps[key]

    def inputs(self, config: TrialConfig) -> Inputs:
        """Return the tokenized texts of a trial; those of the last one are kept. Raises InputError."""
        looks_back = config.retention.looks_back
        asked = (config.model, config.data, config.evaluation, config.stage, looks_back)
        if self._inputs is None or self._inputs[0] != asked:
            self._inputs = None  # first free its memory
            self._inputs = (asked, self._read(config))
        return self._inputs[1]

    @phase("reading and tokenizing the data")
    def _read(self, config: TrialConfig) -> Inputs:
        data, evaluation = config.data, config.evaluation
        benchmarks.import_library(evaluation)
        splits, tokenizer = self.splits(data), self.pool.tokenizer(config.model)
        split = "test" if config.stage == "confirm" else "validation"
        replay = None
        if config.retention.looks_back:
            documents = [Example("", (text,)) for text in splits.replay]
            replay = self._tokenized(documents, config, data.of_texts())
        return Inputs(
            splits=splits,
            tokenizer=tokenizer,
            train=self.train_tokens(config),
            watched=watch(splits, tokenizer, data, evaluation.watched_examples),
            final=prepare(splits, tokenizer, data, evaluation, split),
            replay=replay,
        )

    def train_tokens(self, config: TrialConfig, keep: bool = True) -> Encoded:
        """Return the tokenized train split. Workers that begin together tokenize it once.

        Without ``keep`` nothing is written that takes only seconds to make again.
        """
        examples = self.splits(config.data).train
        if not keep and len(examples) < WORTH_KEEPING:
            tokenizer = self.pool.tokenizer(config.model)
            return encode(examples, tokenizer, config.data, all_references=True)
        return self._tokenized(examples, config, config.data)

    def _tokenized(
        self, examples: Sequence[Example], config: TrialConfig, data: DataConfig
    ) -> Encoded:
        tokenizer, folder = self.pool.tokenizer(config.model), self.cache / "tokens"

        def tokenized() -> Encoded:
            return cached_encode(folder, examples, tokenizer, data, all_references=True)

        content = self.splits(config.data).fingerprint
        key = digest([content, asdict(config.model), asdict(data)], 16)
        return shared_work(self.cache / "under_way", key, {"tokens": tokenized})["tokens"]

    def before(
        self,
        config: TrialConfig,
        inputs: Inputs,
        *,
        with_tasks: bool = False,
        with_probes: bool = False,
    ) -> BaseResults:
        """Return the results of the base at ``model.quantization``, measured now unless cached.

        QLoRA is compared with the same base as LoRA, so that the loss from quantization is
        included.
        """
        evaluation, own = config.evaluation, quantization_of(config.model)
        with_tasks = with_tasks and benchmarks.wanted(evaluation)
        asked = []
        if with_probes:
            asked = probes(inputs.final, inputs.tokenizer, evaluation, config.data)
        find = (
            self.references.find
        )  # measured with the final texts, so all points of a curve share their texts
        watched = find(config.model, own, inputs.watched, evaluation, inputs.final)
        final = find(config.model, own, inputs.final, evaluation)
        known = self.answers.find_all(base_fingerprint(config.model, own), asked)
        if watched is not None and final is not None and known is not None and not with_tasks:
            base_answers = ask_base(asked, lambda probe: known[probe.name], evaluation)
            return BaseResults(watched, final, probes=base_answers)
        with self.pool.lend(config.model, own) as base:
            with refused_by_library(f"model.name={config.model.name!r}"):
                check_generation(base.model, inputs.final.prompts, self.device)
            device, folder = self.device, self.cache / "tasks"
            get, answer = self.references.get, self.answers.get
            parts: dict[str, Callable[[], Any]] = {
                "watched": lambda: get(base, inputs.watched, evaluation, device, inputs.final),
                "final": lambda: get(base, inputs.final, evaluation, device),
                "probes": lambda: ask_base(asked, lambda p: answer(base, p, device), evaluation),
            }
            if with_tasks:
                parts["tasks"] = lambda: benchmarks.base_results(folder, base, evaluation, device)
            with phase("measuring the untouched base"):
                found = self.share(base, inputs, parts)
        return BaseResults(found["watched"], found["final"], found.get("tasks"), found["probes"])

    def share(
        self, base: Base, inputs: Inputs, parts: Mapping[str, Callable[[], Any]]
    ) -> dict[str, Any]:
        """Return the results of ``parts`` of measuring ``base``, divided among the workers at it."""
        key = digest([base.fingerprint, inputs.final.fingerprint], 16)
        return shared_work(self.cache / "under_way", key, parts)

    def base_weights(
        self, config: ModelConfig, quantization: Quantization | None
    ) -> list[dict[str, Any]] | None:
        """Test the normality of the weights that a method quantizes; once for each base.

        Returns None for a method that does not quantize, and for a base that is already quantized,
        since its full-precision weights are not available.
        """
        if quantization is None or quantization_of(config) is not None:
            return None
        file = self.cache / "weights" / f"{base_fingerprint(config, None)}.json"
        kept = read_json(file)
        if kept is None:
            with self.pool.lend(config, None) as base:
                kept = {"layers": base_weights(base.model)}
            write_json(file, kept)
        return kept["layers"]


def quantization_of(model: ModelConfig) -> Quantization | None:
    """Return how the user's own base is quantized."""
    if model.quantization == "none":
        return None
    return Quantization.of(model.quantization, model.double_quantization)
