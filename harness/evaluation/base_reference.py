"""Results of the untouched base on the same texts, measured once and cached by fingerprint.

Forgetting is a distance from these results. They are never measured by switching an adapter off,
because some methods change the base's weights and virtual tokens stay in place.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from harness.config import EvaluationConfig, ModelConfig
from harness.data.tokens.encode import Encoded
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.likelihood import by_example, n_labels
from harness.evaluation.quality import quality
from harness.evaluation.texts import Texts
from harness.models.load import Base
from harness.models.loading.base_fingerprint import base_fingerprint
from harness.models.logprobs import LogProbs, base_predictions
from harness.models.quantization import Quantization
from harness.records import Measurement, read_json, write_json
from harness.records.disk_usage import keep_bound, mark_used
from harness.records.fingerprint import digest, evaluation_identity
from harness.statistics.measurements.names import GENERAL_BITS_PER_BYTE, GENERAL_PERPLEXITY

FORMAT = 5
KEPT_IN_MEMORY = 4
BENCHMARK_FIELDS = (  # measured elsewhere
    *("tasks", "task_folder", "task_limit", "num_fewshot", "per_task", "task_batch_size"),
    *("multiple_choice", "unsafe_tasks", "judge"),
    *("apply_chat_template", "fewshot_as_multiturn", "system_instruction"),
    *("instructions", "instruction_tokens", "agreement_prompts"),
    *("probes", "probe_tokens", "probe_temperature", "probe_top_p"),
)
# Settings that concern tuned models only.
AFTERWARDS_FIELDS = ("merged", "interpolation", "quantization", "update_analysis")


@dataclass(frozen=True)
class Reference:
    """Measurements of the base on one ``Texts``."""

    fingerprint: str
    measurements: dict[str, Measurement]  # quality on the split, perplexity on general text
    outputs: list[str]  # one answer per prompt
    general_nll: np.ndarray | None  # (documents,) summed, nats
    general: LogProbs | None
    drift: LogProbs | None
    items: dict[str, np.ndarray]  # measurement → (n, k) per-example statistics, for paired tests
    missing: Mapping[str, str] = field(default_factory=dict)  # empty for a reference from disk


class ReferenceStore:
    """References on disk under ``folder``, with the last few in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._recent: dict[str, Reference] = {}

    def find(
        self,
        model: ModelConfig,
        quantization: Quantization | None,
        texts: Texts,
        config: EvaluationConfig,
        beside: Texts | None = None,
    ) -> Reference | None:
        """Return a reference that was measured before, without loading the base; see ``get``."""
        key = _key(base_fingerprint(model, quantization), texts, config, beside)
        if key not in self._recent:
            found = _load(self.folder / key, key)
            if found is not None:
                self._keep(found)
        return self._recent.get(key)

    def get(
        self,
        base: Base,
        texts: Texts,
        config: EvaluationConfig,
        device: str,
        beside: Texts | None = None,
    ) -> Reference:
        """Return the reference of that base on those texts, measuring it if necessary.

        ``beside`` are the texts of the final evaluation of a curve whose points use ``texts``. If
        the log-probabilities of either do not fit in full, both KLs use the same lower bound.
        """
        key = _key(base.fingerprint, texts, config, beside)
        if key not in self._recent:
            found = _load(self.folder / key, key)
            if found is None:
                found, whole = _measure(base, key, texts, config, device, beside)
                if whole:  # else not kept, so that another process tries the missing ones again
                    _save(self.folder / key, found)
                    keep_bound(self.folder)
            self._keep(found)
        return self._recent[key]

    def _keep(self, reference: Reference) -> None:
        if len(self._recent) >= KEPT_IN_MEMORY:
            self._recent.pop(next(iter(self._recent)))
        self._recent[reference.fingerprint] = reference


def _key(
    base_fingerprint: str, texts: Texts, config: EvaluationConfig, beside: Texts | None
) -> str:
    whole = evaluation_identity(asdict(config))
    how = {k: v for k, v in whole.items() if k not in BENCHMARK_FIELDS + AFTERWARDS_FIELDS}
    end = [] if beside is None else [beside.fingerprint]
    return digest([FORMAT, base_fingerprint, texts.fingerprint, how, *end], 16)


def _measure(
    base: Base,
    key: str,
    texts: Texts,
    config: EvaluationConfig,
    device: str,
    beside: Texts | None,
) -> tuple[Reference, bool]:
    """Measure the reference. The flag is True if another attempt could find no more."""

    def predictions(encoded: Encoded, longer: Encoded | None) -> tuple[LogProbs, np.ndarray]:
        return base_predictions(
            base.model,
            encoded,
            batch_size=config.batch_size,
            device=device,
            top_k=config.top_k_logprobs,
            memory_gb=config.cache_gb,
            beside=longer,
        )

    measured = MeasurementCollector(config.bootstrap_resamples)
    quality(measured, base.model, base.tokenizer, texts, config, device)
    general = drift = nll = None
    if texts.general is not None:
        general, nll = predictions(texts.general, None if beside is None else beside.general)
        _general(measured, texts, nll)
    if texts.drift is not None:
        drift, _ = predictions(texts.drift, None if beside is None else beside.drift)
    outputs = [str(row["output"]) for row in measured.predictions]
    reference = Reference(
        fingerprint=key,
        measurements=measured.measurements,
        outputs=outputs,
        general_nll=nll,
        general=general,
        drift=drift,
        items=measured.items,
        missing=measured.missing,
    )
    return reference, not measured.may_come


def _general(measured: MeasurementCollector, texts: Texts, nll: np.ndarray) -> None:
    """Add the base's perplexity and bits per byte on general text, which tuning can degrade."""
    assert texts.general is not None
    columns = by_example(texts.general, nll, n_labels(texts.general))
    by_bytes = by_example(texts.general, nll, texts.general.label_bytes)
    signature = f"text:general for {texts.split}|weight:token"
    measured.add(GENERAL_PERPLEXITY, columns, signature)
    measured.add(GENERAL_BITS_PER_BYTE, by_bytes, signature)
    for domain in dict.fromkeys(texts.domains):
        chosen = np.asarray(texts.domains) == domain
        measured.add(
            f"{GENERAL_PERPLEXITY}.{domain}", columns[chosen], f"{signature}|domain:{domain}"
        )


def _save(folder: Path, reference: Reference) -> None:
    """Write tensors first and the JSON last, so that its presence means a complete reference."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name in ("general", "drift"):
        kept: LogProbs | None = getattr(reference, name)
        if kept is not None:
            named = kept.tensors.items()
            tensors |= {f"{name}.{key}": each for key, each in named if each is not None}
    aside = folder / f".logprobs.{os.getpid()}.tmp"  # several workers may measure it at once
    save_file(tensors, aside)
    aside.replace(folder / "logprobs.safetensors")
    nll = None if reference.general_nll is None else reference.general_nll.tolist()
    measurements = {name: m.to_json() for name, m in reference.measurements.items()}
    data = {"measurements": measurements, "outputs": reference.outputs, "general_nll": nll}
    data["items"] = {name: one.round(6).tolist() for name, one in reference.items.items()}
    write_json(folder / "reference.json", data)


def _load(folder: Path, key: str) -> Reference | None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    data = read_json(folder / "reference.json")
    if data is None:
        return None
    mark_used(folder)
    try:
        tensors = load_file(folder / "logprobs.safetensors")
    except (OSError, SafetensorError):
        return None

    def kept(name: str) -> LogProbs | None:
        begin = f"{name}."
        return LogProbs.from_tensors(
            {key.removeprefix(begin): t for key, t in tensors.items() if key.startswith(begin)}
        )

    try:
        nll = data["general_nll"]
        nll = None if nll is None else np.asarray(nll, float)
        measurements = {n: Measurement.from_json(m) for n, m in data["measurements"].items()}
        items = {name: np.asarray(one, float) for name, one in data["items"].items()}
        return Reference(
            fingerprint=key,
            measurements=measurements,
            outputs=data["outputs"],
            general_nll=nll,
            general=kept("general"),
            drift=kept("drift"),
            items=items,
        )
    except (KeyError, TypeError, ValueError, AttributeError):  # JSON of another form
        return None
