"""Check of whether a method can be sharded over a trial's devices (``launcher.sharding=fsdp``)."""

from __future__ import annotations

from harness.config import TrialConfig
from harness.errors import InputError
from harness.methods.base import Method

OPTIMIZERS = ("adamw", "adam", "sgd", "rmsprop", "adadelta")  # elementwise on each weight


def check_shardable(config: TrialConfig, method: Method) -> None:
    """Raises InputError for the first setting that cannot be sharded, naming an alternative."""
    training, retention = config.training, config.retention
    name = config.method["name"]
    if config.model.quantization != "none":
        _refuse(
            f"model.quantization={config.model.quantization}",
            "packed weights are not split; model.quantization=none is what works",
        )
    if method.base_quantization is not None:
        _refuse(
            f"method={name}",
            "packed weights are not split; the same method over a base at full precision is what "
            "works (method=lora)",
        )
    if method.cannot_shard is not None:
        _refuse(f"method={name}", method.cannot_shard)
    if training.optimizer not in OPTIMIZERS:
        _refuse(
            f"training.optimizer={training.optimizer}",
            f"its state is not entry by entry that of the weights; {', '.join(OPTIMIZERS)} are",
        )
    if training.precision == "fp16":
        _refuse("training.precision=fp16", "gradients are not scaled over devices; use bf16 or no")
    if training.updates != "fp32":
        _refuse(f"training.updates={training.updates}", "it rounds whole weights; use fp32")
    for field in ("l2_sp_weight", "ewc_weight"):
        if getattr(retention, field):
            _refuse(
                f"retention.{field}={getattr(retention, field):g}",
                "it reads whole weights at every step; replay and kl_weight are what works",
            )


def _refuse(what: str, why: str) -> None:
    raise InputError(
        f"launcher.sharding=fsdp cannot be used with {what}: {why}. launcher.sharding=none takes it."
    )
