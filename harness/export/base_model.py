"""The base of an export: what it is called where the export is used, and where it is found there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.config import ModelConfig
from harness.errors import InputError
from harness.models.loading.location import model_path
from harness.records import Record

# The attribute in ``harness.builtin``, and the name for people.
BUILTIN = {
    "builtin": ("MODEL", "the built-in model of finetune-harness"),
    "builtin_chat": ("CHAT_MODEL", "the built-in chat model of finetune-harness"),
}


@dataclass(frozen=True)
class BaseModel:
    """The base without any path of this machine."""

    label: str  # for people
    hub: str | None  # its name on the hub; None for a folder of which no such name is known
    revision: str | None  # the commit on the hub that was tuned
    builtin: str | None  # its attribute in ``harness.builtin``
    fingerprint: str  # of its files, or of name and revision
    dtype: str  # that it was loaded in
    storage: str  # how its weights were kept in the trial: none, nf4, fp4, int8
    double_quantization: bool
    compute_dtype: str | None

    @classmethod
    def of(cls, config: ModelConfig, record: Record, hub: str | None) -> BaseModel:
        """``hub`` is the name that the user gives a base that was read from a folder.

        Raises InputError for a name of any other base.
        """
        known = record.provenance.get("model", {})
        builtin = BUILTIN[config.name][0] if config.name in BUILTIN else None
        local = Path(model_path(config)).exists() or config.name.startswith((".", "/", "~"))
        if hub is not None and (builtin or not local):
            raise InputError(
                f"base={hub!r} cannot be used: it names a base that was read from a local folder, and "
                f"this one is {config.name}."
            )
        name = hub if local else config.name
        return cls(
            label=name
            or (BUILTIN[config.name][1] if builtin else Path(config.name).resolve().name),
            hub=name,
            revision=None if local else known.get("revision") or config.revision,
            builtin=builtin,
            fingerprint=str(known.get("stored_fingerprint", "unknown")),
            dtype=str(known.get("dtype", "float32")),
            storage=str(known.get("quantization", "none")),
            double_quantization=bool(known.get("double_quantization")),
            compute_dtype=known.get("compute_dtype"),
        )

    @property
    def is_unnamed(self) -> bool:
        """True if nothing but a folder of the user's can be loaded as this base."""
        return self.hub is None and self.builtin is None
