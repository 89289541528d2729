"""Check that a trial can be sharded over devices (``launcher.sharding=fsdp``)."""

from __future__ import annotations

from harness.config import TrialConfig
from harness.errors import InputError
from harness.methods.base import Method

OPTIMIZERS = ("adamw", "adam", "sgd", "rmsprop", "adadelta")  # with elementwise updates


def check_shardable(config: TrialConfig, method: Method) -> None:
    """Raise InputError for the first setting that cannot be sharded, with an alternative."""
    training, retention = config.training, config.retention
    name = config.method["name"]
    if config.model.quantization != "none":
        _refuse(
            f"model.quantization={config.model.quantization}",
            "quantized weights cannot be split; use model.quantization=none",
        )
    if method.base_quantization is not None:
        _refuse(
            f"method={name}",
            "quantized weights cannot be split; use the same method on a base at full precision "
            "(method=lora)",
        )
    if method.cannot_shard is not None:
        _refuse(f"method={name}", method.cannot_shard)
    if training.optimizer not in OPTIMIZERS:
        _refuse(
            f"training.optimizer={training.optimizer}",
            f"its state is not elementwise; use one of {', '.join(OPTIMIZERS)}",
        )
    if training.precision == "fp16":
        _refuse("training.precision=fp16", "gradients are not scaled over devices; use bf16 or no")
    if training.updates != "fp32":
        _refuse(f"training.updates={training.updates}", "it rounds whole weights; use fp32")
    for field in ("l2_sp_weight", "ewc_weight"):
        if getattr(retention, field):
            _refuse(
                f"retention.{field}={getattr(retention, field):g}",
                "it reads whole weights at every step; use replay or kl_weight",
            )


def _refuse(setting: str, reason: str) -> None:
    raise InputError(
        f"launcher.sharding=fsdp cannot be used with {setting}: {reason}. launcher.sharding=none "
        "supports it."
    )
