"""The YAML at the top of a model card, by which the hub sorts and finds models."""

from __future__ import annotations

from typing import Any

from harness.export.card_facts import CardFacts, data_label
from harness.reporting import formatting as f
from harness.statistics.measurements.definitions import kind_of
from harness.statistics.measurements.names import FORGETTING_KL, FORGETTING_NLL, TEST, VALIDATION


def metadata(facts: CardFacts) -> str:
    """Return the YAML between the two lines of ---, with the measured numbers as model-index."""
    from huggingface_hub import ModelCardData

    base, card = facts.base, facts.base_card
    more: dict[str, Any] = {}
    if base.hub is not None:
        more["base_model"] = base.hub
        more["base_model_relation"] = "finetune" if facts.is_whole else "adapter"
    if card is not None:
        more |= {"license": card.licence, "language": list(card.languages) or None}
        more |= {"license_name": card.licence_name, "license_link": card.licence_link}
    data = facts.config.data
    named = data.source == "hub" and data.name and not data.name.startswith(("/", "~", "."))
    results = _results(facts)
    tags = [facts.record.method, "finetune-harness"]
    if facts.adapter is not None:
        tags.append(str(facts.adapter.get("peft_type", "")).lower())
    if base.hub is not None and facts.adapter is not None:
        tags.append(f"base_model:adapter:{base.hub}")
    written = ModelCardData(
        datasets=[data.name] if named and data.name else None,
        library_name="transformers" if facts.is_whole else "peft",
        metrics=list(dict.fromkeys(result.metric_type for result in results)),
        eval_results=results,
        model_name=facts.name,
        pipeline_tag="text-classification" if facts.labels else "text-generation",
        tags=[tag for tag in tags if tag],
        **more,
    )
    return written.to_yaml().strip()


def _results(facts: CardFacts) -> list[Any]:
    """Return the numbers of the task and of forgetting, with n, interval and signature."""
    from huggingface_hub import EvalResult

    data, found = facts.config.data, []
    for name, m in facts.record.measurements.items():
        split = name.split(".")[0]
        on_task = name.startswith((TEST, VALIDATION)) and name.count(".") == 1
        if not on_task and name not in (FORGETTING_KL, FORGETTING_NLL):
            continue
        interval = None if m.interval is None else [float(bound) for bound in m.interval]
        found.append(
            EvalResult(
                task_type="text-classification" if facts.labels else "text-generation",
                dataset_type=data.source if on_task else "general-text",
                dataset_name=data_label(data) if on_task else "general text, not trained on",
                dataset_split=split if on_task else None,
                metric_type=kind_of(name) if on_task else name.replace(".", "_"),
                metric_name=f.title(name),
                metric_value=float(m.value),
                metric_args={
                    "n": m.n,
                    "interval_95": interval,
                    "unit": m.unit,
                    "signature": m.signature,
                },
            )
        )
    return found
