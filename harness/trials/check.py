"""Checks with the model's skeleton and the tokenized data, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness import afterwards, methods
from harness.config import ModelConfig, TrialConfig
from harness.config.strict import from_mapping
from harness.data.tokens.written_form import how_written
from harness.errors import InputError
from harness.evaluation import benchmarks
from harness.evaluation.answers import configured
from harness.evaluation.probes.asking import probes
from harness.evaluation.texts import prepare
from harness.methods import Method
from harness.methods.coverage import caution, stacked_share
from harness.models.checks.positions import positions
from harness.models.loading.skeleton import load_skeleton, weights_dtype
from harness.models.quantization import Quantization
from harness.records.disk_usage import remove
from harness.terminal.phases import phase
from harness.training.augmentation import described
from harness.training.distributed.shardable import check_shardable
from harness.training.precision.autocast import check_precision
from harness.trials.workbench import Workbench, quantization_of

if TYPE_CHECKING:
    from torch import nn


@phase("checking the configurations with the model and the data")
def check(spec: Mapping[str, Any], bench: Workbench) -> dict[str, Any]:
    """Check every configuration of ``spec["configs"]`` on the model's skeleton and the tokenized data.

    Returns counts that the plan shows. Raises InputError for the first unusable configuration; the
    tokens that were written for it are then removed, because a refused sweep leaves no files.
    """
    tokens = bench.cache / "tokens"
    before = set(tokens.glob("*"))
    try:
        return _checked(spec, bench)
    except InputError:
        for path in set(tokens.glob("*")) - before:
            remove(path)
        raise


def _checked(spec: Mapping[str, Any], bench: Workbench) -> dict[str, Any]:
    counts: dict[ModelConfig, dict[str, Any]] = {}  # all share the same data
    cautions: dict[str, None] = {}
    longest: dict[ModelConfig, int] = {}  # most tokens of any text, for each model
    # Nothing changes them, and one keeps what was found out about it, such as where text goes.
    skeletons: dict[ModelConfig, nn.Module] = {}
    for data in spec["configs"]:
        config: TrialConfig = from_mapping(TrialConfig, data)
        method: Method = methods.build(config.method)
        for quantization in {quantization_of(config.model), method.base_quantization} - {None}:
            check_quantization(quantization, bench.device)
        if bench.team.shards:
            check_shardable(config, method)
        if config.model not in skeletons:
            skeletons[config.model] = load_skeleton(config.model)
        skeleton = skeletons[config.model]
        check_precision(
            config.training, method, weights_dtype(config.model, skeleton), bench.device
        )
        method = methods.fitted(config.method, skeleton)
        described(config.training, bench.pool.tokenizer(config.model))
        if config.model not in counts:
            afterwards.check_schemes(config.evaluation.quantization, skeleton, bench.device)
            tokenizer = bench.pool.tokenizer(config.model)
            splits = bench.splits(config.data)
            train = bench.train_tokens(config, keep=False)
            counts[config.model] = {
                "parameters": sum(p.numel() for p in skeleton.parameters()),
                "train": train.counts,
                "rows": splits.counts,
                "written": how_written(tokenizer, config.data),
                "overlap": bench.overlap(config.data, keep=False),
            }
            without = counts[config.model]["without"] = {}
            lengths = [train.longest_text]
            for split in ("validation", "test") if spec["opens_test"] else ("validation",):
                texts = prepare(splits, tokenizer, config.data, config.evaluation, split)
                lengths.append(texts.longest)
                without |= configured.unusable(texts.examples, config.data, config.evaluation)
                if split == "validation":
                    counts[config.model]["answers"] = texts.answers.sentences()
                if split == "test":
                    asked = probes(texts, tokenizer, config.evaluation, config.data)
                    lengths += [probe.questions.longest for probe in asked]
            longest[config.model] = max(lengths)
            if spec["opens_test"] and benchmarks.wanted(config.evaluation):
                benchmarks.check_chat_template(tokenizer, config.evaluation)
                missing = benchmarks.check_tasks(config.evaluation)
                counts[config.model]["missing_tasks"] = missing
        limits = positions(skeleton)
        limits.check(longest[config.model])
        method.check_length(skeleton, longest[config.model])
        warnings = limits.caution(longest[config.model]), caution(method, stacked_share(skeleton))
        cautions |= dict.fromkeys(filter(None, warnings))
    return next(iter(counts.values())) | {"cautions": list(cautions)}


def check_quantization(quantization: Quantization | None, device: str) -> None:
    """Quantize a small tensor. Raises InputError if this machine cannot."""
    import torch

    assert quantization is not None
    try:
        import bitsandbytes.functional as functional

        weights = torch.ones(64, 64, device=device)
        if quantization.kind == "int8":
            functional.int8_vectorwise_quant(weights.half())
        else:
            packed, state = functional.quantize_4bit(
                weights, quant_type=quantization.kind, compress_statistics=quantization.double
            )
            functional.dequantize_4bit(packed, state)
    except Exception as error:  # backends raise many types
        raise InputError(
            f"quantization {quantization.kind} cannot be used: bitsandbytes does not run it on this "
            f"machine's {device} ({str(error).splitlines()[0]})."
        ) from error
