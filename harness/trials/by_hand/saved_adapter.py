"""Saved adapters and models, from this program or elsewhere, and checks that they fit a base."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import methods
from harness.config import ModelConfig
from harness.errors import InputError
from harness.methods.base import Method
from harness.models.load import Base
from harness.models.loading.location import model_path
from harness.models.quantization import CLASS_HEAD, Quantization
from harness.models.views import as_pretrained
from harness.paths import user_path
from harness.records import read_record

if TYPE_CHECKING:
    from torch import nn

ADAPTER = "adapter_config.json"
READ = (ADAPTER, "config.json", "labels.json")  # files that matter, beside the tensors


@dataclass(frozen=True)
class Saved:
    """An adapter that peft can load, or the weights of a whole model."""

    folder: Path
    kind: str  # peft's type in lower case, or 'weights'
    fingerprint: str
    labels: tuple[str, ...]  # of its class head; empty without one
    made_for: str | None  # the base it names
    quantization: Quantization | None  # of the base in its trial, if known

    @property
    def is_adapter(self) -> bool:
        return self.kind != "weights"

    def doubts(self, model: ModelConfig) -> list[str]:
        """Return a warning if it names another base; of a path only the last part counts."""
        path = Path(model_path(model))
        names = {Path(name).name.casefold() for name in (model.name, str(path))}
        if self.made_for is None or Path(self.made_for).name.casefold() in names:
            return []
        return [
            f"the adapter says it was made for {Path(self.made_for).name!r}, and this base is "
            f"{Path(model.name).name!r}"
        ]


def read_saved(path: str) -> Saved:
    """Describe the adapter in the folder ``path`` without loading it. Raises InputError."""
    folder = user_path(path)
    if not folder.is_dir():
        raise InputError(f"adapter={path!r} cannot be used: this folder does not exist.")
    tensors = sorted(folder.glob("*.safetensors"))
    weights = [file for file in tensors if file.stem != CLASS_HEAD]
    if not weights:
        raise InputError(
            f"adapter={path!r} cannot be used: it has no *.safetensors file. Other formats can carry "
            "code and are not read; convert it with save_pretrained()."
        )
    kind, made_for = "weights", None
    if (folder / ADAPTER).is_file():
        config = _json(folder / ADAPTER)
        kind, made_for = _adapter(path, folder, config)
    elif not (folder / "config.json").is_file():
        raise InputError(
            f"adapter={path!r} cannot be used: neither {ADAPTER} (an adapter saved by peft) nor "
            "config.json (a whole model) is in it."
        )
    digest = hashlib.sha256()
    for file in (*tensors, *(folder / name for name in READ if (folder / name).is_file())):
        digest.update(file.name.encode())
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    labels = tuple(map(str, _json(folder / "labels.json"))) if _has_head(folder) else ()
    fingerprint = digest.hexdigest()[:16]
    return Saved(folder, kind, fingerprint, labels, made_for, _trained_on(folder))


def load_saved(saved: Saved, base: Base, labels: tuple[str, ...]) -> nn.Module:
    """Return the tuned model, built on ``base`` in place, with its class head if there are ``labels``.

    Raises InputError if it does not fit.
    """
    from safetensors import SafetensorError

    if saved.labels != labels:
        have = ", ".join(saved.labels) or "none"
        raise InputError(
            f"adapter={str(saved.folder)!r} cannot be used with this data: it tells apart the classes "
            f"{have}, and the data has {', '.join(labels) or 'none'}."
        )
    output: Any = None
    if labels:
        from harness.models.classifier import FrozenOutput, load_class_head

        output = None if saved.is_adapter else FrozenOutput(base.model)
    try:
        model = Method().load(base.model, saved.folder)
        if saved.is_adapter:
            _check_keys(saved, model)
        if output is not None:
            # forgetting is measured on the tuned body under the base's output layer
            as_pretrained(model).set_output_embeddings(output)
        if labels:
            load_class_head(model, saved.folder)
    except InputError:
        raise
    except (ValueError, RuntimeError, KeyError, TypeError, OSError, SafetensorError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise InputError(
            f"adapter={str(saved.folder)!r} does not fit this base: {' '.join(lines[:2])}"
        ) from error
    return model.eval()


def check_weights(saved: Saved, base: Base) -> None:
    """Check the weights of a whole model before they are loaded into ``base``. Raises InputError."""
    if saved.is_adapter:
        return
    if base.provenance["quantization"] != "none":
        raise InputError(
            f"adapter={str(saved.folder)!r} holds the weights of a whole model: "
            "model.quantization must be none."
        )
    kind, own = _json(saved.folder / "config.json").get("model_type"), base.model.config.model_type
    if kind != own:
        raise InputError(
            f"adapter={str(saved.folder)!r} does not fit this base: it is a {kind}, not a {own}."
        )


def _check_keys(saved: Saved, model: Any) -> None:
    """Check that the tensors of the file and of the adapter are the same. Raises InputError."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    with safe_open(str(saved.folder / "adapter_model.safetensors"), "pt") as file:
        stored = set(file.keys())
    expected = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    strange = stored - expected - set(model.state_dict())
    for what, names in (("it lacks", expected - stored), ("it has besides", strange)):
        if names:
            first = ", ".join(sorted(names)[:3])
            raise InputError(
                f"adapter={str(saved.folder)!r} does not fit this base: {what} {len(names)} tensors, "
                f"such as {first}."
            )


def _adapter(path: str, folder: Path, config: Any) -> tuple[str, str | None]:
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    if not (folder / "adapter_model.safetensors").is_file():
        raise InputError(f"adapter={path!r} cannot be used: no adapter_model.safetensors in it.")
    known = {str(kind.value) for kind in PEFT_TYPE_TO_CONFIG_MAPPING}
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind not in known:
        raise InputError(
            f"adapter={path!r} cannot be used: this version of peft does not know its type {kind!r}."
        )
    made_for = config.get("base_model_name_or_path")
    return str(kind).lower(), None if made_for is None else str(made_for)


def _has_head(folder: Path) -> bool:
    return (folder / f"{CLASS_HEAD}.safetensors").is_file() and (folder / "labels.json").is_file()


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error


def _trained_on(folder: Path) -> Quantization | None:
    """Read the base's quantization in its trial from the record beside the adapter, as of QLoRA."""
    record = read_record(folder.parent)
    if record is None:
        return None
    try:
        return methods.build(record.config["method"]).base_quantization
    except (InputError, KeyError, TypeError):  # of another version
        return None
