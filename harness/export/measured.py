"""The exported model measured again: as exported, merged, and in 4 bits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from harness import methods
from harness.afterwards import Trained, check_schemes, measured_again, outcomes_of, some_logits
from harness.config import TrialConfig
from harness.errors import InputError
from harness.export.chosen_trial import ChosenTrial
from harness.methods import AdaptContext, Method
from harness.models.loading.skeleton import load_skeleton
from harness.models.quantization import CLASS_HEAD
from harness.records import Outcome
from harness.trials.by_hand.recorded_config import config_of
from harness.trials.results.recording import device_name
from harness.trials.workbench import Workbench, quantization_of

FOUR_BITS = "nf4"
MERGED, QUANTIZED = "merged", f"quantized {FOUR_BITS}"


@dataclass(frozen=True)
class MeasuredAgain:
    """Results of the same evaluation as the trial's, all on one device."""

    outcomes: dict[str, Outcome]  # 'as exported', 'merged', 'quantized nf4'
    device: str


def check_merging(choice: ChosenTrial, bits: int | None, device: str) -> tuple[TrialConfig, Method]:
    """Return configuration and method of a model that can be merged and measured.

    Raises InputError where that is impossible, or where model or data are not those of the trial.
    """
    asked = "merged=true" if bits is None else f"bits={bits}"
    name = choice.row.record.method
    method = methods.build(choice.row.record.config["method"])
    if method.cannot_merge is not None:
        raise InputError(
            f"{asked} cannot be used with {name}: {method.cannot_merge}. Without it, what was trained "
            "is exported, and is loaded beside its base."
        )
    if (choice.adapter / f"{CLASS_HEAD}.safetensors").is_file():
        raise InputError(
            f"{asked} cannot be used with a classifier: the head of its classes is no part of a merged "
            "model. Without it, adapter and head are exported."
        )
    config = config_of(choice.row.folder, choice.row.record)
    if bits is not None:
        check_schemes([FOUR_BITS], load_skeleton(config.model), device)
    return config, method


def measure(
    choice: ChosenTrial,
    folder: Path,
    config: TrialConfig,
    method: Method,
    bits: int | None,
    device: str,
) -> MeasuredAgain:
    """Load the export in ``folder``, measure it, merge it into ``folder/merged``, and measure that.

    What it is merged into is the base at full precision, also where it was trained beside a
    quantized one. Raises InputError if memory runs out.
    """
    schemes = [] if bits is None else [FOUR_BITS]
    asked = replace(
        config.evaluation,
        merged=True,
        quantization=schemes,
        interpolation=[],
        update_analysis=False,
    )
    config = replace(config, evaluation=asked)
    bench = Workbench(device, choice.row.folder.parents[3] / ".cache")
    inputs = bench.inputs(config)
    before = bench.before(config, inputs)
    plan = AdaptContext(
        total_steps=int(choice.row.record.provenance.get("total_steps", 0)),
        steps_per_epoch=0,
        tokenizer=inputs.tokenizer,
        train=inputs.train,
        seed=config.seed,
        device=device,
    )
    with bench.pool.lend(
        config.model, method.base_quantization or quantization_of(config.model)
    ) as base:
        model = method.load(base.model, folder).eval()
        trained = Trained(
            folder=folder,
            adapter=folder,
            config=config,
            method=method,
            plan=plan,
            texts=inputs.final,
            reference=before.final,
            logits=some_logits(model, inputs.final, device),
        )
        found = measured_again(trained, model)
        size = choice.row.record.cost.get("adapter_bytes")
        exported = Outcome(
            found.measurements,
            None if size is None else int(size),
            tokens_per_second=found.generation_tokens_per_second,
        )
        del model
    outcomes = {"as exported": exported, **outcomes_of(trained, bench.pool)}
    for name in (MERGED, *(f"quantized {scheme}" for scheme in schemes)):
        if not outcomes[name].measurements:
            raise InputError(f"{name}: nothing could be measured: {outcomes[name].note}.")
    if not (folder / MERGED).is_dir():
        del outcomes[MERGED]  # the whole model was trained: as exported
    return MeasuredAgain(outcomes, device_name(device))
