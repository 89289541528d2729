"""The configuration of a finished trial, checked against the model and data of today."""

from __future__ import annotations

from pathlib import Path

from harness.config import TrialConfig
from harness.config.strict import from_mapping
from harness.data.rows.splits import read_splits
from harness.errors import InputError
from harness.models.loading.base_fingerprint import stored_fingerprint
from harness.models.loading.location import check_model
from harness.records import Record
from harness.records.fingerprint import fingerprints


def config_of(folder: Path, record: Record) -> TrialConfig:
    """Return the record's configuration. Raises InputError if model or data have changed since."""
    config: TrialConfig = from_mapping(TrialConfig, record.config)
    check_model(config.model)
    model, data = stored_fingerprint(config.model), read_splits(config.data).fingerprint
    known = record.provenance
    for what, old, new in (
        ("data", known.get("data", {}).get("fingerprint"), data),
        ("model", known.get("model", {}).get("stored_fingerprint"), model),
    ):
        if old is not None and old != new:
            raise InputError(
                f"{folder}: the {what} is not that of the record any more (fingerprint {old}, now "
                f"{new}): there is nothing to compare with."
            )
    if fingerprints(config, model=model, data=data).trial != record.fingerprint:
        raise InputError(
            f"{folder}: the configuration in record.json is not the one that gave it its fingerprint."
        )
    return config
